"""Payments as merchants and operators ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lava_grpc.core.errors import InvariantBroken, Reason, Refusal, invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import SCALE, Amount, parse_amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.payments import Payment, PaymentKind, PaymentMethod, PaymentState
from lava_grpc.core.time import Clock
from lava_grpc.gateway.cashier import Cashier
from lava_grpc.gateway.charging import check_method
from lava_grpc.gateway.checks import check_id, fingerprint
from lava_grpc.gateway.payment_providers import ManualProvider, ProviderAnswer, Taken
from lava_grpc.gateway.ports import Billing, Books, PaymentStore, Resources
from lava_grpc.gateway.principal import Principal

FUND_MIN: Amount = 10 * SCALE
FUND_MAX: Amount = 10_000 * SCALE


@dataclass(frozen=True, slots=True)
class Funded:
    """How a wallet's funding stands; its balance once that is done."""

    payment: Payment
    balance: Amount | None


class Payments:
    """Funds wallets, buys bundles, and tells what became of it."""

    def __init__(
        self,
        payments: PaymentStore,
        billing: Billing,
        resources: Resources,
        books: Books,
        cashier: Cashier,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._payments = payments
        self._billing = billing
        self._resources = resources
        self._books = books
        self._cashier = cashier
        self._clock = clock
        self._ids = ids

    async def fund(
        self, principal: Principal, method_id: str, amount: str, *, request_id: str | None = None
    ) -> Funded:
        """Add to the merchant's own wallet, once for each request id.

        Refuses INVALID_FIELD where the method is declined, NOT_FOUND where there is none.
        """
        asked = parse_amount(amount, "amount")
        if not FUND_MIN <= asked <= FUND_MAX:
            raise invalid("amount", "must be from '10' to '10000'")
        await check_method(self._cashier.provider, principal, method_id)
        payment = await self._ask(
            principal,
            PaymentKind.FUND,
            principal.merchant_id,
            asked,
            asked,
            method_id=method_id,
            request_id=request_id,
        )
        if payment.state is PaymentState.DECLINED:
            raise invalid("payment_method_id", f"was declined: {payment.reason}")
        if payment.state is not PaymentState.SUCCEEDED:
            return Funded(payment, None)
        account = await self._books.account(principal.merchant_id, principal.merchant_id)
        return Funded(payment, account.balance if account else None)

    async def buy(
        self,
        principal: Principal,
        customer: str,
        bundle_id: str,
        *,
        request_id: str | None = None,
    ) -> Payment:
        """Buy a bundle for a customer who is on its plan, once for each request id."""
        account_id = await self._customer_id(principal, customer)
        if request_id is not None:
            # Before all else: the bundle may be gone, or cost something else by now.
            asked = fingerprint("bundle", account_id, bundle_id)
            earlier = await self._earlier(principal, request_id, asked)
            if earlier is not None:
                return earlier
        bundle = await self._billing.bundle(principal.merchant_id, bundle_id)
        if bundle is None:
            raise not_found("credit bundle", bundle_id, field="credit_bundle_id")
        enrolled = await self._billing.active_subscription(principal.merchant_id, account_id)
        if enrolled is None or enrolled.subscription.plan_id != bundle.plan_id:
            raise invalid("credit_bundle_id", "is no bundle of the customer's plan")
        return await self._ask(
            principal,
            PaymentKind.BUNDLE,
            account_id,
            bundle.cost,
            bundle.credit_amount,
            method_id=enrolled.subscription.method_at(self._cashier.provider.name),
            bundle_id=bundle_id,
            request_id=request_id,
        )

    async def methods(self, principal: Principal) -> Sequence[PaymentMethod]:
        """The ways to pay that the provider knows."""
        return await self._cashier.provider.methods(principal.merchant_id)

    async def get(self, principal: Principal, payment_id: str) -> Payment:
        """One payment; refuses NOT_FOUND."""
        found = await self._payments.find(principal.merchant_id, payment_id)
        if found is None:
            raise not_found("payment", payment_id, field="payment_id")
        return found

    async def list(self, principal: Principal, customer: str | None, page: Page) -> Slice[Payment]:
        """Payments, newest first; of one customer, or of all. A customer who is not has none."""
        account_id = None
        if customer is not None:
            found = await self._resources.customer(principal.merchant_id, customer)
            account_id = customer if found is None else found.customer_id
        return await self._payments.list(principal.merchant_id, account_id, page)

    async def confirm(
        self, principal: Principal, payment_id: str, outcome: PaymentState | None
    ) -> Payment:
        """Say what became of a payment that waits for an operator; only the first word counts."""
        if outcome not in {PaymentState.SUCCEEDED, PaymentState.DECLINED}:
            raise invalid("outcome", "must be succeeded or declined")
        found = await self.get(principal, payment_id)
        if found.provider != ManualProvider.name:
            raise invalid("payment_id", "is settled by its payment provider")
        paid = outcome is PaymentState.SUCCEEDED
        answer = ProviderAnswer(
            Taken.SUCCEEDED if paid else Taken.DECLINED,
            None if paid else "declined by an operator",
        )
        return await self._cashier.close(found, answer)

    async def _ask(
        self,
        principal: Principal,
        kind: PaymentKind,
        account_id: str,
        amount: Amount,
        credit: Amount,
        *,
        method_id: str | None = None,
        bundle_id: str | None = None,
        request_id: str | None = None,
    ) -> Payment:
        """Store the payment, then ask the provider for it; the one with the same request id."""
        now = self._clock.now()
        content = None
        if request_id is not None:
            content = (
                fingerprint("fund", amount, method_id)
                if kind is PaymentKind.FUND
                else fingerprint("bundle", account_id, bundle_id)
            )
            earlier = await self._earlier(principal, request_id, content)
            if earlier is not None:
                return earlier
        payment = Payment(
            merchant_id=principal.merchant_id,
            payment_id=f"pay_{principal.prefix}{self._ids.ulid(now)}",
            account_id=account_id,
            kind=kind,
            provider=self._cashier.provider.name,
            payment_method_id=method_id,
            credit_bundle_id=bundle_id,
            amount=amount,
            credit_amount=credit,
            state=PaymentState.OPEN,
            reason=None,
            attempts=1,
            due_at=self._cashier.lease(),
            created_at=now,
            request_id=request_id,
            fingerprint=content,
        )
        if not await self._payments.open(payment, quiet_since=now):
            # Another call with the request id came first.
            found = await self._earlier(principal, request_id or "", content)
            if found is None:
                raise InvariantBroken(f"payment {payment.payment_id} was not stored")
            return found
        return await self._cashier.advance(payment)

    async def _earlier(
        self, principal: Principal, request_id: str, content: str | None
    ) -> Payment | None:
        """The payment that was asked for with this id; refuses REQUEST_ID_REUSED."""
        check_id(request_id, "request_id")
        found = await self._payments.of_request(principal.merchant_id, request_id)
        if found is not None and found.fingerprint != content:
            raise Refusal(
                Reason.REQUEST_ID_REUSED,
                f"request_id '{request_id[:80]}' was used before with other content",
                field="request_id",
                facts={"request_id": request_id},
            )
        return found

    async def _customer_id(self, principal: Principal, customer: str) -> str:
        found = await self._resources.customer(principal.merchant_id, customer)
        if found is None:
            raise not_found("customer", customer, field="customer_id")
        return found.customer_id
