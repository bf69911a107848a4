"""Usage of Cohere's own endpoints, v1 and v2: chat, embed, rerank, classify.

Source of the shapes: the official SDK's types and recorded traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.providers import counts
from lava_grpc.providers.openai import OpenAIReader
from lava_grpc.providers.reader import Reader, text_pattern

_ENDS = frozenset((b"message-end", b"stream-end"))


class CohereReader(Reader):
    """Billed units, which v2 keeps under `usage` and v1 under `meta`.

    Cohere states two counts: `billed_units`, which it charges for, and `tokens`,
    which includes its own prompt around the caller's. The first is the usage.
    `cached_tokens` belongs to the second and can exceed the first, so it is only
    remembered beside it, as `tokens` are; genai-prices' main extractor reads the
    same count.
    """

    text = text_pattern("text", "thinking", "arguments", "tool_plan")

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.name(document)
        self.response_id = self.response_id or counts.text(document.get("generation_id"))
        for units in (document.get("usage"), document.get("meta")):
            self._units(units)

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        del name
        if b'"usage"' not in data and b'"billed_units"' not in data:
            self.add_text(data)
        if b'"message-start"' in data or b'"stream-start"' in data:
            self.name(counts.parse_json(data))
        elif any(b'"' + end + b'"' in data for end in _ENDS):
            event = counts.parse_json(data)
            self._units(counts.at(event, "delta", "usage"))
            self._units(counts.at(event, "response", "meta"))
            reason = counts.at(event, "delta", "finish_reason") or counts.at(event, "finish_reason")
            self.failed = reason == "ERROR"
            self.complete = True
        return False

    def _units(self, usage: object) -> None:
        billed = counts.at(usage, "billed_units")
        if not isinstance(billed, Mapping):
            return
        pictures = counts.count(billed, "image_tokens")
        searches = counts.count(billed, "search_units")
        fresh = counts.count(billed, "input_tokens")
        self.stated = True
        if fresh is not None or pictures is not None:
            self.state(input_tokens=(fresh or 0) + (pictures or 0))
        self.state(
            output_tokens=counts.count(billed, "output_tokens"),
            input_image_tokens=pictures,
            search_units=searches,
            images=counts.count(billed, "images"),
        )
        for key, path in (
            ("tokens_input", ("tokens", "input_tokens")),
            ("tokens_output", ("tokens", "output_tokens")),
            ("tokens_cached", ("cached_tokens",)),
        ):
            if (found := counts.count(usage, *path)) is not None:
                self.extra[key] = str(found)


class RerankReader(OpenAIReader):
    """Rerank on other hosts: tokens, or Cohere's search units."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        super().document(document)
        units = counts.count(document, "meta", "billed_units", "search_units")
        if units is not None:
            self.stated = True
            self.state(search_units=units)
        tokens = counts.count(document, "meta", "tokens", "input_tokens")
        if tokens is not None and not self.stated:
            self.stated = True
            self.state(input_tokens=tokens)
