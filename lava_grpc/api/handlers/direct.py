"""GatewayService's calls that are one command of the ledger each."""

from __future__ import annotations

from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.api.direct import OneCommands
from lava_grpc.api.messages import authorize, records, reports
from lava_grpc.core.commands import PlaceHold, Settle
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.ledger import Outcome
from lava_grpc.gateway.authorize import Authorizer
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.report import Reporter


class DirectAuthorize:
    """A hold by an amount or by expected usage."""

    # A hold that nobody waits for any more need not be placed.
    needs_caller = True

    def __init__(self, use_case: Authorizer) -> None:
        self._authorize = use_case

    def command(self, request: pb.AuthorizeRequest, principal: Principal) -> PlaceHold | None:
        """See `OneCommand.command`."""
        return self._authorize.at_once(principal, authorize.to_call(request))

    def answer(self, command: PlaceHold, outcome: Outcome) -> pb.AuthorizeResponse:
        """See `OneCommand.answer`."""
        return authorize.from_held(self._authorize.placed(command, outcome))

    def defer(self, deferred: DeferredCommand) -> None:
        """See `OneCommand.defer`."""
        self._authorize.defer(deferred)


class DirectReport:
    """Usage that the caller counted."""

    needs_caller = False

    def __init__(self, use_case: Reporter) -> None:
        self._report = use_case

    def command(self, request: pb.ReportUsageRequest, principal: Principal) -> Settle | None:
        """See `OneCommand.command`."""
        return self._report.at_once(principal, reports.to_report(request))

    def answer(self, command: Settle, outcome: Outcome) -> pb.ReportUsageResponse:
        """See `OneCommand.answer`."""
        settled = self._report.settled(command, outcome)
        return pb.ReportUsageResponse(request=records.from_record(settled.record))

    def defer(self, deferred: DeferredCommand) -> None:
        """See `OneCommand.defer`."""
        self._report.defer(deferred)


def build_direct(authorize_use_case: Authorizer, report: Reporter) -> OneCommands:
    """The table of them."""
    service = "lava.v1.GatewayService"
    return {
        f"{service}/Authorize": DirectAuthorize(authorize_use_case),
        f"{service}/ReportUsage": DirectReport(report),
    }
