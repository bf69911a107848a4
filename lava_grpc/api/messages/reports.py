"""Reports of usage, and their results."""

from __future__ import annotations

from google.rpc import status_pb2
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.messages.records import from_record
from lava_grpc.api.messages.texts import optional_text
from lava_grpc.api.messages.usage import to_usage
from lava_grpc.api.status import rpc_status
from lava_grpc.core.commands import Settled
from lava_grpc.core.errors import Refusal
from lava_grpc.gateway.checks import check_id, check_labels
from lava_grpc.gateway.report import Report
from lava_grpc.providers.answer import RawAnswer

ENDPOINT_CHARS_MAX = 2048
"""The longest endpoint that a report may name."""


def to_report(request: pb.ReportUsageRequest) -> Report:
    """The report; refuses malformed fields."""
    return Report(
        usage=to_usage(request),
        request_id=check_id(request.request_id, "request_id") if request.request_id else None,
        customer_id=optional_text(request, "customer_id"),
        meter=optional_text(request, "meter_slug"),
        metadata=check_labels(dict(request.metadata)) if request.metadata else (),
        reservation_id=optional_text(request, "reservation_id"),
        provider=optional_text(request, "provider"),
        model=optional_text(request, "model"),
        cost=request.cost if request.HasField("cost") else None,
        endpoint=optional_text(request, "endpoint", chars_max=ENDPOINT_CHARS_MAX),
        amount=request.amount if request.HasField("amount") else None,
        response=_response(request),
    )


def _response(request: pb.ReportUsageRequest) -> RawAnswer | None:
    match request.WhichOneof("response"):
        case "response_json":
            return RawAnswer(request.response_json.encode())
        case "response_stream":
            return RawAnswer(request.response_stream, stream=True)
        case _:
            return None


def from_result(report: pb.ReportUsageRequest, result: Settled | Refusal) -> pb.ReportUsageResult:
    """One result of many."""
    if isinstance(result, Refusal):
        error: status_pb2.Status = rpc_status(result)
        return pb.ReportUsageResult(request_id=report.request_id, error=error)
    record = result.record
    return pb.ReportUsageResult(request_id=record.request_id, request=from_record(record))
