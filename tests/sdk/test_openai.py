"""OpenAI's client through the gateway says what it says without one."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from lava_grpc.testing import Fault
from tests.sdk.books import only_record, records, used
from tests.support.service import Running

ASKED: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "one two three"}]
MODEL = "gpt-4o-mini"
ONCE = {"Idempotency-Key": "order-17"}


def same(one: Any, other: Any) -> None:  # noqa: ANN401 - models of the client's
    """Fail unless two answers say the same; the fake numbers its answers."""
    assert _told(one) == _told(other)


def _told(answer: Any) -> Any:  # noqa: ANN401
    kept = answer.model_dump(exclude={"id"})
    kept.pop("output", None)
    return kept


async def test_a_chat_completion(
    on: Running, gpt: openai.AsyncOpenAI, straight_gpt: openai.AsyncOpenAI
) -> None:
    made = await gpt.chat.completions.create(model=MODEL, messages=ASKED, n=2)
    assert made.usage is not None
    assert await used(on) == (made.usage.prompt_tokens, made.usage.completion_tokens) == (3, 24)
    on.provider.calls_total = 0
    plain = await straight_gpt.chat.completions.create(model=MODEL, messages=ASKED, n=2)
    assert made.usage == plain.usage
    assert len(made.choices) == len(plain.choices)
    record = await only_record(on)
    assert record["charge"]["amount"] == "0.0270000000"
    assert record["response_id"] == made.id
    assert record["model"] == made.model


@pytest.mark.parametrize("asks", [False, True])
async def test_a_streamed_chat(
    on: Running,
    gpt: openai.AsyncOpenAI,
    straight_gpt: openai.AsyncOpenAI,
    asks: bool,  # noqa: FBT001
) -> None:
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks else {}
    stream = await gpt.chat.completions.create(model=MODEL, messages=ASKED, stream=True, **more)
    chunks = [chunk async for chunk in stream]
    assert await used(on) == (3, 12)
    assert not (await only_record(on))["flags"]
    on.provider.calls_total = 0
    plain = await straight_gpt.chat.completions.create(
        model=MODEL, messages=ASKED, stream=True, **more
    )
    expected = [chunk async for chunk in plain]
    assert [chunk.choices for chunk in chunks] == [chunk.choices for chunk in expected]
    assert [chunk.usage for chunk in chunks] == [chunk.usage for chunk in expected]


async def test_responses_whole_and_streamed(
    on: Running, gpt: openai.AsyncOpenAI, straight_gpt: openai.AsyncOpenAI
) -> None:
    made = await gpt.responses.create(model=MODEL, input="one two three")
    assert made.usage is not None
    assert await used(on) == (made.usage.input_tokens, made.usage.output_tokens)
    plain = await straight_gpt.responses.create(model=MODEL, input="one two three")
    assert made.usage == plain.usage
    stream = await gpt.responses.create(model=MODEL, input="one two three", stream=True)
    kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.completed"
    newest = (await records(on))[0]
    assert newest["model_usage"]["output_tokens"] == made.usage.output_tokens


async def test_embeddings(
    on: Running, gpt: openai.AsyncOpenAI, straight_gpt: openai.AsyncOpenAI
) -> None:
    made = await gpt.embeddings.create(model="text-embedding-3-small", input="one two three")
    plain = await straight_gpt.embeddings.create(
        model="text-embedding-3-small", input="one two three"
    )
    same(made, plain)
    assert await used(on) == (3, 0)


async def test_a_list_of_models_costs_nothing(on: Running, gpt: openai.AsyncOpenAI) -> None:
    assert (await gpt.models.list()).data
    record = await only_record(on)
    assert record["cost"] == record["charge"]["amount"] == "0.0000000000"


async def test_a_blocking_client(on: Running, token: str) -> None:
    def work() -> int:
        with openai.OpenAI(
            base_url=f"{on.http_url}/v1/forward?u=https://api.openai.com/v1", api_key=token
        ) as client:
            made = client.chat.completions.create(model=MODEL, messages=ASKED)
            stream = client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
            assert made.usage is not None
            return made.usage.completion_tokens + len(list(stream))

    assert await asyncio.to_thread(work) > 12
    found = await records(on)
    assert [record["model_usage"]["output_tokens"] for record in found] == [12, 12]


@pytest.mark.parametrize("base", ["/v1/forward/openai/v1", "/v1/forward/openai"])
async def test_a_base_url_with_an_alias(on: Running, token: str, base: str) -> None:
    async with openai.AsyncOpenAI(base_url=on.http_url + base, api_key=token) as client:
        await client.chat.completions.create(model=MODEL, messages=ASKED)
    assert await used(on) == (3, 12)


async def test_a_call_that_timed_out_and_was_made_again_is_charged_for_each_that_was_answered(
    on: Running, gpt: openai.AsyncOpenAI
) -> None:
    on.provider.fail_next(Fault(pause_head=True))
    made = await gpt.with_options(max_retries=1, timeout=0.3).chat.completions.create(
        model=MODEL, messages=ASKED
    )
    on.provider.resume()
    found = await records(on)
    assert [record["model_usage"]["output_tokens"] for record in found] == [12, 12]
    # The one that the client knows, and the one that it gave up.
    assert made.id in {record["response_id"] for record in found}
    assert len({record["response_id"] for record in found}) == 2


async def test_an_answered_idempotency_key_is_not_charged_again(
    on: Running, gpt: openai.AsyncOpenAI
) -> None:
    chat = gpt.with_options(max_retries=0).chat.completions
    await chat.create(model=MODEL, messages=ASKED, extra_headers=ONCE)
    with pytest.raises(openai.ConflictError):
        await chat.create(model=MODEL, messages=ASKED, extra_headers=ONCE)
    assert on.provider.calls_total == 1
    assert await used(on) == (3, 12)


async def test_a_stream_that_breaks_off_is_an_error(on: Running, gpt: openai.AsyncOpenAI) -> None:
    on.provider.fault = Fault(cut_after=5)
    stream = await gpt.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
    with pytest.raises((openai.APIError, Exception)) as caught:
        async for _ in stream:
            pass
    assert "incomplete" in str(caught.value) or isinstance(caught.value, openai.APIError)
    assert (await only_record(on))["flags"] == ["estimated"]


async def test_out_of_credit_is_told_as_the_client_tells_statuses(on: Running) -> None:
    poor = await on.customer("0.0000000001")
    async with openai.AsyncOpenAI(
        base_url=f"{on.http_url}/v1/forward?u=https://api.openai.com/v1",
        api_key=on.token(customer_id=poor, meter_slug="per-token"),
    ) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model=MODEL, messages=ASKED)
    assert caught.value.status_code == 402
    assert caught.value.code == "insufficient_credits"
    assert on.provider.calls_total == 0


async def test_a_providers_error_is_the_clients_error(on: Running, gpt: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await gpt.chat.completions.create(model="no-such-model", messages=ASKED)
    assert caught.value.code == "model_not_found"
    assert await records(on) == []
