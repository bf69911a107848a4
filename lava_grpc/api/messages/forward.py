"""Forwarded calls and the pieces of their answers."""

from __future__ import annotations

import re
from types import MappingProxyType

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.messages.enums import HOLD_POLICIES, read_enum
from lava_grpc.api.messages.records import from_record
from lava_grpc.api.messages.reservations import from_hold
from lava_grpc.api.messages.texts import optional_id, optional_text
from lava_grpc.core.errors import invalid
from lava_grpc.gateway.checks import check_labels
from lava_grpc.gateway.forward_call import ForwardCall, ForwardHead, ForwardSummary, Measurement

PROVIDER_KEY_CHARS_MAX = 8192
"""The longest provider key."""

_METHOD = re.compile(r"[A-Z]{1,16}")
_MEASUREMENTS = MappingProxyType(
    {
        Measurement.PROVIDER: pb.MEASUREMENT_PROVIDER,
        Measurement.ESTIMATED: pb.MEASUREMENT_ESTIMATED,
        Measurement.NONE: pb.MEASUREMENT_NONE,
    }
)


def to_forward(request: pb.ForwardRequest) -> ForwardCall:
    """The call; its target and headers are judged where it is planned."""
    return ForwardCall(
        url=request.url,
        method=_method(request.method),
        headers=tuple([(header.name.lower(), header.value) for header in request.headers]),
        body=request.body,
        customer_id=optional_text(request, "customer_id"),
        meter=optional_text(request, "meter_slug"),
        provider_key=_provider_key(request),
        disable_billing=request.disable_billing,
        request_id=optional_id(request),
        metadata=check_labels(dict(request.metadata)) if request.metadata else (),
        hold_policy=read_enum(HOLD_POLICIES, request.hold_policy, "hold_policy"),
        clamp_output=request.clamp_output,
    )


def from_part(
    part: ForwardHead | bytes | ForwardSummary, *, in_full: bool = True
) -> pb.ForwardResponse:
    """A piece of the answer; without `in_full` a summary is left empty."""
    if isinstance(part, bytes):
        return pb.ForwardResponse(chunk=part)
    if isinstance(part, ForwardHead):
        return pb.ForwardResponse(head=_from_head(part))
    return pb.ForwardResponse(summary=_from_summary(part) if in_full else pb.ForwardSummary())


def _from_head(head: ForwardHead) -> pb.ForwardHead:
    return pb.ForwardHead(
        status=head.status,
        headers=[pb.Header(name=name.lower(), value=value) for name, value in head.headers],
        request_id=head.request_id,
        reservation_id=head.reservation_id,
        clamped_output_tokens=head.clamped_output_tokens,
    )


def _from_summary(summary: ForwardSummary) -> pb.ForwardSummary:
    return pb.ForwardSummary(
        request=None if summary.record is None else from_record(summary.record),
        measurement=_MEASUREMENTS[summary.measurement],
        reservation=None if summary.hold is None else from_hold(summary.hold),
        clamped_output_tokens=summary.clamped_output_tokens,
    )


def _method(text: str) -> str:
    method = text.upper() or "POST"
    if _METHOD.fullmatch(method) is None:
        raise invalid("method", "must be an HTTP method such as 'POST'")
    return method


def _provider_key(request: pb.ForwardRequest) -> str | None:
    """It becomes a header of the call: printable ASCII, no spaces. Never quoted in a refusal."""
    if not request.HasField("provider_key"):
        return None
    key = request.provider_key
    if not 1 <= len(key) <= PROVIDER_KEY_CHARS_MAX:
        raise invalid("provider_key", f"must have 1 to {PROVIDER_KEY_CHARS_MAX} characters")
    # A JSON object is an AWS access key: it is signed with and never sent.
    is_json = key.startswith("{")
    if not (key.isascii() and key.isprintable()) or (" " in key and not is_json):
        raise invalid("provider_key", "must be printable ASCII without spaces")
    return key
