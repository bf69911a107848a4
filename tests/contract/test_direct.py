"""A call that is read with its batch is told just what one that goes the long way is told."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import gateway_service_pb2 as gateway
from lava.v1 import usage_pb2

from lava_grpc.api.direct import RAW_BYTES_MAX
from lava_grpc.core.errors import Refusal
from lava_grpc.gateway.authorize import Authorizer
from lava_grpc.gateway.report import Reporter
from tests.contract.world import METER, POOR, RICH, World

pytestmark = pytest.mark.asyncio(loop_scope="session")

AUTHORIZE, REPORT = "GatewayService/Authorize", "GatewayService/ReportUsage"

HOLDS = [
    {"amount": "0.5"},
    {"amount": "0.5", "ttl_seconds": 5, "metadata": {"team": "red"}},
    {"amount": "0.5", "meter_slug": METER},
    {"amount": "0.5", "dry_run": True},
    {"usage": usage_pb2.Usage(input_tokens=1000), "meter_slug": METER},
    {"amount": "1000"},
    {"amount": "1000", "allow_partial": True, "dry_run": True},
    {"amount": "0"},
    {"amount": "-1"},
    {"amount": "much"},
    {"amount": "0.1", "ttl_seconds": 0},
    {"amount": "0.1", "meter_slug": "nobody-has-it"},
    {"usage": usage_pb2.Usage(input_tokens=1)},
    {},
]
REPORTS = [
    {"input_tokens": 5, "meter_slug": METER},
    {"input_tokens": 5, "output_tokens": 7, "meter_slug": METER, "metadata": {"team": "red"}},
    {"amount": "0.25"},
    {"amount": "0.25", "meter_slug": METER},
    {"amount": "much"},
    {"cost": "much", "meter_slug": METER},
    {"input_tokens": 5},
    {"input_tokens": 5, "meter_slug": "nobody-has-it"},
    {"input_tokens": 5, "provider": "openai", "model": "gpt-4o", "meter_slug": METER},
]


class LongWay:
    """Counts the calls that were answered one at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        for kind in (Authorizer, Reporter):
            monkeypatch.setattr(kind, "__call__", self._counted(kind.__call__))

    def _counted(self, call: Any) -> Any:  # noqa: ANN401 - of either use case
        async def counted(*args: object, **options: object) -> object:
            self.calls += 1
            return await call(*args, **options)

        return counted


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> LongWay:
    return LongWay(monkeypatch)


async def _id_of(world: World, reference_id: str) -> str:
    found = await world.call(
        "CustomerService/GetCustomer", customers.GetCustomerRequest(customer_id=reference_id)
    )
    ident: str = found.customer.customer_id
    return ident


async def _told(world: World, rpc: str, request: Message) -> object:
    try:
        return await world.call(rpc, request)
    except Refusal as refusal:
        return (refusal.reason, refusal.message, refusal.field, dict(refusal.facts))


@pytest.mark.parametrize("customer", [RICH, POOR])
@pytest.mark.parametrize("fields", HOLDS, ids=str)
async def test_a_hold_is_told_the_same_both_ways(
    world: World, long_way: LongWay, fields: dict[str, Any], customer: str
) -> None:
    ident = await _id_of(world, customer)
    request_id = f"both-ways-{customer}-{HOLDS.index(fields)}"
    direct = gateway.AuthorizeRequest(request_id=request_id, customer_id=ident, **fields)
    long = gateway.AuthorizeRequest(request_id=request_id, customer_id=customer, **fields)
    # A meter that was not looked up a moment ago takes the long way too.
    await _told(world, AUTHORIZE, long)
    before = long_way.calls
    told = await _told(world, AUTHORIZE, direct)
    expected_calls = fields.get("meter_slug") == "nobody-has-it"
    assert long_way.calls - before == expected_calls
    again = await _told(world, AUTHORIZE, long)
    assert long_way.calls - before == 1 + expected_calls
    if isinstance(told, gateway.AuthorizeResponse) and fields.get("dry_run"):
        assert isinstance(again, gateway.AuthorizeResponse)
        for answer in (told, again):
            # Nothing is kept of a dry run: each has an id and an instant of its own.
            for name in ("reservation_id", "created_at", "expires_at"):
                answer.reservation.ClearField(name)
    assert told == again


@pytest.mark.parametrize("fields", REPORTS, ids=str)
async def test_a_report_is_told_the_same_both_ways(
    world: World, long_way: LongWay, fields: dict[str, Any]
) -> None:
    ident = await _id_of(world, RICH)
    request_id = f"report-both-ways-{REPORTS.index(fields)}"
    direct = gateway.ReportUsageRequest(request_id=request_id, customer_id=ident, **fields)
    long = gateway.ReportUsageRequest(request_id=request_id, customer_id=RICH, **fields)
    await _told(world, REPORT, long)
    before = long_way.calls
    told = await _told(world, REPORT, direct)
    assert long_way.calls - before == (fields.get("meter_slug") == "nobody-has-it")
    assert told == await _told(world, REPORT, long)


async def test_a_hold_that_was_placed_here_is_settled_with_its_batch(
    world: World, long_way: LongWay
) -> None:
    ident = await _id_of(world, RICH)
    request = gateway.AuthorizeRequest(customer_id=ident, amount="0.5")
    held = await world.call(AUTHORIZE, request)
    report = gateway.ReportUsageRequest(
        reservation_id=held.reservation.reservation_id, amount="0.25"
    )
    before = long_way.calls
    told = await world.call(REPORT, report)
    assert long_way.calls == before
    assert told.request.charge.amount == "0.2500000000"
    assert told.request.held == "0.5000000000"
    assert told == await world.call(REPORT, report)


async def test_what_is_large_does_not_wait_as_it_arrived(world: World, long_way: LongWay) -> None:
    labels = {f"label_{n}": "x" * 200 for n in range(100)}
    hold = gateway.AuthorizeRequest(
        customer_id=await _id_of(world, RICH), amount="0.5", dry_run=True, metadata=labels
    )
    assert hold.ByteSize() > RAW_BYTES_MAX
    before = long_way.calls
    await world.call(AUTHORIZE, hold)
    assert long_way.calls == before + 1
