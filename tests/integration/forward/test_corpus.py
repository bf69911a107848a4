"""The corpus through the whole gateway: bytes, records and money of every pair."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
import pytest_asyncio

from lava_grpc.core.usage import MICROS_PER_SECOND
from lava_grpc.store import migrations
from lava_grpc.testing import SeenCall
from lava_grpc.testing.fake_provider import Scripted
from tests.corpus import PRICES_FILE, Pair, pairs
from tests.support.service import Running, running
from tests.unit.providers.recordings import cut

AT_ONCE = 16
CHUNK_BYTES = 500
RATE = Decimal("1.5")
METER = "half-as-much-again"
CREDIT = Decimal(1_000_000)


@dataclass(frozen=True)
class Outcome:
    """What became of one pair."""

    status: int
    content: bytes
    # None where the call was released, and nothing was recorded.
    record: dict[str, Any] | None
    sent: SeenCall


@dataclass(frozen=True)
class Replayed:
    """What became of all of them."""

    outcomes: dict[str, Outcome]
    spent: Decimal


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replayed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replayed]:
    url = f"sqlite:///{tmp_path_factory.mktemp('corpus') / 'lava.db'}"
    migrations.upgrade(url)
    hosts = {urlsplit(pair.url).netloc for pair in pairs()}
    keys = {pair.provider.id: f"{pair.provider.id}-key" for pair in pairs()}
    async with running(url, hosts=hosts, provider_keys=keys, prices_file=PRICES_FILE) as on:
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
        customer = await on.customer(str(CREDIT))
        token = on.token(customer_id=customer, meter_slug=METER)
        gate = asyncio.Semaphore(AT_ONCE)
        numbered = list(enumerate(pairs()))
        answers = await asyncio.gather(*(_answer(on, gate, token, n, p) for n, p in numbered))
        # Afterwards, since one call may end the work that another one began.
        outcomes = await asyncio.gather(*(_outcome(on, gate, *answer) for answer in answers))
        balance = Decimal((await on.balance(customer))["balance"])
        await on.verified()
        named = zip((pair.id for pair in pairs()), outcomes, strict=True)
        yield Replayed(dict(named), CREDIT - balance)


async def _answer(
    on: Running, gate: asyncio.Semaphore, token: str, number: int, pair: Pair
) -> tuple[httpx.Response, SeenCall]:
    """The pair's call through the gateway, and what the provider saw of it."""
    # A parameter of its own, so that pairs of one endpoint can be answered at once.
    parts = urlsplit(pair.url)
    query = f"{parts.query}&corpus={number}" if parts.query else f"corpus={number}"
    path = f"{parts.path}?{query}"
    scripted = Scripted(
        pair.status, tuple(pair.headers.items()), tuple(cut(pair.answer, CHUNK_BYTES))
    )
    for prefix in ("", "/openai", "/anthropic", "/google"):
        on.provider.script(pair.method, prefix + path, scripted)
    async with gate:
        answer = await on.http.request(
            pair.method,
            f"/v1/forward?u={quote(f'https://{parts.netloc}{path}', safe='')}",
            content=pair.request,
            headers={"authorization": f"Bearer {token}", **pair.request_headers},
        )
        assert "x-lava-request-id" in answer.headers, f"{pair.id}: {answer.text}"
    return answer, next(call for call in on.provider.calls if call.path.endswith(path))


async def _outcome(
    on: Running, gate: asyncio.Semaphore, answer: httpx.Response, sent: SeenCall
) -> Outcome:
    async with gate:
        found = await on.http.get(f"/v1/requests/{answer.headers['x-lava-request-id']}")
    record = found.json() if found.status_code == httpx.codes.OK else None
    return Outcome(answer.status_code, answer.content, record, sent)


def test_the_client_gets_the_bytes_and_the_books_get_the_usage(replayed: Replayed) -> None:
    # One test for all, so that one service answers them whatever worker runs it.
    problems: dict[str, str] = {}
    for pair in pairs():
        try:
            _passed_and_recorded(pair, replayed.outcomes[pair.id])
        except AssertionError as error:
            problems[pair.id] = str(error)
    assert not problems
    records = [outcome.record for outcome in replayed.outcomes.values() if outcome.record]
    ended = [record for record in records if record["status"] != "pending"]
    assert replayed.spent == sum(Decimal(record["charge"]["amount"]) for record in ended)


def _passed_and_recorded(pair: Pair, outcome: Outcome) -> None:
    call, body = pair.prepared()
    assert (outcome.status, outcome.content) == (pair.status, pair.passed)
    assert outcome.sent.body == body
    reading = pair.replay([pair.answer])[1]
    if reading.job is not None or call.job_id is not None:
        return  # What becomes of a job is tested where jobs are.
    released = reading.failed and not reading.stated and not reading.output_bytes_seen
    if not pair.ok or released:
        assert outcome.record is None
        return
    assert outcome.record is not None
    _recorded(pair, outcome.record)


def _recorded(pair: Pair, record: dict[str, Any]) -> None:
    counted = record["model_usage"]
    cost = Decimal(record["cost"])
    assert record["provider"] == pair.provider.id
    assert record["status"] == ("error" if pair.expected.failed else "completed")
    assert Decimal(record["charge"]["amount"]) == _rounded(cost * RATE)
    flags = record.get("flags", [])
    assert ("estimated" in flags) is (pair.estimated and pair.read().billable)
    if pair.estimated:
        assert counted["output_tokens"] >= pair.expected.usage.get("output_tokens", 0)
        return
    assert cost == Decimal(pair.expected.cost)
    usage = {name: pair.expected.usage.get(name, 0) for name in counted}
    for name, value in counted.items():
        if name.startswith("total_") or name.endswith(("_cost", "_seconds")):
            continue
        assert value == usage[name], name
    shown = pair.expected.usage.keys() - {"input_micros", "output_micros"}
    assert shown <= counted.keys()
    facts = pair.expected.facts
    if tier := facts.get("processing") or facts.get("speed") or facts.get("service_tier"):
        assert record["service_tier"] == tier
    micros = pair.expected.usage.get("input_micros", 0)
    assert counted.get("input_seconds", 0) == micros / MICROS_PER_SECOND


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal(10) ** -10, ROUND_HALF_EVEN)
