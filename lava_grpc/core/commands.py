"""What can be asked of the ledger, and what it answers. One frozen struct each."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from lava_grpc.core.account import Account, Grant, GrantSource
from lava_grpc.core.hold import CallFacts, Hold, HoldKind, Role
from lava_grpc.core.money import Amount
from lava_grpc.core.payments import Payment
from lava_grpc.core.plans import Enrolment, Plan
from lava_grpc.core.pricing import Meter
from lava_grpc.core.request_record import Flag, RequestRecord
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import NOTHING, Usage


class HoldPart(msgspec.Struct, frozen=True):
    """What one account shall hold: `amount`, or else an upper bound of what `usage` comes to.

    With a meter the bound is its charge (of `usage`, or of `cost` for a percentage);
    without one it is `cost`. `output_cost` is the part of `cost` that shrinks with
    fewer output tokens; it matters only for partial holds.
    """

    account_id: str
    role: Role
    amount: Amount | None = None
    meter: Meter | None = None
    meter_id: str | None = None  # which restricted grants are eligible
    usage: Usage = NOTHING
    cost: Amount = 0
    output_cost: Amount = 0


class PlaceHold(msgspec.Struct, frozen=True):
    """Reserve credit on every part's account, all or none.

    Repeating it with the same `request_id` and `fingerprint` answers with the
    first hold. `scale_output`: with `allow_partial`, shrink the output tokens of
    every part until all are covered, instead of holding what there is; fewer than
    `output_tokens_min` in all are refused.
    """

    merchant_id: str
    request_id: str
    hold_id: str
    fingerprint: str
    kind: HoldKind
    parts: tuple[HoldPart, ...]
    facts: CallFacts
    ttl_seconds: int
    allow_partial: bool = False
    scale_output: bool = False
    dry_run: bool = False
    output_tokens_min: int = 1

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts it touches."""
        # A list first: on the hot path, where a generator costs twice as much.
        return tuple([part.account_id for part in self.parts])


class SettlePart(msgspec.Struct, frozen=True):
    """What one account pays: `amount`, or what `meter` charges for the usage, or the cost."""

    account_id: str
    role: Role
    meter: Meter | None = None
    meter_id: str | None = None
    amount: Amount | None = None


class Settle(msgspec.Struct, frozen=True):
    """Charge what was really used: out of a hold, or with none at all.

    `hold_id` None settles the request's own hold if it has one. Never refused
    for want of credit.
    """

    merchant_id: str
    request_id: str
    fingerprint: str
    parts: tuple[SettlePart, ...]
    facts: CallFacts
    usage: Usage
    cost: Amount = 0
    input_cost: Amount = 0
    output_cost: Amount = 0
    response_id: str | None = None
    hold_id: str | None = None
    flags: tuple[Flag, ...] = ()
    # The call ended in an error after it had used something.
    failed: bool = False
    service_tier: str | None = None

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts it touches."""
        # A list first: on the hot path, where a generator costs twice as much.
        return tuple([part.account_id for part in self.parts])


class Release(msgspec.Struct, frozen=True):
    """Give a hold back unused. `account_ids` are the hold's, so that they can be locked."""

    merchant_id: str
    hold_id: str
    account_ids: tuple[str, ...]


class Extend(msgspec.Struct, frozen=True):
    """Move an active hold's expiry to `ttl_seconds` from now."""

    merchant_id: str
    hold_id: str
    account_ids: tuple[str, ...]
    ttl_seconds: int


class Expire(msgspec.Struct, frozen=True):
    """End a hold whose time is up; does nothing to any other.

    A forwarded call that nobody settled leaves a record marked ABANDONED; with
    `charge_abandoned` the whole hold is charged for it.
    """

    merchant_id: str
    hold_id: str
    account_ids: tuple[str, ...]
    charge_abandoned: bool = False


class AddGrant(msgspec.Struct, frozen=True):
    """Put credit on an account. Repeating it with the same content answers with the first grant."""

    merchant_id: str
    account_id: str
    grant_id: str
    request_id: str
    fingerprint: str
    source: GrantSource
    priority: int
    amount: Amount
    meter_ids: tuple[str, ...] | None
    expires_at: Instant | None

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account it touches."""
        return (self.account_id,)


class ExpireGrants(msgspec.Struct, frozen=True):
    """Expire what is overdue on an account. Any command that touches it does so too."""

    merchant_id: str
    account_id: str

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account it touches."""
        return (self.account_id,)


class Subscribe(msgspec.Struct, frozen=True):
    """Put a customer on a plan. `subscription_id` is for a customer who has no subscription.

    An upgrade begins a new cycle at once, anything else waits for the cycle's end. With
    a `payment_provider` what the plan costs from now on is charged there; what its first
    cycle costs is paid before (`HandOut`), or nothing.
    """

    merchant_id: str
    account_id: str
    subscription_id: str
    plan: Plan
    payment_provider: str | None = None
    payment_method_id: str | None = None

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account it touches."""
        return (self.account_id,)


class ChangeSubscription(msgspec.Struct, frozen=True):
    """Cancel an active subscription at its cycle's end, change its auto top-up, or both.

    `auto_top_up_bundle_id` counts only with `sets_auto_top_up`; None then stops it. So
    does `auto_top_up_threshold` with `sets_threshold`; None then means none left.
    """

    merchant_id: str
    account_id: str
    subscription_id: str
    cancel: bool = False
    sets_auto_top_up: bool = False
    auto_top_up_bundle_id: str | None = None
    sets_threshold: bool = False
    auto_top_up_threshold: Amount | None = None

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account it touches."""
        return (self.account_id,)


class RenewCycles(msgspec.Struct, frozen=True):
    """Apply every cycle of an account that has ended by now, in order; none is applied twice."""

    merchant_id: str
    account_id: str

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account it touches."""
        return (self.account_id,)


class HandOut(msgspec.Struct, frozen=True):
    """Give a customer what a payment for a plan paid for, and end the payment; once.

    `subscription_id` is for a customer who has no subscription, `plan` the payment's,
    None if it was deleted since.
    """

    merchant_id: str
    account_id: str
    payment_id: str
    subscription_id: str
    plan: Plan | None

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account it touches."""
        return (self.account_id,)


class GiveUp(msgspec.Struct, frozen=True):
    """End a renewal's payment as declined for good, and with it the subscription."""

    merchant_id: str
    account_id: str
    payment_id: str
    reason: str

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The account it touches."""
        return (self.account_id,)


Command: TypeAlias = (
    PlaceHold
    | Settle
    | Release
    | Extend
    | Expire
    | AddGrant
    | ExpireGrants
    | Subscribe
    | ChangeSubscription
    | RenewCycles
    | HandOut
    | GiveUp
)


class Held(msgspec.Struct, frozen=True):
    """A hold was placed, or found. `available` (of the payer, after it) is None if unlimited."""

    hold: Hold
    available: Amount | None
    replayed: bool = False
    partial: bool = False
    affordable_units: int | None = None
    affordable_output_tokens: int | None = None


class Settled(msgspec.Struct, frozen=True):
    """Usage was charged, now or before. `hold` is the one it ended, if any."""

    record: RequestRecord
    hold: Hold | None
    replayed: bool = False


class HoldIs(msgspec.Struct, frozen=True):
    """A hold as it now is: after a release, an extension or an expiry."""

    hold: Hold


class Granted(msgspec.Struct, frozen=True):
    """Credit was added, now or before."""

    grant: Grant
    replayed: bool = False


class Enrolled(msgspec.Struct, frozen=True):
    """A customer's subscription as it now is."""

    enrolment: Enrolment


class Concluded(msgspec.Struct, frozen=True):
    """A payment that has ended, now or before."""

    payment: Payment


class Touched(msgspec.Struct, frozen=True):
    """An account's overdue grants are expired, and its cycles renewed."""

    account: Account
