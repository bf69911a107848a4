"""Anthropic's client through the gateway says what it says without one."""

from __future__ import annotations

import asyncio

import anthropic
import pytest
from anthropic.types import MessageParam

from tests.sdk.books import only_record, records, used
from tests.support.service import Running

ASKED: list[MessageParam] = [{"role": "user", "content": "one two three"}]
MODEL = "claude-sonnet-4-6"


def _told(message: anthropic.types.Message) -> object:
    return message.model_dump(exclude={"id", "content"})


async def test_a_message(
    on: Running, claude: anthropic.AsyncAnthropic, straight_claude: anthropic.AsyncAnthropic
) -> None:
    made = await claude.messages.create(model=MODEL, max_tokens=50, messages=ASKED)
    plain = await straight_claude.messages.create(model=MODEL, max_tokens=50, messages=ASKED)
    assert _told(made) == _told(plain)
    assert await used(on) == (made.usage.input_tokens, made.usage.output_tokens) == (3, 12)
    assert (await only_record(on))["charge"]["amount"] == "0.0150000000"
    assert on.provider.calls[0].header("x-api-key") == "sk-ant-platform"


async def test_a_streamed_message(
    on: Running, claude: anthropic.AsyncAnthropic, straight_claude: anthropic.AsyncAnthropic
) -> None:
    finals = []
    for client in (claude, straight_claude):
        async with client.messages.stream(model=MODEL, max_tokens=50, messages=ASKED) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            finals.append(await stream.get_final_message())
        assert len(text.split()) == 12
    assert _told(finals[0]) == _told(finals[1])
    assert await used(on) == (3, 12)


async def test_raw_events(on: Running, claude: anthropic.AsyncAnthropic) -> None:
    stream = await claude.messages.create(model=MODEL, max_tokens=50, messages=ASKED, stream=True)
    kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert await used(on) == (3, 12)


@pytest.mark.parametrize(
    "base",
    [
        "/v1/forward?u=https://api.anthropic.com",
        "/v1/forward?u=https://api.anthropic.com/v1",
        "/v1/forward/anthropic",
        "/v1/forward/https://api.anthropic.com",
    ],
)
async def test_every_base_url_that_people_write(on: Running, token: str, base: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=on.http_url + base, api_key=token) as client:
        await client.messages.create(model=MODEL, max_tokens=50, messages=ASKED)
        counted = await client.messages.count_tokens(model=MODEL, messages=ASKED)
        assert (await client.models.list()).data
    assert counted.input_tokens == 3
    paths = [call.path.partition("?")[0] for call in on.provider.calls]
    assert paths == [
        "/anthropic/v1/messages",
        "/anthropic/v1/messages/count_tokens",
        "/anthropic/v1/models",
    ]
    charges = [record["charge"]["amount"] for record in await records(on)]
    assert sorted(charges) == ["0.0000000000", "0.0000000000", "0.0150000000"]


async def test_a_blocking_client(on: Running, token: str) -> None:
    def work() -> int:
        with anthropic.Anthropic(
            base_url=f"{on.http_url}/v1/forward?u=https://api.anthropic.com", api_key=token
        ) as client:
            made = client.messages.create(model=MODEL, max_tokens=50, messages=ASKED)
            with client.messages.stream(model=MODEL, max_tokens=50, messages=ASKED) as stream:
                return made.usage.output_tokens + stream.get_final_message().usage.output_tokens

    assert await asyncio.to_thread(work) == 24
    assert [r["model_usage"]["output_tokens"] for r in await records(on)] == [12, 12]


async def test_a_providers_error_is_the_clients_error(
    on: Running, claude: anthropic.AsyncAnthropic
) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(model="no-such-model", max_tokens=5, messages=ASKED)
    assert await records(on) == []
