"""Calls forwarded to a fake provider, each made once, and what their callers saw of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import grpc.aio
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import gateway_service_pb2 as gateway
from lava.v1 import gateway_service_pb2_grpc as gateway_grpc
from lava.v1 import meter_pb2
from lava.v1 import meter_service_pb2 as meters

from lava_grpc.core.money import format_amount, parse_amount
from tests.support.process import Caller

BODY = json.dumps(
    {
        "model": "gpt-4o-mini",
        "stream": True,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "Say something."}],
    }
).encode()
CREDIT = parse_amount("1000", "amount")


@dataclass(slots=True)
class Forwards:
    """What became of forwarded calls, as their callers saw it."""

    caller: Caller
    customer_id: str = ""
    charged: dict[str, str] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    stopping: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def prepare(self) -> None:
        """Make a customer and a meter."""
        made = await self.caller.call(
            "CustomerService/CreateCustomer", customers.CreateCustomerRequest()
        )
        self.customer_id = made.customer.customer_id
        grant = credit.CreateCreditGrantRequest(
            customer_id=self.customer_id, amount=format_amount(CREDIT)
        )
        await self.caller.call("CreditService/CreateCreditGrant", grant)
        meter = meters.CreateMeterRequest(
            name="Tokens",
            meter_slug="tokens",
            rate_type=meter_pb2.RATE_TYPE_FIXED,
            tier_type=meter_pb2.TIER_TYPE_TOKENS_1M,
            tiers=[meter_pb2.MeterTierInput(start="0", rate="10")],
        )
        await self.caller.call("MeterService/CreateMeter", meter)

    async def forward(self, request_id: str) -> None:
        """One call, made once; a call that broke off may or may not have happened."""
        stub: gateway_grpc.GatewayServiceAsyncStub = gateway_grpc.GatewayServiceStub(
            self.caller.channel
        )
        request = gateway.ForwardRequest(
            url="https://api.openai.com/v1/chat/completions",
            headers=[gateway.Header(name="content-type", value="application/json")],
            body=BODY,
            customer_id=self.customer_id,
            meter_slug="tokens",
            request_id=request_id,
        )
        metadata = self.caller.merchant.metadata
        try:
            async for part in stub.Forward(request, metadata=metadata, wait_for_ready=True):
                if part.HasField("summary"):
                    self.charged[request_id] = part.summary.request.charge.amount
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            self.broken.add(request_id)
        self.changed.set()

    async def work(self, name: str) -> None:
        """One call after the other."""
        count = 0
        while not self.stopping:
            count += 1
            await self.forward(f"{name}-{count}")

    async def more(self, calls: int) -> None:
        """Wait until so many more calls were charged."""
        goal = len(self.charged) + calls
        while len(self.charged) < goal:
            self.changed.clear()
            await self.changed.wait()
