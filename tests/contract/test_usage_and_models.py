"""Usage by days and the public catalogue, over gRPC and over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from lava.v1 import (
    model_service_pb2,
    model_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)

from lava_grpc.core.time import Instant, from_datetime
from lava_grpc.store.migrations import upgrade
from tests.support.service import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Moved:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 5, 1, 22, 30, tzinfo=UTC)

    def now(self) -> Instant:
        return from_datetime(self.moment)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def used(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A service with three reported requests, two hours apart."""
    url = f"sqlite:///{tmp_path_factory.mktemp('usage') / 'lava.db'}"
    upgrade(url)
    clock = Moved()
    async with running(url, clock=clock) as service:
        await service.customer("100", reference_id="ada")
        await service.customer("100", reference_id="bob")
        await service.meter("tokens", "2")
        for number, who in enumerate(("ada", "bob", "ada")):
            report = {
                "request_id": f"r{number}",
                "customer_id": who,
                "meter_slug": "tokens",
                "input_tokens": 1_000_000,
                "output_tokens": number,
                "metadata": {"feature": f"f{number}"},
            }
            await service.rest("POST", "/v1/requests", report)
            clock.moment += timedelta(hours=2)
        yield service


async def usage(service: Running, **query: str) -> dict[str, Any]:
    answer = await service.http.get("/v1/usage", params={"start": "2026-05-01T00:00:00Z"} | query)
    assert answer.is_success, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_usage_has_lavas_shape(used: Running) -> None:
    assert await usage(used) == {
        "items": [
            {
                "date": "2026-05-01",
                "start": "2026-05-01T00:00:00Z",
                "end": "2026-05-01T23:59:59Z",
                "total_requests": 1,
                "total_usage_tokens": 1_000_000,
                "total_cost": "0.0000000000",
                "total_charge": "2.0000000000",
            },
            {
                "date": "2026-05-02",
                "start": "2026-05-02T00:00:00Z",
                "end": "2026-05-02T23:59:59Z",
                "total_requests": 2,
                "total_usage_tokens": 2_000_003,
                "total_cost": "0.0000000000",
                "total_charge": "4.0000060000",
            },
        ],
        "totals": {
            "total_requests": 3,
            "total_usage_tokens": 3_000_003,
            "total_cost": "0.0000000000",
            "total_charge": "6.0000060000",
        },
    }


async def test_the_offset_of_start_makes_the_days(used: Running) -> None:
    east = await usage(used, start="2026-05-02T00:00:00+02:00")
    (item,) = east["items"]
    assert (item["date"], item["total_requests"]) == ("2026-05-02", 3)
    assert (item["start"], item["end"]) == (
        "2026-05-02T00:00:00+02:00",
        "2026-05-02T23:59:59+02:00",
    )
    # As it arrives from who does not escape the plus sign.
    answer = await used.http.get("/v1/usage?start=2026-05-02T00:00:00+02:00")
    assert answer.json() == east


async def test_filters_are_those_of_requests(used: Running) -> None:
    assert (await usage(used, customer_id="ada"))["totals"]["total_requests"] == 2
    assert (await usage(used, meter_id="tokens"))["totals"]["total_requests"] == 3
    labelled = await usage(used, metadata_filters='[["feature","f1"]]')
    assert labelled["totals"]["total_usage_tokens"] == 1_000_001
    assert (await usage(used, end="2026-05-01T23:59:59Z"))["totals"]["total_requests"] == 1
    empty = await usage(used, customer_id="nobody")
    assert (empty["items"], empty["totals"]["total_charge"]) == ([], "0.0000000000")


async def test_usage_over_grpc(used: Running) -> None:
    stub: Any = usage_service_pb2_grpc.UsageServiceStub(used.channel)
    request = usage_service_pb2.GetUsageRequest(start="2026-05-01", end="2026-05-02")
    answer = await stub.GetUsage(request, metadata=used.metadata)
    assert [item.total_requests for item in answer.items] == [1, 2]
    assert answer.totals.total_charge == "6.0000060000"


async def test_models_are_listed_to_anybody(used: Running) -> None:
    for headers in ({}, {"authorization": "Bearer aks_test_wrong"}, {"authorization": "nonsense"}):
        async with httpx.AsyncClient(base_url=used.http_url, headers=headers) as nobody:
            answer = await nobody.get("/v1/models")
        assert answer.status_code == 200
    shown = answer.json()
    assert shown["object"] == "list"
    ids = [model["id"] for model in shown["data"]]
    assert len(ids) == len(set(ids))
    gpt = next(model for model in shown["data"] if model["id"] == "gpt-4o")
    assert gpt == {"id": "gpt-4o", "object": "model", "created": 0, "owned_by": "openai"}
    stub: Any = model_service_pb2_grpc.ModelServiceStub(used.channel)
    over_grpc = await stub.ListModels(model_service_pb2.ListModelsRequest())
    assert [model.id for model in over_grpc.data] == ids


async def test_services_tell_prices_as_numbers_and_who_has_a_key(used: Running) -> None:
    every = (await used.http.get("/v1/services")).json(parse_float=Decimal)
    mine = (await used.http.get("/v1/services?provider=openai")).json(parse_float=Decimal)
    assert {entry["provider"] for entry in mine["data"]} == {"openai"}
    assert mine["data"] == [e for e in every["data"] if e["provider"] == "openai"]
    assert mine["providers"] == every["providers"]
    gpt = next(entry for entry in mine["data"] if entry["id"] == "openai/gpt-4o")
    assert gpt["pricing"]["type"] == "tokens_1m"
    assert (gpt["pricing"]["input"], gpt["pricing"]["output"]) == (Decimal("2.5"), 10)
    assert gpt["pricing"]["text"] == {"input": Decimal("2.5"), "output": 10}
    assert gpt["endpoint"] == "https://api.openai.com/v1/chat/completions"
    assert gpt["workflow"] == {"kind": "sync"}
    assert gpt["example_body"]["model"] == "gpt-4o"
    managed = {provider["id"] for provider in every["providers"] if provider["managed"]}
    assert managed == {"openai", "anthropic", "google"}
    counts = {provider["id"]: provider["entry_count"] for provider in every["providers"]}
    assert sum(counts.values()) == len(every["data"])
    assert counts["openai"] == len(mine["data"])
    assert (await used.http.get("/v1/services?provider=none")).json()["data"] == []


async def test_an_operators_own_models_are_in_the_catalogue(
    sqlite_url: str, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.json"
    model = '{"per_million_tokens": {"input": "0.07", "output": "0.3"}}'
    prices.write_text(
        f'{{"providers": {{"hyperbolic": {{"our-model": {model}, "x-*": {model}}}}}}}'
    )
    async with running(sqlite_url, prices_file=prices) as service:
        answer = await service.http.get("/v1/services?provider=hyperbolic")
        (entry,) = answer.json(parse_float=Decimal)["data"]
        assert entry["id"] == "hyperbolic/our-model"
        assert entry["pricing"]["input"] == Decimal("0.07")
        assert not entry["managed"]


async def test_a_spend_key_is_shown_the_models_that_it_is_for(used: Running) -> None:
    made = await used.rest(
        "POST",
        "/v1/spend_keys",
        {
            "name": "Intern",
            "allowed_models": ["gpt-4o", "openrouter/openai/gpt-4o", "gpt-4.1"],
            "allowed_providers": ["openai"],
        },
    )
    headers = {"authorization": f"Bearer {made['key']}"}
    async with httpx.AsyncClient(base_url=used.http_url, headers=headers) as intern:
        shown = (await intern.get("/v1/models")).json()
        services = await intern.get("/v1/services?provider=openai")
    assert [(model["id"], model["owned_by"]) for model in shown["data"]] == [
        ("gpt-4.1", "openai"),
        ("gpt-4o", "openai"),
    ]
    assert services.status_code == 200
