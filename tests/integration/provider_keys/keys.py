"""Stored provider keys as a merchant has them, and what the provider saw of calls."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lava_grpc.testing.fake_provider.call import SeenCall
from tests.support.service import Running, running

OLD_KEY = base64.b64encode(b"o" * 32).decode()
NEW_KEY = base64.b64encode(b"n" * 32).decode()
SECRET = "sk-merchant-0123456789-abcd"


@asynccontextmanager
async def storing(url: str, **settings: object) -> AsyncIterator[Running]:
    """A service that can store keys."""
    async with running(url, **{"key_encryption_keys": NEW_KEY, **settings}) as on:  # type: ignore[arg-type]
        yield on


async def stored(
    on: Running, secret: str = SECRET, provider: str = "openai", **facts: object
) -> dict[str, Any]:
    """A new stored key."""
    body = {"name": "ours", "provider": provider, "key": secret, **facts}
    made: dict[str, Any] = await on.rest("POST", "/v1/provider_keys", body)
    return made


def bearer(call: SeenCall) -> str:
    """The key that a call to OpenAI came with."""
    return (call.header("authorization") or "").removeprefix("Bearer ")


def bearers(on: Running) -> list[str]:
    """The keys of all calls so far."""
    return [bearer(call) for call in on.provider.calls]
