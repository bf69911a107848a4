"""Which client is for which provider, where it is pointed, and what of the corpus it can ask."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import anthropic
import groq
import openai
import together
from cohere.core.api_error import ApiError as CohereError
from google.genai import errors as google_errors
from mistralai.client.errors import SDKError

from lava_grpc.testing import Scripted
from tests.corpus import Pair, pairs
from tests.sdk import blocking, clients
from tests.sdk.clients import Json

_GOOGLE_STREAM = ":streamGenerateContent"
_ENDS = ("/chat/completions", "/messages", "/v2/chat", ":generateContent")
_GOOGLE_MODEL = re.compile(r"/models/([^:]+):")


@dataclass(frozen=True, slots=True)
class Case:
    """A client, its base URLs with us and the one without, and its pairs of the corpus."""

    opened: clients.Opened
    ask_blocking: blocking.Blocking
    # How the URLs of its chat begin, without the scheme.
    endpoint: str
    # Base URLs by way of the gateway, under its own.
    paths: tuple[str, ...]
    # The base URL straight to the fake provider, under its own.
    straight: str
    # What it raises when it is answered by no success.
    refusal: type[Exception]
    whole: Pair
    streamed: Pair
    tool: Pair

    def pairs(self) -> list[Pair]:
        """Every pair that this client can ask for."""
        return [pair for pair in pairs() if self._asks(pair)]

    def _asks(self, pair: Pair) -> bool:
        at = urlsplit(pair.url)
        fits = pair.method == "POST" and f"{at.netloc}{at.path}".startswith(self.endpoint)
        if at.path.endswith(_GOOGLE_STREAM):
            # Google's client asks for events, and never for an array.
            return fits and bool(at.query)
        return fits and at.path.endswith(_ENDS)


def body_of(pair: Pair) -> Json:
    """What is asked, with the model, which Google has in its path."""
    found = _GOOGLE_MODEL.search(pair.url)
    asked: dict[str, Any] = json.loads(pair.request)
    return asked if found is None else {**asked, "model": found.group(1)}


def path_of(pair: Pair) -> str:
    """What the provider is called at."""
    at = urlsplit(pair.url)
    return f"{at.path}?{at.query}" if at.query else at.path


def scripted(pair: Pair, *, straight: bool = False) -> Scripted:
    """Its answer, each line of a stream a chunk of its own.

    `straight` is what the provider says to a client that asks by itself: no
    usage that only the gateway asked for.
    """
    answer = pair.passed if straight else pair.answer
    chunks = answer.splitlines(keepends=True) if pair.streamed else [answer]
    return Scripted(pair.status, tuple(pair.headers.items()), tuple(chunks))


_BY_ID = {pair.id: pair for pair in pairs()}

# Mistral's client drops a query from its base URL, and Google's puts its path before it: they
# take the forms with the target in the path. Cohere's takes every `/v1` out of a base URL with
# its own host in it: it takes the alias.
CASES = {
    "openai": Case(
        clients.open_openai,
        blocking.ask_openai,
        "api.openai.com/v1/chat/completions",
        ("/v1/forward?u=https://api.openai.com/v1", "/v1/forward/openai/v1"),
        "/openai/v1",
        openai.APIStatusError,
        _BY_ID["openai/chat:json"],
        _BY_ID["openai/chat:stream-unasked"],
        _BY_ID["openai/chat:tool-call"],
    ),
    "anthropic": Case(
        clients.open_anthropic,
        blocking.ask_anthropic,
        "api.anthropic.com/v1/messages",
        ("/v1/forward?u=https://api.anthropic.com", "/v1/forward/anthropic"),
        "/anthropic",
        anthropic.APIStatusError,
        _BY_ID["anthropic/messages:json"],
        _BY_ID["anthropic/messages:stream"],
        _BY_ID["anthropic/messages:tool-use"],
    ),
    "google": Case(
        clients.open_google,
        blocking.ask_google,
        "generativelanguage.googleapis.com/v1beta/models/gemini",
        ("/v1/forward/https://generativelanguage.googleapis.com", "/v1/forward/google"),
        "/google",
        google_errors.APIError,
        _BY_ID["google/generate:thinking"],
        _BY_ID["google/generate:stream"],
        _BY_ID["google/generate:tool-call"],
    ),
    "mistral": Case(
        clients.open_mistral,
        blocking.ask_mistral,
        "api.mistral.ai/v1/chat/completions",
        ("/v1/forward/https://api.mistral.ai", "/v1/forward/mistral"),
        "",
        SDKError,
        _BY_ID["mistral/chat:json"],
        _BY_ID["mistral/chat:stream"],
        _BY_ID["mistral/tools:tool-call"],
    ),
    "cohere": Case(
        clients.open_cohere,
        blocking.ask_cohere,
        "api.cohere.com/v2/chat",
        ("/v1/forward/cohere",),
        "",
        CohereError,
        _BY_ID["cohere/chat:json"],
        _BY_ID["cohere/chat:stream"],
        _BY_ID["cohere/chat:tool-call"],
    ),
    "groq": Case(
        clients.open_groq,
        blocking.ask_groq,
        "api.groq.com/openai/v1/chat/completions",
        ("/v1/forward?u=https://api.groq.com", "/v1/forward/groq"),
        "",
        groq.APIStatusError,
        _BY_ID["groq/all:json"],
        _BY_ID["groq/all:stream"],
        _BY_ID["groq/tools:tool-call"],
    ),
    "together": Case(
        clients.open_together,
        blocking.ask_together,
        "api.together.xyz/v1/chat/completions",
        ("/v1/forward?u=https://api.together.xyz/v1", "/v1/forward/together"),
        "/v1",
        together.APIStatusError,
        _BY_ID["together/chat:json"],
        _BY_ID["together/chat:stream"],
        _BY_ID["together/tools:tool-call"],
    ),
}
