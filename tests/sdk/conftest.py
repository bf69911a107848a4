"""A running service, and official clients that reach providers through it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from tests.support.service import Running, running

METER = "per-token"


@pytest.fixture
async def on(sqlite_url: str) -> AsyncIterator[Running]:
    async with running(sqlite_url) as service:
        await service.meter(METER, "1000")
        yield service
        await service.verified()


@pytest.fixture
async def customer(on: Running) -> str:
    # A hold for the model's longest answer is large.
    return await on.customer("1000")


@pytest.fixture
def token(on: Running, customer: str) -> str:
    return on.token(customer_id=customer, meter_slug=METER)


@pytest.fixture
async def gpt(on: Running, token: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client, by way of the gateway."""
    async with openai.AsyncOpenAI(
        base_url=f"{on.http_url}/v1/forward?u=https://api.openai.com/v1", api_key=token
    ) as client:
        yield client


@pytest.fixture
async def straight_gpt(on: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client, straight to the provider."""
    async with openai.AsyncOpenAI(base_url=on.provider.openai_url, api_key="sk-own") as client:
        yield client


@pytest.fixture
async def claude(on: Running, token: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's client, by way of the gateway."""
    async with anthropic.AsyncAnthropic(
        base_url=f"{on.http_url}/v1/forward?u=https://api.anthropic.com", api_key=token
    ) as client:
        yield client


@pytest.fixture
async def straight_claude(on: Running) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's client, straight to the provider."""
    async with anthropic.AsyncAnthropic(
        base_url=on.provider.anthropic_url, api_key="sk-own"
    ) as client:
        yield client
