"""RequestService and LedgerService: reads of what happened."""

from __future__ import annotations

from lava.v1 import ledger_service_pb2, request_service_pb2

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import ledger, pages, records
from lava_grpc.api.messages.texts import optional_id, optional_text
from lava_grpc.gateway.checks import check_id
from lava_grpc.gateway.history import History
from lava_grpc.gateway.principal import Principal


class HistoryHandlers:
    """Records, entries, and the check of the books."""

    def __init__(self, history: History) -> None:
        self._history = history

    def table(self) -> Handlers:
        """By full method name."""
        return {
            "lava.v1.RequestService/ListRequests": self.list_requests,
            "lava.v1.RequestService/GetRequest": self.get_request,
            "lava.v1.LedgerService/ListEntries": self.list_entries,
            "lava.v1.LedgerService/Verify": self.verify,
        }

    async def list_requests(
        self,
        request: request_service_pb2.ListRequestsRequest,
        principal: Principal,
        _deadline: float | None,
    ) -> request_service_pb2.ListRequestsResponse:
        """A page of records."""
        filters = request.metadata_filters
        found = await self._history.records(
            principal,
            pages.to_page(request),
            customer=optional_text(request, "customer_id"),
            meter=optional_text(request, "meter_id"),
            metadata=records.to_filter(filters) if filters else (),
        )
        return request_service_pb2.ListRequestsResponse(
            data=[records.from_record(record) for record in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get_request(
        self,
        request: request_service_pb2.GetRequestRequest,
        principal: Principal,
        _deadline: float | None,
    ) -> request_service_pb2.GetRequestResponse:
        """One record."""
        request_id = check_id(request.request_id, "request_id")
        record = await self._history.record(principal, request_id)
        return request_service_pb2.GetRequestResponse(request=records.from_record(record))

    async def list_entries(
        self,
        request: ledger_service_pb2.ListEntriesRequest,
        principal: Principal,
        _deadline: float | None,
    ) -> ledger_service_pb2.ListEntriesResponse:
        """A page of entries."""
        found = await self._history.entries(
            principal,
            pages.to_page(request),
            account=optional_text(request, "account_id"),
            request_id=optional_id(request),
        )
        return ledger_service_pb2.ListEntriesResponse(
            data=[ledger.from_entry(entry) for entry in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def verify(
        self,
        _request: ledger_service_pb2.VerifyRequest,
        principal: Principal,
        _deadline: float | None,
    ) -> ledger_service_pb2.VerifyResponse:
        """Check the merchant's books."""
        return ledger.from_report(await self._history.verify(principal))
