"""JSON to messages: strict, and every refusal names its field."""

from __future__ import annotations

import json

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from lava.v1 import credit_service_pb2, customer_service_pb2, gateway_service_pb2, meter_service_pb2
from lava.v1.credit_pb2 import GRANT_SOURCE_TOP_UP
from lava.v1.meter_pb2 import RATE_TYPE_FIXED, TIER_TYPE_TOKENS_1M

from lava_grpc.api.strict_json import BadJsonError, Json, read_object
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.rest import json_reader
from lava_grpc.rest.fields import descriptor_of, sub_message
from lava_grpc.rest.transcode import bindings, services

Meter = meter_service_pb2.CreateMeterRequest
Report = gateway_service_pb2.ReportUsageRequest
Authorize = gateway_service_pb2.AuthorizeRequest
Grant = credit_service_pb2.CreateCreditGrantRequest
Customer = customer_service_pb2.CreateCustomerRequest


def refused(message: Message, fields: dict[str, Json]) -> str | None:
    with pytest.raises(Refusal) as caught:
        json_reader.fill(message, fields)
    assert caught.value.reason is Reason.INVALID_FIELD
    return caught.value.field


def test_every_request_of_the_protos_can_be_read() -> None:
    for service in services():
        for binding in bindings(service):
            json_reader.fill(binding.request(), {})
            for field in descriptor_of(binding.request).fields:
                if field.message_type and field.message_type.full_name.startswith("lava.v1."):
                    json_reader.fill(GetMessageClass(sub_message(field))(), {})


def test_enums_are_lavas_words_or_the_protos_names() -> None:
    meter = Meter()
    json_reader.fill(meter, {"rate_type": "fixed", "tier_type": "TIER_TYPE_TOKENS_1M"})
    assert meter.rate_type == RATE_TYPE_FIXED
    assert meter.tier_type == TIER_TYPE_TOKENS_1M
    again = Meter()
    json_reader.fill(again, {"tier_type": "tokens_1m"})
    assert again.tier_type == TIER_TYPE_TOKENS_1M


def test_null_is_absent() -> None:
    meter = Meter()
    json_reader.fill(meter, {"name": None, "meter_slug": None, "tiers": None, "basis": None})
    assert meter == Meter()


def test_whole_numbers_come_as_numbers_or_decimal_strings() -> None:
    report = Report()
    json_reader.fill(
        report, {"input_tokens": 2**53 + 1, "output_tokens": "12", "input_characters": 3.0}
    )
    assert report.input_tokens == 2**53 + 1
    assert report.output_tokens == 12
    assert report.input_characters == 3


def test_nested_messages_lists_maps_times_and_free_form() -> None:
    grant = Grant()
    json_reader.fill(
        grant,
        {
            "source": "top_up",
            "meter_ids": ["a", "b"],
            "expires_at": "2026-01-31T13:00:00.25+01:00",
        },
    )
    assert grant.source == GRANT_SOURCE_TOP_UP
    assert list(grant.meter_ids) == ["a", "b"]
    assert grant.expires_at.ToJsonString() == "2026-01-31T12:00:00.250Z"
    call = Authorize()
    json_reader.fill(call, {"usage": {"input_seconds": 1}, "metadata": {"a": "b"}})
    assert call.WhichOneof("estimate") == "usage"
    assert call.usage.input_seconds == 1.0
    assert dict(call.metadata) == {"a": "b"}
    customer = Customer()
    json_reader.fill(customer, {"metadata": {"deep": {"list": [1, None, True, "x", {}]}}})
    assert MessageToDict(customer.metadata) == {"deep": {"list": [1, None, True, "x", {}]}}


def test_an_empty_object_is_given() -> None:
    customer, call = Customer(), Authorize()
    json_reader.fill(customer, {"metadata": {}})
    json_reader.fill(call, {"usage": {}})
    assert customer.HasField("metadata")
    assert call.WhichOneof("estimate") == "usage"


@pytest.mark.parametrize(
    ("message", "text", "field"),
    [
        (Meter(), '{"nmae": "x"}', "nmae"),
        (Meter(), '{"rateType": "fixed"}', "rateType"),
        (Meter(), '{"name": 1}', "name"),
        (Meter(), '{"name": "\\ud800"}', "name"),
        (Meter(), '{"rate_type": "flat"}', "rate_type"),
        (Meter(), '{"rate_type": 1}', "rate_type"),
        (Meter(), '{"rate_type": "unspecified"}', "rate_type"),
        (Meter(), '{"tiers": {}}', "tiers"),
        (Meter(), '{"tiers": [null]}', "tiers[0]"),
        (Meter(), '{"tiers": [{"start": "0"}, {"start": 0}]}', "tiers[1].start"),
        (Meter(), '{"tiers": [{"rte": "0"}]}', "tiers[0].rte"),
        (Report(), '{"input_tokens": true}', "input_tokens"),
        (Report(), '{"input_tokens": 1.5}', "input_tokens"),
        (Report(), '{"input_tokens": "1e3"}', "input_tokens"),
        (Report(), '{"input_tokens": 9223372036854775808}', "input_tokens"),
        (Report(), '{"input_tokens": 1e400}', "input_tokens"),
        (Report(), '{"input_seconds": "1"}', "input_seconds"),
        (Report(), '{"input_seconds": true}', "input_seconds"),
        (Report(), '{"input_seconds": 1e400}', "input_seconds"),
        (Report(), '{"metadata": {"a": 1}}', "metadata.a"),
        (Report(), '{"metadata": {"a": null}}', "metadata.a"),
        (Report(), '{"metadata": []}', "metadata"),
        (Authorize(), '{"ttl_seconds": 2147483648}', "ttl_seconds"),
        (Authorize(), '{"dry_run": 1}', "dry_run"),
        (Authorize(), '{"amount": "1", "usage": {}}', "usage"),
        (Authorize(), '{"provider_call": {"request_body": "%"}}', "provider_call.request_body"),
        (Grant(), '{"expires_at": "2026-01-31"}', "expires_at"),
        (Grant(), '{"expires_at": "2026-02-31T00:00:00Z"}', "expires_at"),
        (Grant(), '{"expires_at": 5}', "expires_at"),
        (Customer(), '{"metadata": "x"}', "metadata"),
        (Customer(), '{"metadata": {"a": 9007199254740993}}', "metadata"),
        (Customer(), '{"metadata": {"a": 1e400}}', "metadata"),
        (Customer(), '{"metadata": {"\\ud800": 1}}', "metadata"),
        (Customer(), '{"metadata": ' + '{"a":' * 40 + "1" + "}" * 40 + "}", "metadata"),
        (Customer(), '{"metadata": {"a": [' + "1," * 8192 + "1]}}", "metadata"),
        (Meter(), '{"tiers": [' + "{}," * 1000 + "{}]}", "tiers"),
        (
            Report(),
            '{"metadata": {' + ",".join(f'"k{i}": ""' for i in range(1001)) + "}}",
            "metadata",
        ),
        (meter_service_pb2.UpdateMeterRequest(), '{"update_mask": "name"}', "update_mask"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(message: Message, text: str, field: str) -> None:
    assert refused(message, json.loads(text)) == field


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b'"x"',
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1} {}',
    ],
)
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJsonError):
        read_object(raw)
