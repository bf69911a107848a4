"""Checks the rules of the books over what is stored, in one consistent snapshot.

The checks are in `verify_checks.py`. Each is one statement over whole tables,
which the engine joins and sums, so that millions of rows take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import Connection, text

from lava_grpc.core.books import Finding, VerifyReport
from lava_grpc.core.money import format_amount
from lava_grpc.store.database import one_snapshot
from lava_grpc.store.verify_checks import CHECKS, COUNTS, Check, views

FINDINGS_MAX = 1000

_POSTGRES_SETTINGS = (
    # Whole tables are joined: by hash, even where statistics are missing or old. A nested
    # loop takes hours where a guess of a few rows was wrong.
    "SET LOCAL enable_nestloop = off",
    "SET LOCAL work_mem = '64MB'",
    # With nested loops off, the one over a hold's legs looks dear enough to compile.
    "SET LOCAL jit = off",
)


def check(connection: Connection, merchant_id: str | None) -> VerifyReport:
    """Check one merchant's rows, or all; to be called first in its transaction.

    Stops at FINDINGS_MAX findings.
    """
    one_snapshot(connection)
    if connection.dialect.name == "postgresql":
        for setting in _POSTGRES_SETTINGS:
            connection.execute(text(setting))
    prefix = views(connection.dialect.name, one_merchant=merchant_id is not None)
    scope = {} if merchant_id is None else {"merchant_id": merchant_id}
    findings: list[Finding] = []
    for one in CHECKS:
        room = FINDINGS_MAX - len(findings)
        if room <= 0:
            break
        statement = text(f"{prefix}{one.query} LIMIT :room")
        rows = connection.execute(statement, scope | {"room": room})
        findings += [_finding(one, row, name_merchant=merchant_id is None) for row in rows]
    accounts, entries, holds = connection.execute(text(prefix + COUNTS), scope).one()
    return VerifyReport(findings, accounts, entries, holds)


def _finding(one: Check, row: Sequence[object], *, name_merchant: bool) -> Finding:
    merchant_id, ident, *figures = row
    detail = one.says.format(*[_shown(figure) for figure in figures])
    if name_merchant:
        detail = f"{detail} (merchant {merchant_id})"
    return Finding(one.rule, one.kind, str(ident), detail)


def _shown(figure: object) -> str:
    """Numbers in findings are amounts; PostgreSQL sums them to decimals."""
    if isinstance(figure, int | Decimal) and not isinstance(figure, bool):
        return format_amount(int(figure))
    return "nothing" if figure is None else str(figure)
