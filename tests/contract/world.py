"""A running service with a merchant, customers, a meter and reservations to call it about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import gateway_service_pb2 as gateway
from lava.v1 import meter_pb2
from lava.v1 import meter_service_pb2 as meters

from lava_grpc import config
from lava_grpc.api.status import from_rpc_status, grpc_code
from lava_grpc.app.office import open_office
from lava_grpc.app.service import Service
from lava_grpc.core.errors import Refusal

Metadata = tuple[tuple[str, str], ...]

RICH, POOR, METER = "rich", "poor", "tokens"
"""Reference ids of two customers, and a meter's slug, that every test finds."""


@dataclass(slots=True)
class World:
    """Where the service listens, and a key that is good there."""

    grpc_address: str
    http_address: str
    merchant_id: str
    secret_key: str
    channel: grpc.aio.Channel

    @property
    def good(self) -> Metadata:
        """The metadata of a caller who may."""
        return (("authorization", f"Bearer {self.secret_key}"),)

    async def call(self, rpc: str, request: Message, metadata: Metadata | None = None) -> Any:  # noqa: ANN401 - the answer of whichever RPC was named
        """The answer of a unary `rpc` (`MeterService/CreateMeter`), or a Refusal, read strictly."""
        method = Default().FindMethodByName(f"lava.v1.{rpc.replace('/', '.')}")
        call: Any = self.channel.unary_unary(
            f"/lava.v1.{rpc}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        try:
            return await call(request, metadata=self.good if metadata is None else metadata)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from None

    async def forward(
        self, request: gateway.ForwardRequest, metadata: Metadata | None = None
    ) -> list[gateway.ForwardResponse]:
        """All parts of a forwarded call's answer, or a Refusal."""
        call: Any = self.channel.unary_stream(
            "/lava.v1.GatewayService/Forward",
            request_serializer=gateway.ForwardRequest.SerializeToString,
            response_deserializer=gateway.ForwardResponse.FromString,
        )
        try:
            sent = self.good if metadata is None else metadata
            return [part async for part in call(request, metadata=sent)]
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error) from None


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """What a failed call says, once its code, message and details agree."""
    trailing: Any = error.trailing_metadata()
    details = dict(trailing)["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    refusal = from_rpc_status(status)
    assert error.code() is grpc_code(refusal.reason)
    assert error.code().value[0] == status.code
    assert error.details() == status.message == refusal.message
    return refusal


@asynccontextmanager
async def running_world(folder: Path) -> AsyncIterator[World]:
    """A service of its own on SQLite in `folder`, with what the constants above name."""
    settings = config.Settings(
        database_url=f"sqlite:///{folder / 'lava.db'}",
        grpc_address="127.0.0.1:0",
        http_address="127.0.0.1:0",
        # Tests call as fast as they can.
        rest_calls_per_minute=0,
    )
    async with open_office(settings) as office:
        made = await office.add_merchant("Acme", test_mode=True, wallet_limit="0")
    service = Service(settings)
    addresses = await service.start()
    try:
        async with grpc.aio.insecure_channel(addresses.grpc_address) as channel:
            world = World(
                grpc_address=addresses.grpc_address,
                http_address=addresses.http_address or "",
                merchant_id=made.merchant_id,
                secret_key=made.secret_key,
                channel=channel,
            )
            await _furnish(world)
            yield world
    finally:
        await service.stop()


async def _furnish(world: World) -> None:
    for reference_id in (RICH, POOR):
        new = customers.CreateCustomerRequest(reference_id=reference_id, name="Ada Lovelace")
        await world.call("CustomerService/CreateCustomer", new)
    await world.call(
        "MeterService/CreateMeter",
        meters.CreateMeterRequest(
            name="Tokens",
            meter_slug=METER,
            rate_type=meter_pb2.RATE_TYPE_FIXED,
            tier_type=meter_pb2.TIER_TYPE_TOKENS_1M,
            tiers=[meter_pb2.MeterTierInput(start="0", rate="2")],
        ),
    )
    grant = credit.CreateCreditGrantRequest(customer_id=RICH, amount="100", request_id="seed")
    await world.call("CreditService/CreateCreditGrant", grant)
    # Ids that the tables name: one call that is settled, one reservation that was given back.
    await world.call(
        "GatewayService/ReportUsage",
        gateway.ReportUsageRequest(
            request_id="used", customer_id=RICH, meter_slug=METER, input_tokens=1
        ),
    )
