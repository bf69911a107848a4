"""The seam between the gateway and a provider's wire format.

A provider's JSON stops here: the gateway sees a `Call` (what was asked for), a
`UsageTap` (which reads the answer on its way past) and a `UsageReading` (what
was used). Nothing in this package does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from lava_grpc.core.usage import NOTHING, Usage


@dataclass(frozen=True, slots=True)
class Call:
    """What a provider call asks for, as far as billing cares."""

    provider: str  # registry id, e.g. "openai"
    flavor: str  # the endpoint's shape within its family, e.g. "chat", "responses", "embeddings"
    method: str
    url: str
    model: str | None = None
    stream: bool = False
    output_tokens_max: int | None = None  # the request's own limit on output tokens, per choice
    choices: int = 1  # how many answers the provider will generate (n)
    # True where the gateway added a request for usage to the body, so that the extra
    # chunk has to be taken out of the stream again.
    usage_injected: bool = False
    # False for calls that use nothing billable (list models, count tokens).
    billable: bool = True
    # Prices of this call in the catalogue, where they are not the provider's own (a router
    # that names the host behind it in the path). None: `Provider.price_provider`.
    price_provider: str | None = None
    # Set where the answer tells of work that an earlier call started (a background
    # response, a batch): such usage is charged once per job, however often it is fetched.
    job_id: str | None = None
    # The request asks for work that goes on after the answer.
    background: bool = False
    request_usage: Usage = NOTHING  # units already known from the request (characters to speak)
    body: Mapping[str, Any] | None = None  # parsed JSON body, None for other content
    service_tier: str | None = None  # as the request asks for it, in lower case


class JobState(StrEnum):
    """How far work has come that goes on after the answer that started it."""

    RUNNING = "running"
    # Its usage is in this answer, or was known from the request.
    ENDED = "ended"
    # It ended, and its usage is in another answer: its results.
    RESULTS_ELSEWHERE = "results_elsewhere"
    # It failed or was cancelled: nothing but what it states was used.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobSeen:
    """What an answer says of such work."""

    ident: str
    state: JobState
    # The id under which its results are fetched, where that is another one.
    results: str | None = None


@dataclass(frozen=True, slots=True)
class UsageReading:
    """What an answer said of itself."""

    usage: Usage = NOTHING
    # The provider stated usage. A stated zero is a zero; False means nobody said.
    stated: bool = False
    model: str | None = None  # as the answer names it; None where it does not
    response_id: str | None = None
    # The provider's own price for the call where it states one (OpenRouter's
    # usage.cost), as a plain decimal string of US dollars.
    stated_cost: str | None = None
    # The stream or body ended as its format says it should.
    complete: bool = False
    # The answer was an error: its status said so, or an event inside a 200 stream.
    failed: bool = False
    # Output text seen so far, in UTF-8 bytes: the basis of an estimate where nothing was stated.
    output_bytes_seen: int = 0
    # Why the count is what it is, for people ("stream ended before usage").
    note: str | None = None
    # Further facts, as text. Those that choose a price: `service_tier` (default, priority,
    # flex), `processing` (batch), `speed` (fast), `search_type` (web, fast), `inference_geo`.
    # `stated_output_cost` is the output's part of `stated_cost`. The others are for the
    # record alone, such as `web_search_calls`, `job_status`.
    extra: Mapping[str, str] = field(default_factory=dict)
    # Work that goes on after this answer, or that this answer tells of.
    job: JobSeen | None = None
    # The calls within `usage` that are priced each by itself (a batch's), with their models.
    parts: tuple[tuple[str | None, Usage], ...] = ()


class UsageTap(Protocol):
    """Reads usage from an answer as it passes; never delays or alters it, save for one chunk.

    Bytes are handed to the client exactly as `feed` and `finish` return them:
    identical to the provider's, except the usage chunk that the gateway asked for.
    """

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes of the answer; return what the client should get now."""
        ...

    def finish(self) -> bytes:
        """The answer ended; return what was still held back."""
        ...

    def reading(self) -> UsageReading:
        """What is known so far; final after `finish`."""
        ...
