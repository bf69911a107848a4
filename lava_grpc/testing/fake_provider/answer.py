"""An answer before it is put on the wire, and what it is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lava_grpc.testing.fake_provider.fault import NONE, Fault

CREATED_SECONDS = 1_767_225_600
"""When everything was made: 2026-01-01T00:00:00Z, so that answers compare equal."""

# `json.dumps` would make one for every call.
_ENCODER = json.JSONEncoder(separators=(",", ":"))

_JSON = (("content-type", "application/json"),)
_SSE = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that was let in and parsed."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]
    query: str = ""
    # The model in the path, where it stands there.
    model: str = ""
    # Counts calls; ids are made of it.
    serial: int = 0
    fault: Fault = field(default=NONE)

    def limit(self, *names: str) -> int | None:
        """The first of these fields that holds a number."""
        return next((v for name in names if isinstance(v := self.body.get(name), int)), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and headers, and either a whole body or a stream of events."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = _JSON
    body: bytes = b""
    events: tuple[bytes, ...] | None = None


class RefusedError(Exception):
    """The provider says no: carries its answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def encode(document: object) -> bytes:
    """Compact JSON."""
    return _ENCODER.encode(document).encode()


def json_answer(document: object, *, status: int = 200) -> Answer:
    """A JSON answer."""
    return Answer(status, _JSON, encode(document))


def sse_answer(events: list[bytes]) -> Answer:
    """A stream of server-sent events, each complete."""
    return Answer(200, _SSE, events=tuple(events))


def data_event(document: object) -> bytes:
    """An event of data alone."""
    return b"data: " + encode(document) + b"\n\n"


def named_event(document: Mapping[str, Any]) -> bytes:
    """An event that is named by its document's `type`."""
    return f"event: {document['type']}\ndata: ".encode() + encode(document) + b"\n\n"


def overlaid(usage: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """The usage to state: `fault.usage` laid over it, objects in it merged."""
    for key, value in (fault.usage or {}).items():
        mine = usage.get(key)
        usage[key] = (
            {**mine, **value} if isinstance(mine, dict) and isinstance(value, dict) else value
        )
    return usage
