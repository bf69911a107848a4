"""Messages to JSON, in Lava's form."""

from __future__ import annotations

import json
import math
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from lava.v1 import gateway_service_pb2 as gateway
from lava.v1 import ledger_service_pb2, meter_pb2, meter_service_pb2, request_record_pb2
from lava.v1.customer_pb2 import Contact, Customer
from lava.v1.request_record_pb2 import REQUEST_FLAG_LATE, REQUEST_STATUS_COMPLETED, RequestRecord

from lava_grpc.api.status import rpc_status
from lava_grpc.core.errors import invalid
from lava_grpc.rest.json_writer import dump, to_plain
from lava_grpc.rest.transcode import bindings, services


def shown(message: Message) -> dict[str, object]:
    found: dict[str, object] = json.loads(dump(to_plain(message)))
    return found


def test_every_answer_of_the_protos_can_be_written() -> None:
    for service in services():
        rest = {binding.rpc for binding in bindings(service)}
        for method in service.methods:
            if f"{service.full_name}/{method.name}" in rest:
                assert isinstance(shown(GetMessageClass(method.output_type)()), dict)


def test_an_empty_record_shows_what_lava_always_shows() -> None:
    assert shown(RequestRecord()) == {
        "request_id": "",
        "status": None,
        "provider": "",
        "provider_key_type": None,
        "endpoint": "",
        "model_usage": None,
        "cost": "",
        "charge": None,
        "metadata": {},
        "created_at": None,
        "flags": [],
    }


def test_a_full_record() -> None:
    record = RequestRecord(
        request_id="req_1",
        status=REQUEST_STATUS_COMPLETED,
        customer_id="con_1",
        model_usage=request_record_pb2.ModelUsage(input_tokens=2**60, input_seconds=1.5),
        charge=request_record_pb2.Charge(
            amount="1.0000000000",
            breakdown=[
                request_record_pb2.ChargeLine(
                    tier=meter_pb2.MeterTier(rate="2", type=meter_pb2.TIER_TYPE_TOKENS_1M),
                    seconds=3,
                )
            ],
        ),
        metadata={"a": "b"},
        flags=[REQUEST_FLAG_LATE],
    )
    record.created_at.FromJsonString("2023-05-15T14:22:31Z")

    text = shown(record)

    assert text["status"] == "completed"
    assert text["customer_id"] == "con_1"
    assert text["created_at"] == "2023-05-15T14:22:31Z"
    assert text["metadata"] == {"a": "b"}
    assert text["flags"] == ["late"]
    usage, charge = text["model_usage"], text["charge"]
    assert isinstance(usage, dict)
    assert isinstance(charge, dict)
    assert usage["input_tokens"] == 2**60
    assert usage["input_seconds"] == 1.5
    assert usage["output_seconds"] == 0
    # Annotated OPTIONAL and not set: left out, not null.
    assert "rate_type" not in charge
    assert charge["breakdown"][0]["tier"] == {"start": 0, "rate": "2", "type": "tokens_1m"}
    assert b'"seconds":3,' in dump(to_plain(record))


def test_absent_is_null_unless_annotated() -> None:
    text = shown(Customer(contact=Contact()))

    assert text["reference_id"] is None
    assert text["subscription"] is None
    assert text["metadata"] is None
    assert text["contact"] == {"phone": "", "email": "", "first_name": "", "last_name": ""}
    assert shown(ledger_service_pb2.LedgerEntry())["grant_id"] is None


def test_free_form_is_shown_as_it_was_given() -> None:
    given: dict[str, Any] = {"n": 3.0, "f": 1.5, "list": [None, True, "x", {}], "deep": {"a": {}}}
    customer = Customer()
    customer.metadata.update(given)

    assert shown(customer)["metadata"] == given
    assert b'"n":3' in dump(to_plain(customer))
    assert b'"n":3.' not in dump(to_plain(customer))


def test_only_the_member_that_is_set_of_a_oneof_is_shown() -> None:
    results = gateway.BatchReportUsageResponse(
        results=[
            gateway.ReportUsageResult(request_id="a", request=RequestRecord()),
            gateway.ReportUsageResult(
                request_id="b", error=rpc_status(invalid("cost", "must be a decimal"))
            ),
        ]
    )

    listed: Any = to_plain(results)["results"]
    done, refused = listed

    assert done.keys() == {"request_id", "request"}
    assert refused == {
        "request_id": "b",
        "error": {
            "message": "cost must be a decimal",
            "code": "invalid_field",
            "status": 400,
            "field": "cost",
        },
    }


def test_what_json_has_no_word_for_is_null() -> None:
    usage = request_record_pb2.ModelUsage(input_seconds=math.inf, output_seconds=1e300)

    assert shown(usage)["input_seconds"] is None
    assert shown(usage)["output_seconds"] == 1e300


def test_an_unknown_enum_value_is_shown_by_number() -> None:
    meter = meter_pb2.Meter.FromString(b"\x20\x63")
    assert shown(meter)["rate_type"] == 99


def test_the_shared_defaults_are_not_shared_between_answers() -> None:
    first = to_plain(meter_service_pb2.ListMetersResponse(data=[meter_pb2.Meter(name="a")]))
    assert first["data"] != to_plain(meter_service_pb2.ListMetersResponse())["data"]
