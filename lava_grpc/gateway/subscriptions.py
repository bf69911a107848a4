"""Customers' subscriptions."""

from __future__ import annotations

from dataclasses import dataclass

from lava_grpc.core.account import Account, GrantSource
from lava_grpc.core.commands import ChangeSubscription, Command, Enrolled, RenewCycles, Subscribe
from lava_grpc.core.errors import InvariantBroken, invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import Amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.plans import Enrolment, Plan, SubscriptionStatus
from lava_grpc.core.resources import Customer
from lava_grpc.core.time import Clock, Instant
from lava_grpc.gateway.plans import Plans
from lava_grpc.gateway.ports import Billing, Books, Ledger, Resources
from lava_grpc.gateway.principal import Principal


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """A subscription, what its customer has left, and who that is."""

    enrolment: Enrolment
    cycle_remaining: Amount
    other_remaining: Amount
    customer: Customer | None = None


class Subscriptions:
    """Begins, reads, changes and cancels subscriptions."""

    def __init__(
        self,
        billing: Billing,
        resources: Resources,
        books: Books,
        ledger: Ledger,
        plans: Plans,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._billing = billing
        self._resources = resources
        self._books = books
        self._ledger = ledger
        self._plans = plans
        self._clock = clock
        self._ids = ids

    async def create(
        self,
        principal: Principal,
        customer: str,
        plan_id: str,
        *,
        billed_externally: bool = False,
        deadline: float | None = None,
    ) -> SubscriptionView:
        """Put a customer on a plan: an upgrade at once, anything else at the cycle's end."""
        found = await self._customer(principal, customer)
        plan = (await self._plans.get(principal, plan_id)).plan
        if plan.period_amount > 0 and not billed_externally:
            raise invalid(
                "plan_id", "has a price: set billed_externally, or send the customer to checkout"
            )
        return await self._subscribe(principal, found.customer_id, plan, deadline)

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
        await self._subscribe(principal, customer.customer_id, plan, None)
        return await self._customer(principal, customer.customer_id)

    async def of_customer(self, principal: Principal, customer: str) -> SubscriptionView | None:
        """The customer's active subscription."""
        found = await self._customer(principal, customer)
        account = await self._current(principal, found.customer_id)
        enrolled = await self._billing.active_subscription(principal.merchant_id, found.customer_id)
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
            customer_id = (await self._customer(principal, customer)).customer_id
            await self._current(principal, customer_id)
        found = await self._billing.list_subscriptions(
            principal.merchant_id, page, status=status, customer_id=customer_id
        )
        views = [await self._with_customer(principal, enrolled) for enrolled in found.items]
        return Slice(views, found.next_cursor)

    async def set_auto_top_up(
        self, principal: Principal, subscription_id: str, bundle_id: str | None
    ) -> None:
        """Set what auto top-up buys, a bundle of the subscription's plan; None stops it."""
        enrolled = await self._found(principal, subscription_id)
        current = enrolled.subscription
        if current.status is SubscriptionStatus.CANCELLED:
            raise invalid("subscription_id", "is cancelled")
        if bundle_id is not None:
            bundle = await self._billing.bundle(principal.merchant_id, bundle_id)
            if bundle is None or bundle.plan_id != current.plan_id:
                raise invalid("auto_top_up_bundle_id", "is no bundle of the subscription's plan")
        await self._enrolled(
            ChangeSubscription(
                principal.merchant_id,
                current.customer_id,
                subscription_id,
                sets_auto_top_up=True,
                auto_top_up_bundle_id=bundle_id,
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
        self, principal: Principal, customer_id: str, plan: Plan, deadline: float | None
    ) -> SubscriptionView:
        ident = f"sub_{principal.prefix}{self._ids.ulid(self._clock.now())}"
        command = Subscribe(principal.merchant_id, customer_id, ident, plan)
        enrolled = await self._enrolled(command, deadline)
        account = await self._current(principal, customer_id)
        return _view(enrolled, account, self._clock.now())

    async def _enrolled(self, command: Command, deadline: float | None = None) -> Enrolment:
        outcome = await self._ledger.submit(command, deadline=deadline)
        if not isinstance(outcome, Enrolled):
            raise InvariantBroken(f"a subscription was answered with {type(outcome).__name__}")
        return outcome.enrolment

    async def _with_customer(self, principal: Principal, enrolled: Enrolment) -> SubscriptionView:
        customer_id = enrolled.subscription.customer_id
        account = await self._current(principal, customer_id)
        subscription = enrolled.subscription
        if subscription.cycle_end <= self._clock.now():
            # Its cycle was over when it was read: it is renewed by now, or cancelled.
            enrolled = await self._found(principal, subscription.subscription_id)
        customer = await self._resources.customer(principal.merchant_id, customer_id)
        view = _view(enrolled, account, self._clock.now())
        return SubscriptionView(
            view.enrolment, view.cycle_remaining, view.other_remaining, customer
        )

    async def _current(self, principal: Principal, account_id: str) -> Account | None:
        """The account as its present cycle has it."""
        account = await self._books.account(principal.merchant_id, account_id)
        if account is None or account.cycle_end is None or account.cycle_end > self._clock.now():
            return account
        await self._ledger.submit(RenewCycles(principal.merchant_id, account_id))
        return await self._books.account(principal.merchant_id, account_id)

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
