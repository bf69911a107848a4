"""What the books say, for tests with an official client."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.service import Running


async def records(on: Running) -> list[dict[str, Any]]:
    """Every ended request, newest first."""
    async with asyncio.timeout(20):
        while True:
            held = (await on.rest("GET", "/v1/reservations?state=active"))["data"]
            if not held:
                found: list[dict[str, Any]] = (await on.rest("GET", "/v1/requests"))["data"]
                return found


async def only_record(on: Running) -> dict[str, Any]:
    """The one request that there is."""
    found = await records(on)
    assert len(found) == 1
    return found[0]


async def used(on: Running) -> tuple[int, int]:
    """Input and output tokens of the one request."""
    usage = (await only_record(on))["model_usage"]
    return usage["input_tokens"], usage["output_tokens"]
