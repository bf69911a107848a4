"""Holds of what recent calls let expect."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from lava.v1 import gateway_service_pb2 as pb
from lava.v1 import gateway_service_pb2_grpc as stubs
from lava.v1 import reservation_pb2

from lava_grpc import config
from lava_grpc.app.office import open_office
from lava_grpc.gateway.expectations import RECORDS_READ_MAX, Expectations
from lava_grpc.providers.expectation import SAMPLES_MIN
from lava_grpc.testing import Fault
from tests.integration.forward.calls import CHAT, METER, chat, encoded, forward, paying
from tests.support.service import Running, running

EXPECTED = {"x-lava-hold-policy": "expected"}
UNLIMITED = chat(max_tokens=None)
SMALL = Decimal("0.05")
"""Fifty tokens; a call here uses fifteen."""

LARGE = Decimal(16)
"""Sixteen thousand tokens: the most that the model writes."""


async def held(on: Running, token: str, headers: dict[str, str] | None = None) -> Decimal:
    """What a call without a limit held."""
    answer = await forward(on, CHAT, UNLIMITED, token=token, headers=headers)
    assert answer.status_code == 200, answer.text
    record = await on.record(answer.headers["x-lava-request-id"])
    return Decimal(record["held"])


async def test_after_twenty_small_calls_holds_become_small(database_url: str) -> None:
    async with running(database_url) as on:
        _, token = await paying(on, "1000")
        sizes = [await held(on, token, EXPECTED) for _ in range(SAMPLES_MIN + 1)]

        assert all(size > LARGE for size in sizes[:SAMPLES_MIN])
        assert 0 < sizes[SAMPLES_MIN] < SMALL
        # Who asks for the guarantee still gets it.
        assert await held(on, token) > LARGE
        await on.verified()


async def test_what_was_recorded_before_is_read_once(database_url: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, "1000")
        for _ in range(SAMPLES_MIN):
            await held(on, token)
        assert await held(on, token, EXPECTED) < SMALL

        # A customer without a past of its own goes by the merchant's.
        other = await on.customer("1000")
        assert await held(on, on.token(customer_id=other, meter_slug=METER), EXPECTED) < SMALL
        # Another model has none.
        answer = await forward(
            on, CHAT, UNLIMITED | {"model": "gpt-4o"}, token=token, headers=EXPECTED
        )
        record = await on.record(answer.headers["x-lava-request-id"])
        assert Decimal(record["held"]) > LARGE
        assert record["customer_id"] == customer


async def test_a_call_that_uses_more_is_charged_in_full_and_marked(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, "1")
        for _ in range(SAMPLES_MIN):
            answer = await forward(on, CHAT, chat(max_tokens=20), token=token)
            assert answer.status_code == 200
        before = Decimal((await on.balance(customer))["balance"])
        on.provider.fail_next(Fault(words=2000))
        answer = await forward(on, CHAT, UNLIMITED, token=token, headers=EXPECTED)
        assert answer.status_code == 200

        record = await on.record(answer.headers["x-lava-request-id"])
        assert "overrun" in record["flags"]
        charge = Decimal(record["charge"]["amount"])
        assert charge > 2 > SMALL > Decimal(record["held"])
        assert Decimal((await on.balance(customer))["balance"]) == before - charge
        assert "overdrawn" in record["flags"]
        refused = await forward(on, CHAT, chat(max_tokens=1), token=token, headers=EXPECTED)
        assert refused.status_code == 402
        await on.verified()


@pytest.mark.parametrize("whose", ["service", "merchant", "token"])
async def test_the_policy_may_be_the_services_the_merchants_or_the_tokens(
    sqlite_url: str, whose: str
) -> None:
    settings: dict[str, Any] = {"hold_policy": "expected"} if whose == "service" else {}
    async with running(sqlite_url, key_cache_seconds=0, **settings) as on:
        customer, token = await paying(on, "1000")
        for _ in range(SAMPLES_MIN):
            await forward(on, CHAT, chat(max_tokens=20), token=token)
        if whose == "merchant":
            assert await held(on, token) > LARGE
            async with open_office(config.load({"database_url": sqlite_url})) as office:
                await office.set_hold_policy(on.merchant_id, "expected")
        if whose == "token":
            token = on.token(customer_id=customer, meter_slug=METER, hold_policy="expected")
        assert await held(on, token) < SMALL
        assert await held(on, token, {"x-lava-hold-policy": "upper_bound"}) > LARGE


async def test_authorize_holds_what_reports_let_expect(database_url: str) -> None:
    async with running(database_url) as on:
        customer, _ = await paying(on, "10000")
        stub = stubs.GatewayServiceStub(on.channel)

        async def authorized(policy: pb.HoldPolicy.ValueType) -> reservation_pb2.Reservation:
            asked = pb.AuthorizeRequest(
                customer_id=customer,
                meter_slug=METER,
                provider_call=pb.ProviderCall(
                    provider="openai", request_body=encoded(UNLIMITED), hold_policy=policy
                ),
            )
            answer = await stub.Authorize(asked, metadata=on.metadata)
            batch = await stub.BatchAuthorize(
                pb.BatchAuthorizeRequest(requests=[asked]), metadata=on.metadata
            )
            assert batch.results[0].authorized.reservation.amount == answer.reservation.amount
            found: reservation_pb2.Reservation = answer.reservation
            return found

        for number in range(SAMPLES_MIN):
            made = await authorized(pb.HOLD_POLICY_EXPECTED)
            assert Decimal(made.amount) > LARGE
            report = pb.ReportUsageRequest(
                reservation_id=made.reservation_id, input_tokens=3, output_tokens=12
            )
            if number % 2:
                await stub.ReportUsage(report, metadata=on.metadata)
            else:
                await stub.BatchReportUsage(
                    pb.BatchReportUsageRequest(reports=[report]), metadata=on.metadata
                )
        assert 0 < Decimal((await authorized(pb.HOLD_POLICY_EXPECTED)).amount) < SMALL
        assert Decimal((await authorized(pb.HOLD_POLICY_UPPER_BOUND)).amount) > LARGE


class _NoHistory:
    """Counts what is read."""

    def __init__(self) -> None:
        self.reads = 0

    async def newest_usage(
        self, merchant_id: str, customer_id: str | None, limit: int
    ) -> list[tuple[str, str | None, Any]]:
        del merchant_id, customer_id
        assert limit == RECORDS_READ_MAX
        self.reads += 1
        return []


async def test_a_past_is_read_once_and_only_so_many_are_kept() -> None:
    history = _NoHistory()
    kept = Expectations(history, pasts_max=2)
    for _ in range(3):
        await kept.past("m", None, provider="openai", model="a")
    assert history.reads == 1
    for model in ("b", "c", "a"):
        await kept.past("m", None, provider="openai", model=model)
    assert history.reads == 4
    assert not (await kept.past("m", None, provider="openai", model=None)).enough
    assert history.reads == 4
