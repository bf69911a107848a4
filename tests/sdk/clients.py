"""Seven official Python clients, each driven in the same few ways.

A request is the body that the corpus has; each client is asked for it in its own words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import anthropic
import cohere
import groq
import openai
import together
from google import genai
from google.genai import types as google
from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig
from typing_extensions import override

Json = Mapping[str, Any]

_NAMED = ("model", "messages", "max_tokens")


class Client(Protocol):
    """An official client that is open."""

    async def ask(self, body: Json) -> Any:  # noqa: ANN401 - the client's own type
        """A whole answer."""

    def streamed(self, body: Json) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
        """A streamed answer, item by item; leaving the block closes it."""

    def said(self, body: Json, answer: Any, result: str) -> Json:  # noqa: ANN401
        """What to ask next: the model called a tool in `answer`, and this is its result."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client waits for bytes, and how often it tries again."""

    seconds: float = 20.0
    retries: int = 0


WILLING = Patience()

# Opens a client at a base URL with a key.
Opened = Callable[[str, str, Patience], AbstractAsyncContextManager[Client]]


def by_name(body: Json) -> dict[str, Any]:
    """What is asked for by name, and what these clients have no name for."""
    rest = {name: value for name, value in body.items() if name not in (*_NAMED, "stream")}
    return {**{name: body[name] for name in _NAMED if name in body}, "extra_body": rest}


@dataclass(frozen=True, slots=True)
class ChatClient(Client):
    """OpenAI's client, or one that is made as it is."""

    sdk: Any

    @override
    async def ask(self, body: Json) -> Any:
        return await self.sdk.chat.completions.create(**by_name(body))

    @override
    @asynccontextmanager
    async def streamed(self, body: Json) -> AsyncIterator[AsyncIterator[Any]]:
        stream = await self.sdk.chat.completions.create(**by_name(body), stream=True)
        async with stream:
            yield aiter(stream)

    @override
    def said(self, body: Json, answer: Any, result: str) -> Json:
        message = answer.choices[0].message
        tool = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": result}
        return {**body, "messages": [*body["messages"], _dumped(message), tool]}


@dataclass(frozen=True, slots=True)
class AnthropicClient(Client):
    sdk: anthropic.AsyncAnthropic

    @override
    async def ask(self, body: Json) -> Any:
        return await self.sdk.messages.create(**by_name(body))

    @override
    @asynccontextmanager
    async def streamed(self, body: Json) -> AsyncIterator[AsyncIterator[Any]]:
        stream: Any = await self.sdk.messages.create(**by_name(body), stream=True)
        async with stream:
            yield aiter(stream)

    @override
    def said(self, body: Json, answer: Any, result: str) -> Json:
        call = next(block for block in answer.content if block.type == "tool_use")
        block = {"type": "tool_result", "tool_use_id": call.id, "content": result}
        turns = [
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [block]},
        ]
        return {**body, "messages": [*body["messages"], *turns]}


@dataclass(frozen=True, slots=True)
class MistralClient(Client):
    sdk: Mistral

    @override
    async def ask(self, body: Json) -> Any:
        return await self.sdk.chat.complete_async(**unstreamed(body))

    @override
    @asynccontextmanager
    async def streamed(self, body: Json) -> AsyncIterator[AsyncIterator[Any]]:
        async with await self.sdk.chat.stream_async(**unstreamed(body)) as events:
            yield (event.data async for event in events)

    @override
    def said(self, body: Json, answer: Any, result: str) -> Json:
        message = answer.choices[0].message
        call = message.tool_calls[0]
        tool = {
            "role": "tool",
            "name": call.function.name,
            "content": result,
            "tool_call_id": call.id,
        }
        return {**body, "messages": [*body["messages"], message, tool]}


@dataclass(frozen=True, slots=True)
class CohereClient(Client):
    sdk: cohere.AsyncClientV2

    @override
    async def ask(self, body: Json) -> Any:
        return await self.sdk.chat(**unstreamed(body))

    @override
    @asynccontextmanager
    async def streamed(self, body: Json) -> AsyncIterator[AsyncIterator[Any]]:
        events: Any = self.sdk.chat_stream(**unstreamed(body))
        async with aclosing(events):
            yield events

    @override
    def said(self, body: Json, answer: Any, result: str) -> Json:
        message = answer.message
        tool = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": result}
        return {**body, "messages": [*body["messages"], message, tool]}


@dataclass(frozen=True, slots=True)
class GoogleClient(Client):
    sdk: genai.Client

    @override
    async def ask(self, body: Json) -> Any:
        return await self.sdk.aio.models.generate_content(**as_content(body))

    @override
    @asynccontextmanager
    async def streamed(self, body: Json) -> AsyncIterator[AsyncIterator[Any]]:
        chunks: Any = await self.sdk.aio.models.generate_content_stream(**as_content(body))
        async with aclosing(chunks):
            yield chunks

    @override
    def said(self, body: Json, answer: Any, result: str) -> Json:
        name = answer.function_calls[0].name
        part = google.Part.from_function_response(name=name, response={"result": result})
        turns = [answer.candidates[0].content, google.Content(role="user", parts=[part])]
        return {**body, "contents": [*body["contents"], *turns]}


def _dumped(message: Any) -> Any:  # noqa: ANN401 - of any of these clients
    return message.model_dump(exclude_unset=True)


def unstreamed(body: Json) -> dict[str, Any]:
    """Without `stream`, which is another method."""
    return {name: value for name, value in body.items() if name != "stream"}


def as_content(body: Json) -> dict[str, Any]:
    """`model` is the path's; what is beside the contents goes into the configuration."""
    more = dict(body.get("generationConfig", {}))
    if "tools" in body:
        more["tools"] = body["tools"]
        # The client would look for Python functions to call by itself.
        more["automatic_function_calling"] = {"disable": True}
    return {"model": body["model"], "contents": body["contents"], "config": more or None}


@asynccontextmanager
async def open_openai(base: str, key: str, patience: Patience) -> AsyncIterator[Client]:
    """Open OpenAI's client."""
    async with openai.AsyncOpenAI(
        base_url=base, api_key=key, timeout=patience.seconds, max_retries=patience.retries
    ) as sdk:
        yield ChatClient(sdk)


@asynccontextmanager
async def open_groq(base: str, key: str, patience: Patience) -> AsyncIterator[Client]:
    """Open Groq's client."""
    async with groq.AsyncGroq(
        base_url=base, api_key=key, timeout=patience.seconds, max_retries=patience.retries
    ) as sdk:
        yield ChatClient(sdk)


@asynccontextmanager
async def open_together(base: str, key: str, patience: Patience) -> AsyncIterator[Client]:
    """Open Together's client."""
    async with together.AsyncTogether(
        base_url=base, api_key=key, timeout=patience.seconds, max_retries=patience.retries
    ) as sdk:
        yield ChatClient(sdk)


@asynccontextmanager
async def open_anthropic(base: str, key: str, patience: Patience) -> AsyncIterator[Client]:
    """Open Anthropic's client."""
    async with anthropic.AsyncAnthropic(
        base_url=base, api_key=key, timeout=patience.seconds, max_retries=patience.retries
    ) as sdk:
        yield AnthropicClient(sdk)


@asynccontextmanager
async def open_mistral(base: str, key: str, patience: Patience) -> AsyncIterator[Client]:
    """Open Mistral's client."""
    # It tries for a time, not so many times.
    retry = RetryConfig("backoff", BackoffStrategy(1, 10, 1.1, 10_000), True)  # noqa: FBT003
    async with Mistral(
        api_key=key,
        server_url=base,
        timeout_ms=int(patience.seconds * 1000),
        retry_config=retry if patience.retries else None,
    ) as sdk:
        yield MistralClient(sdk)


@asynccontextmanager
async def open_cohere(base: str, key: str, patience: Patience) -> AsyncIterator[Client]:
    """Open Cohere's client."""
    async with cohere.AsyncClientV2(
        api_key=key, base_url=base, timeout=patience.seconds, max_retries=patience.retries
    ) as sdk:
        yield CohereClient(sdk)


@asynccontextmanager
async def open_google(base: str, key: str, patience: Patience) -> AsyncIterator[Client]:
    """Open Google's client."""
    retry = google.HttpRetryOptions(attempts=patience.retries + 1, initial_delay=0.01, jitter=0)
    sdk = genai.Client(
        api_key=key,
        http_options=google.HttpOptions(
            base_url=base,
            api_version="v1beta",
            timeout=int(patience.seconds * 1000),
            retry_options=retry,
        ),
    )
    try:
        yield GoogleClient(sdk)
    finally:
        await sdk.aio.aclose()
        sdk.close()
