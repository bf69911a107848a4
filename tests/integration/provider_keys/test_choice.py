"""Which key a call goes out with, and who pays then."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import httpx
import pytest

from lava_grpc.app.provider_keys import open_key_office
from lava_grpc.config import ConfigError, load
from tests.integration.forward.calls import (
    CHAT,
    chat,
    forward,
    over_grpc,
    paying,
    request,
)
from tests.integration.provider_keys.keys import NEW_KEY, SECRET, bearers, stored, storing
from tests.support.service import Running

OWN_HOST = "models.example.net"
AZURE = "acme.openai.azure.com"


async def _record(on: Running, answer: Any) -> dict[str, Any]:  # noqa: ANN401 - of httpx
    assert answer.status_code == 200, answer.text
    return await on.record(answer.headers["x-lava-request-id"])


async def test_a_stored_key_is_used_before_the_platforms_and_nobody_pays_the_cost(
    database_url: str,
) -> None:
    async with storing(database_url, wallet_limit="0") as on:
        # The wallet is empty: with the platform's key the call is refused.
        assert (await forward(on)).status_code == 402
        key = await stored(on)
        record = await _record(on, await forward(on))
        assert record["provider_key_type"] == "stored"
        over = await over_grpc(on, request())
        assert over.head.status == 200
        assert bearers(on) == [SECRET, SECRET]
        assert Decimal((await on.rest("GET", "/v1/wallet"))["balance"]) == 0
        customer, token = await paying(on)
        charged = await _record(on, await forward(on, token=token))
        assert charged["provider_key_type"] == "stored"
        assert (await on.balance(customer))["balance"] == "9.9850000000"
        await on.rest("DELETE", f"/v1/provider_keys/{key['provider_key_id']}")
        assert (await forward(on)).status_code == 402
        await on.verified()


async def test_the_callers_own_key_comes_before_the_stored_one(sqlite_url: str) -> None:
    async with storing(sqlite_url) as on:
        await stored(on)
        answer = await forward(on, token=on.token(provider_key="sk-callers"))
        assert (await _record(on, answer))["provider_key_type"] == "unmanaged"
        await over_grpc(on, request(provider_key="sk-callers-too"))
        assert bearers(on) == ["sk-callers", "sk-callers-too"]


async def test_keys_of_other_providers_and_merchants_are_not_used(sqlite_url: str) -> None:
    async with storing(sqlite_url) as on:
        await stored(on, provider="anthropic")
        await stored(on, provider="groq")
        assert (await _record(on, await forward(on)))["provider_key_type"] == "managed"
        assert bearers(on) == ["sk-platform"]


async def test_a_paused_key_is_as_if_it_were_not_there(database_url: str) -> None:
    async with storing(database_url) as on:
        key = await stored(on)
        path = f"/v1/provider_keys/{key['provider_key_id']}"
        await forward(on)
        paused = await on.rest("PATCH", path, {"status": "paused"})
        assert paused["status"] == "paused"
        await forward(on)
        await on.rest("PATCH", path, {"status": "active"})
        await forward(on)
        assert bearers(on) == [SECRET, "sk-platform", SECRET]


async def test_a_rotated_secret_is_used_from_then_on(database_url: str) -> None:
    async with storing(database_url) as on:
        key = await stored(on)
        await forward(on)
        path = f"/v1/provider_keys/{key['provider_key_id']}"
        rotated = await on.rest("POST", f"{path}/rotate", {"key": "sk-merchant-rotated-9-wxyz"})
        assert (rotated["key_preview"], key["key_preview"]) == ("sk-…wxyz", "sk-…abcd")
        assert rotated["rotated_at"] > rotated["created_at"] == key["created_at"]
        await forward(on)
        assert bearers(on) == [SECRET, "sk-merchant-rotated-9-wxyz"]


async def test_another_process_sees_a_deletion_within_the_cache_time(database_url: str) -> None:
    async with storing(database_url, key_cache_seconds=0.2) as on:
        key = await stored(on)
        await forward(on)
        async with open_key_office(load({"database_url": database_url})) as elsewhere:
            await elsewhere.delete(on.merchant_id, key["provider_key_id"])
        async with asyncio.timeout(5):
            while bearers(on)[-1] != "sk-platform":
                await forward(on)


async def test_a_moments_calls_read_a_merchants_keys_once(sqlite_url: str) -> None:
    async with storing(sqlite_url, key_cache_seconds=300) as on:
        database = on.service._database  # noqa: SLF001 - reads are counted where they are made
        await forward(on)
        reads, read = 0, database.read

        async def counted(work: Any) -> Any:  # noqa: ANN401 - whatever the work returns
            nonlocal reads
            reads += 1
            return await read(work)

        database.read = counted  # type: ignore[method-assign]
        for _ in range(3):
            assert (await forward(on)).status_code == 200
        assert reads == 0


async def test_a_spend_key_uses_the_merchants_stored_key_within_its_own_budget(
    database_url: str,
) -> None:
    async with storing(database_url, wallet_limit="0") as on:
        await stored(on)
        limit = {"amount": "0.000065", "cycle": "total"}
        spend = await on.rest("POST", "/v1/spend_keys", {"name": "end", "spend_limit": limit})

        async def called() -> httpx.Response:
            body = chat(max_tokens=12)
            return await on.http.post(
                "/v1/chat/completions",
                json=body,
                headers={"authorization": f"Bearer {spend['key']}"},
            )

        first = await called()
        assert first.status_code == 200, first.text
        # Its cost, 0.00000765, counts against the budget though the wallet pays none of it.
        shown = await on.rest("GET", f"/v1/spend_keys/{spend['spend_key_id']}")
        assert shown["total_spend"].startswith("0.00000765")
        refused = await called()
        assert refused.status_code == 402
        assert refused.json()["error"]["details"]["account"] == "spend_key"
        assert bearers(on) == [SECRET]
        await on.verified()


async def test_a_host_that_the_operator_allowed_takes_a_stored_key(sqlite_url: str) -> None:
    url = f"https://{OWN_HOST}/v1/chat/completions"
    async with storing(sqlite_url, hosts=[OWN_HOST]) as on:
        refused = await forward(on, url)
        assert (refused.status_code, refused.json()["error"]["field"]) == (400, "provider_key")
        await stored(on, provider=OWN_HOST)
        record = await _record(on, await forward(on, url))
        assert (record["provider_key_type"], record["provider"]) == ("stored", OWN_HOST)
        assert bearers(on) == [SECRET]


@pytest.mark.parametrize(
    ("key", "header", "value"),
    [
        ("0123456789abcdef0123456789abcdef", "api-key", "0123456789abcdef0123456789abcdef"),
        (
            "eyJhbGciOi.eyJhdWQiOi.c2lnbmF0dXJl",
            "authorization",
            "Bearer eyJhbGciOi.eyJhdWQiOi.c2lnbmF0dXJl",
        ),
    ],
    ids=["a key", "an Entra token"],
)
async def test_azure_takes_its_key_and_an_entra_token_each_in_its_way(
    sqlite_url: str, key: str, header: str, value: str
) -> None:
    url = f"https://{AZURE}/openai/v1/chat/completions"
    async with storing(sqlite_url, hosts=[AZURE]) as on:
        await stored(on, key, provider=AZURE)
        await forward(on, url)
        (call,) = on.provider.calls
        assert call.header(header) == value
        other = {"api-key", "authorization"} - {header}
        assert [call.header(name) for name in other] == [None]


async def test_when_a_key_was_last_used_is_noted(database_url: str) -> None:
    async with storing(database_url) as on:
        key = await stored(on)
        idle = await stored(on, provider="anthropic")
        assert key["last_used_at"] is None
        await forward(on)
        merchant_id = on.merchant_id
    # Written at the latest when the service stops.
    async with open_key_office(load({"database_url": database_url})) as office:
        listed = await office.list(merchant_id)
    used = {one["provider_key_id"]: (one["last_used_at"], one["created_at"]) for one in listed}
    last, made = used[key["provider_key_id"]]
    assert last >= made
    assert used[idle["provider_key_id"]][0] is None


async def test_keys_are_listed_found_changed_and_deleted(database_url: str) -> None:
    async with storing(database_url) as on:
        one = await stored(on, weight=3)
        two = await stored(on, "short-key", provider="anthropic", status="paused")
        assert one["provider_key_id"].startswith("pvk_test_")
        assert (one["weight"], two["weight"]) == (3, 1)
        assert (one["status"], two["status"]) == ("active", "paused")
        # Of a short secret nothing is shown.
        assert two["key_preview"] == "…"
        listed = await on.rest("GET", "/v1/provider_keys?limit=1")
        assert (listed["data"], listed["has_more"]) == ([two], True)
        rest = await on.rest("GET", f"/v1/provider_keys?cursor={listed['next_cursor']}")
        assert (rest["data"], rest["has_more"]) == ([one], False)
        path = f"/v1/provider_keys/{one['provider_key_id']}"
        changed = await on.rest("PATCH", path, {"name": "theirs", "weight": 1000})
        assert changed == one | {"name": "theirs", "weight": 1000}
        assert await on.rest("GET", path) == changed
        gone = await on.rest("DELETE", path)
        assert gone == {"id": one["provider_key_id"], "deleted": True}
        for method in ("GET", "DELETE"):
            assert (await on.http.request(method, path)).status_code == 404
        # Nobody but the merchant's secret key may look.
        spend = await on.rest("POST", "/v1/spend_keys", {"name": "end"})
        headers = {"authorization": f"Bearer {spend['key']}"}
        assert (await on.http.get("/v1/provider_keys", headers=headers)).status_code in (401, 403)


async def test_a_merchant_has_a_hundred_keys_at_most(sqlite_url: str) -> None:
    async with storing(sqlite_url) as on:
        for _ in range(100):
            await stored(on)
        body = {"name": "n", "provider": "openai", "key": SECRET}
        refused = await on.http.post("/v1/provider_keys", json=body)
        assert refused.status_code == 403
        assert refused.json()["error"]["details"] == {"provider_keys_max": "100"}


async def test_without_an_encryption_key_the_setting_is_named(sqlite_url: str) -> None:
    async with storing(sqlite_url, key_encryption_keys="") as on:
        body = {"name": "n", "provider": "openai", "key": SECRET}
        refused = await on.http.post("/v1/provider_keys", json=body)
        assert refused.status_code == 501
        error = refused.json()["error"]
        assert error["code"] == "not_implemented"
        assert error["details"] == {"setting": "LAVA_KEY_ENCRYPTION_KEYS"}
        assert (await forward(on, CHAT)).status_code == 200


@pytest.mark.parametrize("keys", ["short", f"{NEW_KEY},AAAA", ",".join([NEW_KEY] * 17)])
async def test_a_wrong_encryption_key_is_told_at_start(sqlite_url: str, keys: str) -> None:
    with pytest.raises(ConfigError, match="LAVA_KEY_ENCRYPTION_KEYS") as refused:
        async with storing(sqlite_url, key_encryption_keys=keys):
            pass
    assert NEW_KEY not in str(refused.value)
