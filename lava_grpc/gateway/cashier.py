"""Sees payments through: asks the provider, grants what was bought, closes them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog
from msgspec import structs

from lava_grpc.core.account import DEFAULT_PRIORITY, GrantSource
from lava_grpc.core.commands import AddGrant, GiveUp, HandOut
from lava_grpc.core.cycles import DAY
from lava_grpc.core.errors import InvariantBroken, Reason, Refusal
from lava_grpc.core.ids import IdSource
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.plans import Rollover, Subscription
from lava_grpc.core.time import SECOND, Clock, Instant
from lava_grpc.gateway.payment_providers import PaymentProvider, ProviderAnswer, Taken
from lava_grpc.gateway.ports import Billing, Books, Ledger, PaymentStore

_log = structlog.get_logger(__name__)

CHARGE_SECONDS = 20.0
"""How long a provider may take to answer before the payment counts as not answered."""

LEASE_SECONDS = 60
"""For how long nobody else may be at a payment: longer than a charge and its grant take."""

RETRY_SECONDS, RETRY_SECONDS_MAX = 5, 3600
"""How soon a payment that was not answered is asked for again, and how seldom at the most."""


INSIST_DAYS = (1, 2, 4, 7)
"""How long each pause is before a renewal or overage that was declined is asked for again."""


class Cashier:
    """Asks one provider for payments that are stored already.

    Each step may be repeated after a crash at any point: the provider takes the money
    of a payment id once, the ledger grants it once, and a payment ends once.
    """

    def __init__(
        self,
        payments: PaymentStore,
        billing: Billing,
        books: Books,
        ledger: Ledger,
        provider: PaymentProvider,
        *,
        clock: Clock,
        ids: IdSource,
        charge_seconds: float = CHARGE_SECONDS,
    ) -> None:
        self._payments = payments
        self._billing = billing
        self._books = books
        self._ledger = ledger
        self._provider = provider
        self._clock = clock
        self._ids = ids
        self._charge_seconds = charge_seconds

    @property
    def provider(self) -> PaymentProvider:
        """Who takes the money."""
        return self._provider

    def lease(self) -> Instant:
        """Until when who begins now is alone at a payment."""
        return self._clock.now() + LEASE_SECONDS * SECOND

    async def advance(self, payment: Payment) -> Payment:
        """Ask the provider, and do what the answer calls for; the payment as it then is.

        The caller is the one who is at it: it opened the payment or took it.
        """
        if payment.state is PaymentState.PAID:
            return await self._hand_out(payment)
        if not payment.in_doubt:
            wanted = await self._wanted(payment)
            if wanted is None:
                at = self._clock.now()
                await self._payments.end(payment, PaymentState.DECLINED, "is no longer due", at)
                return await self._found(payment)
            payment = wanted
        answer = await self._ask(payment)
        if answer.taken is Taken.PENDING:
            pause = min(RETRY_SECONDS * 2 ** min(payment.attempts, 12), RETRY_SECONDS_MAX)
            await self._payments.put_off(payment, self._clock.now() + pause * SECOND)
            return payment
        declined = answer.taken is Taken.DECLINED
        if declined and payment.kind.insistent and payment.declines < len(INSIST_DAYS):
            until = self._clock.now() + INSIST_DAYS[payment.declines] * DAY
            await self._payments.insist(payment, until, _reason(answer))
            return await self._found(payment)
        return await self.close(payment, answer)

    async def close(self, payment: Payment, answer: ProviderAnswer) -> Payment:
        """End a payment that was paid, with its grant, or that was not; only the first word counts.

        The payment as it then is.
        """
        if answer.taken is Taken.SUCCEEDED:
            await self._payments.mark_paid(payment)
        elif payment.kind is PaymentKind.RENEWAL:
            # The subscription ends with it, in one transaction.
            await self._ledger.submit(
                GiveUp(payment.merchant_id, payment.account_id, payment.payment_id, _reason(answer))
            )
        else:
            at = self._clock.now()
            await self._payments.end(payment, PaymentState.DECLINED, _reason(answer), at)
        now = await self._found(payment)
        return await self._hand_out(now) if now.state is PaymentState.PAID else now

    async def _wanted(self, payment: Payment) -> Payment | None:
        """The payment as it is to be asked for.

        None for a renewal that nobody waits for, since the customer has got another plan.
        Nor is a customer who is gone asked for anything.
        """
        if not payment.kind.insistent:
            return payment
        account = await self._books.account(payment.merchant_id, payment.account_id)
        if account is None or account.closed:
            return None
        if payment.kind is not PaymentKind.RENEWAL:
            return payment
        enrolled = await self._billing.active_subscription(payment.merchant_id, payment.account_id)
        if enrolled is None:
            return None
        waits = enrolled.subscription
        if not waits.unpaid or waits.payment_id != payment.payment_id:
            return None
        return await self._paid_by(payment, waits)

    async def _paid_by(self, payment: Payment, waits: Subscription) -> Payment:
        """A renewal with the payment method that its subscription has by now."""
        method_id = waits.payment_method_id
        if waits.payment_provider != payment.provider or method_id == payment.payment_method_id:
            return payment
        # Stored before it is asked for: whoever repeats the question asks the same.
        await self._payments.pay_with(payment, method_id)
        return replace(payment, payment_method_id=method_id)

    async def _hand_out(self, payment: Payment) -> Payment:
        """Grant what was paid for."""
        reason = None
        try:
            if payment.kind.of_plan:
                await self._begin(payment)
                return await self._found(payment)
            await self._grant(payment)
        except Refusal as refusal:
            if refusal.reason not in {Reason.NOT_FOUND, Reason.INVALID_FIELD}:
                raise
            # The customer is gone, say: somebody has to give the money back.
            reason = f"paid, but not granted: {refusal.message}"
            _log.error("payment not granted", payment_id=payment.payment_id, reason=reason)
        await self._payments.end(payment, PaymentState.SUCCEEDED, reason, self._clock.now())
        return await self._found(payment)

    async def _found(self, payment: Payment) -> Payment:
        found = await self._payments.find(payment.merchant_id, payment.payment_id)
        if found is None:
            raise InvariantBroken(f"payment {payment.payment_id} is gone")
        return found

    async def _ask(self, payment: Payment) -> ProviderAnswer:
        if payment.provider != self._provider.name:
            # Another provider may have taken the money already: it waits for that one.
            _log.warning("payment of another provider", payment_id=payment.payment_id)
            return ProviderAnswer(Taken.PENDING)
        try:
            async with asyncio.timeout(self._charge_seconds):
                return await self._provider.charge(payment)
        except Exception as error:  # noqa: BLE001 - whatever it was, the money may have moved
            _log.warning(
                "payment not answered",
                payment_id=payment.payment_id,
                provider=self._provider.name,
                error=type(error).__name__,
            )
            return ProviderAnswer(Taken.PENDING)

    async def _begin(self, payment: Payment) -> None:
        """Begin the cycle that was paid for; the ledger ends the payment with it."""
        plan = None
        if payment.plan_id is not None:
            plan = await self._billing.plan(payment.merchant_id, payment.plan_id)
        mode = "test_" if payment.payment_id.startswith("pay_test_") else ""
        await self._ledger.submit(
            HandOut(
                payment.merchant_id,
                payment.account_id,
                payment.payment_id,
                f"sub_{mode}{self._ids.ulid(self._clock.now())}",
                None if plan is None else plan.plan,
            )
        )

    async def _grant(self, payment: Payment) -> None:
        bought = payment.kind is not PaymentKind.FUND
        source = GrantSource.BUNDLE if bought else GrantSource.TOP_UP
        mode = "test_" if payment.payment_id.startswith("pay_test_") else ""
        grant = AddGrant(
            merchant_id=payment.merchant_id,
            account_id=payment.account_id,
            grant_id=f"grt_{mode}{self._ids.ulid(self._clock.now())}",
            request_id=payment.payment_id,
            fingerprint="payment",
            source=source,
            priority=DEFAULT_PRIORITY[source],
            amount=payment.credit_amount,
            meter_ids=None,
            expires_at=await self._expiry(payment) if bought else None,
        )
        try:
            await self._ledger.submit(grant)
        except Refusal as refusal:
            if refusal.field != "expires_at":
                raise
            # The cycle has ended since it was looked at.
            await self._ledger.submit(structs.replace(grant, expires_at=None))

    async def _expiry(self, payment: Payment) -> Instant | None:
        """Bundle credit without rollover goes with the cycle that it was bought in."""
        enrolled = await self._billing.active_subscription(payment.merchant_id, payment.account_id)
        if enrolled is None or enrolled.plan.bundle_rollover is Rollover.FULL:
            return None
        end = enrolled.subscription.cycle_end
        # What was paid for a cycle that is over by now counts for the one that began.
        return end if end > self._clock.now() else None


def _reason(answer: ProviderAnswer) -> str:
    return answer.reason or "declined"
