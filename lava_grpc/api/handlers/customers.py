"""CustomerService."""

from __future__ import annotations

from lava.v1 import customer_service_pb2 as pb

from lava_grpc.api.dispatch import Handlers
from lava_grpc.api.messages import customers, pages
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.customers import Customers
from lava_grpc.gateway.principal import Principal


class CustomerHandlers:
    """The merchant's customers."""

    def __init__(self, customers_use_case: Customers) -> None:
        self._customers = customers_use_case

    def table(self) -> Handlers:
        """By full method name."""
        service = "lava.v1.CustomerService"
        return {
            f"{service}/CreateCustomer": self.create,
            f"{service}/ListCustomers": self.list,
            f"{service}/GetCustomer": self.get,
            f"{service}/UpdateCustomer": self.update,
            f"{service}/DeleteCustomer": self.delete,
        }

    async def create(
        self, request: pb.CreateCustomerRequest, principal: Principal, _deadline: float | None
    ) -> pb.CreateCustomerResponse:
        """Create a customer, or find it by its reference id."""
        customer = await self._customers.create(principal, customers.to_customer(request))
        return pb.CreateCustomerResponse(customer=customers.from_customer(customer))

    async def list(
        self, request: pb.ListCustomersRequest, principal: Principal, _deadline: float | None
    ) -> pb.ListCustomersResponse:
        """A page of customers."""
        found = await self._customers.list(principal, pages.to_page(request))
        return pb.ListCustomersResponse(
            data=[customers.from_customer(customer) for customer in found.items],
            has_more=pages.has_more(found),
            next_cursor=found.next_cursor,
        )

    async def get(
        self, request: pb.GetCustomerRequest, principal: Principal, _deadline: float | None
    ) -> pb.GetCustomerResponse:
        """One customer."""
        customer = await self._customers.get(principal, _customer_id(request))
        return pb.GetCustomerResponse(customer=customers.from_customer(customer))

    async def update(
        self, request: pb.UpdateCustomerRequest, principal: Principal, _deadline: float | None
    ) -> pb.UpdateCustomerResponse:
        """Change a customer."""
        customer = await self._customers.update(
            principal, _customer_id(request), customers.to_changes(request)
        )
        return pb.UpdateCustomerResponse(customer=customers.from_customer(customer))

    async def delete(
        self, request: pb.DeleteCustomerRequest, principal: Principal, _deadline: float | None
    ) -> pb.DeleteCustomerResponse:
        """Delete a customer."""
        await self._customers.delete(principal, _customer_id(request))
        return pb.DeleteCustomerResponse(success=True)


def _customer_id(
    request: pb.GetCustomerRequest | pb.UpdateCustomerRequest | pb.DeleteCustomerRequest,
) -> str:
    return check_text(request.customer_id, "customer_id")
