"""UsageService."""

from __future__ import annotations

from lava.v1 import usage_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import records, usage_days
from lava_grpc.api.messages.texts import optional_text
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.usage_days import UsageReports


class UsageHandlers:
    """What the merchant's customers used, by days."""

    def __init__(self, reports: UsageReports) -> None:
        self._reports = reports

    def table(self) -> Handlers:
        """By full method name."""
        return {"lava.v1.UsageService/GetUsage": self.get}

    async def get(
        self, request: pb.GetUsageRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetUsageResponse:
        """The days of a range, and their sum."""
        filters = request.metadata_filters
        usage = await self._reports.days(
            principal,
            start=request.start,
            end=request.end if request.HasField("end") else None,
            customer=optional_text(request, "customer_id"),
            meter=optional_text(request, "meter_id"),
            metadata=records.to_filter(filters) if filters else (),
        )
        return usage_days.from_usage(usage)
