"""GatewayService's calls of one operation, but for Forward, which streams."""

from __future__ import annotations

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import authorize, pages, records, reports, reservations
from lava_grpc.api.messages.texts import optional_number, optional_text
from lava_grpc.gateway.authorize import Authorizer
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.report import Reporter
from lava_grpc.gateway.reservations import Reservations


class GatewayHandlers:
    """The hot path."""

    def __init__(
        self, authorize_use_case: Authorizer, report: Reporter, reservations_use_case: Reservations
    ) -> None:
        self._authorize = authorize_use_case
        self._report = report
        self._reservations = reservations_use_case

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.GatewayService"
        return {
            f"{service}/Authorize": self.authorize,
            f"{service}/ReportUsage": self.report_usage,
            f"{service}/ReleaseReservation": self.release,
            f"{service}/ExtendReservation": self.extend,
            f"{service}/GetReservation": self.get,
            f"{service}/ListReservations": self.list,
        }

    async def authorize(
        self, request: pb.AuthorizeRequest, principal: Principal, deadline: float | None
    ) -> pb.AuthorizeResponse:
        """Place a hold."""
        call = authorize.to_call(request)
        return authorize.from_held(await self._authorize(principal, call, deadline=deadline))

    async def report_usage(
        self, request: pb.ReportUsageRequest, principal: Principal, deadline: float | None
    ) -> pb.ReportUsageResponse:
        """Settle, or bill after the fact."""
        report = reports.to_report(request)
        settled = await self._report(principal, report, deadline=deadline)
        return pb.ReportUsageResponse(request=records.from_record(settled.record))

    async def release(
        self, request: pb.ReleaseReservationRequest, principal: Principal, deadline: float | None
    ) -> pb.ReleaseReservationResponse:
        """Give a hold back."""
        hold = await self._reservations.release(
            principal, _reservation_id(request), deadline=deadline
        )
        return pb.ReleaseReservationResponse(reservation=reservations.from_hold(hold))

    async def extend(
        self, request: pb.ExtendReservationRequest, principal: Principal, deadline: float | None
    ) -> pb.ExtendReservationResponse:
        """Let a hold live longer."""
        hold = await self._reservations.extend(
            principal,
            _reservation_id(request),
            optional_number(request, "ttl_seconds"),
            deadline=deadline,
        )
        return pb.ExtendReservationResponse(reservation=reservations.from_hold(hold))

    async def get(
        self, request: pb.GetReservationRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetReservationResponse:
        """One hold."""
        hold = await self._reservations.get(principal, _reservation_id(request))
        return pb.GetReservationResponse(reservation=reservations.from_hold(hold))

    async def list(
        self, request: pb.ListReservationsRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListReservationsResponse:
        """A page of holds."""
        found = await self._reservations.list(
            principal,
            pages.to_page(request),
            customer_id=optional_text(request, "customer_id"),
            state=reservations.to_state(request),
        )
        return pb.ListReservationsResponse(
            data=[reservations.from_hold(hold) for hold in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )


def _reservation_id(
    request: pb.ReleaseReservationRequest | pb.ExtendReservationRequest | pb.GetReservationRequest,
) -> str:
    return check_text(request.reservation_id, "reservation_id")
