"""Buys a bundle when a customer's credit does not do or is low, if the subscription says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from lava_grpc.core.account import AccountKind
from lava_grpc.core.commands import Command, PlaceHold
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import Role
from lava_grpc.core.ids import IdSource
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import Amount, parse_amount
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.plans import Bundle, Enrolment
from lava_grpc.core.time import SECOND, Clock
from lava_grpc.gateway.cashier import Cashier
from lava_grpc.gateway.ports import Billing, Books, DeferringLedger, PaymentStore

_log = structlog.get_logger(__name__)

PURCHASES_MAX = 100
"""How many customers' purchases one process sees to at once; the next call asks again."""

QUIET_SECONDS = 3600
"""How long nothing is bought for a customer whose last purchase was declined."""


LOOK_SECONDS = 1.0
"""How often one customer's credit is looked at, however many calls are made on it."""


@dataclass(frozen=True, slots=True)
class Short:
    """A hold of `required` that a customer's credit did not cover; None: its credit is low."""

    merchant_id: str
    account_id: str
    meter_id: str | None = None
    required: Amount | None = None


class TopUps:
    """Buys one bundle at a time for a customer, however many calls find no credit.

    Nothing is bought while a whole bundle's credit is left, however much a call asks
    for and however high the threshold is. In one process that is told apart by a table,
    between processes by the store.
    """

    def __init__(
        self,
        billing: Billing,
        books: Books,
        payments: PaymentStore,
        cashier: Cashier,
        *,
        clock: Clock,
        ids: IdSource,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._billing = billing
        self._books = books
        self._payments = payments
        self._cashier = cashier
        self._clock = clock
        self._ids = ids
        self._look_seconds = look_seconds
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        # What was noted while the customer's last one was being seen to.
        self._next: dict[tuple[str, str], Short] = {}

    def note(self, short: Short) -> None:
        """See to it in the background; where that is being done, once more afterwards."""
        key = (short.merchant_id, short.account_id)
        if key in self._running:
            self._next[key] = short
            return
        if len(self._running) >= PURCHASES_MAX:
            return
        task = asyncio.create_task(self._see_to(short), name="lava-top-up")
        self._running[key] = task
        task.add_done_callback(lambda _: self._ended(key))

    def low(self, merchant_id: str, account_id: str) -> None:
        """As `note`, for an account whose credit is below its low mark."""
        self.note(Short(merchant_id, account_id))

    async def stop(self) -> None:
        """Break off: a purchase that is stored already is gone on with by whoever is there."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def idle(self) -> None:
        """Wait until what is running has ended."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    def _ended(self, key: tuple[str, str]) -> None:
        self._running.pop(key, None)
        self._next.pop(key, None)

    async def _see_to(self, short: Short) -> None:
        following: Short | None = short
        while following is not None:
            try:
                await self._buy(following)
            except Exception as error:  # noqa: BLE001 - the next call that is short tries again
                _log.warning("top-up put off", account=short.account_id, error=type(error).__name__)
            if (short.merchant_id, short.account_id) in self._next:
                await asyncio.sleep(self._look_seconds)
            following = self._next.pop((short.merchant_id, short.account_id), None)

    async def _buy(self, short: Short) -> None:
        enrolled = await self._billing.active_subscription(short.merchant_id, short.account_id)
        bundle = await self._bundle(enrolled)
        if enrolled is None or bundle is None or not await self._lacks(short, enrolled, bundle):
            return
        payment = self._payment(short, enrolled, bundle)
        quiet_since = payment.created_at - QUIET_SECONDS * SECOND
        if not await self._payments.open(payment, quiet_since=quiet_since):
            return
        # Looked at again now that nobody else can buy: a purchase that ended in between
        # was granted before it ended.
        if await self._lacks(short, enrolled, bundle):
            await self._cashier.advance(payment)
        else:
            # Without a reason: nobody was asked, so nothing has to be quiet afterwards.
            await self._payments.end(payment, PaymentState.DECLINED, None, self._clock.now())

    async def _bundle(self, enrolled: Enrolment | None) -> Bundle | None:
        if enrolled is None or enrolled.subscription.auto_top_up_bundle_id is None:
            return None
        bundle_id = enrolled.subscription.auto_top_up_bundle_id
        return await self._billing.bundle(enrolled.subscription.merchant_id, bundle_id)

    async def _lacks(self, short: Short, enrolled: Enrolment, bundle: Bundle) -> bool:
        account = await self._books.account(short.merchant_id, short.account_id)
        if account is None or account.closed:
            return False
        now = self._clock.now()
        if short.required is None:
            mark = enrolled.subscription.low_mark
            return mark is not None and account.left(now) < min(mark, bundle.credit_amount)
        available = account.available(short.meter_id, now)
        return available is not None and available < min(short.required, bundle.credit_amount)

    def _payment(self, short: Short, enrolled: Enrolment, bundle: Bundle) -> Payment:
        now, provider = self._clock.now(), self._cashier.provider.name
        mode = "test_" if bundle.credit_bundle_id.startswith("cb_test_") else ""
        return Payment(
            merchant_id=short.merchant_id,
            payment_id=f"pay_{mode}{self._ids.ulid(now)}",
            account_id=short.account_id,
            kind=PaymentKind.AUTO_TOP_UP,
            provider=provider,
            payment_method_id=enrolled.subscription.method_at(provider),
            credit_bundle_id=bundle.credit_bundle_id,
            amount=bundle.cost,
            credit_amount=bundle.credit_amount,
            state=PaymentState.OPEN,
            reason=None,
            attempts=1,
            due_at=self._cashier.lease(),
            created_at=now,
        )


class ToppingUp:
    """A ledger that has `TopUps` told of every hold that a customer's credit did not cover."""

    def __init__(self, ledger: DeferringLedger, top_ups: TopUps) -> None:
        self._ledger = ledger
        self._top_ups = top_ups

    async def submit(self, command: Command, *, deadline: float | None = None) -> Outcome:
        """See `gateway.ports.Ledger.submit`."""
        try:
            return await self._ledger.submit(command, deadline=deadline)
        except Refusal as refusal:
            self.note(command, refusal)
            raise

    async def submit_many(
        self, commands: Sequence[Command], *, deadline: float | None = None
    ) -> list[Outcome]:
        """See `gateway.ports.BatchLedger.submit_many`."""
        outcomes = await self._ledger.submit_many(commands, deadline=deadline)
        for command, outcome in zip(commands, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                self.note(command, outcome)
        return outcomes

    def defer(self, deferred: DeferredCommand) -> None:
        """See `gateway.ports.DeferringLedger.defer`."""
        self._ledger.defer(_Noted(self.note, deferred))

    def note(self, command: Command, refusal: Refusal) -> None:
        """Tell of a refused command, where it was for want of a customer's credit."""
        facts = refusal.facts
        if refusal.reason is not Reason.INSUFFICIENT_CREDITS or not isinstance(command, PlaceHold):
            return
        if command.dry_run or facts.get("account") != AccountKind.CUSTOMER.value:
            return
        meter_id = next((part.meter_id for part in command.parts if part.role is Role.CHARGE), None)
        required = parse_amount(facts["required"], "required")
        self._top_ups.note(Short(command.merchant_id, facts["account_id"], meter_id, required))


class _Noted:
    """See `DeferredCommand`: notes what became of another one."""

    __slots__ = ("_command", "_deferred", "_note")

    def __init__(self, note: Callable[[Command, Refusal], None], deferred: DeferredCommand) -> None:
        self._note = note
        self._deferred = deferred
        self._command: Command | None = None

    def make(self) -> Command | None:
        self._command = self._deferred.make()
        return self._command

    def conclude(self, outcome: Outcome) -> None:
        if self._command is not None and isinstance(outcome, Refusal):
            self._note(self._command, outcome)
        self._deferred.conclude(outcome)
