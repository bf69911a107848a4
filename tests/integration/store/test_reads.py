"""What readers see of what the ledger wrote, on both engines."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from lava_grpc.core.books import RecordFilter
from lava_grpc.core.commands import ExpireGrants, HoldPart, Release
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import HoldState, Role
from lava_grpc.core.page import Page
from lava_grpc.core.request_record import RequestStatus
from lava_grpc.core.state import EntryKind
from lava_grpc.core.time import SECOND
from tests.integration.store.world import (
    CUSTOMER,
    MERCHANT,
    START,
    World,
    customer,
    grant,
    hold,
    settle,
)

ALL = RecordFilter()


async def record_ids(world: World, wanted: RecordFilter = ALL, limit: int = 2) -> list[str]:
    """The ids of all records, page by page."""
    ids: list[str] = []
    cursor = None
    while True:
        page = await world.books.list_records(MERCHANT, Page(cursor, limit), wanted)
        ids += [record.request_id for record in page.items]
        assert len(page.items) <= limit
        cursor = page.next_cursor
        if cursor is None:
            return ids


async def test_an_account_has_its_live_grants_in_burn_order(world: World) -> None:
    await world.run(grant("g1", 10, priority=30), grant("g2", 5, priority=10), grant("g3", 7))
    await world.run(settle("r1", 5))
    account = await world.books.account(MERCHANT, CUSTOMER)
    assert account is not None
    assert account.balance == 17
    assert [(g.grant_id, g.remaining) for g in account.grants] == [("g3", 7), ("g1", 10)]
    assert await world.books.account("mer_2", CUSTOMER) is None


async def test_an_account_without_grants_is_there(world: World) -> None:
    account = await world.books.account(MERCHANT, CUSTOMER)
    assert account is not None
    assert account.grants == []


async def test_grants_are_listed_newest_first_spent_ones_too(world: World) -> None:
    await world.run(grant("g1", 10, expires_at=START + SECOND), grant("g2", 5), grant("g3", 7))
    world.clock.instant += 2 * SECOND
    await world.run(ExpireGrants(MERCHANT, CUSTOMER))
    first = await world.books.list_grants(MERCHANT, CUSTOMER, Page(limit=2))
    assert [g.grant_id for g in first.items] == ["g3", "g2"]
    last = await world.books.list_grants(MERCHANT, CUSTOMER, Page(first.next_cursor, 2))
    assert [(g.grant_id, g.expired) for g in last.items] == [("g1", 10)]
    assert last.next_cursor is None


async def test_a_hold_is_found_by_its_id_and_by_its_request(world: World) -> None:
    await world.run(grant("g1", 10), hold("r1", 12 - 2))
    by_id = await world.books.hold(MERCHANT, "res_r1")
    assert by_id is not None
    assert (by_id.amount, by_id.state) == (10, HoldState.ACTIVE)
    assert await world.books.hold_of_request(MERCHANT, "r1") == by_id
    assert await world.books.hold("mer_2", "res_r1") is None


async def test_holds_are_listed_by_state_with_overdue_ones_as_expired(world: World) -> None:
    await world.run(grant("g1", 100))
    await world.run(hold("r1", 1, ttl_seconds=5), hold("r2", 2), hold("r3", 3), hold("r4", 4))
    await world.run(settle("r2", 1), Release(MERCHANT, "res_r3", (CUSTOMER,)))
    now = START + 10 * SECOND

    async def listed(state: HoldState | None, limit: int = 10) -> list[str]:
        page = await world.books.list_holds(
            MERCHANT, Page(limit=limit), customer_id=None, state=state, now=now
        )
        assert all(state in {None, one.state} for one in page.items)
        return [one.request_id for one in page.items]

    assert await listed(None) == ["r4", "r3", "r2", "r1"]
    assert await listed(HoldState.ACTIVE) == ["r4"]
    assert await listed(HoldState.EXPIRED) == ["r1"]
    assert await listed(HoldState.SETTLED) == ["r2"]
    assert await listed(HoldState.RELEASED) == ["r3"]


async def test_active_holds_are_paged_though_the_last_one_settled_meanwhile(world: World) -> None:
    await world.run(grant("g1", 100), *[hold(f"r{i}", 1) for i in range(5)])

    async def page(cursor: str | None) -> tuple[list[str], str | None]:
        found = await world.books.list_holds(
            MERCHANT, Page(cursor, 2), customer_id=CUSTOMER, state=HoldState.ACTIVE, now=START
        )
        return [one.request_id for one in found.items], found.next_cursor

    first, cursor = await page(None)
    assert first == ["r4", "r3"]
    await world.run(settle("r3", 1))
    assert (await page(cursor))[0] == ["r2", "r1"]


async def test_holds_of_another_customer_are_left_out(world: World) -> None:
    await world.resources.add_customer(customer("con_2", credit_limit=50))
    await world.run(grant("g1", 100), hold("r1", 1))
    found = await world.books.list_holds(
        MERCHANT, Page(), customer_id="con_2", state=None, now=START
    )
    assert found.items == []


async def test_a_request_is_pending_while_its_hold_is_active_and_then_completed(
    world: World,
) -> None:
    await world.run(grant("g1", 100), hold("r1", 10))
    pending = await world.books.record(MERCHANT, "r1")
    assert pending is not None
    assert (pending.status, pending.held, pending.charge.amount) == (RequestStatus.PENDING, 10, 0)
    assert pending.facts.metadata == (("team", "blue"),)
    await world.run(settle("r1", 4))
    done = await world.books.record(MERCHANT, "r1")
    assert done is not None
    assert (done.status, done.held, done.charge.amount) == (RequestStatus.COMPLETED, 10, 4)
    await world.run(hold("r2", 10))
    await world.run(Release(MERCHANT, "res_r2", (CUSTOMER,)))
    assert await world.books.record(MERCHANT, "r2") is None


async def test_records_of_one_instant_are_paged_without_a_gap_pending_among_them(
    world: World,
) -> None:
    # Capitals and signs sort apart in different collations: pages must follow the database's.
    names = ["a", "B", "b-1", "B_2", "c", "Z", "z9"]
    await world.run(grant("g1", 1000))
    for index, name in enumerate(names):
        await world.run(hold(name, 10) if index % 2 else settle(name, 1))
    world.clock.instant += SECOND
    await world.run(settle("later", 1))
    ids = await record_ids(world)
    assert ids[0] == "later"
    assert sorted(ids[1:]) == sorted(names)
    assert ids == await record_ids(world, limit=100)
    before = await record_ids(world)
    await world.run(settle("B", 2))
    assert await record_ids(world) == before


async def test_records_are_filtered_by_customer_meter_and_all_labels(world: World) -> None:
    await world.resources.add_customer(customer("con_2", credit_limit=50))
    await world.run(grant("g1", 1000))
    both = (("team", "blue"), ("plan", "pro"))
    await world.run(
        settle("r1", 1),
        settle("r2", 1, metadata=both),
        settle("r3", 1, meter_id="prd_2", metadata=()),
        hold("r4", 1, metadata=both),
        hold("r5", 1, meter_id="prd_2", metadata=(("team", "red"),)),
    )
    blue, pro = ("team", "blue"), ("plan", "pro")
    assert await record_ids(world, RecordFilter(metadata=(blue,))) == ["r4", "r2", "r1"]
    assert await record_ids(world, RecordFilter(metadata=(pro, blue))) == ["r4", "r2"]
    assert await record_ids(world, RecordFilter(meter_id="prd_2")) == ["r5", "r3"]
    assert await record_ids(world, RecordFilter(customer_id="con_2")) == []
    mine = RecordFilter(CUSTOMER, "prd_1", (blue,))
    assert await record_ids(world, mine) == ["r4", "r2", "r1"]


async def test_a_customer_who_does_not_pay_finds_its_pending_requests_too(world: World) -> None:
    await world.run(grant("m1", 50, account_id=MERCHANT))
    place = hold("r1", 1)
    cost = HoldPart(MERCHANT, Role.COST, amount=9)
    await world.run(replace(place, parts=(cost,)))
    assert await record_ids(world, RecordFilter(customer_id=CUSTOMER)) == ["r1"]
    found = await world.books.list_holds(
        MERCHANT, Page(), customer_id=CUSTOMER, state=None, now=START
    )
    assert [one.amount for one in found.items] == [9]


async def test_entries_are_listed_newest_first_by_account_and_by_request(world: World) -> None:
    await world.run(grant("g1", 10), grant("m1", 50, account_id=MERCHANT))
    await world.run(settle("r1", 4))
    await world.run(settle("r2", 3))
    everything = await world.books.list_entries(
        MERCHANT, Page(limit=3), account_id=None, request_id=None
    )
    assert [one.entry.request_id for one in everything.items] == ["r2", "r1", "of m1"]
    rest = await world.books.list_entries(
        MERCHANT, Page(everything.next_cursor, 3), account_id=None, request_id=None
    )
    assert [one.entry.kind for one in rest.items] == [EntryKind.GRANT]
    wallet = await world.books.list_entries(MERCHANT, Page(), account_id=MERCHANT, request_id=None)
    assert [one.entry.grant_id for one in wallet.items] == ["m1"]
    of_request = await world.books.list_entries(MERCHANT, Page(), account_id=None, request_id="r1")
    assert [one.entry.amount for one in of_request.items] == [4]


@pytest.mark.parametrize("cursor", ["", "nothing", "g1"])
async def test_a_cursor_that_names_nothing_is_refused(world: World, cursor: str) -> None:
    await world.run(grant("g1", 10))
    page = Page(cursor)
    with pytest.raises(Refusal) as caught:
        await world.books.list_records(MERCHANT, page, ALL)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, "cursor")
    with pytest.raises(Refusal):
        await world.books.list_grants(MERCHANT, MERCHANT, page)
    with pytest.raises(Refusal):
        await world.books.list_entries(MERCHANT, page, account_id=None, request_id=None)
