"""The one table: what each reason to refuse looks like over gRPC and over HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from lava_grpc.core.errors import Reason, Refusal

DOMAIN = "lava"
"""`ErrorInfo.domain` of every refusal."""

RETRY_AFTER_SECONDS_DEFAULT = 1.0
"""When to come back after a refusal that time cures, where it names no time of its own."""

ErrorBody: TypeAlias = "dict[str, dict[str, str | int | dict[str, str]]]"
Headers: TypeAlias = "dict[str, str]"


@dataclass(frozen=True, slots=True)
class Wire:
    """How a reason is told: its gRPC code, its HTTP status, and whether trying again helps."""

    code: grpc.StatusCode
    http: int
    retryable: bool = False


_Code = grpc.StatusCode

TABLE: Mapping[Reason, Wire] = MappingProxyType(
    {
        Reason.INVALID_FIELD: Wire(_Code.INVALID_ARGUMENT, 400),
        Reason.INVALID_CREDENTIALS: Wire(_Code.UNAUTHENTICATED, 401),
        Reason.INSUFFICIENT_CREDITS: Wire(_Code.FAILED_PRECONDITION, 402),
        Reason.PERMISSION_DENIED: Wire(_Code.PERMISSION_DENIED, 403),
        Reason.UPSTREAM_NOT_ALLOWED: Wire(_Code.PERMISSION_DENIED, 403),
        Reason.NOT_FOUND: Wire(_Code.NOT_FOUND, 404),
        Reason.ALREADY_EXISTS: Wire(_Code.ALREADY_EXISTS, 409),
        Reason.REQUEST_ID_REUSED: Wire(_Code.ALREADY_EXISTS, 409),
        Reason.RESERVATION_ENDED: Wire(_Code.FAILED_PRECONDITION, 409),
        Reason.RATE_LIMITED: Wire(_Code.RESOURCE_EXHAUSTED, 429, retryable=True),
        Reason.UPSTREAM_FAILED: Wire(_Code.UNAVAILABLE, 502),
        Reason.UPSTREAM_TIMEOUT: Wire(_Code.DEADLINE_EXCEEDED, 504),
        Reason.OVERLOADED: Wire(_Code.UNAVAILABLE, 503, retryable=True),
        Reason.STORE_UNAVAILABLE: Wire(_Code.UNAVAILABLE, 503, retryable=True),
        Reason.DEADLINE_EXCEEDED: Wire(_Code.DEADLINE_EXCEEDED, 504),
        Reason.NOT_IMPLEMENTED: Wire(_Code.UNIMPLEMENTED, 501),
        Reason.INTERNAL: Wire(_Code.INTERNAL, 500),
    }
)

# Only for a status without our ErrorInfo: a channel's or a proxy's own.
_BY_CODE: Mapping[int, Reason] = MappingProxyType(
    {
        code.value[0]: reason
        for code, reason in {
            _Code.INVALID_ARGUMENT: Reason.INVALID_FIELD,
            _Code.UNAUTHENTICATED: Reason.INVALID_CREDENTIALS,
            _Code.PERMISSION_DENIED: Reason.PERMISSION_DENIED,
            _Code.NOT_FOUND: Reason.NOT_FOUND,
            _Code.ALREADY_EXISTS: Reason.ALREADY_EXISTS,
            _Code.RESOURCE_EXHAUSTED: Reason.OVERLOADED,
            # The call may have been carried out: the outcome is unknown.
            _Code.UNAVAILABLE: Reason.STORE_UNAVAILABLE,
            _Code.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
            _Code.UNIMPLEMENTED: Reason.NOT_IMPLEMENTED,
        }.items()
    }
)


def grpc_code(reason: Reason) -> grpc.StatusCode:
    """The canonical code that a call refused for `reason` ends with."""
    return TABLE[reason].code


def rpc_status(refusal: Refusal) -> status_pb2.Status:
    """The refusal as `google.rpc.Status`: ErrorInfo, then BadRequest and RetryInfo where due."""
    told = _told(refusal)
    details = [_error_info(told)]
    if told.reason is Reason.INVALID_FIELD and told.field is not None:
        details.append(_bad_request(told.field, told.message))
    if (seconds := retry_after_seconds(told)) is not None:
        details.append(_retry_info(seconds))
    code = grpc_code(told.reason).value[0]
    return status_pb2.Status(code=code, message=told.message, details=details)


def from_rpc_status(status: status_pb2.Status) -> Refusal:
    """The refusal that `rpc_status` was given; the nearest one for a stranger's status."""
    reason = _BY_CODE.get(status.code, Reason.INTERNAL)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    found = _unpack(status, info)
    facts = dict(info.metadata) if found and info.domain == DOMAIN else {}
    if found and info.domain == DOMAIN and info.reason in Reason.__members__:
        reason = Reason[info.reason]
    seconds = retry.retry_delay.ToNanoseconds() / 1e9 if _unpack(status, retry) else None
    field = facts.pop("field", None)
    return Refusal(reason, status.message, field=field, facts=facts, retry_after_seconds=seconds)


def http_error(refusal: Refusal) -> tuple[int, ErrorBody, Headers]:
    """HTTP status, Lava's error body, and extra headers.

    `code` is the reason in lower snake case; `field` and `details` are left
    out where there are none.
    """
    told = _told(refusal)
    status = TABLE[told.reason].http
    body: ErrorBody = {
        "error": {"message": told.message, "code": told.reason.lower(), "status": status}
    }
    if told.field is not None:
        body["error"]["field"] = told.field
    if told.facts:
        body["error"]["details"] = dict(told.facts)
    headers: Headers = {}
    if (seconds := retry_after_seconds(told)) is not None:
        headers["retry-after"] = str(max(1, math.ceil(seconds)))
    if told.reason is Reason.INVALID_CREDENTIALS:
        headers["www-authenticate"] = "Bearer"
    return status, body, headers


def retry_after_seconds(refusal: Refusal) -> float | None:
    """When trying again can help; None where it cannot."""
    if refusal.retry_after_seconds is not None:
        return refusal.retry_after_seconds
    return RETRY_AFTER_SECONDS_DEFAULT if TABLE[refusal.reason].retryable else None


def _told(refusal: Refusal) -> Refusal:
    # A defect of ours is told without its detail, whoever raised it.
    if refusal.reason is Reason.INTERNAL:
        return Refusal(Reason.INTERNAL, "internal error")
    return refusal


def _error_info(refusal: Refusal) -> AnyMessage:
    metadata = dict(refusal.facts)
    if refusal.field is not None:
        metadata["field"] = refusal.field
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN, metadata=metadata)
    packed = AnyMessage()
    packed.Pack(info)
    return packed


def _bad_request(field: str, why: str) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field=field, description=why)
            ]
        )
    )
    return packed


def _retry_info(seconds: float) -> AnyMessage:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(round(seconds * 1e9))
    packed = AnyMessage()
    packed.Pack(info)
    return packed


def _unpack(
    status: status_pb2.Status,
    into: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo,
) -> bool:
    for detail in status.details:
        try:
            if detail.Unpack(into):
                return True
        except DecodeError:
            continue
    return False
