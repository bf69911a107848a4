"""The taps: they hand an answer's bytes on, and read its usage on the side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from lava_grpc.providers import counts
from lava_grpc.providers.base import Call, UsageReading, UsageTap
from lava_grpc.providers.decoding import Decoder, decoder_for
from lava_grpc.providers.eventstream import EventStreamSplitter
from lava_grpc.providers.flavors import LINE_FLAVORS, flavor_at
from lava_grpc.providers.framing import ArraySplitter, LineSplitter
from lava_grpc.providers.provider import Provider, Quirk
from lava_grpc.providers.reader import Reader
from lava_grpc.providers.sse import SseSplitter, comments_of, parse_event

ANSWER_BYTES_MAX = 32 * 1024 * 1024
"""The largest JSON answer that is kept for reading; a larger one passes unread."""

_OK_STATUS = range(200, 300)
# Within a string its quotes would be escaped.
_NULL_USAGE = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])')
_LINES = ("ndjson", "jsonl", "json-seq", "stream+json", "json-lines")


class Side(Protocol):
    """What reads plain answer bytes and hands nothing back."""

    def feed(self, plain: bytes) -> None:
        """Read the next bytes."""
        ...

    def finish(self) -> None:
        """Read what is left; the answer has ended."""
        ...


def make_tap(provider: Provider, call: Call, status: int, headers: Mapping[str, str]) -> UsageTap:
    """The tap for one answer. Header names in any case.

    Only a tap for a call with `usage_injected` ever holds bytes back, and then
    no more than the event that is not complete yet.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    reader = flavor_at(provider, call.flavor).reader(provider, call)
    if status not in _OK_STATUS:
        reader.failed = True
        reader.note = f"the provider answered {status}"
        return PassingTap(reader, None, None)
    reader.headers(lower)
    encoding = lower.get("content-encoding", "identity").strip().lower() or "identity"
    kind = lower.get("content-type", "").partition(";")[0].strip().lower()
    if encoding == "identity" and call.usage_injected and _is_sse(kind, call):
        return StrippingTap(reader)
    decoder = None if encoding == "identity" else decoder_for(encoding)
    if encoding != "identity" and decoder is None:
        reader.note = f"content-encoding {encoding[:20]} cannot be read"
        return PassingTap(reader, None, None)
    return PassingTap(reader, _side(reader, kind, call), decoder)


def _is_sse(kind: str, call: Call) -> bool:
    return kind == "text/event-stream" or (not kind and call.stream)


def _side(reader: Reader, kind: str, call: Call) -> Side:
    if _is_sse(kind, call):
        return _SseSide(reader)
    if kind == "application/vnd.amazon.eventstream":
        return _EventStreamSide(reader)
    if call.flavor in LINE_FLAVORS or any(part in kind for part in _LINES):
        return _ItemsSide(reader, LineSplitter())
    if kind and "json" not in kind:
        return _SniffingSide(reader, call) if _may_be_text(kind) else _OpaqueSide(reader)
    if call.stream and call.flavor == "generate":
        return _ItemsSide(reader, ArraySplitter())
    return _DocumentSide(reader)


def _may_be_text(kind: str) -> bool:
    # Some hosts label JSON and event streams as plain text, or as nothing in particular.
    return kind.startswith("text/") or kind.endswith("/octet-stream")


class PassingTap:
    """Hands every byte on at once, untouched, and reads a copy."""

    def __init__(self, reader: Reader, side: Side | None, decoder: Decoder | None) -> None:
        self._reader = reader
        self._side = side
        self._decoder = decoder

    def feed(self, chunk: bytes) -> bytes:
        """See `UsageTap.feed`."""
        if self._side is None:
            return chunk
        if self._decoder is None:
            self._side.feed(chunk)
        else:
            for plain in self._decoder.feed(chunk):
                self._side.feed(plain)
        return chunk

    def finish(self) -> bytes:
        """See `UsageTap.finish`."""
        side, self._side = self._side, None
        if side is not None:
            side.finish()
            self._reader.ended()
        return b""

    def reading(self) -> UsageReading:
        """See `UsageTap.reading`."""
        return self._reader.reading()


class StrippingTap:
    """Takes what the gateway asked for out of an SSE stream.

    That is the chunk with the usage and, where the host adds one only when asked,
    the `"usage":null` of every other chunk: the client gets the bytes that it would
    have had without us. A null that a host sends anyway stays.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._splitter = SseSplitter()
        self._nulls = Quirk.NULL_USAGE_IF_ASKED in reader.provider.quirks
        # Whether the last event was taken out: the LF of its closing CRLF may still come.
        self._dropped = False

    def feed(self, chunk: bytes) -> bytes:
        """See `UsageTap.feed`."""
        return b"".join([self._passed(block) for block in self._splitter.feed(chunk)])

    def finish(self) -> bytes:
        """See `UsageTap.finish`."""
        rest = self._splitter.rest()
        passed = self._passed(rest) if rest else b""
        self._reader.ended()
        return passed

    def reading(self) -> UsageReading:
        """See `UsageTap.reading`."""
        return self._reader.reading()

    def _passed(self, block: bytes) -> bytes:
        if block == b"\n" and self._dropped:
            self._dropped = False
            return b""
        name, data = parse_event(block)
        self._dropped = bool(data) and self._reader.event(name, data)
        if self._dropped:
            return comments_of(block)
        return _NULL_USAGE.sub(b"", block, count=1) if self._nulls and data else block


class _SseSide:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._splitter = SseSplitter()

    def feed(self, plain: bytes) -> None:
        for block in self._splitter.feed(plain):
            self._read(block)

    def finish(self) -> None:
        # The standard drops an event that no blank line closes; its usage was used all the same.
        self._read(self._splitter.rest())
        if self._splitter.too_large:
            self._reader.note = "an event was too large to read"

    def _read(self, block: bytes) -> None:
        name, data = parse_event(block)
        if data:
            self._reader.event(name, data)


class _EventStreamSide:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._splitter = EventStreamSplitter()

    def feed(self, plain: bytes) -> None:
        for message in self._splitter.feed(plain):
            headers = message.headers
            name = headers.get(":event-type") or headers.get(":exception-type") or "error"
            self._reader.event(name.encode(), message.payload)

    def finish(self) -> None:
        if self._splitter.broken:
            self._reader.note = "the event stream was malformed"
        if self._splitter.broken or self._splitter.pending():
            self._reader.complete = False


class _ItemsSide:
    def __init__(self, reader: Reader, splitter: LineSplitter | ArraySplitter) -> None:
        self._reader = reader
        self._splitter = splitter

    def feed(self, plain: bytes) -> None:
        for item in self._splitter.feed(plain):
            self._reader.event(b"", item)

    def finish(self) -> None:
        rest = self._splitter.rest()
        if rest:
            self._reader.event(b"", rest)
        if self._splitter.too_large:
            self._reader.note = "an item was too large to read"


class _DocumentSide:
    """A JSON document, kept up to a limit and read at its end."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._kept: list[bytes] = []
        self._left = ANSWER_BYTES_MAX

    def feed(self, plain: bytes) -> None:
        self._left -= len(plain)
        if self._left >= 0:
            self._kept.append(plain)
        else:
            self._kept.clear()

    def finish(self) -> None:
        if self._left < 0:
            self._reader.note = "the answer was too large to read"
            return
        raw = b"".join(self._kept)
        self._kept.clear()
        document = counts.parse_json(raw)
        if isinstance(document, list):
            # Some of Google's errors come as a list of one.
            document = document[0] if len(document) == 1 else None
        self._reader.complete = document is not None
        if isinstance(document, Mapping):
            self._reader.document(document)
        elif raw:
            self._reader.output_bytes = len(raw)
            self._reader.note = "the answer ended early" if document is None else None


class _OpaqueSide:
    """Sound, pictures, text: counted and not read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._bytes = 0

    def feed(self, plain: bytes) -> None:
        self._bytes += len(plain)

    def finish(self) -> None:
        self._reader.complete = True
        self._reader.extra["answer_bytes"] = str(self._bytes)


class _SniffingSide:
    """Looks at the first bytes to see what a vague content type stands for."""

    def __init__(self, reader: Reader, call: Call) -> None:
        self._reader = reader
        self._call = call
        self._side: Side | None = None

    def feed(self, plain: bytes) -> None:
        if self._side is None:
            if not plain.strip():
                return
            self._side = self._seen_as(plain.lstrip())
        self._side.feed(plain)

    def finish(self) -> None:
        (self._side or _OpaqueSide(self._reader)).finish()

    def _seen_as(self, plain: bytes) -> Side:
        if plain.startswith(b"{"):
            return _DocumentSide(self._reader)
        if self._call.stream and plain.startswith((b"data:", b"event:", b":")):
            return _SseSide(self._reader)
        return _OpaqueSide(self._reader)
