"""The same official Python clients in their blocking form."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import anthropic
import cohere
import groq
import openai
import together
from google import genai
from google.genai import types as google
from mistralai.client import Mistral

from tests.sdk.clients import Json, as_content, by_name, unstreamed

# A whole answer, and the items of a streamed one.
Answers = tuple[Any, list[Any]]
# Asks at a base URL with a key, for a whole answer and then for a streamed one.
Blocking = Callable[[str, str, Json, Json], Answers]


def ask_openai(base: str, key: str, whole: Json, streamed: Json) -> Answers:
    """Ask with OpenAI's blocking client."""
    with openai.OpenAI(base_url=base, api_key=key, max_retries=0) as sdk:
        return _chat(sdk, whole, streamed)


def ask_groq(base: str, key: str, whole: Json, streamed: Json) -> Answers:
    """Ask with Groq's blocking client."""
    with groq.Groq(base_url=base, api_key=key, max_retries=0) as sdk:
        return _chat(sdk, whole, streamed)


def ask_together(base: str, key: str, whole: Json, streamed: Json) -> Answers:
    """Ask with Together's blocking client."""
    with together.Together(base_url=base, api_key=key, max_retries=0) as sdk:
        return _chat(sdk, whole, streamed)


def _chat(sdk: Any, whole: Json, streamed: Json) -> Answers:  # noqa: ANN401
    create = sdk.chat.completions.create
    return create(**by_name(whole)), list(create(**by_name(streamed), stream=True))


def ask_anthropic(base: str, key: str, whole: Json, streamed: Json) -> Answers:
    """Ask with Anthropic's blocking client."""
    with anthropic.Anthropic(base_url=base, api_key=key, max_retries=0) as sdk:
        create: Any = sdk.messages.create
        return create(**by_name(whole)), list(create(**by_name(streamed), stream=True))


def ask_mistral(base: str, key: str, whole: Json, streamed: Json) -> Answers:
    """Ask with Mistral's blocking client."""
    with Mistral(api_key=key, server_url=base) as sdk:
        made = sdk.chat.complete(**unstreamed(whole))
        with sdk.chat.stream(**unstreamed(streamed)) as events:
            return made, [event.data for event in events]


def ask_cohere(base: str, key: str, whole: Json, streamed: Json) -> Answers:
    """Ask with Cohere's blocking client."""
    with cohere.ClientV2(api_key=key, base_url=base, max_retries=0) as sdk:
        return sdk.chat(**unstreamed(whole)), list(sdk.chat_stream(**unstreamed(streamed)))


def ask_google(base: str, key: str, whole: Json, streamed: Json) -> Answers:
    """Ask with Google's blocking client."""
    options = google.HttpOptions(base_url=base, api_version="v1beta")
    with closing(genai.Client(api_key=key, http_options=options)) as sdk:
        made = sdk.models.generate_content(**as_content(whole))
        return made, list(sdk.models.generate_content_stream(**as_content(streamed)))
