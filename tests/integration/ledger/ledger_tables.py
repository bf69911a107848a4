"""The ledger's tables as the core's own types, and how to fill in what no command makes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table, insert, select

from lava_grpc.core.account import Account
from lava_grpc.core.budget import Budget
from lava_grpc.core.plans import Plan
from lava_grpc.store import rows, schema, sql
from tests.support.invariants import Books


def read_books(connection: Connection, merchant_id: str) -> Books:
    """Every row of a merchant."""

    def read(table: Table, names: Sequence[str]) -> list[sql.Row]:
        columns = [table.columns[name] for name in names]
        query = select(*columns).where(table.columns["merchant_id"] == merchant_id)
        return [tuple(row) for row in connection.execute(query)]

    return Books(
        [rows.account_of(row) for row in read(schema.accounts, sql.ACCOUNT_COLUMNS)],
        [rows.grant_of(row) for row in read(schema.grants, sql.GRANT_COLUMNS)],
        [rows.hold_of(row) for row in read(schema.holds, sql.HOLD_COLUMNS)],
        [rows.record_of(row) for row in read(schema.requests, sql.REQUEST_COLUMNS)],
        [rows.entry_of(row)[1] for row in read(schema.entries, sql.ENTRY_COLUMNS)],
    )


def add_account(connection: Connection, account: Account) -> None:
    """An account without credit, with its budget if it has one."""
    connection.execute(
        insert(schema.accounts).values(
            merchant_id=account.merchant_id,
            account_id=account.account_id,
            kind=account.kind.value,
            credit_limit=account.credit_limit,
        )
    )
    if account.budget is not None:
        connection.execute(insert(schema.budgets).values(_budget(account.budget)))


def add_plan(connection: Connection, plan: Plan) -> None:
    """A plan."""
    connection.execute(insert(schema.plans).values(rows.plan_row(plan)))


def _budget(budget: Budget) -> dict[str, object]:
    spend, requests = budget.limits.spend, budget.limits.requests
    return {
        "merchant_id": budget.merchant_id,
        "account_id": budget.account_id,
        "spend_amount": None if spend is None else spend.amount,
        "spend_cycle": None if spend is None else spend.cycle.value,
        "request_count": None if requests is None else requests.count,
        "request_cycle": None if requests is None else requests.cycle.value,
    }
