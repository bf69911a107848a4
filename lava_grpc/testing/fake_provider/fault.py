"""What can be made to go wrong, by code or by `x-fake-*` header.

| header | field | effect |
|---|---|---|
| x-fake-delay-ms | delay_ms | waits before the head of the answer |
| x-fake-body-delay-ms | body_delay_ms | waits between the head and the first byte of the body |
| x-fake-chunk-delay-ms | chunk_delay_ms | waits before each further chunk |
| x-fake-status | status | answers with this status, in the provider's error shape |
| x-fake-body | body | the body of that answer instead |
| x-fake-reset | reset | resets the connection before any byte |
| x-fake-cut-after | cut_after | closes the connection after so many events (bytes, if no stream) |
| x-fake-pause-head | pause_head | waits for `FakeProvider.resume` before the head of the answer |
| x-fake-pause-after | pause_after | after so many events waits for `FakeProvider.resume` |
| x-fake-endless | endless | the stream repeats its text for ever |
| x-fake-huge-bytes | huge_bytes | pads a JSON answer to about this size |
| x-fake-gzip | gzip | the answer is gzip-encoded, accepted or not |
| x-fake-no-usage | no_usage | states no usage |
| x-fake-no-done | no_done | the stream ends without its closing event |
| x-fake-bytewise | bytewise | every byte is a chunk of its own |
| x-fake-words | words | the answer has so many words |
| x-fake-usage | usage | JSON, laid over the stated usage object |

Flags are set by any value but `0`, `false` or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

PREFIX = "x-fake-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How an answer departs from the plain one; by default in nothing."""

    delay_ms: int = 0
    body_delay_ms: int = 0
    chunk_delay_ms: int = 0
    status: int | None = None
    body: str | None = None
    reset: bool = False
    cut_after: int | None = None
    pause_head: bool = False
    pause_after: int | None = None
    endless: bool = False
    huge_bytes: int = 0
    gzip: bool = False
    no_usage: bool = False
    no_done: bool = False
    bytewise: bool = False
    words: int | None = None
    usage: Mapping[str, Any] | None = None

    @property
    def plays(self) -> bool:
        """Whether the answer takes time or ends badly, so that it cannot be written at once."""
        return bool(
            self.delay_ms
            or self.body_delay_ms
            or self.chunk_delay_ms
            or self.reset
            or self.cut_after is not None
            or self.pause_head
            or self.pause_after is not None
            or self.endless
            or self.huge_bytes
            or self.bytewise
        )


NONE = Fault()

_NUMBERS = frozenset(
    (
        "delay_ms",
        "body_delay_ms",
        "chunk_delay_ms",
        "status",
        "cut_after",
        "pause_after",
        "huge_bytes",
        "words",
    )
)
_FLAGS = frozenset(("reset", "pause_head", "endless", "gzip", "no_usage", "no_done", "bytewise"))


def with_headers(fault: Fault, headers: Iterable[tuple[str, str]]) -> Fault:
    """`fault` with what `headers` (lower-case names) ask for. Raises ValueError on nonsense."""
    asked = {
        name[len(PREFIX) :].replace("-", "_"): value
        for name, value in headers
        if name.startswith(PREFIX)
    }
    if not asked:
        return fault
    return replace(fault, **{name: _value(name, text) for name, text in asked.items()})


def _value(name: str, text: str) -> Any:  # noqa: ANN401 - of the field's own type
    if name in _NUMBERS:
        return int(text)
    if name in _FLAGS:
        return text.lower() not in ("", "0", "false")
    if name == "usage":
        return json.loads(text)
    if name == "body":
        return text
    raise ValueError(f"no such header: {PREFIX}{name.replace('_', '-')}")
