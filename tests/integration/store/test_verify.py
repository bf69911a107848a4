"""Verify finds nothing wrong in sound books, and names each row that is made wrong."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from lava_grpc.core.books import VerifyReport
from lava_grpc.core.commands import Expire, ExpireGrants, HoldPart, Release, SettlePart
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.resources import Merchant
from lava_grpc.core.time import SECOND
from lava_grpc.store import schema
from lava_grpc.store.verify import FINDINGS_MAX
from tests.integration.store.world import CUSTOMER, MERCHANT, START, World, grant, hold, settle

ACCOUNTS, GRANTS, HOLDS = schema.accounts, schema.grants, schema.holds
REQUESTS, ENTRIES = schema.requests, schema.entries


def named(report: VerifyReport) -> set[tuple[str, str, str]]:
    """The rules and rows that a report names."""
    return {(one.rule, one.kind, one.ident) for one in report.findings}


async def a_busy_day(world: World) -> None:
    """Every kind of row, and every way that a hold can end."""
    await world.run(
        grant("g1", 1000),
        grant("g2", 100, meter_ids=("prd_1",), priority=5, expires_at=START + 30 * SECOND),
        grant("m1", 500, account_id=MERCHANT),
    )
    # Active at the end: from both grants.
    long = hold("active", 150, ttl_seconds=3600)
    await world.run(replace(long, parts=(replace(long.parts[0], meter_id="prd_1"),)))
    # Settled within its hold, on two accounts.
    both = (HoldPart(CUSTOMER, Role.CHARGE, amount=60), HoldPart(MERCHANT, Role.COST, amount=40))
    await world.run(replace(hold("settled", 0), parts=both))
    dues = (SettlePart(CUSTOMER, Role.CHARGE, amount=50), SettlePart(MERCHANT, Role.COST))
    await world.run(replace(settle("settled", 0), parts=dues, cost=30))
    # Released; above its hold; after its hold; never held; nothing to pay.
    await world.run(hold("released", 20), hold("overrun", 20), hold("late", 20, ttl_seconds=1))
    await world.run(Release(MERCHANT, "res_released", (CUSTOMER,)), settle("overrun", 25))
    # A forwarded call that nobody settled, twice: given back, and charged.
    await world.run(hold("lost", 5, kind=HoldKind.FORWARD, ttl_seconds=1))
    await world.run(hold("paid", 5, kind=HoldKind.FORWARD, ttl_seconds=1))
    await world.run(hold("timed out", 5, ttl_seconds=1))
    world.clock.instant += 60 * SECOND
    await world.run(settle("late", 7), settle("reported", 3), settle("free", 0))
    await world.run(
        Expire(MERCHANT, "res_lost", (CUSTOMER,)),
        Expire(MERCHANT, "res_paid", (CUSTOMER,), charge_abandoned=True),
        Expire(MERCHANT, "res_timed out", (CUSTOMER,)),
    )
    # The merchant's own call, metered: its charge is booked as cost.
    own = (SettlePart(MERCHANT, Role.COST, amount=8),)
    await world.run(replace(settle("own", 0), parts=own, facts=CallFacts(), cost=8))
    await world.run(ExpireGrants(MERCHANT, CUSTOMER))


async def test_sound_books_have_no_findings(world: World) -> None:
    await a_busy_day(world)
    for scope in (MERCHANT, None):
        report = await world.books.verify(scope)
        assert list(report.findings) == []
        assert (report.accounts_checked, report.holds_checked) == (2, 8)
        assert report.entries_checked > 10


async def test_usage_past_the_credit_is_no_finding_when_it_is_marked(world: World) -> None:
    await world.run(grant("g1", 10), settle("r1", 25))
    assert list((await world.books.verify(MERCHANT)).findings) == []
    await world.run(grant("g2", 100))  # covers what was used before it
    assert list((await world.books.verify(MERCHANT)).findings) == []


async def test_a_customer_with_unlimited_credit_overspends_nothing(world: World) -> None:
    await world.resources.change_customer(MERCHANT, CUSTOMER, {"credit_limit": None})
    await world.run(hold("r1", 10**15), settle("r2", 5))
    assert list((await world.books.verify(None)).findings) == []


Corrupt = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """A row made wrong, and what is then named."""

    corrupt: Corrupt
    findings: set[tuple[str, str, str]]


def change(table: Any, ident: str, **values: object) -> Corrupt:  # noqa: ANN401
    async def corrupt(world: World) -> None:
        await world.corrupt(table, ident, **values)

    return corrupt


def entry(**values: object) -> Corrupt:
    fields: dict[str, object] = {
        "merchant_id": MERCHANT,
        "entry_id": "0",
        "account_id": CUSTOMER,
        "debit": CUSTOMER,
        "credit": "revenue",
        "amount": 1,
        "kind": "charge",
        "request_id": None,
        "hold_id": None,
        "grant_id": None,
        "created_at": START,
    }

    async def corrupt(world: World) -> None:
        await world.insert(ENTRIES, **(fields | values))

    return corrupt


def legs(*each: tuple[str, str | None, int]) -> Corrupt:
    return change(HOLDS, "res_active", legs=json.dumps(each))


WRONG_BALANCE = ("balance", "account", CUSTOMER)
WRONG_HELD = ("held", "account", CUSTOMER)

CASES = {
    "a balance that its entries do not come to": Case(
        change(ACCOUNTS, MERCHANT, balance=463), {("balance", "account", MERCHANT)}
    ),
    "a held sum that its holds do not come to": Case(
        change(ACCOUNTS, CUSTOMER, held=149), {WRONG_HELD}
    ),
    "a grant whose parts are not its amount": Case(
        change(GRANTS, "m1", held=1), {("grant", "grant", "m1")}
    ),
    "a grant that burned less than was charged": Case(
        change(GRANTS, "m1", burned=37, expired=1), {("grant", "grant", "m1")}
    ),
    "a grant that is not marked live": Case(
        change(GRANTS, "m1", live=False), {("grant", "grant", "m1")}
    ),
    "a leg smaller than what is held": Case(
        legs(("charge", "g2", 100), ("charge", "g1", 49)),
        {WRONG_HELD, ("grant", "grant", "g1")},
    ),
    "a leg of a grant that is not there": Case(
        legs(("charge", "g2", 100), ("charge", "g9", 50)),
        {("held", "hold", "res_active"), ("grant", "grant", "g1")},
    ),
    "a leg of a role that has no account": Case(
        legs(("charge", "g2", 100), ("charge", "g1", 50), ("budget", None, 5)),
        {("held", "hold", "res_active")},
    ),
    "an ended hold without an end": Case(
        change(HOLDS, "res_released", ended_at=None), {("once", "hold", "res_released")}
    ),
    "an active hold with an end": Case(
        change(HOLDS, "res_active", ended_at=START), {("once", "hold", "res_active")}
    ),
    "a settled hold without a record": Case(
        change(HOLDS, "res_released", state="settled"), {("once", "hold", "res_released")}
    ),
    "a released hold with a record": Case(
        change(HOLDS, "res_settled", state="released"), {("once", "hold", "res_settled")}
    ),
    "an expired hold whose record is not marked": Case(
        change(REQUESTS, "lost", flags=""), {("once", "hold", "res_lost")}
    ),
    "a record that does not name its hold": Case(
        change(REQUESTS, "lost", hold_id=None), {("once", "request", "lost")}
    ),
    "a record that names another hold": Case(
        change(REQUESTS, "lost", hold_id="res_other"), {("once", "request", "lost")}
    ),
    "a charge that its entries do not come to": Case(
        change(REQUESTS, "reported", charge=4), {("once", "request", "reported")}
    ),
    "a charge without entries": Case(
        change(REQUESTS, "free", charge=4), {("once", "request", "free")}
    ),
    "a cost that its entries do not come to": Case(
        change(REQUESTS, "settled", cost=31), {("once", "request", "settled")}
    ),
    "an overrun that is not marked": Case(
        change(REQUESTS, "overrun", flags=""), {("overspend", "request", "overrun")}
    ),
    "an entry of nothing": Case(
        entry(amount=0, kind="charge", request_id="reported"), {("entry", "entry", "0")}
    ),
    "an entry that goes the wrong way": Case(
        entry(amount=1, kind="cost", request_id="reported"),
        {("entry", "entry", "0"), WRONG_BALANCE, ("once", "request", "reported")},
    ),
    "an entry of an unknown kind": Case(
        entry(kind="gift"), {("entry", "entry", "0"), WRONG_BALANCE}
    ),
    "an entry of no account": Case(
        entry(account_id="con_9", debit="con_9", request_id="reported"),
        {("entry", "entry", "0"), ("once", "request", "reported")},
    ),
    "an entry of no request": Case(
        entry(request_id="nobody's"), {("entry", "entry", "0"), WRONG_BALANCE}
    ),
    "an entry of a grant that is not there": Case(
        entry(kind="cover", credit=CUSTOMER, grant_id="g9"), {("entry", "entry", "0")}
    ),
    "a request that was charged twice": Case(
        entry(request_id="reported"), {WRONG_BALANCE, ("once", "request", "reported")}
    ),
}


@pytest.mark.parametrize("what", CASES)
async def test_a_row_made_wrong_is_named(world: World, what: str) -> None:
    await a_busy_day(world)
    await CASES[what].corrupt(world)
    report = await world.books.verify(MERCHANT)
    assert named(report) == CASES[what].findings, report.findings
    assert named(await world.books.verify(None)) == CASES[what].findings


async def test_a_grant_of_no_account_is_named(world: World) -> None:
    await world.run(grant("g1", 100))
    await world.corrupt(GRANTS, "g1", account_id="con_9")
    findings = (await world.books.verify(MERCHANT)).findings
    assert "its account con_9 does not exist" in {one.detail for one in findings}


async def test_a_charge_for_a_hold_that_gave_all_back_is_named(world: World) -> None:
    await world.run(grant("g1", 100), hold("r1", 10))
    await world.run(Release(MERCHANT, "res_r1", (CUSTOMER,)))
    await entry(request_id="r1", hold_id="res_r1")(world)
    assert ("once", "hold", "res_r1") in named(await world.books.verify(MERCHANT))


async def test_credit_beyond_the_grants_and_the_limit_is_named(world: World) -> None:
    await world.resources.change_customer(MERCHANT, CUSTOMER, {"credit_limit": 10})
    await world.run(hold("r1", 10))
    assert list((await world.books.verify(MERCHANT)).findings) == []
    await world.corrupt(ACCOUNTS, CUSTOMER, credit_limit=9)
    (finding,) = (await world.books.verify(MERCHANT)).findings
    assert (finding.rule, finding.kind, finding.ident) == ("overspend", "account", CUSTOMER)
    assert "0.0000000010" in finding.detail
    assert "0.0000000009" in finding.detail


async def test_a_balance_that_no_grant_backs_is_named(world: World) -> None:
    await world.run(grant("g1", 100))
    await world.corrupt(GRANTS, "g1", remaining=90, expired=10)
    findings = named(await world.books.verify(MERCHANT))
    assert findings == {WRONG_BALANCE, ("grant", "grant", "g1")}


async def test_one_merchant_is_checked_without_the_rows_of_others(world: World) -> None:
    await world.resources.add_merchant(Merchant("mer_2", "Other", test_mode=False, created_at=2))
    await world.corrupt(ACCOUNTS, "mer_2", balance=1)
    assert list((await world.books.verify(MERCHANT)).findings) == []
    report = await world.books.verify(None)
    assert named(report) == {("balance", "account", "mer_2")}
    assert "mer_2" in report.findings[0].detail
    assert report.accounts_checked == 3


async def test_findings_are_bounded(world: World) -> None:
    await world.run(*[settle(f"r{index}", 0) for index in range(FINDINGS_MAX + 5)])
    await world.database.write(lambda c: c.execute(REQUESTS.update().values(charge=7)))
    assert len((await world.books.verify(MERCHANT)).findings) == FINDINGS_MAX
