"""The official OpenAI and Anthropic clients, with `/v1` as their base URL."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from tests.support.service import Running, running

pytestmark = pytest.mark.asyncio

ASK: Any = [{"role": "user", "content": "Say hello"}]


async def spend_key(service: Running, **facts: object) -> str:
    made = await service.rest("POST", "/v1/spend_keys", {"name": "agent", **facts})
    key: str = made["key"]
    return key


async def total(service: Running) -> tuple[int, str]:
    key = (await service.rest("GET", "/v1/spend_keys"))["data"][0]
    return key["total_requests"], key["total_spend"]


async def test_openais_client_takes_a_spend_key(sqlite_url: str) -> None:
    async with (
        running(sqlite_url) as service,
        openai.AsyncOpenAI(
            api_key=await spend_key(service), base_url=f"{service.http_url}/v1", max_retries=0
        ) as client,
    ):
        answer = await client.chat.completions.create(
            model="openai/gpt-4o-mini", messages=ASK, max_tokens=20
        )
        assert answer.choices[0].message.content
        assert answer.model.startswith("gpt-4o-mini")
        assert b'"openai/' not in service.provider.calls[-1].body
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=ASK, max_tokens=20, stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
        assert text
        count, spent = await total(service)
        assert count == 2
        records = (await service.rest("GET", "/v1/requests"))["data"]
        assert [record["provider"] for record in records] == ["openai", "openai"]
        assert float(spent) == pytest.approx(sum(float(record["cost"]) for record in records))
        with pytest.raises(openai.BadRequestError, match="nobody-makes-this"):
            await client.chat.completions.create(model="nobody-makes-this", messages=ASK)
        with pytest.raises(openai.PermissionDeniedError):
            await client.post("/messages", cast_to=object, body={"model": "claude-3-haiku"})
        await service.verified()


async def test_anthropics_client_takes_a_spend_key(sqlite_url: str) -> None:
    async with running(sqlite_url) as service:
        key = await spend_key(service, request_shape="anthropic")
        async with anthropic.AsyncAnthropic(
            api_key=key, base_url=service.http_url, max_retries=0
        ) as client:
            model = "claude-sonnet-4-6"
            answer = await client.messages.create(model=model, max_tokens=20, messages=ASK)
            assert answer.usage.output_tokens
            async with client.messages.stream(
                model=f"anthropic/{model}", max_tokens=20, messages=ASK
            ) as stream:
                assert await stream.get_final_text()
            body = {"model": model, "max_tokens": 20, "messages": ASK}
            await client.post("/v1/messages?beta=true", cast_to=object, body=body)
            assert service.provider.calls[-1].path.endswith("/v1/messages?beta=true")
            count, _ = await total(service)
            assert count == 3
            with pytest.raises(anthropic.BadRequestError, match="gpt-4o"):
                await client.messages.create(model="gpt-4o", max_tokens=20, messages=ASK)
        await service.verified()


async def test_a_secret_key_and_a_forward_token_take_the_same_path(sqlite_url: str) -> None:
    async with running(sqlite_url) as service:
        customer = await service.customer("5")
        meter = await service.meter("m", "2")
        token = service.token(customer_id=customer, meter_slug=meter)
        body = {"model": "gpt-4o-mini", "messages": ASK, "max_tokens": 20}
        for credential in (service.secret_key, token):
            answer = await service.http.post(
                "/v1/chat/completions",
                json=body,
                headers={"authorization": f"Bearer {credential}"},
            )
            assert answer.status_code == 200, answer.text
        assert float((await service.balance(customer))["balance"]) < 5
        strange = {"authorization": "Bearer lava_sk_nobody"}
        answer = await service.http.post("/v1/messages", content=b"{", headers=strange)
        assert answer.status_code == 401
        for bad, field in (({}, "model"), ({"model": 7}, "model"), ([], "body")):
            answer = await service.http.post("/v1/chat/completions", json=bad)
            assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)
        assert (await service.http.get("/v1/chat/completions")).status_code == 405
        await service.verified()


async def test_anthropics_client_counts_tokens_free_of_charge(sqlite_url: str) -> None:
    async with (
        running(sqlite_url) as service,
        anthropic.AsyncAnthropic(
            api_key=service.secret_key, base_url=service.http_url, max_retries=0
        ) as client,
    ):
        counted = await client.messages.count_tokens(
            model="anthropic/claude-sonnet-4-6", messages=ASK
        )
        assert counted.input_tokens
        sent = service.provider.calls[-1]
        assert sent.path.endswith("/v1/messages/count_tokens")
        assert b'"anthropic/' not in sent.body
        (record,) = (await service.rest("GET", "/v1/requests"))["data"]
        assert record["cost"] == "0.0000000000"
        await service.verified()
