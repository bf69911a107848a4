"""Reading a provider's answer after the fact, by the same readers that the gateway reads by."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass, field, replace

from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.providers import counts
from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.endpoints import endpoint_of
from lava_grpc.providers.provider import Family, Provider
from lava_grpc.providers.registry import make_tap, read_call

_JSON = "application/json"
_SSE = "text/event-stream"
_SSE_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")
# Whose streams are NDJSON or a JSON array where they are no SSE.
_EVENT_STREAM = "application/vnd.amazon.eventstream"
_LINES = "application/x-ndjson"
_OK = 200


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as it came: a whole JSON document, or all the bytes of a stream."""

    data: bytes = field(repr=False)
    stream: bool = False

    @property
    def name(self) -> str:
        """The field that it is given in."""
        return "response_stream" if self.stream else "response_json"


def call_answered(
    provider: Provider, raw: RawAnswer, *, endpoint: str | None, model: str | None
) -> Call:
    """The call that an answer is of, as far as it is known.

    `endpoint` is `METHOD URL`, a URL or a path; the provider's chat endpoint
    without one. Refuses INVALID_FIELD for `endpoint` and `model`.
    """
    method, url = endpoint_of(provider, endpoint, model=model)
    call = read_call(provider, method, url, {"content-type": _JSON}, b"{}")
    if not call.billable and call.job_id is None:
        raise invalid("endpoint", "is not one whose answers state usage")
    return replace(call, model=model or call.model, stream=raw.stream, billable=True)


def read_answer(provider: Provider, call: Call, raw: RawAnswer) -> UsageReading:
    """What an answer says of itself. Takes time in proportion to it.

    Refuses INVALID_FIELD, naming the field, for what cannot be read.
    """
    tap = make_tap(provider, call, _OK, {"content-type": _kind(provider, raw)})
    tap.feed(raw.data)
    tap.finish()
    reading = tap.reading()
    # What the tap read to its end was JSON, and is not parsed a second time.
    if not raw.stream and not reading.complete and counts.parse_json(raw.data) is None:
        raise _no_json(raw)
    return reading


def require_usage(raw: RawAnswer, reading: UsageReading) -> None:
    """Refuse an answer that states no usage, or was cut off before it did."""
    if reading.stated and reading.complete:
        return
    what = "is an error" if reading.failed else "states no usage, or ends before it does"
    raise invalid(
        raw.name, f"{what}: give the counts beside it, or release the hold if nothing was used"
    )


def _no_json(raw: RawAnswer) -> Refusal:
    return invalid(raw.name, "must be the JSON text of the provider's answer")


def _kind(provider: Provider, raw: RawAnswer) -> str:
    """The content type that such bytes have."""
    if not raw.stream:
        if not raw.data[:64].removeprefix(BOM_UTF8).lstrip().startswith((b"{", b"[")):
            raise _no_json(raw)
        return _JSON
    start = raw.data[:64].lstrip()
    if start.startswith(_SSE_STARTS):
        return _SSE
    if start.startswith(b"["):
        return _JSON
    if start.startswith(b"{"):
        return _LINES
    if provider.family is Family.BEDROCK:
        return _EVENT_STREAM
    raise invalid(
        raw.name, "must be the bytes of the provider's stream: SSE, NDJSON or a JSON array"
    )
