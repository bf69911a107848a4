"""Holds a database against what its servers acknowledged, reading the rows itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, create_engine, select

from lava_grpc.core.books import VerifyReport
from lava_grpc.store import schema
from lava_grpc.store.verify import check
from tests.crash.load import POOR_CREDIT, RICH_CREDIT, Acknowledged, Load
from tests.support.process import Caller

REPEATS_MAX = 500


@dataclass(slots=True)
class Findings:
    """What is wrong, each a sentence; all empty where nothing is."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    overspends: list[str] = field(default_factory=list)
    verify_breaks: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.overspends or self.verify_breaks)


def audit(database_url: str, load: Load, *, besides: Collection[str] = frozenset()) -> Findings:
    """Compare the books with the log of a load that has stopped.

    `besides` are request ids that others used meanwhile.
    """
    engine = create_engine(database_url)
    try:
        with engine.connect() as connection:
            report = check(connection, None)
        with engine.connect() as connection:
            return _compared(connection, load, report, set(besides))
    finally:
        engine.dispose()


def _compared(
    connection: Connection, load: Load, report: VerifyReport, known: set[str]
) -> Findings:
    found = Findings(
        verify_breaks=[f"{one.rule} {one.ident}: {one.detail}" for one in report.findings]
    )
    holds = _by_request(connection.execute(select(schema.holds)))
    records = _by_request(connection.execute(select(schema.requests)))
    charges = select(schema.entries).where(schema.entries.c.kind == "charge")
    charged = _by_request(connection.execute(charges))
    for request_id, said in load.log.requests.items():
        _hold_kept(found, request_id, said, holds[request_id])
        _charge_kept(found, request_id, said, records[request_id], charged[request_id])
    # Every call was answered, so whatever else is there was made up.
    known |= load.log.requests.keys()
    for request_id in (holds.keys() | records.keys() | charged.keys()) - known:
        found.doubled.append(f"{request_id}: nobody asked for it")
    accounts = {row.account_id: row for row in connection.execute(select(schema.accounts))}
    for customer_id, credit in ((load.rich, RICH_CREDIT), (load.poor, POOR_CREDIT)):
        _totals_kept(found, load, accounts[customer_id], credit)
    return found


def _hold_kept(found: Findings, request_id: str, said: Acknowledged, rows: list[Row[Any]]) -> None:
    if said.held is None:
        return
    if len(rows) != 1:
        (found.doubled if rows else found.lost).append(f"{request_id}: {len(rows)} holds")
        return
    [hold] = rows
    state = "settled" if said.charge is not None else "released" if said.released else "active"
    if (hold.hold_id, hold.state) != (said.reservation_id, state):
        found.lost.append(f"{request_id}: {hold.hold_id} is {hold.state}, not {state}")


def _charge_kept(
    found: Findings,
    request_id: str,
    said: Acknowledged,
    records: list[Row[Any]],
    entries: list[Row[Any]],
) -> None:
    if said.charge is None:
        if entries:
            found.doubled.append(f"{request_id}: charged, and was not to be")
        return
    if [record.charge for record in records] != [said.charge]:
        found.lost.append(f"{request_id}: its record is not the one acknowledged")
    # One charge may draw on several grants, an entry each.
    total = sum(entry.amount for entry in entries)
    if total != said.charge:
        kind = found.doubled if total > said.charge else found.lost
        kind.append(f"{request_id}: charged {total}, not {said.charge}")


def _totals_kept(found: Findings, load: Load, account: Row[Any], credit: int) -> None:
    mine = [one for one in load.log.requests.values() if one.customer_id == account.account_id]
    spent = sum(one.charge or 0 for one in mine)
    held = sum(one.held or 0 for one in mine if one.charge is None and not one.released)
    if account.balance < credit - spent:
        found.doubled.append(f"{account.account_id}: {account.balance} left of {credit} - {spent}")
    if account.balance > credit - spent:
        found.lost.append(f"{account.account_id}: {account.balance} left of {credit} - {spent}")
    if account.held != held:
        found.lost.append(f"{account.account_id}: {account.held} held, not {held}")
    if account.balance < account.held:
        found.overspends.append(
            f"{account.account_id}: {account.balance} left, {account.held} held"
        )


def _by_request(rows: Iterable[Row[Any]]) -> defaultdict[str, list[Row[Any]]]:
    grouped: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row.request_id].append(row)
    grouped.pop(None, None)  # type: ignore[call-overload]
    return grouped


async def repeated_differently(load: Load, caller: Caller) -> list[str]:
    """Ask again for what was answered, the latest first; the calls whose second answer differs."""
    different: Counter[str] = Counter()
    for one in load.log.answers[: -REPEATS_MAX - 1 : -1]:
        again = await caller.call(one.rpc, one.request)
        if _essence(again) != _essence(one.answer):
            different[f"{one.rpc}: {_essence(one.answer)}, then {_essence(again)}"] += 1
    return list(different)


def _essence(answer: Any) -> tuple[str, ...]:  # noqa: ANN401 - the answer of any of the calls
    """What must never change; a reservation's state and what is available may move on."""
    if hasattr(answer, "request"):
        record = answer.request
        return (record.request_id, record.charge.amount, str(record.created_at.ToNanoseconds()))
    hold = answer.reservation
    return (hold.reservation_id, hold.request_id, hold.amount, str(hold.expires_at.ToNanoseconds()))
