"""Charging a plan's first cycle: the plan begins once that is paid."""

from __future__ import annotations

from lava_grpc.core.errors import Reason, Refusal, invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import AMOUNT_MAX, Amount
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.plans import Enrolment, Plan
from lava_grpc.core.time import Clock
from lava_grpc.gateway.cashier import Cashier
from lava_grpc.gateway.checks import check_id
from lava_grpc.gateway.payment_providers import PaymentProvider
from lava_grpc.gateway.ports import Billing, PaymentStore
from lava_grpc.gateway.principal import Principal


async def check_method(provider: PaymentProvider, principal: Principal, method_id: str) -> str:
    """The id of a payment method; refuses INVALID_FIELD and NOT_FOUND."""
    check_id(method_id, "payment_method_id")
    if not await provider.knows(principal.merchant_id, method_id):
        raise not_found("payment method", method_id, field="payment_method_id")
    return method_id


class Charging:
    """Asks for plans' first cycles."""

    def __init__(
        self,
        payments: PaymentStore,
        billing: Billing,
        cashier: Cashier,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._payments = payments
        self._billing = billing
        self._cashier = cashier
        self._clock = clock
        self._ids = ids

    @property
    def provider(self) -> PaymentProvider:
        """Who takes the money."""
        return self._cashier.provider

    async def first_cycle(
        self,
        principal: Principal,
        customer_id: str,
        plan: Plan,
        method_id: str,
        *,
        seen: Enrolment | None,
        owed: Amount,
    ) -> Payment | None:
        """Ask for a plan's price and for overage, unless that is being asked for already.

        The payment as it then is: if it succeeded, the customer is on the plan. None, and
        nobody was asked, where the customer's plan is not the one `seen` any more. Refuses
        INVALID_FIELD where it was declined, ALREADY_EXISTS where another plan is about to begin.
        """
        now = self._clock.now()
        owed = min(owed, AMOUNT_MAX - plan.period_amount)
        payment = Payment(
            merchant_id=principal.merchant_id,
            payment_id=f"pay_{principal.prefix}{self._ids.ulid(now)}",
            account_id=customer_id,
            kind=PaymentKind.SUBSCRIPTION,
            provider=self.provider.name,
            payment_method_id=method_id,
            credit_bundle_id=None,
            amount=plan.period_amount + owed,
            credit_amount=owed,
            state=PaymentState.OPEN,
            reason=None,
            attempts=1,
            due_at=self._cashier.lease(),
            created_at=now,
            plan_id=plan.plan_id,
        )
        if not await self._payments.open(payment, quiet_since=now):
            return await self._other(payment)
        # Looked at again now that no other plan can be paid for: a payment that ended in
        # between has begun its plan.
        enrolled = await self._billing.active_subscription(payment.merchant_id, customer_id)
        if _place(enrolled) != _place(seen):
            said = "was not asked for: the plan had changed"
            await self._payments.end(payment, PaymentState.DECLINED, said, self._clock.now())
            return None
        payment = await self._cashier.advance(payment)
        if payment.state is PaymentState.DECLINED:
            raise invalid("payment_method_id", f"was declined: {payment.reason}")
        return payment

    async def _other(self, payment: Payment) -> Payment:
        """The payment that came before this one."""
        found = await self._payments.beginning(payment.merchant_id, payment.account_id)
        if found is not None and found.plan_id == payment.plan_id:
            return found
        said = "has just ended" if found is None else f"is open: {found.payment_id}"
        raise Refusal(Reason.ALREADY_EXISTS, f"another payment for a plan {said}", field="plan_id")


def _place(enrolled: Enrolment | None) -> tuple[str, str] | None:
    if enrolled is None:
        return None
    return enrolled.subscription.subscription_id, enrolled.subscription.plan_id
