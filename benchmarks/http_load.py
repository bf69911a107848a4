"""HTTP/1.1 calls by hand, for as little processor time as there is."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from typing_extensions import override

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answered:
    """When the status line and the first byte of the body came, and the end; seconds."""

    status: int
    first_byte: float
    whole: float


class Caller(asyncio.Protocol):
    """One connection that makes one call at a time, over and over if `again` says so."""

    def __init__(self, again: Callable[[Answered], bool]) -> None:
        self._again = again
        self._request = b""
        self._read = b""
        self._begun = self._first = 0.0
        self._transport: asyncio.WriteTransport | None = None
        self.lost: Exception | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # libuv's loop has transports of its own class.
        self._transport = cast("asyncio.WriteTransport", transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc or ConnectionError("the server hung up")

    def call(self, request: bytes) -> None:
        """Begin."""
        self._request = request
        self._begun, self._first = time.perf_counter(), 0.0
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def begun_to_answer(self) -> bool:
        """Whether the first byte of the body has come."""
        return self._first > 0

    @override
    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0 or len(self._read) == end + 4:
            return
        now = time.perf_counter()
        self._first = self._first or now
        found = _LENGTH.search(self._read, 0, end + 2)
        if found is None:
            if not self._read.endswith(_LAST_CHUNK):
                return
        elif len(self._read) < end + 4 + int(found.group(1)):
            return
        status = int(self._read[9:12])
        self._read = b""
        answered = Answered(status, self._first - self._begun, now - self._begun)
        if self._again(answered):
            self.call(self._request)


def request(host: str, path: str, body: bytes, **headers: str) -> bytes:
    """A POST of JSON; underscores in header names stand for hyphens."""
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", "content-type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def connect(address: str, again: Callable[[Answered], bool]) -> Caller:
    """A connection to `host:port`."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    _, caller = await loop.create_connection(lambda: Caller(again), host, int(port))
    return caller


async def closed_loop(
    address: str, made: bytes, *, in_flight: int, seconds: float
) -> list[Answered]:
    """Every call that ended in time; raises RuntimeError for an answer other than 200."""
    answers: list[Answered] = []
    end = time.perf_counter() + seconds

    def again(answered: Answered) -> bool:
        answers.append(answered)
        return time.perf_counter() < end

    callers = [await connect(address, again) for _ in range(in_flight)]
    for caller in callers:
        caller.call(made)
    await asyncio.sleep(seconds)
    for caller in callers:
        if caller.lost is not None:
            raise caller.lost
        caller.close()
    bad = next((answered.status for answered in answers if answered.status != 200), None)  # noqa: PLR2004
    if bad is not None or not answers:
        raise RuntimeError(f"an answer with status {bad}" if bad else "no answer at all")
    return answers


async def one_at_a_time(address: str, made: bytes, *, calls: int) -> list[Answered]:
    """So many calls, one after the other."""
    answers: list[Answered] = []
    done = asyncio.Event()

    def again(answered: Answered) -> bool:
        answers.append(answered)
        if len(answers) < calls:
            return True
        done.set()
        return False

    caller = await connect(address, again)
    caller.call(made)
    async with asyncio.timeout(60):
        await done.wait()
    caller.close()
    return answers
