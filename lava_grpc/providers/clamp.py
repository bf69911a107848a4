"""Sending a call with a lower limit on its output than it asked for.

Each family keeps the limit in a place of its own. Nothing else of the body
changes: not its spaces, nor the order of its fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lava_grpc.providers import counts
from lava_grpc.providers.base import Call
from lava_grpc.providers.json_edit import spot_of
from lava_grpc.providers.output_limits import Path, places_of
from lava_grpc.providers.provider import Provider, Quirk

REASONING_OUTPUT_MIN = 16
"""The least that OpenAI's Responses take, and what a reasoning model can begin an answer with."""

# OpenAI's reasoning models refuse `max_tokens`, and all of its models take the newer name.
_NEWER_NAME = frozenset(("openai", "azure"))
_REASONING_MODELS = re.compile(r"(?:^|[/.])(?:o\d|gpt-[5-9])")
# Tokens that a model may think first; a limit must leave something beyond them.
_BUDGETS: tuple[Path, ...] = (
    ("thinking", "budget_tokens"),
    ("reasoning", "max_tokens"),
    ("additionalModelRequestFields", "thinking", "budget_tokens"),
    ("additionalModelRequestFields", "reasoning_config", "budget_tokens"),
    ("generationConfig", "thinkingConfig", "thinkingBudget"),
    ("generation_config", "thinking_config", "thinking_budget"),
)


@dataclass(frozen=True, slots=True)
class Clamp:
    """A body that waits for its limit; `tokens_min` is the least, for each of `choices`."""

    tokens_min: int
    choices: int
    pieces: tuple[bytes, ...] = field(repr=False)

    @property
    def total_min(self) -> int:
        """The least for all choices together."""
        return self.tokens_min * self.choices

    def per_choice(self, total: int) -> int:
        """The limit of each choice where `total` tokens are affordable."""
        return total // self.choices

    def body(self, tokens: int) -> bytes:
        """The body that limits each choice to `tokens`."""
        return str(tokens).encode().join(self.pieces)


def clamp_of(provider: Provider, call: Call, body: bytes) -> Clamp | None:
    """How the call's output can be limited; None where its endpoint or its body does not let it.

    `body` is the one to be sent. Takes time in proportion to it.
    """
    if call.body is None or not call.billable or Quirk.SEARCH_PARTS_APART in provider.quirks:
        return None
    paths = _paths(provider, call)
    if not paths:
        return None
    try:
        pieces = _pieces(body, paths)
    except (ValueError, IndexError, RecursionError):
        return None
    return Clamp(_least(call), call.choices, pieces)


def _paths(provider: Provider, call: Call) -> Sequence[Path]:
    """Where the limit goes: every place that states one, else the shape's own."""
    places = _places(call)
    stated = [path for path in places if counts.at(call.body, *path) is not None]
    if stated or not places:
        return stated
    if call.flavor == "chat" and provider.id in _NEWER_NAME:
        return [("max_completion_tokens",)]
    # Beside what the body says already, in its own spelling.
    beside = [path for path in places if len(path) > 1 and path[0] in (call.body or {})]
    return (beside or list(places))[:1]


def _places(call: Call) -> tuple[Path, ...]:
    # Embeddings and the like of Cohere have no output to limit.
    if call.flavor == "cohere" and not call.url.partition("?")[0].endswith(("chat", "generate")):
        return ()
    return places_of(call.flavor, call.model)


def _pieces(body: bytes, paths: Sequence[Path]) -> tuple[bytes, ...]:
    """The body cut where the limits go."""
    text = body.decode()
    spots = sorted([spot_of(text, path) for path in paths], key=lambda spot: spot.start)
    pieces: list[bytes] = []
    start, after = 0, ""
    for spot in spots:
        pieces.append((after + text[start : spot.start] + spot.before).encode())
        start, after = spot.end, spot.after
    return (*pieces, (after + text[start:]).encode())


def _least(call: Call) -> int:
    """The least limit that the provider takes and that leaves room for an answer."""
    body: Mapping[str, Any] = call.body or {}
    budget = max([counts.count(body, *path) or 0 for path in _BUDGETS])
    reasons = call.flavor == "responses" or (
        call.flavor == "chat" and _REASONING_MODELS.search((call.model or "").lower()) is not None
    )
    return max(budget + 1, REASONING_OUTPUT_MIN if reasons else 1)
