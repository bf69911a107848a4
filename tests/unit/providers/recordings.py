"""Recorded provider traffic, for tests that replay it; absent on most machines."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.provider import Provider
from lava_grpc.providers.registry import Registry, make_tap, prepare_body, read_call

PLACE = "LAVA_RECORDED_TRAFFIC"
_DEFAULT = Path(__file__).parents[4] / "shared/data/recorded-provider-traffic.jsonl"
FILE = Path(os.environ.get(PLACE, _DEFAULT))

needs_recordings = pytest.mark.skipif(
    not FILE.exists(), reason=f"no recorded provider traffic; {PLACE} says where it is"
)
_REGISTRY = Registry()


@dataclass(frozen=True)
class Recording:
    """One recorded call and its answer."""

    number: int
    method: str
    url: str
    request: bytes
    status: int
    content_type: str
    answer: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def provider(self) -> Provider:
        found = _REGISTRY.by_host(urlsplit(self.url).hostname or "")
        assert found is not None, self.url
        return found

    @property
    def streamed(self) -> bool:
        return "json" not in self.content_type

    def read(self) -> Call:
        """The call as the gateway reads it."""
        headers = {"Content-Type": "application/json"}
        return read_call(self.provider, self.method, self.url, headers, self.request)

    def replay(self, call: Call, chunks: list[bytes]) -> tuple[bytes, UsageReading]:
        """The bytes that the client gets, and what was read."""
        tap = make_tap(self.provider, call, self.status, {"Content-Type": self.content_type})
        passed = b"".join([tap.feed(chunk) for chunk in chunks]) + tap.finish()
        return passed, tap.reading()

    def whole(self) -> tuple[Call, UsageReading]:
        """The call, and the reading of its answer in one piece."""
        call, _ = prepare_body(self.provider, self.read(), self.request)
        return call, self.replay(call, [self.answer])[1]

    def document(self) -> Any:  # noqa: ANN401 - JSON is anything
        """The answer as JSON."""
        return json.loads(self.answer)

    def sse(self) -> list[Any]:
        """The JSON of each event of an SSE answer, read line by line."""
        lines = self.answer.decode().replace("\r\n", "\n").split("\n")
        found = [line[5:].strip() for line in lines if line.startswith("data:")]
        return [json.loads(data) for data in found if data and data != "[DONE]"]


@lru_cache(maxsize=1)
def recordings() -> tuple[Recording, ...]:
    """Every recording; none where the file is absent."""
    if not FILE.exists():
        return ()
    with FILE.open() as lines:
        return tuple(_recording(number, json.loads(line)) for number, line in enumerate(lines))


def _recording(number: int, raw: dict[str, Any]) -> Recording:
    answer = raw.get("response")
    encoded = raw.get("response_b64")
    return Recording(
        number=number,
        method=raw["method"],
        url=raw["url"],
        request=_bytes(raw["request"]),
        status=raw["status"],
        content_type=raw["content_type"] or "",
        answer=base64.b64decode(encoded) if encoded else _bytes(answer),
    )


def _bytes(value: object) -> bytes:
    if value is None:
        return b""
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def cut(data: bytes, size: int) -> list[bytes]:
    """`data` in pieces of `size`."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def ids(recording: Recording) -> str:
    """A test id: the number, the provider, the end of the path."""
    return f"{recording.number}-{recording.provider.id}-{urlsplit(recording.url).path[-24:]}"
