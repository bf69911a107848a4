"""Streams cut apart: SSE, lines, arrays, AWS messages; wherever chunks are cut."""

from __future__ import annotations

import json
import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.providers.eventstream import EventStreamSplitter
from lava_grpc.providers.framing import ArraySplitter, LineSplitter
from lava_grpc.providers.sse import SseSplitter, comments_of, parse_event
from tests.unit.providers.steady import steady


def _chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


cuts = st.lists(st.integers(0, 400), max_size=12)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
FIELDS = st.sampled_from([b"data: {}", b"data:x", b": note", b"event: ping", b"", b"id: 1"])


@steady
@given(st.lists(st.tuples(FIELDS, LINE_ENDS), max_size=20), cuts)
def test_the_blocks_of_a_stream_are_its_bytes(
    lines: list[tuple[bytes, bytes]], where: list[int]
) -> None:
    stream = b"".join(line + end for line, end in lines)
    splitter = SseSplitter()
    blocks = [block for chunk in _chunks(stream, where) for block in splitter.feed(chunk)]
    assert b"".join(blocks) + splitter.rest() == stream


@steady
@given(st.lists(LINE_ENDS, min_size=6, max_size=6), cuts)
def test_events_are_found_with_any_line_end_and_any_cut(
    ends: list[bytes], where: list[int]
) -> None:
    a, b, c, d, e, f = ends
    if a == b"\r" and b == b"\n":
        b = b"\r"  # the two would be one line end
    if d == b"\r" and e == b"\n":
        e = b"\r"
    stream = b"event: one" + c + b"data: 1" + a + b + b"data: 2" + f + b"data: 3" + d + e
    splitter = SseSplitter()
    blocks = [block for chunk in _chunks(stream, where) for block in splitter.feed(chunk)]
    blocks.append(splitter.rest())
    assert [event for event in map(parse_event, blocks) if event[1]] == [
        (b"one", b"1"),
        (b"", b"2\n3"),
    ]


@pytest.mark.parametrize(
    ("block", "event"),
    [
        (b"data: x\n\n", (b"", b"x")),
        (b"data:x\r\n\r\n", (b"", b"x")),
        (b"data:  x\n\n", (b"", b" x")),
        (b"\xef\xbb\xbfdata: x\n\n", (b"", b"x")),
        (b"event: e\ndata: x\nid: 4\nretry: 1\n\n", (b"e", b"x")),
        (b": comment\ndata\n\n", (b"", b"")),
        (b"data: x", (b"", b"x")),
        (b"", (b"", b"")),
    ],
)
def test_an_event_is_read_as_the_standard_says(block: bytes, event: tuple[bytes, bytes]) -> None:
    assert parse_event(block) == event


def test_comments_are_kept_byte_for_byte() -> None:
    assert comments_of(b": a\r\ndata: x\r\n: b\n\n") == b": a\r\n: b\n"


def test_an_event_beyond_the_limit_passes_unread() -> None:
    splitter = SseSplitter(event_bytes_max=10)
    blocks = splitter.feed(b"data: 123456789")
    assert splitter.too_large
    assert blocks == [b"data: 123456789"]
    assert splitter.rest() == b""


@steady
@given(st.lists(st.sampled_from([b'{"a":1}', b"", b"  ", b'{"b":"x"}\r']), max_size=10), cuts)
def test_lines_are_found_at_any_cut(lines: list[bytes], where: list[int]) -> None:
    splitter = LineSplitter()
    found = [line for chunk in _chunks(b"\n".join(lines), where) for line in splitter.feed(chunk)]
    rest = splitter.rest()
    assert found + ([rest] if rest else []) == [line for line in lines if line.strip()]


def test_a_line_beyond_the_limit_is_dropped() -> None:
    splitter = LineSplitter(item_bytes_max=5)
    assert splitter.feed(b"123456") == []
    assert splitter.too_large


JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "\\", "{", "}\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@steady
@given(st.lists(st.dictionaries(st.text(max_size=5), JSON_VALUES), max_size=5), cuts)
def test_the_items_of_an_array_are_found_at_any_cut(items: list[object], where: list[int]) -> None:
    splitter = ArraySplitter()
    raw = json.dumps(items, indent=1).encode()
    found = [item for chunk in _chunks(raw, where) for item in splitter.feed(chunk)]
    assert [json.loads(item) for item in found] == items


def test_an_item_beyond_the_limit_ends_the_reading() -> None:
    splitter = ArraySplitter(item_bytes_max=10)
    assert splitter.feed(b'[{"a":"0123456789') == []
    assert splitter.too_large
    assert splitter.feed(b'"},{"b":1}]') == []


def message(headers: dict[str, str], payload: bytes, extra: bytes = b"") -> bytes:
    """An AWS message. `extra` are further encoded headers."""
    raw = b"".join(
        bytes([len(name)])
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    raw += extra
    prelude = struct.pack(">II", 16 + len(raw) + len(payload), len(raw))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + raw + payload
    return body + struct.pack(">I", zlib.crc32(body))


@steady
@given(st.lists(st.binary(max_size=40), max_size=4), cuts)
def test_aws_messages_are_found_at_any_cut(payloads: list[bytes], where: list[int]) -> None:
    stream = b"".join(message({":event-type": "chunk"}, payload) for payload in payloads)
    splitter = EventStreamSplitter()
    found = [item for chunk in _chunks(stream, where) for item in splitter.feed(chunk)]
    assert [item.payload for item in found] == payloads
    assert all(item.headers == {":event-type": "chunk"} for item in found)
    assert not splitter.broken
    assert not splitter.pending()


def test_headers_of_other_types_are_stepped_over() -> None:
    flag, number, data = b"\x01t\x00", b"\x01l\x05" + bytes(8), b"\x01b\x06\x00\x02hi"
    extra = flag + number + data + b"\x01u\x09" + bytes(16)
    (found,) = EventStreamSplitter().feed(message({"a": "b"}, b"{}", extra))
    assert found.headers == {"a": "b", "b": "hi"}


DAMAGED = message({":event-type": "metadata"}, b'{"usage":{"inputTokens":1}}')


@pytest.mark.parametrize("at", range(len(DAMAGED)))
def test_a_damaged_message_is_never_read(at: int) -> None:
    for bit in range(8):
        raw = bytearray(DAMAGED)
        raw[at] ^= 1 << bit
        splitter = EventStreamSplitter()
        assert splitter.feed(bytes(raw)) == []
        assert splitter.broken
        assert splitter.feed(message({}, b"{}")) == []


def test_a_message_that_did_not_end_is_pending() -> None:
    splitter = EventStreamSplitter()
    assert splitter.feed(message({}, b"{}")[:-1]) == []
    assert splitter.pending()
    assert not splitter.broken
