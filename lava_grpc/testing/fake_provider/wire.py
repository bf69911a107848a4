"""Puts an answer on the wire: all at once, or slowly, in pieces, and badly."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus

from lava_grpc.testing.fake_provider.answer import Answer
from lava_grpc.testing.fake_provider.call import SeenCall
from lava_grpc.testing.fake_provider.connection import Connection
from lava_grpc.testing.fake_provider.fault import Fault

HUGE_BYTES_MAX = 256 * 1024 * 1024
"""The largest answer that can be asked for."""

_BLOCK_BYTES = 64 * 1024
_LAST_CHUNK = b"0\r\n\r\n"
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


def shaped(answer: Answer, fault: Fault) -> Answer:
    """`answer` in the size and encoding that `fault` asks for."""
    if fault.huge_bytes:
        answer = _padded(answer, min(fault.huge_bytes, HUGE_BYTES_MAX))
    return _zipped(answer) if fault.gzip else answer


def write(answer: Answer, connection: Connection) -> None:
    """Write all of it at once."""
    if answer.events is None:
        connection.write(_head(answer, length=len(answer.body)) + answer.body)
    else:
        chunks = map(_chunk, answer.events)
        connection.write(b"".join((_head(answer, length=None), *chunks, _LAST_CHUNK)))


async def play(
    answer: Answer, fault: Fault, call: SeenCall, connection: Connection, resumed: asyncio.Event
) -> None:
    """Write it as `fault` has it: late, in pieces, without an end, or not to its end."""
    await _pause(fault.delay_ms)
    if fault.pause_head:
        await resumed.wait()
    if fault.reset:
        connection.reset(call)
        return
    chunked = answer.events is not None or fault.bytewise or fault.endless
    connection.write(_head(answer, length=None if chunked else len(answer.body)))
    await _pause(fault.body_delay_ms)
    for number, piece in enumerate(_pieces(answer, fault)):
        if number == fault.cut_after:
            connection.cut(call)
            return
        if number == fault.pause_after:
            await resumed.wait()
        if number:
            await _pause(fault.chunk_delay_ms)
        connection.write(_chunk(piece) if chunked else piece)
        call.events_sent = number + 1
        call.changed()
        await connection.drain()
    if chunked:
        connection.write(_LAST_CHUNK)
    connection.answered(call)


async def _pause(milliseconds: int) -> None:
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)


def _head(answer: Answer, *, length: int | None) -> bytes:
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"{name}: {value}" for name, value in answer.headers]
    status = f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, '')}"
    return "\r\n".join((status, *lines, framing, "\r\n")).encode("latin-1")


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _pieces(answer: Answer, fault: Fault) -> Iterator[bytes]:
    bytewise = fault.bytewise
    if answer.events is not None:
        pieces = _endless(answer.events) if fault.endless else iter(answer.events)
    elif fault.endless:
        pieces = _endless((answer.body, b" " * _BLOCK_BYTES, b""))
    else:
        # A whole body is cut or held by the byte.
        bytewise = bytewise or fault.cut_after is not None or fault.pause_after is not None
        body = answer.body
        pieces = (body[at : at + _BLOCK_BYTES] for at in range(0, len(body), _BLOCK_BYTES))
    if not bytewise:
        return pieces
    return (piece[at : at + 1] for piece in pieces for at in range(len(piece)))


def _endless(events: tuple[bytes, ...]) -> Iterator[bytes]:
    """The first half, and then the event in the middle for ever."""
    middle = len(events) // 2
    yield from events[:middle]
    while True:
        yield events[middle]


def _padded(answer: Answer, size: int) -> Answer:
    if answer.events is not None:
        return replace(answer, events=(b": " + b"x" * size + b"\n\n", *answer.events))
    return replace(answer, body=answer.body[:-1] + b',"padding":"' + b"x" * size + b'"}')


def _zipped(answer: Answer) -> Answer:
    headers = (*answer.headers, ("content-encoding", "gzip"))
    if answer.events is None:
        return replace(answer, headers=headers, body=gzip.compress(answer.body, mtime=0))
    deflate = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    events = [deflate.compress(event) + deflate.flush(zlib.Z_SYNC_FLUSH) for event in answer.events]
    return replace(answer, headers=headers, events=(*events, deflate.flush()))
