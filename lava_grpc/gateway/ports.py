"""The seams of the use cases: what they need of a ledger, of resources, of books."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from lava_grpc.core.account import Account, Grant
from lava_grpc.core.books import RecordFilter, StoredEntry, VerifyReport
from lava_grpc.core.commands import Command
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.hold import Hold, HoldState
from lava_grpc.core.jobs import Job
from lava_grpc.core.kept import Kept, KeptState
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import Amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.payments import Payment, PaymentState
from lava_grpc.core.plans import (
    Bundle,
    Enrolment,
    Plan,
    PlanEdit,
    StoredPlan,
    SubscriptionStatus,
)
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.core.resources import Customer, Merchant, NamedMeter, SecretKey
from lava_grpc.core.spend_key import SpendKey, UsedSpendKey
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


class BatchLedger(Ledger, Protocol):
    """A ledger that takes many commands at once."""

    async def submit_many(
        self, commands: Sequence[Command], *, deadline: float | None = None
    ) -> list[Outcome]:
        """The outcomes in order, once all are durable; a Refusal among the possible ones.

        They are queued together and share a batch, as many as fit into one, and
        go on where their caller goes. Refuses OVERLOADED, and does none of them,
        where the queue has no room for all.
        """
        ...


class DeferringLedger(BatchLedger, Protocol):
    """A ledger that takes commands before they are made."""

    def defer(self, deferred: DeferredCommand) -> None:
        """Queue a command that is made when its batch is. Refuses OVERLOADED as `submit` does."""
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

    async def holds(self, merchant_id: str, hold_ids: Sequence[str]) -> Mapping[str, Hold]:
        """Those of the holds that there are, by their ids; one read."""
        ...

    async def holds_of_requests(
        self, merchant_id: str, request_ids: Sequence[str]
    ) -> Mapping[str, Hold]:
        """The holds that were placed for requests, by the requests' ids; one read."""
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


class SpendKeyStore(Protocol):
    """The merchants' spend keys. A look-up gives None for what is not there or was revoked."""

    async def add(self, key: SpendKey, key_hash: str) -> None:
        """Store a key by its hash (SHA-256, hex), and open its account."""
        ...

    async def owner(self, key_hash: str) -> tuple[SpendKey, Merchant] | None:
        """The key with this hash and its merchant."""
        ...

    async def find(self, merchant_id: str, spend_key_id: str) -> UsedSpendKey | None:
        """The key, and what it has used."""
        ...

    async def list(self, merchant_id: str, page: Page) -> Slice[UsedSpendKey]:
        """Keys, newest first."""
        ...

    async def change(
        self, merchant_id: str, spend_key_id: str, changes: Mapping[str, object]
    ) -> UsedSpendKey | None:
        """Set fields of `SpendKey`, or its limits (`spend_limit` …), by name; None clears."""
        ...

    async def rotate(
        self, merchant_id: str, spend_key_id: str, key_hash: str, preview: str
    ) -> UsedSpendKey | None:
        """Replace the key's hash and preview."""
        ...

    async def revoke(self, merchant_id: str, spend_key_id: str, at: Instant) -> bool:
        """Revoke a key for good and close its account; False where there is none to revoke."""
        ...


class IdempotencyStore(Protocol):
    """Idempotency keys, kept for a day. Refuses STORE_UNAVAILABLE."""

    async def begin(
        self, merchant_id: str, key: str, method: str, fingerprint: str, now: Instant
    ) -> Kept | None:
        """Note that a call begins; what is known of the key where it is not the first."""
        ...

    async def end(self, merchant_id: str, key: str, state: KeptState, answer: bytes | None) -> None:
        """Note what a call came to."""
        ...

    async def forget(self, merchant_id: str, key: str) -> None:
        """The call did nothing: the key is free again."""
        ...


class JobStore(Protocol):
    """Work that goes on at providers, kept for a month. Refuses STORE_UNAVAILABLE."""

    async def add(self, job: Job, now: Instant) -> None:
        """Remember a job; the first word on it counts."""
        ...

    async def find(self, merchant_id: str, provider: str, job_id: str) -> Job | None:
        """The job, as long as it is not settled; one of a spend key's after that too."""
        ...

    async def forget(self, job: Job) -> None:
        """The job is settled, or never will be. One of a spend key's is kept as ended."""
        ...


class Billing(Protocol):
    """Plans, bundles and subscriptions. A look-up gives None for what is not there.

    Plans and bundles that were deleted are not there, but subscriptions still show them.
    """

    async def add_plan(self, plan: Plan, bundles: Sequence[Bundle]) -> StoredPlan:
        """Store a plan and its bundles."""
        ...

    async def default_plan(self, merchant_id: str) -> Plan | None:
        """The plan that customers without another are on."""
        ...

    async def ensure_default(self, plan: Plan) -> Plan:
        """The merchant's default plan; `plan` where there was none."""
        ...

    async def plan(self, merchant_id: str, plan_id: str) -> StoredPlan | None:
        """The plan with this id."""
        ...

    async def list_plans(self, merchant_id: str, page: Page) -> Slice[StoredPlan]:
        """Plans, newest first."""
        ...

    async def change_plan(
        self, merchant_id: str, plan_id: str, edit: PlanEdit, at: Instant
    ) -> StoredPlan | None:
        """Change a plan and its bundles, all or nothing."""
        ...

    async def delete_plan(self, merchant_id: str, plan_id: str, at: Instant) -> bool:
        """Delete a plan; False where there is none, or it is the default one."""
        ...

    async def bundle(self, merchant_id: str, bundle_id: str) -> Bundle | None:
        """The bundle with this id."""
        ...

    async def list_bundles(
        self, merchant_id: str, plan_id: str | None, page: Page
    ) -> Slice[Bundle]:
        """Bundles, newest first; of one plan, or of all."""
        ...

    async def subscription(self, merchant_id: str, subscription_id: str) -> Enrolment | None:
        """The subscription with this id, active or over."""
        ...

    async def active_subscription(self, merchant_id: str, customer_id: str) -> Enrolment | None:
        """The customer's active subscription."""
        ...

    async def place(
        self, merchant_id: str, customer_id: str
    ) -> tuple[Enrolment | None, Account | None]:
        """The customer's active subscription and account, of one commit."""
        ...

    async def list_subscriptions(
        self,
        merchant_id: str,
        page: Page,
        *,
        status: SubscriptionStatus | None,
        customer_id: str | None,
    ) -> Slice[Enrolment]:
        """Subscriptions, newest first; with one status, or with either."""
        ...


class PaymentStore(Protocol):
    """Payments. A look-up gives None for what is not there."""

    async def open(self, payment: Payment, *, quiet_since: Instant) -> bool:
        """Store a payment.

        False for an auto top-up while another one of the account is open, or after
        one that was made since then was declined with a reason; for a plan's first
        cycle while another one is open; and for a request id that was used before.
        """
        ...

    async def find(self, merchant_id: str, payment_id: str) -> Payment | None:
        """The payment with this id."""
        ...

    async def of_request(self, merchant_id: str, request_id: str) -> Payment | None:
        """The payment that was asked for with this request id."""
        ...

    async def beginning(self, merchant_id: str, account_id: str) -> Payment | None:
        """The open payment for a plan's first cycle."""
        ...

    async def list(self, merchant_id: str, account_id: str | None, page: Page) -> Slice[Payment]:
        """Payments, newest first; of one account, or of all."""
        ...

    async def due(self, now: Instant, limit: int) -> Sequence[Payment]:
        """Open payments that nobody is at, the longest waiting first."""
        ...

    async def take(self, payment: Payment, now: Instant, until: Instant) -> Payment | None:
        """Be the one who is at a payment until then; None where another one is, or it ended.

        The payment counts one attempt more; `reason` is still what was last said of it.
        """
        ...

    async def put_off(self, payment: Payment, until: Instant) -> None:
        """Let an open payment wait until then: it was not answered."""
        ...

    async def insist(self, payment: Payment, until: Instant, reason: str) -> None:
        """Ask for a payment once more then, which was declined."""
        ...

    async def pay_with(self, payment: Payment, method_id: str | None) -> None:
        """Have an open payment asked for by another payment method from now on."""
        ...

    async def mark_paid(self, payment: Payment) -> bool:
        """Note that the money of an open payment was taken; False where it is not open."""
        ...

    async def end(
        self, payment: Payment, state: PaymentState, reason: str | None, at: Instant
    ) -> bool:
        """Close a payment: as declined if it is open, as succeeded if it is paid, or else not."""
        ...
