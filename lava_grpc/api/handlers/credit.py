"""CreditService."""

from __future__ import annotations

from lava.v1 import credit_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import credit, pages
from lava_grpc.api.messages.texts import optional_text
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.credit import Credit
from lava_grpc.gateway.principal import Principal


class CreditHandlers:
    """Grants and balances."""

    def __init__(self, credit_use_case: Credit) -> None:
        self._credit = credit_use_case

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.CreditService"
        return {
            f"{service}/CreateCreditGrant": self.create,
            f"{service}/ListCreditGrants": self.list,
            f"{service}/GetBalance": self.balance,
            f"{service}/GetWallet": self.wallet,
        }

    async def create(
        self, request: pb.CreateCreditGrantRequest, principal: Principal, deadline: float | None
    ) -> pb.CreateCreditGrantResponse:
        """Grant credit."""
        grant = await self._credit.grant(principal, credit.to_grant(request), deadline=deadline)
        return pb.CreateCreditGrantResponse(credit_grant=credit.from_grant(grant))

    async def list(
        self, request: pb.ListCreditGrantsRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListCreditGrantsResponse:
        """A page of grants."""
        customer = optional_text(request, "customer_id")
        found = await self._credit.list_grants(principal, customer, pages.to_page(request))
        return pb.ListCreditGrantsResponse(
            data=[credit.from_grant(grant) for grant in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def balance(
        self, request: pb.GetBalanceRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetBalanceResponse:
        """A customer's balance."""
        customer = check_text(request.customer_id, "customer_id")
        meter = optional_text(request, "meter_id")
        view = await self._credit.balance(principal, customer, meter)
        return pb.GetBalanceResponse(balance=credit.from_balance(view))

    async def wallet(
        self, _request: pb.GetWalletRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetWalletResponse:
        """The merchant's own wallet."""
        return credit.from_wallet(await self._credit.wallet(principal))
