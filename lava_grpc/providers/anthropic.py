"""Usage in the shape of Anthropic's messages.

Source of the shapes: the official SDK's types, the published streaming and
compaction guides, and recorded traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.providers import counts
from lava_grpc.providers.reader import Reader, text_pattern

_FIELDS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "server_tool_use",
    "output_tokens_details",
    "iterations",
    "service_tier",
    "speed",
    "inference_geo",
)
_INPUT = (
    ("input_tokens",),
    ("cache_creation_input_tokens",),
    ("cache_read_input_tokens",),
)


class MessagesReader(Reader):
    """A message, as JSON or as a stream.

    In a stream `message_start` states usage first and each `message_delta`
    states running totals; a field that a later event leaves out keeps its value.
    """

    text = text_pattern("text", "thinking", "partial_json")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._fields: dict[str, object] = {}

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.name(document)
        if document.get("type") == "error":
            self.failed = True
        self.usage(document.get("usage"))

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        # Streams without `event:` lines carry the type inside.
        kind = name or b""
        if kind == b"content_block_delta" or (not kind and b'"content_block_delta"' in data):
            self.add_text(data)
        elif kind in _READ_EVENTS or (not kind and b'"message_' in data) or b'"error"' in data:
            self.message_event(counts.parse_json(data))
        return False

    def message_event(self, event: object) -> None:
        """Read one event of a stream, parsed."""
        match counts.at(event, "type"):
            case "message_start":
                self.name(counts.at(event, "message"))
                self.usage(counts.at(event, "message", "usage"))
            case "message_delta":
                self.usage(counts.at(event, "usage"))
            case "message_stop":
                self.complete = True
            case "error":
                self.failed = True
            case _:
                pass

    def usage(self, usage: object) -> None:
        """Take over a `usage` object, field by field."""
        if not isinstance(usage, Mapping):
            return
        for key in _FIELDS:
            if usage.get(key) is not None:
                self._fields[key] = usage[key]
        fields = self._fields
        if counts.count(fields, "input_tokens") is None and "output_tokens" not in fields:
            return
        self.stated = True
        # OpenRouter states its price in this shape too.
        self.stated_cost = counts.amount_text(usage.get("cost")) or self.stated_cost
        self._count(_billed(fields))
        self._facts(fields)

    def _count(self, parts: list[Mapping[str, object]]) -> None:
        def total(*paths: tuple[str, ...]) -> int:
            return sum(counts.total_of(part, *paths) for part in parts)

        # `input_tokens` leaves out what was read from and written to the cache.
        self.state(
            input_tokens=total(*_INPUT),
            output_tokens=total(("output_tokens",)),
            cache_read_tokens=total(("cache_read_input_tokens",)),
            cache_write_tokens=total(("cache_creation_input_tokens",)),
            cache_write_1h_tokens=total(("cache_creation", "ephemeral_1h_input_tokens")),
        )

    def _facts(self, fields: Mapping[str, object]) -> None:
        self.state(
            reasoning_tokens=counts.count(fields, "output_tokens_details", "thinking_tokens"),
            web_searches=counts.count(fields, "server_tool_use", "web_search_requests"),
        )
        for key in ("service_tier", "speed", "inference_geo"):
            self.remember(key, fields.get(key))
        if self.extra.get("service_tier") == "batch":
            self.extra["processing"] = "batch"


_READ_EVENTS = frozenset((b"message_start", b"message_delta", b"message_stop", b"error"))


def _billed(fields: Mapping[str, object]) -> list[Mapping[str, object]]:
    """The parts whose sum is billed.

    Where a call compacted its context, or went through several rounds, the
    totals at the top leave the compaction out and `iterations` lists every
    round; Anthropic bills their sum. genai-prices reads the top alone. A round
    of another model (an advisor) is priced by that model and is left out here.
    """
    iterations = fields.get("iterations")
    rounds = iterations if isinstance(iterations, list) else []
    compactions = [r for r in rounds if counts.at(r, "type") == "compaction"]
    return [fields, *compactions]
