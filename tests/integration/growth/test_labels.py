"""Records are found by their labels, whenever those came, and by no others."""

from __future__ import annotations

from lava_grpc.core.books import RecordFilter
from lava_grpc.core.commands import Expire
from lava_grpc.core.hold import HoldKind
from lava_grpc.core.page import Page
from lava_grpc.core.time import SECOND
from lava_grpc.store import label_reads
from tests.integration.store.world import CUSTOMER, MERCHANT, START, World, grant, hold, settle


async def labelled(
    world: World, *labels: tuple[str, str], customer: str | None = None
) -> list[str]:
    """The requests that a list with these labels names, which a sum must count as well."""
    wanted = RecordFilter(customer_id=customer, metadata=labels)
    found = await world.books.list_records(MERCHANT, Page(limit=100), wanted)
    days = await world.books.usage_by_day(
        MERCHANT, wanted, start=START, before=START + 86_400 * SECOND, day=START
    )
    assert sum(totals.requests for _, totals in days) == len(found.items)
    return [record.request_id for record in found.items]


async def test_labels_of_the_hold_and_of_the_report_both_lead_to_the_record(world: World) -> None:
    await world.run(grant("g1", 1000))
    await world.run(hold("one", 5, metadata=(("team", "blue"), ("job", "7"))))
    await world.run(settle("one", 3, metadata=(("team", "red"),)), settle("two", 3))
    assert await labelled(world, ("team", "red")) == ["one"]
    assert await labelled(world, ("job", "7")) == ["one"]
    assert await labelled(world, ("job", "7"), ("team", "red")) == ["one"]
    assert await labelled(world, ("team", "blue")) == ["two"]
    assert await labelled(world, ("team", "red"), ("team", "blue")) == []
    assert await labelled(world, ("team", "green")) == []


async def test_a_record_that_is_replaced_is_found_by_its_new_labels_alone(world: World) -> None:
    await world.run(grant("g1", 1000))
    await world.run(hold("one", 5, kind=HoldKind.FORWARD, metadata=(("team", "blue"),)))
    world.clock.instant += 200 * SECOND
    await world.run(Expire(MERCHANT, "res_one", (CUSTOMER,)))
    assert await labelled(world, ("team", "blue")) == ["one"]
    await world.run(settle("one", 2, metadata=(("team", "red"),)))
    assert await labelled(world, ("team", "red")) == ["one"]
    assert await labelled(world, ("team", "blue")) == []


async def test_a_label_and_a_customer_name_the_same_records_however_common_the_label_is(
    world: World,
) -> None:
    await world.run(grant("g1", 10**6))
    many = [f"r{number:05}" for number in range(label_reads.COUNTED_MAX + 10)]
    for start in range(0, len(many), 500):
        await world.run(*[settle(name, 1) for name in many[start : start + 500]])
    await world.run(settle("rare", 1, metadata=(("team", "blue"), ("ticket", "1"))))
    assert await labelled(world, ("team", "blue"), ("ticket", "1")) == ["rare"]
    assert await labelled(world, ("ticket", "1"), customer=CUSTOMER) == ["rare"]
    assert await labelled(world, ("ticket", "1"), customer="con_other") == []
    common = await world.books.list_records(
        MERCHANT, Page(limit=5), RecordFilter(CUSTOMER, metadata=(("team", "blue"),))
    )
    assert [record.request_id for record in common.items] == ["rare", *reversed(many[-4:])]


async def test_a_name_with_the_start_of_a_value_is_no_other_label(world: World) -> None:
    await world.run(grant("g1", 1000))
    await world.run(settle("one", 1, metadata=(("a", "b=c"),)))
    assert await labelled(world, ("a", "b=c")) == ["one"]
    assert await labelled(world, ("a", "b")) == []
