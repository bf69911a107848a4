"""The paths of the OpenAPI document that no proto declares: the gateway's, health, and its own."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from lava_grpc.core.errors import Reason
from lava_grpc.core.spend_key import RequestShape
from lava_grpc.rest.forward import FORWARD_METHODS
from lava_grpc.rest.inventory import REWRITE_TEMPLATE
from lava_grpc.rest.openapi_errors import ALWAYS, FORWARDED, refusals
from lava_grpc.rest.openapi_leaves import Schema
from lava_grpc.rest.paths import DOCS_PATH, HEALTH_PATH, OPENAPI_PATH
from lava_grpc.rest.shaped import SHAPES
from lava_grpc.rest.target import FORWARD_PATH, FORWARD_TEMPLATE

Coded = tuple[str, str, Schema]
"""Method, path, operation."""

BODILESS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS"))
"""The methods whose calls have no body as a rule; what one has is passed on all the same."""

_GATEWAY = "Gateway"
_PROVIDERS: Schema = {
    "description": "The provider's own answer: its status, headers and bytes.",
    "headers": {
        "X-Lava-Request-Id": {"$ref": "#/components/headers/XLavaRequestId"},
        "X-Lava-Clamped-Output-Tokens": {"$ref": "#/components/headers/XLavaClampedOutputTokens"},
    },
    "content": {"*/*": {}},
}
_OURS: tuple[Schema, ...] = tuple(
    {"$ref": f"#/components/parameters/{name}"}
    for name in ("Metadata", "HoldPolicy", "ClampOutput", "IdempotencyKey")
)
_ANY_BODY: Schema = {"required": False, "content": {"*/*": {}}}
_MODEL_BODY: Schema = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "model": {
                        "type": "string",
                        "description": "Decides the provider; `provider/model` names it.",
                    }
                },
                "required": ["model"],
            }
        }
    },
}
_WHOSE = MappingProxyType({RequestShape.OPENAI: "OpenAI", RequestShape.ANTHROPIC: "Anthropic"})


def coded() -> Iterator[Coded]:
    """Every such path."""
    yield from _forward()
    for path, shape in SHAPES.items():
        yield (
            "POST",
            path,
            _operation(
                _ident(path.removeprefix("/v1")),
                f"A call in the shape that {_WHOSE[shape]} gives to {path}",
                "The body's model decides the provider. From there on it is a forwarded call.",
                parameters=list(_OURS),
                body=_MODEL_BODY,
                responses=_forwarded(),
            ),
        )
    yield from _rewrite()
    yield from _own()


def missing(method: str, path: str) -> Schema:
    """An endpoint of Lava's that this service does not have yet."""
    return _operation(
        f"{method.capitalize()}{_ident(path)}",
        "Not implemented",
        "Lava has this endpoint; here it answers 501 for now.",
        responses=refusals({Reason.NOT_IMPLEMENTED, *_EDGE}),
        tag="Not implemented",
    ) | {"security": [{}]}


# What is refused before an endpoint is asked.
_EDGE = frozenset((Reason.INTERNAL, Reason.OVERLOADED))


def _forward() -> Iterator[Coded]:
    target: Schema = {
        "name": "u",
        "in": "query",
        "required": True,
        "description": "The https URL to call, encoded or as it is.",
        "schema": {"type": "string"},
    }
    in_path: Schema = {
        "name": "target",
        "in": "path",
        "required": True,
        "description": "An absolute URL, or a provider's id and a path; slashes stay as they are.",
        "schema": {"type": "string", "minLength": 1},
    }
    forms = (
        (FORWARD_PATH, target, "Forward", "Forwards a call to the URL in `u`"),
        (FORWARD_TEMPLATE, in_path, "ForwardTo", "Forwards a call to the path's URL"),
    )
    for path, where, ident, summary in forms:
        for method in sorted(FORWARD_METHODS):
            has_body = method not in BODILESS
            yield (
                method,
                path,
                _operation(
                    f"{ident}{method.capitalize()}",
                    summary,
                    "Holds the estimated charge, calls the provider, and settles what it used. "
                    "Parameters beside ours go on to the target.",
                    parameters=[where, *_OURS],
                    body=_ANY_BODY if has_body else None,
                    responses=_forwarded(),
                ),
            )


def _rewrite() -> Iterator[Coded]:
    def segment(name: str) -> Schema:
        return {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
        }

    parameters = [segment("client_format"), segment("url")]
    yield "POST", REWRITE_TEMPLATE, missing("POST", "/rewrite") | {"parameters": parameters}


def _own() -> Iterator[Coded]:
    def health(status: str) -> Schema:
        schema = {
            "type": "object",
            "properties": {"status": {"const": status}},
            "required": ["status"],
            "additionalProperties": False,
        }
        return {"description": status, "content": {"application/json": {"schema": schema}}}

    public: Schema = {"security": [{}]}
    edge = refusals(_EDGE)
    document: Schema = {
        "description": "OpenAPI 3.1.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    page: Schema = {
        "description": "HTML.",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
    yield (
        "GET",
        HEALTH_PATH,
        _operation(
            "Health",
            "Whether the service takes calls",
            "No credential is needed.",
            responses={"200": health("SERVING"), "503": health("NOT_SERVING")},
            tag="Service",
        )
        | public,
    )
    yield (
        "GET",
        OPENAPI_PATH,
        _operation(
            "OpenApi",
            "This document",
            "No credential is needed.",
            responses={"200": document, **edge},
            tag="Service",
        )
        | public,
    )
    yield (
        "GET",
        DOCS_PATH,
        _operation(
            "Docs",
            "This document as a page",
            "No credential is needed.",
            responses={"200": page, **edge},
            tag="Service",
        )
        | public,
    )


def _operation(
    ident: str,
    summary: str,
    description: str,
    *,
    responses: dict[str, Schema],
    parameters: list[Schema] | None = None,
    body: Schema | None = None,
    tag: str = _GATEWAY,
) -> Schema:
    made: Schema = {
        "operationId": ident,
        "tags": [tag],
        "summary": summary,
        "description": description,
    }
    if parameters:
        made["parameters"] = parameters
    if body is not None:
        made["requestBody"] = body
    return made | {"responses": responses}


def _forwarded() -> dict[str, Schema]:
    return {"default": _PROVIDERS, **refusals(ALWAYS | FORWARDED)}


def _ident(path: str) -> str:
    return "".join(part.capitalize() for part in path.replace("/", "_").split("_"))
