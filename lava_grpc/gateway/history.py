"""Reads of what happened: records, entries, and the check of the books."""

from __future__ import annotations

from collections.abc import Sequence

from lava_grpc.core.books import RecordFilter, StoredEntry, VerifyReport
from lava_grpc.core.errors import not_found
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.gateway.ports import Books, Resources
from lava_grpc.gateway.principal import Principal


class History:
    """A merchant's records and entries.

    A filter may name a customer or meter that was deleted, by its id: what it
    did stays listed. One that names nothing lists nothing.
    """

    def __init__(self, resources: Resources, books: Books) -> None:
        self._resources = resources
        self._books = books

    async def record(self, principal: Principal, request_id: str) -> RequestRecord:
        """The record; a pending one while a hold runs. Refuses NOT_FOUND."""
        record = await self._books.record(principal.merchant_id, request_id)
        if record is None:
            raise not_found("request", request_id, field="request_id")
        return record

    async def records(
        self,
        principal: Principal,
        page: Page,
        *,
        customer: str | None,
        meter: str | None,
        metadata: Sequence[tuple[str, str]],
    ) -> Slice[RequestRecord]:
        """Records, newest first."""
        merchant_id = principal.merchant_id
        wanted = await record_filter(
            self._resources, merchant_id, customer=customer, meter=meter, metadata=metadata
        )
        return await self._books.list_records(merchant_id, page, wanted)

    async def entries(
        self, principal: Principal, page: Page, *, account: str | None, request_id: str | None
    ) -> Slice[StoredEntry]:
        """Entries, newest first."""
        merchant_id = principal.merchant_id
        if account is not None:
            account = await _customer_id(self._resources, merchant_id, account)
        return await self._books.list_entries(
            merchant_id, page, account_id=account, request_id=request_id
        )

    async def verify(self, principal: Principal) -> VerifyReport:
        """Check the rules over the merchant's own books."""
        return await self._books.verify(principal.merchant_id)


async def record_filter(
    resources: Resources,
    merchant_id: str,
    *,
    customer: str | None,
    meter: str | None,
    metadata: Sequence[tuple[str, str]],
) -> RecordFilter:
    """Which records, by ids: a name that names nothing is taken for an id."""
    if customer is not None:
        customer = await _customer_id(resources, merchant_id, customer)
    if meter is not None:
        found = await resources.meter(merchant_id, meter)
        meter = meter if found is None else found.meter.meter_id
    return RecordFilter(customer_id=customer, meter_id=meter, metadata=tuple(metadata))


async def _customer_id(resources: Resources, merchant_id: str, ident: str) -> str:
    found = await resources.customer(merchant_id, ident)
    return ident if found is None else found.customer_id
