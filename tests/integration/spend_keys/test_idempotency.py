"""`Idempotency-Key` on POSTs that have no request id of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from lava_grpc.core.budget import DAY
from lava_grpc.core.kept import KeptState
from lava_grpc.core.time import SECOND
from lava_grpc.store.database import Database
from lava_grpc.store.idempotency import SWEPT_MAX, StoreIdempotency
from tests.integration.spend_keys.test_enforcement import NOON, HandClock
from tests.support.service import Running, running

pytestmark = pytest.mark.asyncio

METER: dict[str, Any] = {
    "name": "m",
    "rate_type": "fixed",
    "tier_type": "requests",
    "tiers": [{"start": "0", "rate": "1"}],
}


async def post(service: Running, key: str, path: str, body: object) -> httpx.Response:
    return await service.http.post(path, json=body, headers={"idempotency-key": key})


async def count(service: Running, path: str) -> int:
    return len((await service.rest("GET", path))["data"])


def refused(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (
        409,
        "request_id_reused",
        "idempotency_key",
    )
    message: str = error["message"]
    return message


async def test_the_same_call_is_done_once_and_answered_alike(database_url: str) -> None:
    async with running(database_url) as service:
        first = await post(service, "k", "/v1/meters", METER)
        again = await post(service, "k", "/v1/meters", METER)
        assert first.status_code == again.status_code == 200
        assert first.json() == again.json()
        other = await post(service, "k", "/v1/meters", METER | {"name": "other"})
        assert "another request" in refused(other)
        assert "another request" in refused(await post(service, "k", "/v1/customers", {}))
        assert await count(service, "/v1/meters") == 1


async def test_calls_at_once_make_one_thing(database_url: str) -> None:
    async with running(database_url) as service:
        answers = await asyncio.gather(
            *[post(service, "k", "/v1/customers", {"name": "Ada"}) for _ in range(8)]
        )
        done = [answer.json() for answer in answers if answer.status_code == 200]
        assert done
        assert all(answer == done[0] for answer in done)
        assert all("still runs" in refused(answer) for answer in answers if answer.is_error)
        assert await count(service, "/v1/customers") == 1


async def test_a_refused_call_leaves_its_key_free(sqlite_url: str) -> None:
    async with running(sqlite_url) as service:
        assert (await post(service, "k", "/v1/meters", METER | {"tiers": []})).status_code == 400
        assert (await post(service, "k", "/v1/meters", METER)).status_code == 200
        assert (await post(service, "x" * 256, "/v1/meters", METER)).status_code == 400


@pytest.mark.parametrize("path", ["/v1/secret_keys", "/v1/spend_keys"])
async def test_a_secret_is_kept_nowhere_and_shown_once(path: str, sqlite_url: str) -> None:
    async with running(sqlite_url) as service:
        made = await post(service, "k", path, {"name": "n"})
        assert made.is_success
        secret = made.json().get("secret_key") or made.json()["key"]
        assert "shown once" in refused(await post(service, "k", path, {"name": "n"}))
        file = sqlite_url.removeprefix("sqlite:///")
        for suffix in ("", "-wal"):
            with open(file + suffix, "rb") as stored:  # noqa: ASYNC230, PTH123 - small, and done once
                assert secret.encode() not in stored.read()


async def test_a_key_is_kept_for_a_day(sqlite_url: str) -> None:
    clock = HandClock()
    async with running(sqlite_url, clock=clock) as service:
        await post(service, "k", "/v1/customers", {"name": "Ada"})
        clock.instant = NOON + DAY - 1
        await post(service, "k", "/v1/customers", {"name": "Ada"})
        assert await count(service, "/v1/customers") == 1
        clock.instant = NOON + DAY
        await post(service, "k", "/v1/customers", {"name": "Bea"})
        assert await count(service, "/v1/customers") == 2


async def test_a_call_that_was_never_heard_of_again_is_not_done_twice(sqlite_url: str) -> None:
    clock = HandClock()
    async with running(sqlite_url, clock=clock) as service:
        body = {"name": "Ada"}
        await post(service, "k", "/v1/customers", body)
        database = Database(sqlite_url)
        try:
            store = StoreIdempotency(database)
            await store.end(service.merchant_id, "k", KeptState.RUNNING, None)
        finally:
            database.close()
        assert "still runs" in refused(await post(service, "k", "/v1/customers", body))
        clock.instant += 60 * SECOND
        assert "unknown outcome" in refused(await post(service, "k", "/v1/customers", body))


async def test_a_merchants_overdue_keys_are_swept_by_its_own_new_ones(database_url: str) -> None:
    database = Database(database_url)
    try:
        store = StoreIdempotency(database)
        for number in range(5):
            assert await store.begin("mer_1", f"k{number}", "m", "f", NOON) is None
        assert SWEPT_MAX > 5
        assert await store.begin("mer_2", "k", "m", "f", NOON + DAY) is None
        assert await store.begin("mer_1", "k0", "m", "f", NOON + 1) is not None
        assert await store.begin("mer_1", "k", "m", "f", NOON + DAY) is None
        for number in range(5):
            # Gone, so that each is new; within a day it would be told of.
            assert await store.begin("mer_1", f"k{number}", "m", "f", NOON + 1) is None
    finally:
        database.close()
