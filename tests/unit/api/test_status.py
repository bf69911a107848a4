"""The table of refusals: complete, the protos' own names, and the same on both edges."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from lava.v1 import errors_pb2

from lava_grpc.api.status import TABLE, from_rpc_status, grpc_code, http_error, rpc_status
from lava_grpc.core.errors import Reason, Refusal, invalid


def test_every_reason_is_in_the_table() -> None:
    assert set(TABLE) == set(Reason)


def test_reasons_are_named_as_in_the_protos() -> None:
    prefix = "ERROR_REASON_"
    names = {name.removeprefix(prefix) for name in errors_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert names - {"UNSPECIFIED"} == {reason.value for reason in Reason}


@pytest.mark.parametrize(
    ("reason", "code", "http"),
    [
        (Reason.INVALID_FIELD, grpc.StatusCode.INVALID_ARGUMENT, 400),
        (Reason.INVALID_CREDENTIALS, grpc.StatusCode.UNAUTHENTICATED, 401),
        (Reason.INSUFFICIENT_CREDITS, grpc.StatusCode.FAILED_PRECONDITION, 402),
        (Reason.PERMISSION_DENIED, grpc.StatusCode.PERMISSION_DENIED, 403),
        (Reason.UPSTREAM_NOT_ALLOWED, grpc.StatusCode.PERMISSION_DENIED, 403),
        (Reason.NOT_FOUND, grpc.StatusCode.NOT_FOUND, 404),
        (Reason.ALREADY_EXISTS, grpc.StatusCode.ALREADY_EXISTS, 409),
        (Reason.REQUEST_ID_REUSED, grpc.StatusCode.ALREADY_EXISTS, 409),
        (Reason.RESERVATION_ENDED, grpc.StatusCode.FAILED_PRECONDITION, 409),
        (Reason.RATE_LIMITED, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (Reason.UPSTREAM_FAILED, grpc.StatusCode.UNAVAILABLE, 502),
        (Reason.UPSTREAM_TIMEOUT, grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (Reason.OVERLOADED, grpc.StatusCode.UNAVAILABLE, 503),
        (Reason.STORE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE, 503),
        (Reason.DEADLINE_EXCEEDED, grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (Reason.NOT_IMPLEMENTED, grpc.StatusCode.UNIMPLEMENTED, 501),
        (Reason.INTERNAL, grpc.StatusCode.INTERNAL, 500),
    ],
)
def test_a_reason_has_its_code_and_status(reason: Reason, code: grpc.StatusCode, http: int) -> None:
    refusal = Refusal(reason, "no")

    assert grpc_code(reason) is code
    assert rpc_status(refusal).code == code.value[0]
    assert http_error(refusal)[0] == http
    assert from_rpc_status(rpc_status(refusal)).reason is reason


def test_a_refusal_survives_the_wire() -> None:
    refusal = Refusal(
        Reason.OVERLOADED,
        "the ledger's queue is full",
        field="amount",
        facts={"queue": "ledger"},
        retry_after_seconds=0.25,
    )

    back = from_rpc_status(rpc_status(refusal))

    assert back.message == refusal.message
    assert back.field == "amount"
    assert back.facts == {"queue": "ledger"}
    assert back.retry_after_seconds == 0.25


def test_a_bad_field_is_a_field_violation() -> None:
    status = rpc_status(invalid("tiers[0].rate", "must be a decimal string"))

    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert [v.field for v in bad.field_violations] == ["tiers[0].rate"]


def test_lavas_error_body() -> None:
    refusal = Refusal(
        Reason.INSUFFICIENT_CREDITS,
        "the customer cannot cover this",
        facts={"required": "0.5000000000", "available": "0.1000000000"},
    )

    status, body, headers = http_error(refusal)

    assert status == 402
    assert body == {
        "error": {
            "message": "the customer cannot cover this",
            "code": "insufficient_credits",
            "status": 402,
            "details": {"required": "0.5000000000", "available": "0.1000000000"},
        }
    }
    assert headers == {}


def test_when_to_come_back_is_whole_seconds_and_never_none_when_overloaded() -> None:
    assert http_error(Refusal(Reason.RATE_LIMITED, "no", retry_after_seconds=2.1))[2] == {
        "retry-after": "3"
    }
    assert http_error(Refusal(Reason.OVERLOADED, "no"))[2] == {"retry-after": "1"}


def test_a_defect_is_told_without_its_detail() -> None:
    refusal = Refusal(Reason.INTERNAL, "SELECT failed", field="x", facts={"sql": "SELECT"})

    assert "SELECT" not in str(http_error(refusal))
    assert "SELECT" not in str(rpc_status(refusal))


def test_a_strangers_status_becomes_the_nearest_refusal() -> None:
    unavailable = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="down")
    unknown = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0])

    assert from_rpc_status(unavailable).reason is Reason.STORE_UNAVAILABLE
    assert from_rpc_status(unknown).reason is Reason.INTERNAL


def test_another_domains_error_info_is_not_ours() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0])
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason="RATE_LIMITED", domain="example.com")
    )

    assert from_rpc_status(status).reason is Reason.NOT_FOUND


def test_a_detail_that_cannot_be_read_is_passed_over() -> None:
    status = rpc_status(Refusal(Reason.NOT_FOUND, "no meter"))
    broken = status_pb2.Status(code=status.code)
    broken.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff\xff")

    assert from_rpc_status(broken).reason is Reason.NOT_FOUND
