"""OpenAI's embeddings, moderations and list of models."""

from __future__ import annotations

import base64
import struct
from typing import Any

from lava_grpc.testing.fake_provider import openai_errors as errors
from lava_grpc.testing.fake_provider.answer import (
    CREATED_SECONDS,
    Answer,
    Ask,
    json_answer,
    overlaid,
)
from lava_grpc.testing.fake_provider.words import tokens_in

MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-5",
    "o3",
    "text-embedding-3-small",
    "omni-moderation-latest",
)

_DIMENSIONS = 8
_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


def embeddings(ask: Ask) -> Answer:
    """POST /v1/embeddings."""
    model = errors.model_of(ask)
    texts = _texts(errors.needed(ask, "input"))
    tokens = sum(map(tokens_in, texts))
    dimensions = ask.limit("dimensions") or _DIMENSIONS
    packed = ask.body.get("encoding_format") == "base64"
    found = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _vector(text, dimensions, packed=packed),
        }
        for index, text in enumerate(texts)
    ]
    usage = overlaid({"prompt_tokens": tokens, "total_tokens": tokens}, ask.fault)
    stated = {} if ask.fault.no_usage else {"usage": usage}
    return json_answer({"object": "list", "data": found, "model": model, **stated})


def moderations(ask: Ask) -> Answer:
    """POST /v1/moderations: nothing is ever flagged."""
    texts = _texts(errors.needed(ask, "input"))
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0001),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    model = ask.body.get("model") or "omni-moderation-latest"
    ident = f"modr-{ask.serial:024d}"
    return json_answer({"id": ident, "model": model, "results": [result] * len(texts)})


def models(ask: Ask) -> Answer:
    """GET /v1/models."""
    del ask
    return json_answer({"object": "list", "data": [_model(ident) for ident in MODELS]})


def model(ask: Ask) -> Answer:
    """GET /v1/models/{model}."""
    return json_answer(_model(errors.existing(ask.model)))


def _model(ident: str) -> dict[str, Any]:
    return {"id": ident, "object": "model", "created": CREATED_SECONDS, "owned_by": "system"}


def _texts(given: object) -> list[Any]:
    # A list of numbers is one text, by its tokens.
    many = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
    return given if many and isinstance(given, list) else [given]


def _vector(text: object, dimensions: int, *, packed: bool) -> list[float] | str:
    start = tokens_in(text) % 7
    # Eighths, so that 32-bit floats hold them exactly.
    numbers = [((start + index) % 7 - 3) / 8 for index in range(dimensions)]
    if packed:
        return base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode()
    return numbers
