"""The document says what the shim's routes, reader and writer do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass
from openapi_spec_validator import OpenAPIV31SpecValidator

from lava_grpc.api.status import TABLE
from lava_grpc.core.errors import Reason
from lava_grpc.rest.app import build_app
from lava_grpc.rest.docs import packaged
from lava_grpc.rest.fields import sub_message
from lava_grpc.rest.json_writer import to_plain
from lava_grpc.rest.openapi import REASONS, document
from lava_grpc.rest.openapi_leaves import (
    AMOUNT_GIVEN_PATTERN,
    AMOUNT_PATTERN,
    UNLIMITED_GIVEN_PATTERN,
    UNLIMITED_PATTERN,
)
from lava_grpc.rest.transcode import CREATED, bindings, services
from tests.sdk.quickstart import ROOT
from tests.unit.rest.fakes import FakeDispatcher

DOCUMENT: dict[str, Any] = json.loads(packaged())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]

_AMOUNT = re.compile(r"decimal string|ten places|ten decimals", re.IGNORECASE)
_PATTERNS = {
    AMOUNT_GIVEN_PATTERN,
    AMOUNT_PATTERN,
    UNLIMITED_GIVEN_PATTERN,
    UNLIMITED_PATTERN,
}


def _answers() -> Iterator[Descriptor]:
    """Every message that an answer is."""
    for service in services():
        for binding in bindings(service):
            shown = service.methods_by_name[binding.rpc.rpartition("/")[2]].output_type
            part = binding.response_body
            yield sub_message(shown.fields_by_name[part]) if part else shown


def _operation(method: str, path: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][method]
    return found


def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    )


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_in_it_and_nothing_more() -> None:
    app = build_app(FakeDispatcher())
    told = [(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item]

    assert sorted(told) == sorted(app.routes())


def test_what_is_packaged_is_what_can_be_read() -> None:
    readable = yaml.safe_load((ROOT / "generated" / "openapi.yaml").read_text(encoding="utf-8"))

    assert readable == DOCUMENT


def test_it_is_made_alike_each_time() -> None:
    assert json.dumps(document({})) == json.dumps(document({}))


def test_operations_have_names_of_their_own() -> None:
    names = [op["operationId"] for item in DOCUMENT["paths"].values() for op in item.values()]

    assert len(names) == len(set(names))


def test_every_operation_and_field_is_described() -> None:
    bare = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, each in schema.get("properties", {}).items()
        if not each.get("description") and name != "Error"
    ]
    silent = [
        op["operationId"]
        for item in DOCUMENT["paths"].values()
        for op in item.values()
        if not op["description"]
    ]

    assert bare == silent == []


def test_amounts_have_a_pattern() -> None:
    texts = {
        f"{name}.{field}": each.get("pattern")
        for name, schema in SCHEMAS.items()
        for field, each in schema.get("properties", {}).items()
        if each.get("type") in ("string", ["string", "null"])
        and _AMOUNT.search(each.get("description", ""))
    }

    assert {name for name, pattern in texts.items() if pattern not in _PATTERNS} == set()
    assert len(texts) > 20


@pytest.mark.parametrize("answer", list({each.name: each for each in _answers()}.values()))
def test_an_empty_answer_has_just_the_fields_that_are_required(answer: Descriptor) -> None:
    shown = json.loads(json.dumps(to_plain(GetMessageClass(answer)())))

    assert list(shown) == SCHEMAS[answer.name].get("required", [])
    if "oneOf" not in SCHEMAS[answer.name]:
        # An answer's enums and amounts are never as empty as this message's.
        odd = [e for e in _validator(answer.name).iter_errors(shown) if e.validator != "pattern"]
        assert odd == []


def test_what_a_body_may_say() -> None:
    grant = _validator("CreateCreditGrantRequest")

    assert grant.is_valid({"amount": "12.5", "expires_at": "2026-01-31T12:00:00Z"})
    assert grant.is_valid({"amount": "12.5", "expires_at": None})
    assert not grant.is_valid({"amount": "1e3"})
    assert not grant.is_valid({"amount": 12.5})
    assert not grant.is_valid({"amount": "1", "unheard_of": 1})


def test_a_oneof_takes_one() -> None:
    asked = _validator("AuthorizeRequest")

    assert asked.is_valid({"request_id": "1", "amount": "1"})
    assert not asked.is_valid({"amount": "1", "usage": {"input_tokens": 1}})


def test_what_the_path_says_is_not_asked_for_again() -> None:
    schema = _operation("patch", "/v1/customers/{customer_id}")["requestBody"]
    name = schema["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]

    assert "customer_id" not in SCHEMAS[name]["properties"]
    assert "update_mask" not in SCHEMAS[name]["properties"]


def test_lists_have_their_envelope_and_bounds() -> None:
    listed = _operation("get", "/v1/customers")
    limit = next(each for each in listed["parameters"] if each["name"] == "limit")

    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 100)
    assert SCHEMAS["ListCustomersResponse"]["required"] == ["data", "has_more", "next_cursor"]


def test_statuses_are_those_that_the_shim_sends() -> None:
    created = {rpc.rpartition("/")[2] for rpc in CREATED}
    told = {
        op["operationId"]
        for item in DOCUMENT["paths"].values()
        for op in item.values()
        if "201" in op["responses"]
    }

    assert told == created


def test_the_table_of_reasons_is_the_one_that_the_code_uses() -> None:
    told = {(each["code"], each["http"], each["grpc"]) for each in DOCUMENT[REASONS]}

    assert told == {(r.lower(), wire.http, wire.code.name) for r, wire in TABLE.items()}
    assert all(each["description"] for each in DOCUMENT[REASONS])


def test_each_status_names_its_reasons() -> None:
    answers = DOCUMENT["components"]["responses"]
    for name, answer in answers.items():
        narrowed = answer["content"]["application/json"]["schema"]["allOf"][1]
        facts = narrowed["properties"]["error"]["properties"]
        reasons = [Reason(code.upper()) for code in facts["code"]["enum"]]
        assert {TABLE[reason].http for reason in reasons} == {facts["status"]["const"]}, name


def test_a_post_may_be_repeated() -> None:
    header = {"$ref": "#/components/parameters/IdempotencyKey"}
    declared = [
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method, op in item.items()
        if "501" not in op["responses"] and (header in op.get("parameters", ())) is False
    ]

    assert [each for each in declared if each[0] == "post"] == []


def test_only_public_calls_need_no_credential() -> None:
    public = {
        path
        for path, item in DOCUMENT["paths"].items()
        for op in item.values()
        if {} in op.get("security", ()) and "501" not in op["responses"]
    }

    assert public == {"/docs", "/healthz", "/openapi.json", "/v1/models", "/v1/services"}
