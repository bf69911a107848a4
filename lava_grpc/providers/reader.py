"""The base of all usage readers: what a wire family overrides to read its answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from lava_grpc.core.usage import NOTHING, Usage
from lava_grpc.providers import counts
from lava_grpc.providers.base import Call, JobSeen, UsageReading
from lava_grpc.providers.provider import Provider

# One JSON string, its escapes left as they are.
_STRING = rb'\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"'


def text_pattern(*keys: str) -> re.Pattern[bytes]:
    """A pattern that finds the string values of `keys` in an event, without parsing it."""
    return re.compile(rb'"(?:' + b"|".join(key.encode() for key in keys) + rb')"' + _STRING)


class Reader:
    """Collects what one answer says of itself. Never raises on what it is fed.

    A family overrides `document` (a whole JSON answer), `event` (one event of a
    stream) and `headers`, and writes what it finds into the attributes below.
    """

    # Where the answer's text stands in a stream's events.
    text: ClassVar[re.Pattern[bytes]] = text_pattern("text", "content", "delta")

    def __init__(self, provider: Provider, call: Call) -> None:
        self.provider = provider
        self.call = call
        self.counts: dict[str, int] = {}
        self.stated = False
        self.model: str | None = None
        self.response_id: str | None = None
        self.stated_cost: str | None = None
        self.complete = False
        self.failed = False
        self.output_bytes = 0
        self.note: str | None = None
        self.extra: dict[str, str] = {}
        self.job: JobSeen | None = None

    def headers(self, headers: Mapping[str, str]) -> None:
        """Read the answer's headers, names in lower case. Called first."""

    def document(self, document: Mapping[str, Any]) -> None:
        """Read a whole JSON answer."""

    def event(self, name: bytes, data: bytes) -> bool:
        """Read one event of a stream; True if it is nothing but the usage we asked for."""
        del name, data
        return False

    def ended(self) -> None:
        """The answer ended as its transport says; called before the last `reading`."""

    def add_text(self, data: bytes) -> None:
        """Count the output text in an event, in UTF-8 bytes."""
        for found in self.text.findall(data):
            if b"\\" in found:
                unescaped = counts.parse_json(b'"' + found + b'"')
                plain = unescaped if isinstance(unescaped, str) else ""
                self.output_bytes += len(plain.encode("utf-8", "replace"))
            else:
                self.output_bytes += len(found)

    def state(self, **stated: int | None) -> None:
        """Take over stated counts. The last statement of a field wins; None states nothing."""
        for name, value in stated.items():
            if value is not None:
                self.counts[name] = value

    def remember(self, key: str, value: object) -> None:
        """Keep a short fact beside the usage, where there is one."""
        if (kept := counts.text(value)) is not None:
            self.extra[key] = kept

    def name(self, document: object, *, model: str = "model", ident: str = "id") -> None:
        """Take over the model and the id that `document` names."""
        self.model = counts.text(counts.at(document, model)) or self.model
        self.response_id = counts.text(counts.at(document, ident)) or self.response_id

    def _asked(self) -> Usage:
        """What the request alone says of the usage; nothing where nothing was done for it."""
        idle = self.failed or self.call.job_id is not None
        return NOTHING if idle else self.call.request_usage

    def reading(self) -> UsageReading:
        """What is known so far."""
        return UsageReading(
            usage=Usage(**self.counts) if self.counts else self._asked(),
            stated=self.stated,
            model=self.model,
            response_id=self.response_id,
            stated_cost=self.stated_cost,
            complete=self.complete,
            failed=self.failed,
            output_bytes_seen=self.output_bytes,
            note=self.note,
            extra=dict(self.extra),
            job=self.job,
        )
