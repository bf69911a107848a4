"""The corpus against the types of the official SDKs: its shapes are the published ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic.types
import google.genai.types
import groq.types.chat
import mistralai.client.models
import openai.types
import openai.types.audio
import openai.types.chat
import openai.types.responses
import pytest
import together.types
import together.types.chat
from botocore.session import Session  # type: ignore[import-untyped]
from botocore.validate import ParamValidator  # type: ignore[import-untyped]
from pydantic import TypeAdapter

from tests.corpus import Pair, pairs

# By provider and flavor: the type of a JSON answer, and of each event of a stream.
_TYPES: dict[tuple[str, str], tuple[Any, Any]] = {
    ("openai", "chat"): (openai.types.chat.ChatCompletion, openai.types.chat.ChatCompletionChunk),
    ("openai", "responses"): (
        openai.types.responses.Response,
        openai.types.responses.ResponseStreamEvent,
    ),
    ("openai", "completions"): (openai.types.Completion, None),
    ("openai", "embeddings"): (openai.types.CreateEmbeddingResponse, None),
    ("openai", "images"): (openai.types.ImagesResponse, openai.types.ImageGenStreamEvent),
    ("openai", "video"): (openai.types.Video, None),
    ("openai", "batch"): (openai.types.Batch, None),
    ("anthropic", "messages"): (
        anthropic.types.Message,
        anthropic.types.RawMessageStreamEvent,
    ),
    ("anthropic", "batch"): (anthropic.types.messages.MessageBatch, None),
    ("groq", "chat"): (groq.types.chat.ChatCompletion, groq.types.chat.ChatCompletionChunk),
    ("together", "chat"): (
        together.types.chat.ChatCompletion,
        together.types.chat.ChatCompletionChunk,
    ),
    ("together", "rerank"): (together.types.RerankCreateResponse, None),
    ("mistral", "chat"): (
        mistralai.client.models.ChatCompletionResponse,
        mistralai.client.models.CompletionChunk,
    ),
    ("mistral", "ocr"): (mistralai.client.models.OCRResponse, None),
    ("mistral", "embeddings"): (mistralai.client.models.EmbeddingResponse, None),
    ("google", "generate"): (
        google.genai.types.GenerateContentResponse,
        google.genai.types.GenerateContentResponse,
    ),
}
# A shape of its own beside the endpoint's.
_OWN = frozenset(
    (
        "openai/responses:compact",
        "openai/images:edit-stream",
        # The SDK asks for base64 itself, and decodes it before it looks at types.
        "openai/embeddings:base64",
        # In the REST reference, and not in the SDK yet.
        "google/generate:flex-tier",
    )
)


def _typed() -> list[Pair]:
    known = [p for p in pairs() if (p.provider.id, p.read().flavor) in _TYPES and p.ok]
    return [p for p in known if p.id not in _OWN and "/compatible" not in p.id]


def _documents(pair: Pair) -> Iterator[Any]:
    if pair.kind != "text/event-stream":
        found = json.loads(pair.answer)
        yield from found if isinstance(found, list) else [found]
        return
    for line in pair.answer.splitlines():
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


@pytest.mark.parametrize("pair", _typed(), ids=str)
def test_an_answer_is_of_the_type_that_the_sdk_publishes(pair: Pair) -> None:
    whole, part = _TYPES[pair.provider.id, pair.read().flavor]
    kind = part if pair.kind == "text/event-stream" else whole
    if kind is None:
        pytest.skip("the SDK has no type for it")
    adapter = TypeAdapter(kind)
    for document in _documents(pair):
        # The SDKs drop a ping, and raise an error in a shape of its own, before they look at types.
        if document.get("type") != "ping" and not (document.get("error") and part is kind):
            adapter.validate_python(document)


_CONVERSE = [p for p in pairs() if p.read().flavor == "converse" and p.ok and not p.streamed]


@pytest.mark.parametrize("pair", _CONVERSE, ids=str)
def test_an_answer_of_bedrock_is_of_the_shape_in_its_service_model(pair: Pair) -> None:
    shape = Session().get_service_model("bedrock-runtime").shape_for("ConverseResponse")
    assert not ParamValidator().validate(json.loads(pair.answer), shape).has_errors()
