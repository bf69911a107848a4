"""Sums of records by days, on both engines."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lava_grpc.core.account import GrantSource
from lava_grpc.core.books import Totals
from lava_grpc.core.errors import Refusal
from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.time import SECOND, Instant, from_datetime
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.usage_days import Usage, UsageReports
from lava_grpc.store import schema
from tests.integration.store.world import MERCHANT, World, customer, grant, settle

PRINCIPAL = Principal(MERCHANT)
LATE = "2026-05-01T23:30:00Z"


def at(text: str) -> Instant:
    return from_datetime(datetime.fromisoformat(text).astimezone(UTC))


async def report(world: World, start: str, end: str | None = None, **wanted: object) -> Usage:
    reports = UsageReports(world.resources, world.books, clock=world.clock)
    chosen = {"customer": None, "meter": None, "metadata": ()} | wanted
    return await reports.days(PRINCIPAL, start=start, end=end, **chosen)  # type: ignore[arg-type]


def charges(usage: Usage) -> list[int]:
    return [day.totals.charge for day in usage.days]


@pytest.fixture
async def used(world: World) -> World:
    """Charges of 1, 2, 4 … at some moments of May 2026."""
    moments = [
        "2026-04-30T23:59:59.999999Z",
        "2026-05-01T00:00:00Z",
        LATE,
        "2026-05-03T12:00:00.500000Z",
        "2026-05-03T23:59:59.999999Z",
    ]
    await world.resources.add_customer(customer("con_2", reference_id="two"))
    world.clock.instant = at("2026-04-01T00:00:00Z")
    await world.run(grant("g1", 1000, source=GrantSource.PROMOTION))
    for index, moment in enumerate(moments):
        world.clock.instant = at(moment)
        facts = {"customer_id": "con_2" if index == 2 else "con_1", "meter_id": f"prd_{index}"}
        await world.run(settle(f"r{index}", 2**index, **facts))
    world.clock.instant = at("2026-05-04T00:00:00Z")
    return world


async def test_days_are_those_of_the_callers_offset(used: World) -> None:
    utc = await report(used, "2026-05-01T00:00:00Z")
    assert charges(utc) == [6, 24]
    assert [day.begins for day in utc.days] == [
        at("2026-05-01T00:00:00Z"),
        at("2026-05-03T00:00:00Z"),
    ]
    east = await report(used, "2026-05-01T00:00:00+02:00")
    # The last moment of April is in May there, and 23:30 on the second.
    assert charges(east) == [3, 4, 8, 16]
    assert east.days[0].begins == at("2026-04-30T22:00:00Z")
    west = await report(used, "2026-04-30T00:00:00-09:30")
    assert charges(west) == [3, 4, 24]


async def test_both_ends_are_included(used: World) -> None:
    assert (await report(used, LATE, LATE)).totals == Totals(1, 0, 0, 4)
    last = "2026-05-03T23:59:59Z"
    assert charges(await report(used, "2026-05-02", last)) == [24]
    assert charges(await report(used, "2026-05-02", "2026-05-03")) == [24]
    assert charges(await report(used, "2026-05-02", "2026-05-03T12:00:00.4Z")) == []
    assert charges(await report(used, "2026-05-02", "2026-05-03T12:00:00.5Z")) == [8]
    assert charges(await report(used, "2026-05-01T00:00:00.000001Z", "2026-05-01")) == [4]


async def test_filters_name_customers_meters_and_labels(used: World) -> None:
    start = "2026-04-01"
    assert (await report(used, start, customer="two")).totals.charge == 4
    assert (await report(used, start, customer="con_1")).totals.charge == 27
    assert (await report(used, start, customer="nobody")).totals == Totals(0, 0, 0, 0)
    assert (await report(used, start, meter="prd_3")).totals.charge == 8
    assert (await report(used, start, metadata=(("team", "blue"),))).totals.requests == 5
    assert (await report(used, start, metadata=(("team", "red"),))).totals.requests == 0


async def test_other_merchants_usage_does_not_count(used: World) -> None:
    reports = UsageReports(used.resources, used.books, clock=used.clock)
    none = await reports.days(
        Principal("mer_2"), start="2026-04-01", end=None, customer=None, meter=None, metadata=()
    )
    assert (none.days, none.totals.requests) == ([], 0)


async def test_sums_beyond_64_bits_are_exact(used: World) -> None:
    largest = {"charge": AMOUNT_MAX, "cost": AMOUNT_MAX, "total_tokens": AMOUNT_MAX}
    for request_id in ("r3", "r4"):
        await used.corrupt(schema.requests, request_id, **largest)
    usage = await report(used, "2026-05-02")
    assert usage.totals == Totals(2, 2 * AMOUNT_MAX, 2 * AMOUNT_MAX, 2 * AMOUNT_MAX)


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        ("", None, "start"),
        ("yesterday", None, "start"),
        ("2026-02-30", None, "start"),
        ("2026-05-01T25:00:00Z", None, "start"),
        ("2026-05-01T00:00:00+24:00", None, "start"),
        ("1969-12-31", None, "start"),
        ("2026-05-01", "soon", "end"),
        ("2026-05-02", "2026-05-01", "end"),
        ("2025-03-29", "2026-05-03", "start"),
        ("2025-03-29", None, "start"),
    ],
)
async def test_a_range_that_cannot_be_is_refused(
    world: World, start: str, end: str | None, field: str
) -> None:
    world.clock.instant = at("2026-05-04T00:00:00Z")
    with pytest.raises(Refusal) as refused:
        await report(world, start, end)
    assert refused.value.field == field


async def test_a_range_may_be_400_days_and_no_longer(world: World) -> None:
    start = at("2026-05-03T23:59:59Z") + SECOND - 400 * 86_400 * SECOND
    first = datetime.fromtimestamp(start // SECOND, UTC).isoformat()
    assert (await report(world, first, "2026-05-03")).days == []
    with pytest.raises(Refusal):
        await report(world, first, "2026-05-04T00:00:00Z")


async def test_a_start_to_come_has_no_days(world: World) -> None:
    assert (await report(world, "2100-01-01")).days == []
