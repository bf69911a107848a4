"""The seams of the use cases: what they need of a ledger, of resources, of books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.books import RecordFilter, StoredEntry, VerifyReport
from lava_grpc.core.commands import Command
from lava_grpc.core.hold import Hold, HoldState
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import Amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.core.resources import Customer, Merchant, NamedMeter, SecretKey
from lava_grpc.core.time import Instant


class Ledger(Protocol):
    """Where commands are decided and made durable."""

    async def submit(self, command: Command, *, deadline: float | None = None) -> Outcome:
        """The outcome, once it is durable; raises the Refusal where it is one.

        `deadline` is on the event loop's clock: a command that is not begun by
        then is dropped and refused DEADLINE_EXCEEDED. Refuses OVERLOADED where
        the queue is full, STORE_UNAVAILABLE where the outcome is unknown.
        """
        ...


class Resources(Protocol):
    """What merchants own. A look-up gives None for what is not there or was deleted.

    Wherever a customer is named, its `reference_id` does as well as its id; wherever
    a meter is named, its slug does.
    """

    async def add_merchant(self, merchant: Merchant, *, wallet_limit: Amount | None = 0) -> None:
        """Store a merchant and open its wallet: an account with the merchant's own id.

        `wallet_limit` is how far the wallet may go past its credit, None for unlimited.
        """
        ...

    async def merchant(self, merchant_id: str) -> Merchant | None:
        """The merchant."""
        ...

    async def list_merchants(self) -> Sequence[Merchant]:
        """All of them, oldest first."""
        ...

    async def add_key(self, key: SecretKey, key_hash: str) -> None:
        """Store a key by its hash (SHA-256, hex)."""
        ...

    async def key_owner(self, key_hash: str) -> tuple[SecretKey, Merchant] | None:
        """The key with this hash and its merchant, None where it is unknown or revoked."""
        ...

    async def list_keys(self, merchant_id: str, page: Page) -> Slice[SecretKey]:
        """The keys that are not revoked, newest first."""
        ...

    async def revoke_key(self, merchant_id: str, secret_key_id: str, at: Instant) -> bool:
        """Revoke a key for good; False where there is none to revoke."""
        ...

    async def add_customer(self, customer: Customer) -> Customer:
        """Store a customer and open its account; the one with the same `reference_id`, if any."""
        ...

    async def customer(self, merchant_id: str, ident: str) -> Customer | None:
        """The customer with this id or reference id."""
        ...

    async def list_customers(self, merchant_id: str, page: Page) -> Slice[Customer]:
        """Customers, newest first."""
        ...

    async def change_customer(
        self, merchant_id: str, ident: str, changes: Mapping[str, object]
    ) -> Customer | None:
        """Set fields of `Customer` by name. Refuses ALREADY_EXISTS for a taken reference id."""
        ...

    async def delete_customer(self, merchant_id: str, ident: str, at: Instant) -> bool:
        """Delete a customer and close its account; False where there is none."""
        ...

    async def add_meter(self, meter: NamedMeter) -> None:
        """Store a meter. Refuses ALREADY_EXISTS (field `meter_slug`) for a taken slug."""
        ...

    async def meter(self, merchant_id: str, ident: str) -> NamedMeter | None:
        """The meter with this id or slug."""
        ...

    async def list_meters(self, merchant_id: str, page: Page) -> Slice[NamedMeter]:
        """Meters, newest first."""
        ...

    async def change_meter(
        self,
        merchant_id: str,
        ident: str,
        *,
        name: str | None,
        tiers: Sequence[tuple[int, int]] | None,
    ) -> NamedMeter | None:
        """Set the name, the tiers (start, rate in 10^-10), or both; None leaves one as it is."""
        ...

    async def delete_meter(self, merchant_id: str, ident: str, at: Instant) -> str | None:
        """Delete a meter; its id, None where there is none."""
        ...


class Books(Protocol):
    """Reads of what the ledger wrote. A cursor that names nothing is refused (INVALID_FIELD)."""

    async def account(self, merchant_id: str, account_id: str) -> Account | None:
        """The account with its live grants."""
        ...

    async def list_grants(self, merchant_id: str, account_id: str, page: Page) -> Slice[Grant]:
        """All of an account's grants, newest first."""
        ...

    async def hold(self, merchant_id: str, hold_id: str) -> Hold | None:
        """The hold."""
        ...

    async def hold_of_request(self, merchant_id: str, request_id: str) -> Hold | None:
        """The hold that was placed for a request."""
        ...

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
        ...

    async def record(self, merchant_id: str, request_id: str) -> RequestRecord | None:
        """The record; a pending one where an active hold has none yet."""
        ...

    async def list_records(
        self, merchant_id: str, page: Page, wanted: RecordFilter
    ) -> Slice[RequestRecord]:
        """Records, newest first, pending ones among them."""
        ...

    async def list_entries(
        self, merchant_id: str, page: Page, *, account_id: str | None, request_id: str | None
    ) -> Slice[StoredEntry]:
        """Entries, newest first."""
        ...

    async def verify(self, merchant_id: str | None) -> VerifyReport:
        """Check the rules of the books over one merchant's rows, or over all."""
        ...
