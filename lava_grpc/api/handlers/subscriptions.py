"""SubscriptionService."""

from __future__ import annotations

from lava.v1 import subscription_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import pages, payments, subscriptions
from lava_grpc.api.messages.enums import SUBSCRIPTION_FILTERS, read_enum
from lava_grpc.api.messages.texts import optional_text
from lava_grpc.core.errors import invalid
from lava_grpc.core.plans import SubscriptionStatus
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.subscriptions import CHANGEABLE, Subscriptions, Terms


class SubscriptionHandlers:
    """Customers' subscriptions."""

    def __init__(self, subscriptions_use_case: Subscriptions) -> None:
        self._subscriptions = subscriptions_use_case

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.SubscriptionService"
        return {
            f"{service}/CreateSubscription": self.create,
            f"{service}/ListSubscriptions": self.list,
            f"{service}/GetCustomerSubscription": self.of_customer,
            f"{service}/UpdateSubscription": self.update,
            f"{service}/CancelSubscription": self.cancel,
        }

    async def create(
        self, request: pb.CreateSubscriptionRequest, principal: Principal, deadline: float | None
    ) -> pb.CreateSubscriptionResponse:
        """Put a customer on a plan."""
        terms = Terms(request.billed_externally, optional_text(request, "payment_method_id"))
        begun = await self._subscriptions.create(
            principal,
            check_text(request.customer_id, "customer_id"),
            check_text(request.plan_id, "plan_id"),
            terms,
            deadline=deadline,
        )
        view, payment = begun.view, begun.payment
        return pb.CreateSubscriptionResponse(
            subscription=None if view is None else subscriptions.from_subscription(view),
            payment=None if payment is None else payments.from_payment(payment),
        )

    async def list(
        self, request: pb.ListSubscriptionsRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListSubscriptionsResponse:
        """A page of subscriptions."""
        status: SubscriptionStatus | None = SubscriptionStatus.ACTIVE
        if request.status:
            wanted = read_enum(SUBSCRIPTION_FILTERS, request.status, "status")
            status = None if wanted is None else wanted.status
        found = await self._subscriptions.list(
            principal,
            pages.to_page(request),
            status=status,
            customer=optional_text(request, "customer_id"),
        )
        return pb.ListSubscriptionsResponse(
            data=[subscriptions.from_subscription(view, listed=True) for view in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def of_customer(
        self,
        request: pb.GetCustomerSubscriptionRequest,
        principal: Principal,
        _deadline: float | None,
    ) -> pb.GetCustomerSubscriptionResponse:
        """A customer's active subscription."""
        customer = check_text(request.customer_id, "customer_id")
        view = await self._subscriptions.of_customer(principal, customer)
        shown = None if view is None else subscriptions.from_subscription(view)
        return pb.GetCustomerSubscriptionResponse(subscription=shown)

    async def update(
        self, request: pb.UpdateSubscriptionRequest, principal: Principal, _deadline: float | None
    ) -> pb.UpdateSubscriptionResponse:
        """Change what auto top-up buys, and when."""
        named = set(request.update_mask.paths) - set(CHANGEABLE)
        if named:
            shown = min(named)[:80]
            raise invalid("update_mask", f"names '{shown}', which cannot be changed")
        ident = check_text(request.subscription_id, "subscription_id")
        given = {name: optional_text(request, name) for name in CHANGEABLE}
        masked = request.update_mask.paths
        changes = {
            name: value
            for name, value in given.items()
            if name in masked or (not masked and value is not None)
        }
        if not changes:
            raise invalid(CHANGEABLE[0], "is required")
        await self._subscriptions.set_auto_top_up(principal, ident, changes)
        return pb.UpdateSubscriptionResponse(success=True)

    async def cancel(
        self, request: pb.CancelSubscriptionRequest, principal: Principal, _deadline: float | None
    ) -> pb.CancelSubscriptionResponse:
        """Cancel at the cycle's end."""
        ident = check_text(request.subscription_id, "subscription_id")
        await self._subscriptions.cancel(principal, ident)
        return pb.CancelSubscriptionResponse(success=True)
