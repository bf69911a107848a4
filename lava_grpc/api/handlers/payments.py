"""PaymentService."""

from __future__ import annotations

from lava.v1 import payment_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import pages, payments
from lava_grpc.api.messages.enums import read_enum
from lava_grpc.api.messages.texts import optional_text
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.payments import Payments
from lava_grpc.gateway.principal import Principal


class PaymentHandlers:
    """Payments and the wallet's funding."""

    def __init__(self, payments_use_case: Payments) -> None:
        self._payments = payments_use_case

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.PaymentService"
        return {
            f"{service}/FundWallet": self.fund,
            f"{service}/ListPaymentMethods": self.methods,
            f"{service}/CreatePayment": self.create,
            f"{service}/ListPayments": self.list,
            f"{service}/GetPayment": self.get,
            f"{service}/ConfirmPayment": self.confirm,
        }

    async def fund(
        self, request: pb.FundWalletRequest, principal: Principal, _deadline: float | None
    ) -> pb.FundWalletResponse:
        """Add to the wallet."""
        funded = await self._payments.fund(
            principal,
            request.payment_method_id,
            request.amount,
            request_id=optional_text(request, "request_id"),
        )
        return payments.from_funded(funded)

    async def methods(
        self, _request: pb.ListPaymentMethodsRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListPaymentMethodsResponse:
        """The ways to pay."""
        found = await self._payments.methods(principal)
        return pb.ListPaymentMethodsResponse(data=[payments.from_method(one) for one in found])

    async def create(
        self, request: pb.CreatePaymentRequest, principal: Principal, _deadline: float | None
    ) -> pb.CreatePaymentResponse:
        """Buy a bundle."""
        payment = await self._payments.buy(
            principal,
            check_text(request.customer_id, "customer_id"),
            check_text(request.credit_bundle_id, "credit_bundle_id"),
            request_id=optional_text(request, "request_id"),
        )
        return pb.CreatePaymentResponse(payment=payments.from_payment(payment))

    async def list(
        self, request: pb.ListPaymentsRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListPaymentsResponse:
        """A page of payments."""
        customer = optional_text(request, "customer_id")
        found = await self._payments.list(principal, customer, pages.to_page(request))
        return pb.ListPaymentsResponse(
            data=[payments.from_payment(payment) for payment in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get(
        self, request: pb.GetPaymentRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetPaymentResponse:
        """One payment."""
        ident = check_text(request.payment_id, "payment_id")
        payment = await self._payments.get(principal, ident)
        return pb.GetPaymentResponse(payment=payments.from_payment(payment))

    async def confirm(
        self, request: pb.ConfirmPaymentRequest, principal: Principal, _deadline: float | None
    ) -> pb.ConfirmPaymentResponse:
        """Say what became of a payment."""
        outcome = read_enum(payments.STATES, request.outcome, "outcome")
        ident = check_text(request.payment_id, "payment_id")
        payment = await self._payments.confirm(principal, ident, outcome)
        return pb.ConfirmPaymentResponse(payment=payments.from_payment(payment))
