"""The merchant's customers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from lava_grpc.core.errors import invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import Amount, parse_amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.resources import Customer
from lava_grpc.core.time import Clock
from lava_grpc.gateway.checks import TEXT_CHARS_MAX, check_storable, check_text
from lava_grpc.gateway.ports import Resources
from lava_grpc.gateway.principal import Principal

ID_PREFIX = "con_"
UNLIMITED = "unlimited"
METADATA_BYTES_MAX = 16 * 1024
"""The largest metadata, as compact JSON in UTF-8."""

CHANGEABLE: Final = ("reference_id", "name", "email", "phone", "metadata", "credit_limit")
"""What an update may name."""

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f.]+(?:\.[^@\s\x00-\x1f\x7f.]+)+")
_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """A customer as a caller describes it. `metadata` is a JSON object as compact text."""

    reference_id: str | None = None
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    metadata: str | None = None
    credit_limit: str | None = None


class Customers:
    """Creates, reads, changes and deletes customers."""

    def __init__(
        self,
        resources: Resources,
        *,
        clock: Clock,
        ids: IdSource,
        welcome: Callable[[Principal, Customer], Awaitable[Customer]] | None = None,
    ) -> None:
        """`welcome` gives a customer without a subscription whatever new customers get."""
        self._resources = resources
        self._welcome = welcome
        self._clock = clock
        self._ids = ids

    async def create(self, principal: Principal, new: NewCustomer) -> Customer:
        """A customer with an empty account; the one with the same `reference_id`, if any."""
        now = self._clock.now()
        customer = Customer(
            merchant_id=principal.merchant_id,
            customer_id=f"{ID_PREFIX}{principal.prefix}{self._ids.ulid(now)}",
            reference_id=_reference_id(new.reference_id),
            name=_name(new.name),
            email=_email(new.email),
            phone=_phone(new.phone),
            metadata=_metadata(new.metadata),
            credit_limit=credit_limit(new.credit_limit),
            created_at=now,
        )
        stored = await self._resources.add_customer(customer)
        # Also one that was found, in case whoever made it was cut off right here.
        if self._welcome is None or stored.subscription is not None:
            return stored
        return await self._welcome(principal, stored)

    async def get(self, principal: Principal, ident: str) -> Customer:
        """The customer with this id or reference id; refuses NOT_FOUND."""
        return _found(await self._resources.customer(principal.merchant_id, ident), ident)

    async def list(self, principal: Principal, page: Page) -> Slice[Customer]:
        """Customers, newest first."""
        return await self._resources.list_customers(principal.merchant_id, page)

    async def update(
        self, principal: Principal, ident: str, changes: Mapping[str, str | None]
    ) -> Customer:
        """Set the named fields (of `NewCustomer`); None clears one, and a limit is then "0".

        Refuses NOT_FOUND, and ALREADY_EXISTS for a reference id that another has.
        """
        checked: dict[str, object] = {}
        for name, value in changes.items():
            check = _CHECKS.get(name)
            if check is None:
                raise invalid("update_mask", f"names '{name[:80]}', which cannot be changed")
            checked[name] = check(value)
        if not checked:
            return await self.get(principal, ident)
        changed = await self._resources.change_customer(principal.merchant_id, ident, checked)
        return _found(changed, ident)

    async def delete(self, principal: Principal, ident: str) -> None:
        """Refuse new calls for a customer; what is held runs on. Refuses NOT_FOUND."""
        now = self._clock.now()
        if not await self._resources.delete_customer(principal.merchant_id, ident, now):
            raise not_found("customer", ident, field="customer_id")


def credit_limit(text: str | None) -> Amount | None:
    """How far past its credit an account may go: 0 unless said, None for "unlimited"."""
    if text == UNLIMITED:
        return None
    return 0 if text is None else parse_amount(text, "credit_limit")


def _found(customer: Customer | None, ident: str) -> Customer:
    if customer is None:
        raise not_found("customer", ident, field="customer_id")
    return customer


def _reference_id(value: str | None) -> str | None:
    if value is None:
        return None
    if value.startswith(ID_PREFIX):
        # The prefix tells the two kinds of ids apart.
        raise invalid("reference_id", f"must not begin with '{ID_PREFIX}'")
    return check_text(value, "reference_id")


def _name(value: str | None) -> str | None:
    return check_text(value, "name") if value else None


def _email(value: str | None) -> str | None:
    if value is None:
        return None
    if len(value) > TEXT_CHARS_MAX or _EMAIL.fullmatch(value) is None:
        raise invalid("email", "must be an e-mail address")
    return check_storable(value, "email")


def _phone(value: str | None) -> str | None:
    if value is not None and _PHONE.fullmatch(value) is None:
        raise invalid("phone", "must be a phone number in E.164, such as '+15551234567'")
    return value


def _metadata(value: str | None) -> str | None:
    if value is not None and len(value.encode()) > METADATA_BYTES_MAX:
        raise invalid("metadata", f"must have at most {METADATA_BYTES_MAX} bytes as JSON")
    return value


_CHECKS = MappingProxyType(
    {
        "reference_id": _reference_id,
        "name": _name,
        "email": _email,
        "phone": _phone,
        "metadata": _metadata,
        "credit_limit": credit_limit,
    }
)
