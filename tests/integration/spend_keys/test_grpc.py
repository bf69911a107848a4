"""Spend keys through the generated stubs."""

from __future__ import annotations

import asyncio
import json

import grpc
import grpc.aio
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import ListValue
from lava.v1 import (
    gateway_service_pb2,
    gateway_service_pb2_grpc,
    spend_key_pb2,
    spend_key_service_pb2,
    spend_key_service_pb2_grpc,
)

from tests.support.service import Running, running

pytestmark = pytest.mark.asyncio

URL = "https://api.openai.com/v1/chat/completions"
BODY = json.dumps(
    {"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
).encode()


async def forward(service: Running, key: str, **facts: str) -> grpc.StatusCode:
    stub = gateway_service_pb2_grpc.GatewayServiceStub(service.channel)
    headers = [gateway_service_pb2.Header(name="content-type", value="application/json")]
    request = gateway_service_pb2.ForwardRequest(url=URL, headers=headers, body=BODY, **facts)  # type: ignore[arg-type]
    call = stub.Forward(request, metadata=(("authorization", f"Bearer {key}"),))
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_keys_life(sqlite_url: str) -> None:
    async with running(sqlite_url) as service:
        stub = spend_key_service_pb2_grpc.SpendKeyServiceStub(service.channel)
        mine = service.metadata
        models = ListValue()
        models.extend(["gpt-4o-mini"])
        create = spend_key_service_pb2.CreateSpendKeyRequest(
            name="agent",
            allowed_models=models,
            spend_limit=spend_key_pb2.SpendLimit(
                amount="2.5", cycle=spend_key_pb2.LIMIT_CYCLE_WEEKLY
            ),
            rate_limit=spend_key_pb2.RateLimit(rpm=60),
        )
        key = (await stub.CreateSpendKey(create, metadata=mine)).spend_key
        assert key.spend_key_id.startswith("spk_test_")
        assert key.key.startswith("lava_sk_")
        assert key.wallet_id == service.merchant_id
        assert key.spend_limit.amount == "2.5000000000"
        assert not key.rate_limit.HasField("burst")
        assert await forward(service, key.key) is grpc.StatusCode.OK
        get = spend_key_service_pb2.GetSpendKeyRequest(spend_key_id=key.spend_key_id)
        shown = (await stub.GetSpendKey(get, metadata=mine)).spend_key
        assert not shown.HasField("key")
        assert (shown.total_requests, shown.key_preview) == (1, key.key[:16] + "****")
        update = spend_key_service_pb2.UpdateSpendKeyRequest(
            spend_key_id=key.spend_key_id,
            name="renamed",
            update_mask=FieldMask(paths=["name", "allowed_models", "spend_limit"]),
        )
        changed = (await stub.UpdateSpendKey(update, metadata=mine)).spend_key
        assert changed.name == "renamed"
        assert not changed.HasField("allowed_models")
        assert not changed.HasField("spend_limit")
        assert changed.rate_limit.rpm == 60
        only = spend_key_service_pb2.UpdateSpendKeyRequest(
            spend_key_id=key.spend_key_id, status=spend_key_pb2.SPEND_KEY_STATUS_PAUSED
        )
        paused = (await stub.UpdateSpendKey(only, metadata=mine)).spend_key
        assert (paused.name, paused.status) == ("renamed", spend_key_pb2.SPEND_KEY_STATUS_PAUSED)
        assert await forward(service, key.key) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "facts", [{"customer_id": "con_1"}, {"meter_slug": "m"}, {"provider_key": "sk-own"}]
)
async def test_a_spend_key_pays_for_itself_alone(facts: dict[str, str], sqlite_url: str) -> None:
    async with running(sqlite_url) as service:
        made = await service.rest("POST", "/v1/spend_keys", {"name": "agent"})
        assert await forward(service, made["key"], **facts) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_client_that_hangs_up_is_counted_and_settled(sqlite_url: str) -> None:
    async with running(sqlite_url, drain_seconds=5) as service:
        made = await service.rest("POST", "/v1/spend_keys", {"name": "agent"})
        stub = gateway_service_pb2_grpc.GatewayServiceStub(service.channel)
        body = json.dumps(json.loads(BODY) | {"stream": True}).encode()
        request = gateway_service_pb2.ForwardRequest(url=URL, body=body)
        call = stub.Forward(request, metadata=(("authorization", f"Bearer {made['key']}"),))
        async for _ in call:
            break
        call.cancel()
        path = f"/v1/spend_keys/{made['spend_key_id']}"
        async with asyncio.timeout(20):
            seen = await service.rest("GET", path)
            while seen["total_spend"] == "0.0000000000":
                seen = await service.rest("GET", path)
        assert seen["total_requests"] == 1
        await service.verified()
