"""Reads of what the ledger wrote. See `gateway.ports.Books`."""

from __future__ import annotations

from collections.abc import Sequence

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.books import RecordFilter, StoredEntry, Totals, VerifyReport
from lava_grpc.core.hold import Hold, HoldState
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import Usage
from lava_grpc.store import account_reads, hold_reads, record_reads, usage_reads, verify
from lava_grpc.store.database import Database


class StoreBooks:
    """Runs each of its siblings' queries in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, merchant_id: str, account_id: str) -> Account | None:
        """The account with its live grants."""
        return await self._database.read(lambda c: account_reads.find(c, merchant_id, account_id))

    async def list_grants(self, merchant_id: str, account_id: str, page: Page) -> Slice[Grant]:
        """All of an account's grants, newest first."""
        return await self._database.read(
            lambda c: account_reads.list_grants(c, merchant_id, account_id, page)
        )

    async def hold(self, merchant_id: str, hold_id: str) -> Hold | None:
        """The hold."""
        return await self._database.read(lambda c: hold_reads.find(c, merchant_id, hold_id))

    async def hold_of_request(self, merchant_id: str, request_id: str) -> Hold | None:
        """The hold that was placed for a request."""
        return await self._database.read(
            lambda c: hold_reads.of_request(c, merchant_id, request_id)
        )

    async def holds(self, merchant_id: str, hold_ids: Sequence[str]) -> dict[str, Hold]:
        """Those of the holds that there are, by their ids."""
        return await self._database.read(lambda c: hold_reads.find_many(c, merchant_id, hold_ids))

    async def holds_of_requests(
        self, merchant_id: str, request_ids: Sequence[str]
    ) -> dict[str, Hold]:
        """The holds that were placed for requests, by the requests' ids."""
        return await self._database.read(
            lambda c: hold_reads.of_requests(c, merchant_id, request_ids)
        )

    async def list_holds(
        self,
        merchant_id: str,
        page: Page,
        *,
        customer_id: str | None,
        state: HoldState | None,
        now: Instant,
    ) -> Slice[Hold]:
        """Holds, newest first. One that is active past its expiry shows as expired."""
        return await self._database.read(
            lambda c: hold_reads.list_page(
                c, merchant_id, page, customer_id=customer_id, state=state, now=now
            )
        )

    async def record(self, merchant_id: str, request_id: str) -> RequestRecord | None:
        """The record; a pending one where an active hold has none yet."""
        return await self._database.read(lambda c: record_reads.find(c, merchant_id, request_id))

    async def list_records(
        self, merchant_id: str, page: Page, wanted: RecordFilter
    ) -> Slice[RequestRecord]:
        """Records, newest first, pending ones among them."""
        return await self._database.read(
            lambda c: record_reads.list_page(c, merchant_id, page, wanted)
        )

    async def list_entries(
        self, merchant_id: str, page: Page, *, account_id: str | None, request_id: str | None
    ) -> Slice[StoredEntry]:
        """Entries, newest first."""
        return await self._database.read(
            lambda c: account_reads.list_entries(
                c, merchant_id, page, account_id=account_id, request_id=request_id
            )
        )

    async def usage_by_day(
        self,
        merchant_id: str,
        wanted: RecordFilter,
        *,
        start: Instant,
        before: Instant,
        day: Instant,
    ) -> Sequence[tuple[int, Totals]]:
        """The sums by days since `day`, from `start` on, before `before`; oldest first."""
        return await self._database.read(
            lambda c: usage_reads.by_day(
                c, merchant_id, wanted, start=start, before=before, day=day
            )
        )

    async def newest_usage(
        self, merchant_id: str, customer_id: str | None, limit: int
    ) -> Sequence[tuple[str, str | None, Usage]]:
        """Provider, model and usage of the newest records; see `gateway.expectations`."""
        return await self._database.read(
            lambda c: usage_reads.newest(c, merchant_id, customer_id, limit)
        )

    async def verify(self, merchant_id: str | None) -> VerifyReport:
        """Check the rules of the books over one merchant's rows, or over all."""
        return await self._database.read(lambda c: verify.check(c, merchant_id))
