"""Who pays for a forwarded call, in each mode."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import grpc
import pytest
from lava.v1 import gateway_service_pb2 as pb

from tests.integration.forward.calls import (
    CHAT,
    METER,
    chat,
    forward,
    opened,
    over_grpc,
    paying,
    recorded,
    request,
    unheld,
)
from tests.support.service import running

ZERO = "0.0000000000"
# 3 in at 0.15 and 12 out at 0.60 a million.
COST = "0.0000076500"
# 15 tokens at 1000 a million.
CHARGE = "0.0150000000"


@pytest.mark.parametrize(
    ("facts", "kind", "charge", "names_customer"),
    [
        ({}, "managed", ZERO, False),
        ({"meter_slug": METER}, "managed", ZERO, False),
        ({"customer": True, "meter_slug": METER}, "managed", CHARGE, True),
        ({"customer": True, "meter_slug": METER, "disable_billing": True}, "managed", ZERO, True),
        ({"customer": True, "meter_slug": METER, "provider_key": "sk-own"}, "unmanaged", CHARGE, 1),
        ({"meter_slug": METER, "provider_key": "sk-own"}, "unmanaged", ZERO, False),
        (
            {"customer_id": None, "meter_slug": None, "provider_key": "sk-own"},
            "unmanaged",
            ZERO,
            False,
        ),
    ],
    ids=["key alone", "meter", "customer", "not billed", "own key", "own key, meter", "tracking"],
)
@pytest.mark.parametrize("edge", ["rest", "grpc"])
async def test_each_mode_charges_whom_it_should(
    database_url: str,
    facts: dict[str, Any],
    kind: str,
    charge: str,
    names_customer: bool,  # noqa: FBT001
    edge: str,
) -> None:
    async with running(database_url) as on:
        customer, _ = await paying(on)
        facts = dict(facts)
        if facts.pop("customer", False):
            facts["customer_id"] = customer
        if edge == "rest":
            answer = await forward(on, token=on.token(**facts) if facts else None)
            assert answer.status_code == 200
            request_id = answer.headers["x-lava-request-id"]
        else:
            given = {name: value for name, value in facts.items() if value is not None}
            got = await over_grpc(on, request(**given))
            request_id = got.head.request_id
            assert got.summary is not None
            assert got.summary.measurement == pb.MEASUREMENT_PROVIDER
            assert got.summary.request.charge.amount == charge
        record = await on.record(request_id)

        assert record["cost"] == COST
        assert record["charge"]["amount"] == charge
        assert record["provider_key_type"] == kind
        assert (record.get("customer_id") == customer) is bool(names_customer)
        assert bool(record.get("meter_id")) is (facts.get("meter_slug") is not None)
        has = await on.balance(customer)
        assert Decimal(has["balance"]) == 10 - Decimal(charge)
        key = "sk-platform" if kind == "managed" else "sk-own"
        assert on.provider.calls[-1].header("authorization") == f"Bearer {key}"
        await on.verified()


async def test_a_customer_may_be_named_by_a_reference_id(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        await on.meter(METER, "1000")
        customer = await on.customer("1", reference_id="user-7")
        answer = await forward(on, token=on.token(customer_id="user-7", meter_slug=METER))
        record = await on.record(answer.headers["x-lava-request-id"])
        assert record["customer_id"] == customer
        await on.verified()


async def test_a_customer_without_a_meter_is_refused(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, _ = await paying(on)
        answer = await forward(on, token=on.token(customer_id=customer))
        assert answer.status_code == 400
        assert answer.json()["error"]["field"] == "meter_slug"
        assert on.provider.calls_total == 0


async def test_an_empty_wallet_stops_the_call_before_the_provider(database_url: str) -> None:
    async with running(database_url, wallet_limit="0") as on:
        answer = await forward(on)
        assert answer.status_code == 402
        error = answer.json()["error"]
        assert error["code"] == "insufficient_credits"
        assert error["details"]["account"] == "merchant"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await over_grpc(on, request())
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert on.provider.calls_total == 0
        # With the merchant's own key the wallet has nothing to pay.
        assert (await forward(on, token=on.token(provider_key="sk-own"))).status_code == 200
        await on.verified()


async def test_a_customer_out_of_credit_is_stopped_before_the_provider(database_url: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, credit="0.05")
        answer = await forward(on, token=token)
        assert answer.status_code == 402
        assert answer.json()["error"]["details"]["account"] == "customer"
        assert on.provider.calls_total == 0
        has = await on.balance(customer)
        assert has["balance"] == "0.0500000000"
        assert (
            await forward(
                on, token=on.token(customer_id=customer, meter_slug=METER, disable_billing=True)
            )
        ).status_code == 200
        await on.verified()


async def test_concurrent_calls_never_spend_more_than_there_is(database_url: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, credit="0.6")
        answers = await asyncio.gather(*[forward(on, token=token) for _ in range(20)])
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 402}
        has = await on.balance(customer)
        assert Decimal(has["balance"]) == Decimal("0.6") - statuses.count(200) * Decimal(CHARGE)
        assert on.provider.calls_total == statuses.count(200)
        await on.verified()


async def test_without_a_platform_key_the_caller_is_asked_for_one(sqlite_url: str) -> None:
    async with running(sqlite_url, provider_keys={}) as on:
        answer = await forward(on)
        assert answer.status_code == 400
        assert answer.json()["error"]["field"] == "provider_key"
        assert on.provider.calls_total == 0


@pytest.mark.parametrize("facts", [{"customer_id": "con_none"}, {"meter_slug": "none"}])
async def test_unknown_payers_and_meters_are_refused(
    sqlite_url: str, facts: dict[str, str]
) -> None:
    async with running(sqlite_url) as on:
        customer, _ = await paying(on)
        token = on.token(**{"customer_id": customer, "meter_slug": METER} | facts)
        assert (await forward(on, token=token)).status_code == 404
        assert on.provider.calls_total == 0
        await unheld(on, customer, "10")


async def test_a_request_id_is_used_for_one_forwarded_call(database_url: str) -> None:
    async with running(database_url) as on:
        first = await over_grpc(on, request(request_id="req-1"))
        assert first.summary is not None
        for body in (None, chat(temperature=0)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await over_grpc(on, request(body=body, request_id="req-1"))
            assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        again = await forward(on, headers={"idempotency-key": "req-1"})
        assert again.status_code == 409
        assert on.provider.calls_total == 1
        assert await recorded(on, "req-1")
        await on.verified()


async def test_two_calls_at_once_with_one_request_id_are_one_call(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        one, two = (opened(on, request(request_id="req-2")) for _ in range(2))
        outcomes = []
        for call in (one, two):
            try:
                async for _ in call:
                    pass
                outcomes.append("done")
            except grpc.aio.AioRpcError as error:
                outcomes.append(error.code().name)
        assert sorted(outcomes) == ["ALREADY_EXISTS", "done"]
        assert on.provider.calls_total == 1
        assert on.provider.calls[0].path == CHAT.replace("https://api.openai.com", "/openai")
        await on.verified()
