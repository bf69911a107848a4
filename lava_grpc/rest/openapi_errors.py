"""Refusals in the OpenAPI document: the error body, and which status has which reasons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from lava_grpc.api.dispatch import PUBLIC
from lava_grpc.api.status import TABLE
from lava_grpc.core.errors import Reason
from lava_grpc.rest.openapi_leaves import Schema
from lava_grpc.rest.openapi_schemas import ERROR_SCHEMA, Comments
from lava_grpc.rest.transcode import Binding

ALWAYS = frozenset(
    (
        Reason.DEADLINE_EXCEEDED,
        Reason.INTERNAL,
        Reason.INVALID_FIELD,
        Reason.OVERLOADED,
        Reason.STORE_UNAVAILABLE,
    )
)
"""What every call may be refused for."""

FORWARDED = frozenset(
    (
        Reason.INSUFFICIENT_CREDITS,
        Reason.INVALID_CREDENTIALS,
        Reason.NOT_FOUND,
        Reason.PERMISSION_DENIED,
        Reason.RATE_LIMITED,
        Reason.REQUEST_ID_REUSED,
        Reason.UPSTREAM_FAILED,
        Reason.UPSTREAM_NOT_ALLOWED,
        Reason.UPSTREAM_TIMEOUT,
    )
)
"""What calls to providers may be refused for beyond that."""

RATE_HEADERS: Schema = {
    name: {"$ref": f"#/components/headers/{name.replace('-', '')}"}
    for name in ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
}

_OR = "-or-"
_GATEWAY = "lava.v1.GatewayService"
_WRITES = frozenset(("PATCH", "POST", "PUT"))


def reasons_of(binding: Binding, *, names_one: bool) -> frozenset[Reason]:
    """What a call of this route may be refused for.

    `names_one` says that a route of the RPC has a parameter in its path, and so may
    name what is not there, wherever this one has it.
    """
    reasons = set(ALWAYS)
    service, _, _ = binding.rpc.partition("/")
    if binding.rpc not in PUBLIC:
        reasons |= {Reason.INVALID_CREDENTIALS, Reason.PERMISSION_DENIED}
    if service != _GATEWAY:
        reasons.add(Reason.RATE_LIMITED)
    if names_one or binding.http_method in _WRITES:
        reasons.add(Reason.NOT_FOUND)
    if binding.http_method in _WRITES:
        reasons |= {Reason.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED}
        if service == _GATEWAY:
            reasons |= {Reason.INSUFFICIENT_CREDITS, Reason.RESERVATION_ENDED}
    return frozenset(reasons)


def refusals(reasons: Iterable[Reason]) -> dict[str, Schema]:
    """An operation's answers for these reasons: a reference for each HTTP status."""
    return {
        str(status): {"$ref": f"#/components/responses/{_name(told)}"}
        for status, told in _by_status(reasons)
    }


def error_answers(paths: Mapping[str, Mapping[str, Schema]]) -> dict[str, Schema]:
    """The components that the operations of `paths` refer to."""
    wanted = {
        str(answer["$ref"]).rpartition("/")[2]
        for item in paths.values()
        for operation in item.values()
        if isinstance(answers := operation["responses"], dict)
        for answer in answers.values()
        if "$ref" in answer
    }
    return {name: _answer(*_read(name)) for name in sorted(wanted)}


def error_schemas() -> dict[str, Schema]:
    """The components of error bodies."""
    codes = [reason.lower() for reason in Reason]
    detail: Schema = {
        "type": "object",
        "description": "A refusal. Switch on `code`, never on the message.",
        "properties": {
            "message": {"type": "string", "description": "For people."},
            "code": {
                "type": "string",
                "enum": [*codes, "method_not_allowed"],
                "description": "The reason in lower snake case.",
            },
            "status": {"type": "integer", "description": "The HTTP status."},
            "field": {"type": "string", "description": "The field that is wrong, by its path."},
            "details": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "The facts of the refusal, units in the key.",
            },
        },
        "required": ["message", "code", "status"],
        "additionalProperties": False,
    }
    whole: Schema = {
        "type": "object",
        "description": "What every refusal answers.",
        "properties": {"error": {"$ref": f"#/components/schemas/{ERROR_SCHEMA}"}},
        "required": ["error"],
        "additionalProperties": False,
    }
    return {"Error": whole, ERROR_SCHEMA: detail}


def reason_table(comments: Comments) -> list[Schema]:
    """Every reason with its codes, for readers."""
    return [
        {
            "code": reason.lower(),
            "http": wire.http,
            "grpc": wire.code.name,
            "retryable": wire.retryable,
            "description": _meaning(comments, reason),
        }
        for reason, wire in TABLE.items()
    ]


def _meaning(comments: Mapping[str, str], reason: Reason) -> str:
    # What follows is an example of the gRPC detail.
    said = comments.get(f"lava.v1.ERROR_REASON_{reason.value}", "")
    return said.partition("\n\nExample:")[0]


def _by_status(reasons: Iterable[Reason]) -> Iterator[tuple[int, list[Reason]]]:
    found: dict[int, list[Reason]] = {}
    for reason in sorted(reasons):
        found.setdefault(TABLE[reason].http, []).append(reason)
    yield from sorted(found.items())


def _name(reasons: list[Reason]) -> str:
    return _OR.join(reason.value for reason in reasons)


def _read(name: str) -> tuple[int, list[Reason]]:
    reasons = [Reason(each) for each in name.split(_OR)]
    return TABLE[reasons[0]].http, reasons


def _answer(status: int, reasons: list[Reason]) -> Schema:
    codes = [reason.lower() for reason in reasons]
    answer: Schema = {"description": " or ".join(f"`{code}`" for code in codes)}
    headers: Schema = {}
    if Reason.RATE_LIMITED in reasons:
        headers |= RATE_HEADERS
    if any(TABLE[reason].retryable for reason in reasons):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if Reason.INVALID_CREDENTIALS in reasons:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/WWWAuthenticate"}
    if headers:
        answer["headers"] = headers
    narrowed = {"code": {"enum": codes}, "status": {"const": status}}
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Error"},
            {"properties": {"error": {"properties": narrowed}}},
        ]
    }
    return answer | {"content": {"application/json": {"schema": schema}}}
