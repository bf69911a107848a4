"""Recorded provider traffic through the whole gateway: bytes, records, money."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import pytest_asyncio

from lava_grpc.core.money import format_amount
from lava_grpc.providers.prices import PriceBook
from lava_grpc.store import migrations
from lava_grpc.testing.fake_provider import Scripted
from tests.support.service import Running, running
from tests.unit.providers import stated as answers
from tests.unit.providers.recordings import Recording, cut, ids, needs_recordings, recordings

pytestmark = [needs_recordings, pytest.mark.asyncio(loop_scope="module")]

PRICES = PriceBook()
RATE = Decimal("1.2")
METER = "a-fifth-more"
every = pytest.mark.parametrize("recording", recordings(), ids=ids)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    url = f"sqlite:///{tmp_path_factory.mktemp('replay') / 'lava.db'}"
    migrations.upgrade(url)
    hosts = {urlsplit(recording.url).netloc for recording in recordings()}
    keys = {recording.provider.id: f"{recording.provider.id}-key" for recording in recordings()}
    async with _serving(url, hosts, keys) as service:
        yield service


@asynccontextmanager
async def _serving(url: str, hosts: set[str], keys: dict[str, str]) -> AsyncIterator[Running]:
    async with running(url, hosts=hosts, provider_keys=keys) as on:
        await on.rest(
            "POST",
            "/v1/meters",
            {
                "name": METER,
                "meter_slug": METER,
                "rate_type": "percentage",
                "tier_type": "tokens_1m",
                "tiers": [{"start": "0", "rate": str(RATE)}],
            },
        )
        yield on
        await on.verified()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def customer(on: Running) -> str:
    return await on.customer("1000000")


async def _replayed(on: Running, recording: Recording, token: str) -> httpx.Response:
    """The recording's call through the gateway, answered as it was recorded."""
    parts = urlsplit(recording.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    for prefix in ("", "/openai", "/anthropic", "/google"):
        on.provider.script(
            recording.method,
            prefix + path,
            Scripted(
                recording.status,
                (("content-type", recording.content_type),),
                tuple(cut(recording.answer, 999)),
            ),
        )
    return await on.http.request(
        recording.method,
        f"/v1/forward?u={quote(recording.url, safe='')}",
        content=recording.request,
        headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
    )


def _recorded_as(recording: Recording, record: dict[str, Any]) -> None:
    call, reading = recording.whole()
    counted = record["model_usage"]
    for name, value in answers.stated(recording, call.flavor).items():
        if name in counted:
            assert counted[name] == value, name
    cost = PRICES.cost_of(recording.provider, call, reading, time.time_ns() // 1000)
    if reading.stated and reading.complete:
        assert record["cost"] == format_amount(cost.total)
        assert "estimated" not in record.get("flags", [])
    assert record["status"] == ("error" if reading.failed else "completed")
    assert record["provider"] == recording.provider.id


@every
async def test_tracking_only_passes_the_bytes_and_records_the_usage(
    on: Running, recording: Recording
) -> None:
    token = on.token(customer_id=None, meter_slug=None, provider_key="byok-key")
    answer = await _replayed(on, recording, token)

    assert (answer.status_code, answer.content) == (recording.status, recording.answer)
    request_id = answer.headers["x-lava-request-id"]
    if not recording.ok:
        assert (await on.http.get(f"/v1/requests/{request_id}")).status_code == 404
        return
    record = await on.record(request_id)
    _recorded_as(recording, record)
    assert record["provider_key_type"] == "unmanaged"
    assert record["charge"]["amount"] == "0.0000000000"


@every
async def test_a_customer_pays_the_cost_times_the_rate(
    on: Running, customer: str, recording: Recording
) -> None:
    before = await on.balance(customer)
    token = on.token(customer_id=customer, meter_slug=METER)
    answer = await _replayed(on, recording, token)

    assert (answer.status_code, answer.content) == (recording.status, recording.answer)
    request_id = answer.headers["x-lava-request-id"]
    after = await on.balance(customer)
    if not recording.ok:
        assert (await on.http.get(f"/v1/requests/{request_id}")).status_code == 404
        assert after == before
        return
    record = await on.record(request_id)
    _recorded_as(recording, record)
    assert record["provider_key_type"] == "managed"
    charge = Decimal(record["charge"]["amount"])
    exact = (Decimal(record["cost"]) * RATE).quantize(Decimal(10) ** -10, ROUND_HALF_EVEN)
    assert charge == exact
    assert Decimal(before["balance"]) - Decimal(after["balance"]) == charge
    sent = on.provider.calls[-1]
    key = f"{recording.provider.id}-key"
    assert key in " ".join(value for _, value in sent.headers) + sent.path
    assert on.secret_key not in " ".join(value for _, value in sent.headers) + sent.path
