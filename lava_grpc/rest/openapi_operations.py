"""A route as an OpenAPI operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import MethodDescriptor

from lava_grpc.api.dispatch import PUBLIC
from lava_grpc.core.errors import Reason
from lava_grpc.rest.fields import descriptor_of, sub_message
from lava_grpc.rest.openapi_errors import RATE_HEADERS, reasons_of, refusals
from lava_grpc.rest.openapi_leaves import Schema
from lava_grpc.rest.openapi_schemas import Schemas
from lava_grpc.rest.transcode import CREATED, WHOLE_BODY, Binding, parameters_of
from lava_grpc.rest.url_fields import field_of, fields_of

JSON_CONTENT = "application/json"

_IDEMPOTENT: Schema = {"$ref": "#/components/parameters/IdempotencyKey"}


def operation(
    method: MethodDescriptor, binding: Binding, schemas: Schemas, *, first: bool, names_one: bool
) -> Schema:
    """The operation of one binding; `first` where it is the RPC's main one.

    `names_one` as in `reasons_of`.
    """
    comment = schemas.comment(method.full_name)
    made: Schema = {
        "operationId": method.name if first else f"{method.name}{_suffix(binding)}",
        "tags": [method.containing_service.name.removesuffix("Service")],
        "summary": _sentence(comment),
        "description": comment,
    }
    if parameters := list(_parameters(binding, schemas)):
        made["parameters"] = parameters
    if binding.body:
        made["requestBody"] = _body(binding, schemas)
    reasons = reasons_of(binding, names_one=names_one)
    answer = _answer(method, binding, schemas)
    if Reason.RATE_LIMITED in reasons:
        answer["headers"] = RATE_HEADERS
    made["responses"] = {
        "201" if binding.rpc in CREATED else "200": answer,
        **refusals(reasons),
    }
    if binding.rpc in PUBLIC:
        made["security"] = [{}, *secured()]
    return made


def secured() -> list[Schema]:
    """The places of a credential, one of which is enough."""
    names = ("bearer", "xApiKey", "xGoogApiKey", "xiApiKey", "keyParameter")
    return [{name: []} for name in names]


def _parameters(binding: Binding, schemas: Schemas) -> Iterator[Schema]:
    request = descriptor_of(binding.request)
    in_path = parameters_of(binding.template)
    for name in in_path:
        field = field_of(request, name)
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": schemas.comment(field.full_name),
            "schema": schemas.in_url(field) | {"minLength": 1},
        }
    if binding.body != WHOLE_BODY:
        for field in fields_of(request):
            if field.name not in (*in_path, binding.body):
                yield {
                    "name": field.name,
                    "in": "query",
                    "description": schemas.comment(field.full_name),
                    "schema": schemas.in_url(field),
                }
    if binding.http_method == "POST":
        yield _IDEMPOTENT


def _body(binding: Binding, schemas: Schemas) -> Schema:
    request = descriptor_of(binding.request)
    if binding.body == WHOLE_BODY:
        bound = frozenset(parameters_of(binding.template))
        schema = schemas.body(request, bound=bound)
    else:
        schema = schemas.body(sub_message(request.fields_by_name[binding.body]))
    # None at all is an empty object.
    return {"required": False, "content": {JSON_CONTENT: {"schema": schema}}}


def _answer(method: MethodDescriptor, binding: Binding, schemas: Schemas) -> Schema:
    shown = method.output_type
    if binding.response_body:
        shown = sub_message(shown.fields_by_name[binding.response_body])
    said = schemas.comment(method.output_type.full_name)
    return {
        "description": said or "Done.",
        "content": {JSON_CONTENT: {"schema": schemas.answer(shown)}},
    }


def _suffix(binding: Binding) -> str:
    return "".join(f"By{_camel(name)}" for name in parameters_of(binding.template))


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in _words(name))


def _words(name: str) -> Iterable[str]:
    return name.replace(".", "_").split("_")


def _sentence(comment: str) -> str:
    first = comment.partition("\n\n")[0].replace("\n", " ")
    return first.partition(". ")[0].removesuffix(".")
