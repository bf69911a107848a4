"""The OpenAPI 3.1 document of the shim, made from the same descriptors as its routes.

Pure: descriptors and the protos' comments in, a document out. tools/openapi.py writes
it down, since descriptors at run time have no comments; `docs.py` serves what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable

from lava_grpc.rest.inventory import endpoints
from lava_grpc.rest.openapi_coded import coded, missing
from lava_grpc.rest.openapi_errors import error_answers, error_schemas, reason_table
from lava_grpc.rest.openapi_leaves import Schema
from lava_grpc.rest.openapi_operations import operation, secured
from lava_grpc.rest.openapi_schemas import Comments, Schemas
from lava_grpc.rest.router import shape
from lava_grpc.rest.transcode import bindings, parameters_of, services

REASONS = "x-error-reasons"
"""Where the document has the table of reasons."""

_DESCRIPTION = """\
A self-hosted credit gateway: it holds credit before a metered call, forwards it, and settles
what it used. Amounts are decimal strings; times are RFC 3339; what is absent is null, or left
out where a field is not required. Requests are read strictly: an unknown field is refused. In
PATCH a null clears a field; elsewhere it counts as absent."""

_METHODS = ("get", "put", "post", "patch", "delete", "options", "head")


def document(comments: Comments) -> Schema:
    """The whole document; the same for the same protos and comments."""
    schemas = Schemas(comments)
    paths: dict[str, dict[str, Schema]] = {}
    for method, path, made in (*_declared(schemas), *coded()):
        paths.setdefault(path, {})[method.lower()] = made
    taken = {(method, shape(path)) for path, item in paths.items() for method in item}
    for method, path in endpoints():
        if (method.lower(), shape(path)) not in taken:
            paths.setdefault(path, {})[method.lower()] = missing(method, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "lava-grpc", "version": "v1", "description": _DESCRIPTION},
        "servers": [{"url": "/", "description": "This service."}],
        "security": secured(),
        "tags": [{"name": name} for name in _tags(paths)],
        "paths": {path: _ordered(paths[path]) for path in sorted(paths)},
        "components": {
            "schemas": dict(sorted((error_schemas() | dict(schemas.made)).items())),
            "responses": error_answers(paths),
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "securitySchemes": _SECURITY,
        },
        REASONS: reason_table(comments),
    }


def _declared(schemas: Schemas) -> Iterable[tuple[str, str, Schema]]:
    for service in services():
        routes = list(bindings(service))
        naming = {route.rpc for route in routes if parameters_of(route.template)}
        seen: set[str] = set()
        for binding in routes:
            name = binding.rpc.rpartition("/")[2]
            method = service.methods_by_name[name]
            made = operation(
                method,
                binding,
                schemas,
                first=name not in seen,
                names_one=binding.rpc in naming,
            )
            seen.add(name)
            yield binding.http_method, binding.template, made


def _ordered(item: dict[str, Schema]) -> dict[str, Schema]:
    return {method: item[method] for method in _METHODS if method in item}


def _tags(paths: dict[str, dict[str, Schema]]) -> list[str]:
    found = {
        tag
        for item in paths.values()
        for made in item.values()
        if isinstance(tags := made["tags"], list)
        for tag in tags
    }
    return sorted(found)


_PARAMETERS: Schema = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Calls with the same key are done once: the same content returns the "
        "first answer, other content is refused with `request_id_reused`.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    },
    "HoldPolicy": {
        "name": "X-Lava-Hold-Policy",
        "in": "header",
        "description": "How much is held: the most that the call can cost, or what it is "
        "expected to.",
        "schema": {"type": "string", "enum": ["upper_bound", "expected"]},
    },
    "ClampOutput": {
        "name": "X-Lava-Clamp-Output",
        "in": "header",
        "description": "Whether the call may ask for less output where credit does not cover "
        "all of it.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    },
    "Metadata": {
        "name": "metadata",
        "in": "query",
        "description": "Labels for the record: a JSON object of strings.",
        "schema": {"type": "string"},
    },
}

_HEADERS: Schema = {
    "RetryAfter": {
        "description": "Seconds until it can help to try again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWWAuthenticate": {
        "description": "That a credential is needed.",
        "schema": {"type": "string"},
    },
    "XLavaClampedOutputTokens": {
        "description": "The output that was asked for instead, where it was clamped.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "XLavaRequestId": {
        "description": "The record of the call.",
        "schema": {"type": "string"},
    },
    "XRateLimitLimit": {
        "description": "How many calls a minute the key may make; absent without a limit.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "XRateLimitRemaining": {
        "description": "How many it may make now.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "XRateLimitReset": {
        "description": "When it may make as many as ever again, in Unix seconds.",
        "schema": {"type": "integer", "minimum": 0},
    },
}

_PLACE = "A secret key, a forward token, or on calls to providers a spend key."

_SECURITY: Schema = {
    "bearer": {"type": "http", "scheme": "bearer", "description": _PLACE},
    "xApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": _PLACE},
    "xGoogApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-goog-api-key",
        "description": _PLACE,
    },
    "xiApiKey": {"type": "apiKey", "in": "header", "name": "xi-api-key", "description": _PLACE},
    "keyParameter": {"type": "apiKey", "in": "query", "name": "key", "description": _PLACE},
}
