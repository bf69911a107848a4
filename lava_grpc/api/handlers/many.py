"""GatewayService's calls of many operations: the batches, and each message of the streams.

A malformed item is refused in its own place, as the ledger refuses one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import authorize, reports
from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.gateway.authorize import CALLS_MAX, Authorizer
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.report import REPORTS_MAX, Reporter

Asked = TypeVar("Asked", pb.AuthorizeRequest, pb.ReportUsageRequest)
Read = TypeVar("Read")
Done = TypeVar("Done")


class ManyHandlers:
    """The hot path, many at a time."""

    def __init__(self, authorize_use_case: Authorizer, report: Reporter) -> None:
        self._authorize = authorize_use_case
        self._report = report

    def table(self) -> Handlers:
        """By full method name. Of a streaming RPC it is one message that is answered."""
        service = "lava.v1.GatewayService"
        return {
            f"{service}/BatchAuthorize": self.batch_authorize,
            f"{service}/AuthorizeStream": self.authorize_stream,
            f"{service}/BatchReportUsage": self.batch_report_usage,
            f"{service}/ReportUsageStream": self.report_usage_stream,
        }

    async def batch_authorize(
        self, request: pb.BatchAuthorizeRequest, principal: Principal, deadline: float | None
    ) -> pb.BatchAuthorizeResponse:
        """Place many holds."""
        asked = _bounded(request.requests, "requests", CALLS_MAX)
        read = [_read(authorize.to_call, item) for item in asked]
        results = await _each(
            read, lambda good: self._authorize.many(principal, good, deadline=deadline)
        )
        return pb.BatchAuthorizeResponse(results=map(authorize.from_result, asked, results))

    async def authorize_stream(
        self, request: pb.AuthorizeStreamRequest, principal: Principal, deadline: float | None
    ) -> pb.AuthorizeStreamResponse:
        """Place the holds of one message."""
        asked = _bounded(request.requests, "requests", CALLS_MAX)
        read = [_read_named(authorize.to_call, item) for item in asked]
        results = await _each(
            read,
            lambda good: _told_each(good, self._authorize.many(principal, good, deadline=deadline)),
        )
        return pb.AuthorizeStreamResponse(results=map(authorize.from_result, asked, results))

    async def batch_report_usage(
        self, request: pb.BatchReportUsageRequest, principal: Principal, deadline: float | None
    ) -> pb.BatchReportUsageResponse:
        """Settle many, or bill many after the fact."""
        asked = _bounded(request.reports, "reports", REPORTS_MAX)
        read = [_read(reports.to_report, item) for item in asked]
        results = await _each(
            read, lambda good: self._report.many(principal, good, deadline=deadline)
        )
        return pb.BatchReportUsageResponse(results=map(reports.from_result, asked, results))

    async def report_usage_stream(
        self, request: pb.ReportUsageStreamRequest, principal: Principal, deadline: float | None
    ) -> pb.ReportUsageStreamResponse:
        """Settle, or bill, what one message reports."""
        asked = _bounded(request.reports, "reports", REPORTS_MAX)
        read = [_read_named(reports.to_report, item) for item in asked]
        results = await _each(
            read,
            lambda good: _told_each(good, self._report.many(principal, good, deadline=deadline)),
        )
        return pb.ReportUsageStreamResponse(results=map(reports.from_result, asked, results))


def _bounded(items: Sequence[Asked], field: str, count_max: int) -> Sequence[Asked]:
    if not items:
        raise invalid(field, "must not be empty")
    if len(items) > count_max:
        raise invalid(field, f"must have at most {count_max} of them")
    return items


def _read(to: Callable[[Asked], Read], item: Asked) -> Read | Refusal:
    try:
        return to(item)
    except Refusal as refusal:
        return refusal


def _read_named(to: Callable[[Asked], Read], item: Asked) -> Read | Refusal:
    """As `_read`; an answer could not be told from others without an id."""
    if not item.request_id:
        return invalid("request_id", "is required in a stream")
    return _read(to, item)


async def _told_each(
    asked: Sequence[object], work: Awaitable[list[Done | Refusal]]
) -> list[Done | Refusal]:
    """As `work`, whose refusal of all is each one's: a full queue does not end a stream."""
    try:
        return await work
    except Refusal as refusal:
        return [refusal] * len(asked)


async def _each(
    read: Sequence[Read | Refusal], work: Callable[[list[Read]], Awaitable[list[Done | Refusal]]]
) -> list[Done | Refusal]:
    """What became of each, those that could not be read in their places."""
    good = [item for item in read if not isinstance(item, Refusal)]
    if len(good) == len(read):
        return await work(good)
    done = iter(await work(good) if good else ())
    return [item if isinstance(item, Refusal) else next(done) for item in read]
