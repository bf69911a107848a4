"""MeterService."""

from __future__ import annotations

from lava.v1 import meter_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import meters, pages
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.meters import Meters
from lava_grpc.gateway.principal import Principal


class MeterHandlers:
    """The merchant's meters."""

    def __init__(self, meters_use_case: Meters) -> None:
        self._meters = meters_use_case

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.MeterService"
        return {
            f"{service}/CreateMeter": self.create,
            f"{service}/ListMeters": self.list,
            f"{service}/GetMeter": self.get,
            f"{service}/UpdateMeter": self.update,
            f"{service}/DeleteMeter": self.delete,
        }

    async def create(
        self, request: pb.CreateMeterRequest, principal: Principal, _deadline: float | None
    ) -> pb.CreateMeterResponse:
        """Create a meter."""
        meter = await self._meters.create(principal, meters.to_meter(request))
        return pb.CreateMeterResponse(meter=meters.from_meter(meter))

    async def list(
        self, request: pb.ListMetersRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListMetersResponse:
        """A page of meters."""
        found = await self._meters.list(principal, pages.to_page(request))
        return pb.ListMetersResponse(
            data=[meters.from_meter(meter) for meter in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get(
        self, request: pb.GetMeterRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetMeterResponse:
        """One meter."""
        meter = await self._meters.get(principal, _meter_id(request))
        return pb.GetMeterResponse(meter=meters.from_meter(meter))

    async def update(
        self, request: pb.UpdateMeterRequest, principal: Principal, _deadline: float | None
    ) -> pb.UpdateMeterResponse:
        """Change a meter."""
        name, tiers = meters.to_changes(request)
        meter = await self._meters.update(principal, _meter_id(request), name=name, tiers=tiers)
        return pb.UpdateMeterResponse(meter=meters.from_meter(meter))

    async def delete(
        self, request: pb.DeleteMeterRequest, principal: Principal, _deadline: float | None
    ) -> pb.DeleteMeterResponse:
        """Delete a meter."""
        meter_id = await self._meters.delete(principal, _meter_id(request))
        return pb.DeleteMeterResponse(id=meter_id, deleted=True)


def _meter_id(
    request: pb.GetMeterRequest | pb.UpdateMeterRequest | pb.DeleteMeterRequest,
) -> str:
    return check_text(request.meter_id, "meter_id")
