"""A spend key's limits, against a running service and a fake provider."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from lava_grpc.core.budget import DAY
from lava_grpc.core.time import SECOND, Instant
from tests.support.service import Running, running

pytestmark = pytest.mark.asyncio

CHAT = "/v1/chat/completions"
BODY = {
    "model": "gpt-4o-mini",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Say hello"}],
}
# 2026-03-04, a Wednesday, at noon.
NOON: Instant = 1_772_625_600 * SECOND


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.instant = NOON

    def now(self) -> Instant:
        return self.instant


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def serve(url: str, clock: HandClock) -> AbstractAsyncContextManager[Running]:
    return running(url, clock=clock, rest_calls_per_minute=0)


async def made(service: Running, **facts: object) -> dict[str, Any]:
    answer = await service.http.post("/v1/spend_keys", json={"name": "agent", **facts})
    assert answer.status_code == 201, answer.text
    key: dict[str, Any] = answer.json()
    return key


async def called(
    service: Running, key: dict[str, Any], body: object = None, path: str = CHAT
) -> httpx.Response:
    headers = {"authorization": f"Bearer {key['key']}"}
    return await service.http.post(path, json=body or BODY, headers=headers)


async def seen(service: Running, key: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await service.rest("GET", f"/v1/spend_keys/{key['spend_key_id']}")
    return found


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_the_object_is_lavas(sqlite_url: str, clock: HandClock) -> None:
    async with serve(sqlite_url, clock) as service:
        key = await made(service)
        assert key.pop("key").startswith(key["key_preview"].removesuffix("****"))
        assert key == {
            "spend_key_id": key["spend_key_id"],
            "key_preview": key["key_preview"],
            "name": "agent",
            "status": "active",
            "request_shape": "openai",
            "wallet_id": service.merchant_id,
            "allowed_models": None,
            "allowed_providers": None,
            "spend_limit": None,
            "current_spend": "0.0000000000",
            "total_spend": "0.0000000000",
            "request_limit": None,
            "current_requests": 0,
            "total_requests": 0,
            "rate_limit": None,
            "expires_at": None,
            "last_used_at": None,
            "created_at": "2026-03-04T12:00:00Z",
        }
        path = f"/v1/spend_keys/{key['spend_key_id']}"
        wanted = {
            "allowed_models": ["gpt-4o"],
            "allowed_providers": ["openai"],
            "spend_limit": {"amount": "1.0000000000", "cycle": "total"},
            "request_limit": {"count": 3, "cycle": "weekly"},
            "rate_limit": {"rpm": 5, "burst": None},
            "expires_at": "2027-01-01T00:00:00Z",
        }
        changed = await service.rest("PUT", path, wanted)
        assert changed == key | wanted
        cleared = await service.rest("PUT", path, dict.fromkeys(wanted))
        assert cleared == key
        assert await service.rest("GET", path) == key
        bad = await service.http.put(path, json={"name": None})
        assert (bad.status_code, bad.json()["error"]["field"]) == (400, "name")


async def test_a_call_draws_on_the_wallet_and_on_the_budget_alike(
    database_url: str, clock: HandClock
) -> None:
    async with serve(database_url, clock) as service:
        key = await made(service, spend_limit={"amount": "1", "cycle": "daily"})
        answer = await called(service, key)
        assert answer.status_code == 200, answer.text
        record = await service.record(answer.headers["x-lava-request-id"])
        after = await seen(service, key)
        assert after["current_spend"] == after["total_spend"] == record["cost"]
        assert float(record["cost"]) > 0
        assert (after["current_requests"], after["total_requests"]) == (1, 1)
        assert after["last_used_at"] == "2026-03-04T12:00:00Z"
        wallet = await service.rest("GET", "/v1/wallet")
        assert wallet["balance"] == f"-{record['cost']}"
        await service.verified()


async def test_concurrent_calls_never_pass_the_spend_limit(
    database_url: str, clock: HandClock
) -> None:
    async with serve(database_url, clock) as service:
        probe = await made(service)
        await called(service, probe)
        cost = float((await seen(service, probe))["total_spend"])
        limit = f"{cost * 40:.10f}"
        key = await made(service, spend_limit={"amount": limit, "cycle": "monthly"})
        answers = await asyncio.gather(*[called(service, key) for _ in range(60)])
        refused = [answer for answer in answers if answer.status_code != 200]
        assert refused
        assert {code(answer) for answer in refused} == {(402, "insufficient_credits")}
        details = refused[0].json()["error"]["details"]
        assert details["account"] == "spend_key"
        after = await seen(service, key)
        assert float(after["total_spend"]) <= float(limit)
        assert after["total_requests"] == 60 - len(refused)
        await service.verified()


async def test_concurrent_calls_never_pass_the_request_limit(
    database_url: str, clock: HandClock
) -> None:
    async with serve(database_url, clock) as service:
        key = await made(service, request_limit={"count": 7, "cycle": "daily"})
        answers = await asyncio.gather(*[called(service, key) for _ in range(20)])
        assert sorted(answer.status_code for answer in answers) == [200] * 7 + [429] * 13
        late = next(answer for answer in answers if answer.status_code == 429)
        assert code(late) == (429, "rate_limited")
        assert late.headers["retry-after"] == str(12 * 3600)
        clock.instant = NOON + 12 * 3600 * SECOND
        fresh = await seen(service, key)
        assert (fresh["current_requests"], fresh["total_requests"]) == (0, 7)
        assert (await called(service, key)).status_code == 200
        again = await seen(service, key)
        assert (again["current_requests"], again["total_requests"]) == (1, 8)
        await service.verified()


async def test_a_spend_limit_starts_afresh_with_its_cycle(
    sqlite_url: str, clock: HandClock
) -> None:
    async with serve(sqlite_url, clock) as service:
        probe = await made(service, spend_limit={"amount": "0", "cycle": "total"})
        # Enough to hold for one call, and not for a second one.
        held = (await called(service, probe)).json()["error"]["details"]["required"]
        key = await made(service, spend_limit={"amount": held, "cycle": "weekly"})
        assert (await called(service, key)).status_code == 200
        cost = (await seen(service, key))["total_spend"]
        assert (await called(service, key)).status_code == 402
        clock.instant = NOON + 4 * DAY  # Sunday
        assert (await called(service, key)).status_code == 402
        clock.instant = NOON + 5 * DAY  # Monday
        assert (await called(service, key)).status_code == 200
        after = await seen(service, key)
        assert after["current_spend"] == cost
        assert float(after["total_spend"]) == pytest.approx(float(cost) * 2)
        # A wider cycle counts what was spent in it before.
        path = f"/v1/spend_keys/{key['spend_key_id']}"
        wide = {"spend_limit": {"amount": held, "cycle": "monthly"}}
        changed = await service.rest("PUT", path, wide)
        assert changed["current_spend"] == changed["total_spend"]
        assert (await called(service, key)).status_code == 402
        await service.verified()


async def test_a_rate_limit_lets_a_burst_through_and_then_the_rate(
    sqlite_url: str, clock: HandClock
) -> None:
    async with serve(sqlite_url, clock) as service:
        key = await made(service, rate_limit={"rpm": 30, "burst": 3})
        answers = await asyncio.gather(*[called(service, key) for _ in range(5)])
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 2
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.headers["retry-after"] == "2"
        clock.instant += 2 * SECOND
        assert (await called(service, key)).status_code == 200
        assert (await called(service, key)).status_code == 429
        assert (await seen(service, key))["total_requests"] == 4


async def test_what_a_key_is_not_for_is_refused_before_the_provider_is_called(
    sqlite_url: str, clock: HandClock
) -> None:
    async with serve(sqlite_url, clock) as service:
        path = "/v1/spend_keys/{}".format
        key = await made(service, allowed_models=["gpt-4o"], allowed_providers=["openai"])
        before = len(service.provider.calls)
        assert code(await called(service, key)) == (403, "permission_denied")
        other = BODY | {"model": "claude-sonnet-4-5"}
        assert code(await called(service, key, other)) == (403, "permission_denied")
        messages = await called(service, key, BODY | {"model": "claude-sonnet-4-5"}, "/v1/messages")
        assert code(messages) == (403, "permission_denied")
        await service.rest("PUT", path(key["spend_key_id"]), {"status": "paused"})
        assert code(await called(service, key, BODY | {"model": "gpt-4o"})) == (
            403,
            "permission_denied",
        )
        active = {"status": "active", "expires_at": "2026-03-04T12:00:01Z"}
        await service.rest("PUT", path(key["spend_key_id"]), active)
        assert (await called(service, key, BODY | {"model": "gpt-4o"})).status_code == 200
        clock.instant += SECOND
        assert code(await called(service, key, BODY | {"model": "gpt-4o"})) == (
            403,
            "permission_denied",
        )
        assert len(service.provider.calls) == before + 1


async def test_a_call_without_a_price_does_not_slip_under_a_spend_limit(
    sqlite_url: str, clock: HandClock
) -> None:
    async with serve(sqlite_url, clock) as service:
        unheard_of = BODY | {"model": "openai/no-such-model"}
        free = await made(service)
        # It reaches the provider, whose answer this is.
        assert (await called(service, free, unheard_of)).status_code == 404
        key = await made(service, spend_limit={"amount": "1", "cycle": "total"})
        assert code(await called(service, key, unheard_of)) == (403, "permission_denied")
        assert (await seen(service, key))["total_requests"] == 0


async def test_a_key_is_good_for_calls_to_providers_alone(
    sqlite_url: str, clock: HandClock
) -> None:
    async with serve(sqlite_url, clock) as service:
        key = await made(service)
        headers = {"authorization": f"Bearer {key['key']}"}
        for method, path in (("GET", "/v1/spend_keys"), ("GET", "/v1/wallet")):
            answer = await service.http.request(method, path, headers=headers)
            assert code(answer) == (403, "permission_denied")
        target = "https://api.openai.com/v1/chat/completions"
        forwarded = await called(service, key, path=f"/v1/forward?u={target}")
        assert forwarded.status_code == 200


async def test_rotation_and_revocation_count_at_once(sqlite_url: str, clock: HandClock) -> None:
    async with serve(sqlite_url, clock) as service:
        key = await made(service, request_limit={"count": 2, "cycle": "total"})
        path = f"/v1/spend_keys/{key['spend_key_id']}"
        assert (await called(service, key)).status_code == 200
        rotated = await service.rest("POST", f"{path}/rotate")
        assert rotated["key"] != key["key"]
        assert rotated["key_preview"] == rotated["key"][:16] + "****"
        assert (await called(service, key)).status_code == 401
        assert (await called(service, rotated)).status_code == 200
        assert (await called(service, rotated)).status_code == 429
        assert await service.rest("DELETE", path) == {"success": True}
        assert (await called(service, rotated)).status_code == 401
        assert (await service.http.get(path)).status_code == 404
        assert (await service.rest("GET", "/v1/spend_keys"))["data"] == []


async def test_a_key_may_be_clamped_and_may_not_loosen_its_holds(
    sqlite_url: str, clock: HandClock
) -> None:
    async with serve(sqlite_url, clock) as service:
        key = await made(service, spend_limit={"amount": "0.001", "cycle": "daily"})
        body = BODY | {"max_tokens": 16_000}
        headers = {"authorization": f"Bearer {key['key']}"}

        loose = {"x-lava-hold-policy": "expected"}
        answer = await service.http.post(CHAT, json=body, headers=headers | loose)
        assert answer.status_code == 403
        assert not service.provider.calls

        clamped = {"x-lava-clamp-output": "true"}
        answer = await service.http.post(CHAT, json=body, headers=headers | clamped)
        assert answer.status_code == 200, answer.text
        limit = int(answer.headers["x-lava-clamped-output-tokens"])
        assert service.provider.calls[-1].json()["max_tokens"] == limit < 1_700


async def test_a_word_in_the_body_makes_no_call_free(sqlite_url: str, clock: HandClock) -> None:
    async with serve(sqlite_url, clock) as service:
        key = await made(service, allowed_models=[BODY["model"]])
        asks = {"operationName": "projects/p/operations/op1"}
        other = await called(service, key, BODY | asks | {"model": "gpt-4o"})
        assert code(other) == (403, "permission_denied")
        assert not service.provider.calls

        answer = await called(service, key, BODY | asks)
        assert answer.status_code == 200, answer.text
        record = await service.record(answer.headers["x-lava-request-id"])
        assert float(record["cost"]) > 0
        assert (await seen(service, key))["total_spend"] == record["cost"]
        await service.verified()
