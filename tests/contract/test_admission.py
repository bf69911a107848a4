"""Credit for ten calls admits ten, however many ask at once and wherever they ask."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import grpc.aio
import httpx
from google.rpc import error_details_pb2, status_pb2
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import gateway_service_pb2 as gateway
from lava.v1 import ledger_service_pb2 as ledger
from lava.v1 import reservation_pb2

from tests.support.process import (
    Caller,
    Merchant,
    ServerProcess,
    calling,
    init,
    serving,
)

CALLS, AFFORDABLE = 200, 10


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in an error's details."""
    trailing = error.trailing_metadata()
    raw = dict(trailing or ())["grpc-status-details-bin"]
    assert isinstance(raw, bytes)
    for detail in status_pb2.Status.FromString(raw).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


async def customer_who_affords_ten(caller: Caller) -> str:
    made = await caller.call("CustomerService/CreateCustomer", customers.CreateCustomerRequest())
    ident: str = made.customer.customer_id
    # Room for ten calls of 0.1 and for most of an eleventh.
    await caller.call(
        "CreditService/CreateCreditGrant",
        credit.CreateCreditGrantRequest(customer_id=ident, amount="1.0999"),
    )
    return ident


async def authorized(caller: Caller, customer_id: str) -> str:
    """`held`, or why it was not."""
    try:
        await caller.call(
            "GatewayService/Authorize",
            gateway.AuthorizeRequest(customer_id=customer_id, amount="0.1"),
        )
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return "held"


async def assert_ten_are_held(caller: Caller, customer_id: str) -> None:
    found = await caller.call(
        "GatewayService/ListReservations",
        gateway.ListReservationsRequest(
            customer_id=customer_id, limit=100, state=reservation_pb2.RESERVATION_STATE_ACTIVE
        ),
    )
    assert [hold.amount for hold in found.data] == ["0.1000000000"] * AFFORDABLE
    report = await caller.call("LedgerService/Verify", ledger.VerifyRequest())
    assert report.ok, report.findings


async def admitted(servers: Sequence[ServerProcess], merchant: Merchant) -> Counter[str]:
    """How 200 calls went that were made at once, in turn of each server."""
    async with AsyncExitStack() as stack:
        callers = [
            await stack.enter_async_context(calling(server.grpc_address, merchant))
            for server in servers
        ]
        customer = await customer_who_affords_ten(callers[0])
        answers = await asyncio.gather(
            *[authorized(callers[i % len(callers)], customer) for i in range(CALLS)]
        )
        await assert_ten_are_held(callers[0], customer)
    return Counter(answers)


AS_MANY_AS_AFFORDABLE = {"held": AFFORDABLE, "INSUFFICIENT_CREDITS": CALLS - AFFORDABLE}


async def test_one_server_admits_ten_of_two_hundred(database_url: str) -> None:
    merchant = await init(database_url)
    async with serving(database_url) as server:
        assert await admitted([server], merchant) == AS_MANY_AS_AFFORDABLE


async def test_two_servers_on_one_database_admit_ten_between_them(postgres_url: str) -> None:
    merchant = await init(postgres_url)
    async with serving(postgres_url) as first, serving(postgres_url) as second:
        assert await admitted([first, second], merchant) == AS_MANY_AS_AFFORDABLE


async def test_two_hundred_calls_over_rest_admit_ten(database_url: str) -> None:
    merchant = await init(database_url)
    async with (
        serving(database_url) as server,
        calling(server.grpc_address, merchant) as caller,
        httpx.AsyncClient(
            base_url=f"http://{server.http_address}",
            headers={"authorization": f"Bearer {merchant.secret_key}"},
            timeout=60,
            limits=httpx.Limits(max_connections=CALLS),
        ) as http,
    ):
        customer = await customer_who_affords_ten(caller)
        body = {"customer_id": customer, "amount": "0.1"}
        answers = await asyncio.gather(
            *[http.post("/v1/reservations", json=body) for _ in range(CALLS)]
        )
        assert Counter(answer.status_code for answer in answers) == {
            200: AFFORDABLE,
            402: CALLS - AFFORDABLE,
        }
        refused = next(answer for answer in answers if answer.status_code == httpx.codes(402))
        assert refused.json()["error"]["code"] == "insufficient_credits"
        await assert_ten_are_held(caller, customer)
