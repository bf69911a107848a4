"""What readers of the books ask for, and what they get beside the ledger's own rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lava_grpc.core.state import Entry


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records: of a customer, of a meter, with all of these labels."""

    customer_id: str | None = None
    meter_id: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over records, in amounts that may exceed what 64 bits hold."""

    requests: int
    tokens: int
    cost: int
    charge: int


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry with its id."""

    entry_id: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that breaks a rule: see `lava.v1.VerifyFinding`."""

    rule: str
    kind: str
    ident: str
    detail: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check of the books found; `findings` is bounded."""

    findings: Sequence[Finding]
    accounts_checked: int
    entries_checked: int
    holds_checked: int
