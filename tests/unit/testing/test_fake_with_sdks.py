"""The official SDKs talk to the fake as they talk to the providers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from lava_grpc.testing import FakeProvider, Fault

QUESTION = "one two three"


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider(keys={"sk-good"}) as provider:
        yield provider


@pytest.fixture
async def gpt(fake: FakeProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=fake.openai_url, api_key="sk-good", max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def claude(fake: FakeProvider) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=fake.anthropic_url, api_key="sk-good", max_retries=0
    ) as client:
        yield client


async def test_a_chat_completion_counts_words_as_tokens(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": QUESTION}], n=2
    )

    assert made.usage is not None
    assert made.usage.prompt_tokens == 3
    assert made.usage.completion_tokens == 24
    assert [choice.finish_reason for choice in made.choices] == ["stop", "stop"]
    texts = [choice.message.content or "" for choice in made.choices]
    assert [len(text.split()) for text in texts] == [12, 12]
    assert texts[0] != texts[1]


async def test_a_limit_on_output_cuts_the_answer_short(gpt: openai.AsyncOpenAI) -> None:
    made = await gpt.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": QUESTION}], max_tokens=5
    )

    assert made.usage is not None
    assert made.usage.completion_tokens == 5
    assert made.choices[0].finish_reason == "length"


async def test_a_stream_says_the_same_as_the_whole_answer(gpt: openai.AsyncOpenAI) -> None:
    whole = await gpt.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": QUESTION}]
    )
    stream = await gpt.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]

    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


async def test_a_stream_that_was_not_asked_states_no_usage(gpt: openai.AsyncOpenAI) -> None:
    stream = await gpt.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    chunks = [chunk async for chunk in stream]

    assert all(chunk.choices for chunk in chunks)
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)


async def test_a_response_and_its_stream_agree(gpt: openai.AsyncOpenAI) -> None:
    whole = await gpt.responses.create(model="gpt-5", input=QUESTION, instructions="be brief")
    async with gpt.responses.stream(
        model="gpt-5", input=QUESTION, instructions="be brief"
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()

    assert whole.output_text == final.output_text
    assert whole.usage == final.usage
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (5, 12)
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"


async def test_embeddings_moderations_models_and_completions(gpt: openai.AsyncOpenAI) -> None:
    embedded = await gpt.embeddings.create(
        model="text-embedding-3-small", input=["a b", "c"], dimensions=4
    )
    plain = await gpt.embeddings.create(
        model="text-embedding-3-small", input=["a b", "c"], dimensions=4, encoding_format="float"
    )
    moderated = await gpt.moderations.create(input="a b")
    listed = [model.id async for model in gpt.models.list()]
    completed = await gpt.completions.create(model="davinci-002", prompt="a b", max_tokens=2)

    assert embedded.usage.prompt_tokens == 3
    assert [e.embedding for e in embedded.data] == [e.embedding for e in plain.data]
    assert [len(e.embedding) for e in embedded.data] == [4, 4]
    assert not moderated.results[0].flagged
    assert "gpt-4o" in listed
    assert completed.usage is not None
    assert completed.usage.total_tokens == 4


async def test_openai_errors_are_those_of_the_provider(fake: FakeProvider) -> None:
    async with openai.AsyncOpenAI(
        base_url=fake.openai_url, api_key="sk-of-a-stranger", max_retries=0
    ) as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            await stranger.models.list()

    assert refused.value.code == "invalid_api_key"
    assert "sk-of-a-stranger" not in str(refused.value)


async def test_an_unknown_model_is_not_found(
    gpt: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic
) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await gpt.chat.completions.create(
            model="no-such-model", messages=[{"role": "user", "content": "x"}]
        )
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(
            model="no-such-model", max_tokens=5, messages=[{"role": "user", "content": "x"}]
        )

    assert missing.value.code == "model_not_found"


async def test_a_message_and_its_stream_agree(claude: anthropic.AsyncAnthropic) -> None:
    whole = await claude.messages.create(
        model="claude-sonnet-4-6",
        max_tokens=100,
        system="be brief",
        messages=[{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
    )
    async with claude.messages.stream(
        model="claude-sonnet-4-6",
        max_tokens=100,
        system="be brief",
        messages=[{"role": "user", "content": QUESTION}],
    ) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()

    assert whole.content[0].type == "text"
    assert whole.content[0].text == text
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (5, 12)
    assert (final.usage.input_tokens, final.usage.output_tokens) == (5, 12)
    assert final.stop_reason == "end_turn"


async def test_a_message_stops_at_its_limit(claude: anthropic.AsyncAnthropic) -> None:
    made = await claude.messages.create(
        model="claude-sonnet-4-6", max_tokens=3, messages=[{"role": "user", "content": "x"}]
    )
    counted = await claude.messages.count_tokens(
        model="claude-sonnet-4-6", messages=[{"role": "user", "content": QUESTION}]
    )

    assert made.stop_reason == "max_tokens"
    assert made.usage.output_tokens == 3
    assert counted.input_tokens == 3


async def test_anthropic_errors_are_those_of_the_provider(fake: FakeProvider) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=fake.anthropic_url, api_key="sk-bad", max_retries=0
    ) as stranger:
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            await stranger.models.list()


async def test_a_fault_reaches_the_sdk_as_the_providers_error(
    fake: FakeProvider, gpt: openai.AsyncOpenAI
) -> None:
    fake.fail_next(Fault(status=429))

    with pytest.raises(openai.RateLimitError):
        await gpt.models.list()

    assert (await gpt.models.list()).data
    assert fake.calls_total == 2
