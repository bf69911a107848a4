"""Customers' subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lava_grpc.core.account import Account, GrantSource
from lava_grpc.core.commands import ChangeSubscription, Command, Enrolled, RenewCycles, Subscribe
from lava_grpc.core.errors import InvariantBroken, Refusal, invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import Amount, parse_amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.payments import Payment
from lava_grpc.core.plans import Enrolment, Plan, Subscription, SubscriptionStatus
from lava_grpc.core.resources import Customer
from lava_grpc.core.time import Clock, Instant
from lava_grpc.gateway.charging import Charging, check_method
from lava_grpc.gateway.plans import Plans
from lava_grpc.gateway.ports import Billing, Ledger, Resources
from lava_grpc.gateway.principal import Principal

_BUNDLE, _THRESHOLD = "auto_top_up_bundle_id", "auto_top_up_threshold"

CHANGEABLE: Final = (_BUNDLE, _THRESHOLD)
"""What an update may name."""


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """A subscription, what its customer has left, and who that is."""

    enrolment: Enrolment
    cycle_remaining: Amount
    other_remaining: Amount
    customer: Customer | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """The customer's subscription, if any, and the payment that was asked for, if any.

    While the payment is open the subscription is what it was.
    """

    view: SubscriptionView | None
    payment: Payment | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """Who collects what a plan costs: the merchant, or the provider from a payment method."""

    billed_externally: bool = False
    payment_method_id: str | None = None


class Subscriptions:
    """Begins, reads, changes and cancels subscriptions."""

    def __init__(
        self,
        billing: Billing,
        resources: Resources,
        ledger: Ledger,
        plans: Plans,
        charging: Charging,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._billing = billing
        self._resources = resources
        self._ledger = ledger
        self._plans = plans
        self._charging = charging
        self._clock = clock
        self._ids = ids

    async def create(
        self,
        principal: Principal,
        customer: str,
        plan_id: str,
        terms: Terms,
        *,
        deadline: float | None = None,
    ) -> Begun:
        """Put a customer on a plan: an upgrade at once, anything else at the cycle's end.

        What is to be charged through the payment provider is paid first.
        """
        found = await self._customer(principal, customer)
        plan = (await self._plans.get(principal, plan_id)).plan
        method_id = terms.payment_method_id
        if method_id is not None:
            if terms.billed_externally:
                raise invalid("payment_method_id", "must be absent with billed_externally")
            await check_method(self._charging.provider, principal, method_id)
        enrolled, account = await self._place(principal, found.customer_id)
        if enrolled is not None and not plan.above(enrolled.plan):
            _check_kept_terms(enrolled.subscription, plan, terms)
            terms = Terms(payment_method_id=method_id)
        elif method_id is None and plan.period_amount > 0 and not terms.billed_externally:
            raise _has_price()
        elif method_id is not None:
            charged = enrolled is not None and enrolled.subscription.charged
            owed = max(0, account.overage()) if account is not None and charged else 0
            if plan.period_amount + owed > 0:
                payment = await self._charging.first_cycle(
                    principal, found.customer_id, plan, method_id, seen=enrolled, owed=owed
                )
                if payment is None:
                    # Somebody else was faster: what is asked for may be there already.
                    return await self.create(principal, customer, plan_id, terms, deadline=deadline)
                return Begun(await self.of_customer(principal, found.customer_id), payment)
        return Begun(await self._subscribe(principal, found.customer_id, plan, terms, deadline))

    async def welcome(self, principal: Principal, customer: Customer) -> Customer:
        """A customer who never had a plan, on the default plan if that includes credit."""
        plan = await self._billing.default_plan(principal.merchant_id)
        if plan is None or plan.included_credit == 0:
            return customer
        earlier = await self._billing.list_subscriptions(
            principal.merchant_id, Page(limit=1), status=None, customer_id=customer.customer_id
        )
        if earlier.items:
            return customer
        await self._subscribe(principal, customer.customer_id, plan, Terms(), None)
        return await self._customer(principal, customer.customer_id)

    async def of_customer(self, principal: Principal, customer: str) -> SubscriptionView | None:
        """The customer's active subscription."""
        found = await self._customer(principal, customer)
        enrolled, account = await self._place(principal, found.customer_id)
        return None if enrolled is None else _view(enrolled, account, self._clock.now())

    async def list(
        self,
        principal: Principal,
        page: Page,
        *,
        status: SubscriptionStatus | None,
        customer: str | None,
    ) -> Slice[SubscriptionView]:
        """Subscriptions, newest first, with their customers; with one status, or with either."""
        customer_id = None
        if customer is not None:
            known = await self._resources.customer(principal.merchant_id, customer)
            # A name that nobody has is taken for an id, and finds nothing.
            customer_id = customer if known is None else known.customer_id
            if known is not None:
                await self._place(principal, customer_id)
        found = await self._billing.list_subscriptions(
            principal.merchant_id, page, status=status, customer_id=customer_id
        )
        views = [await self._with_customer(principal, enrolled) for enrolled in found.items]
        return Slice(views, found.next_cursor)

    async def set_auto_top_up(
        self, principal: Principal, subscription_id: str, changes: Mapping[str, str | None]
    ) -> None:
        """Set the fields of `CHANGEABLE` that are named.

        What auto top-up buys, a bundle of the subscription's plan, None to stop it; and
        with how much credit left it buys, None for none.
        """
        enrolled = await self._found(principal, subscription_id)
        current = enrolled.subscription
        if current.status is SubscriptionStatus.CANCELLED:
            raise invalid("subscription_id", "is cancelled")
        bundle_id = changes.get(_BUNDLE)
        if bundle_id is not None:
            bundle = await self._billing.bundle(principal.merchant_id, bundle_id)
            if bundle is None or bundle.plan_id != current.plan_id:
                raise invalid(_BUNDLE, "is no bundle of the subscription's plan")
        threshold = changes.get(_THRESHOLD)
        await self._enrolled(
            ChangeSubscription(
                principal.merchant_id,
                current.customer_id,
                subscription_id,
                sets_auto_top_up=_BUNDLE in changes,
                auto_top_up_bundle_id=bundle_id,
                sets_threshold=_THRESHOLD in changes,
                auto_top_up_threshold=None
                if threshold is None
                else parse_amount(threshold, _THRESHOLD),
            )
        )

    async def cancel(self, principal: Principal, subscription_id: str) -> None:
        """Cancel at the cycle's end. One that is cancelled already stays so."""
        enrolled = await self._found(principal, subscription_id)
        if enrolled.subscription.status is SubscriptionStatus.CANCELLED:
            return
        # What the customer will be on then.
        await self._plans.ensure_default(principal)
        await self._enrolled(
            ChangeSubscription(
                principal.merchant_id,
                enrolled.subscription.customer_id,
                subscription_id,
                cancel=True,
            )
        )

    async def _subscribe(
        self,
        principal: Principal,
        customer_id: str,
        plan: Plan,
        terms: Terms,
        deadline: float | None,
    ) -> SubscriptionView:
        ident = f"sub_{principal.prefix}{self._ids.ulid(self._clock.now())}"
        method_id = terms.payment_method_id
        provider = None if method_id is None else self._charging.provider.name
        command = Subscribe(principal.merchant_id, customer_id, ident, plan, provider, method_id)
        enrolled = await self._enrolled(command, deadline)
        found, account = await self._place(principal, customer_id)
        return _view(found or enrolled, account, self._clock.now())

    async def _enrolled(self, command: Command, deadline: float | None = None) -> Enrolment:
        outcome = await self._ledger.submit(command, deadline=deadline)
        if not isinstance(outcome, Enrolled):
            raise InvariantBroken(f"a subscription was answered with {type(outcome).__name__}")
        return outcome.enrolment

    async def _with_customer(self, principal: Principal, enrolled: Enrolment) -> SubscriptionView:
        customer_id, account = enrolled.subscription.customer_id, None
        if enrolled.subscription.status is SubscriptionStatus.ACTIVE:
            ident = enrolled.subscription.subscription_id
            active, account = await self._place(principal, customer_id)
            if active is not None and active.subscription.subscription_id == ident:
                enrolled = active
            else:
                # It was cancelled since the page was read.
                enrolled = await self._found(principal, ident)
        customer = await self._resources.customer(principal.merchant_id, customer_id)
        view = _view(enrolled, account, self._clock.now())
        return SubscriptionView(
            view.enrolment, view.cycle_remaining, view.other_remaining, customer
        )

    async def _place(
        self, principal: Principal, customer_id: str
    ) -> tuple[Enrolment | None, Account | None]:
        """The active subscription and the account, both as the present cycle has them."""
        enrolled, account = await self._billing.place(principal.merchant_id, customer_id)
        if account is None or account.cycle_end is None or account.cycle_end > self._clock.now():
            return enrolled, account
        await self._ledger.submit(RenewCycles(principal.merchant_id, customer_id))
        return await self._billing.place(principal.merchant_id, customer_id)

    async def _customer(self, principal: Principal, ident: str) -> Customer:
        found = await self._resources.customer(principal.merchant_id, ident)
        if found is None:
            raise not_found("customer", ident, field="customer_id")
        return found

    async def _found(self, principal: Principal, subscription_id: str) -> Enrolment:
        enrolled = await self._billing.subscription(principal.merchant_id, subscription_id)
        if enrolled is None:
            raise not_found("subscription", subscription_id, field="subscription_id")
        return enrolled


def _check_kept_terms(current: Subscription, plan: Plan, terms: Terms) -> None:
    """A plan that begins later, or runs already, is paid as the subscription has been.

    Only the payment method may be another one from now on.
    """
    if current.charged and terms.billed_externally:
        raise invalid("billed_externally", "cannot be set: the subscription is charged already")
    if not current.charged and terms.payment_method_id is not None:
        raise invalid("payment_method_id", "must be absent unless the plan is an upgrade")
    if plan.period_amount > 0 and not (current.charged or terms.billed_externally):
        raise _has_price()


def _has_price() -> Refusal:
    return invalid(
        "plan_id",
        "has a price: name a payment_method_id, set billed_externally, or use checkout",
    )


def _view(enrolled: Enrolment, account: Account | None, now: Instant) -> SubscriptionView:
    """With what the account has left and no hold has taken; overage counts against the rest."""
    cycle = other = 0
    if account is not None and enrolled.subscription.status is SubscriptionStatus.ACTIVE:
        other = -account.overage()
        for grant in account.grants:
            if not grant.overdue(now):
                if grant.source is GrantSource.PLAN_CYCLE:
                    cycle += grant.remaining
                else:
                    other += grant.remaining
    return SubscriptionView(enrolled, cycle, other)
