"""The seams in memory: resources, and a ledger whose rules are the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lava_grpc.core import ledger
from lava_grpc.core.account import Account, AccountKind, Grant
from lava_grpc.core.commands import Command
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.pricing import Tier
from lava_grpc.core.resources import Customer, Merchant, NamedMeter, SecretKey
from lava_grpc.core.state import LedgerState
from lava_grpc.core.time import Instant
from lava_grpc.gateway.principal import Principal

MERCHANT = Merchant("mer_test_1", "Acme", test_mode=True, created_at=0)
CALLER = Principal(MERCHANT.merchant_id, "test_")
START: Instant = 1_700_000_000_000_000


@dataclass(slots=True)
class StillClock:
    """A clock that tests move."""

    instant: Instant = START

    def now(self) -> Instant:
        return self.instant


class MemoryResources:
    """The part of `Resources` that the management use cases use."""

    def __init__(self) -> None:
        self.customers: dict[str, Customer] = {}
        self.meters: dict[str, NamedMeter] = {}
        self.keys: dict[str, SecretKey] = {}
        self.revoked: set[str] = set()

    async def add_key(self, key: SecretKey, key_hash: str) -> None:
        self.keys[key_hash] = key

    async def list_keys(self, merchant_id: str, page: Page) -> Slice[SecretKey]:
        del merchant_id, page
        return Slice([k for k in self.keys.values() if k.secret_key_id not in self.revoked], None)

    async def revoke_key(self, merchant_id: str, secret_key_id: str, at: Instant) -> bool:
        del merchant_id, at
        known = {key.secret_key_id for key in self.keys.values()} - self.revoked
        self.revoked |= known & {secret_key_id}
        return secret_key_id in known

    async def add_customer(self, customer: Customer) -> Customer:
        if customer.reference_id is not None:
            found = await self.customer(customer.merchant_id, customer.reference_id)
            if found is not None:
                return found
        self.customers[customer.customer_id] = customer
        return customer

    async def customer(self, merchant_id: str, ident: str) -> Customer | None:
        for customer in self.customers.values():
            if customer.merchant_id == merchant_id and ident in (
                customer.customer_id,
                customer.reference_id,
            ):
                return customer
        return None

    async def change_customer(
        self, merchant_id: str, ident: str, changes: Mapping[str, Any]
    ) -> Customer | None:
        found = await self.customer(merchant_id, ident)
        if found is not None:
            found = replace(found, **changes)
            self.customers[found.customer_id] = found
        return found

    async def delete_customer(self, merchant_id: str, ident: str, at: Instant) -> bool:
        del at
        found = await self.customer(merchant_id, ident)
        return found is not None and self.customers.pop(found.customer_id) is not None

    async def add_meter(self, meter: NamedMeter) -> None:
        if await self.meter(meter.meter.merchant_id, meter.meter.slug) is not None:
            raise Refusal(Reason.ALREADY_EXISTS, "the slug is taken", field="meter_slug")
        self.meters[meter.meter.meter_id] = meter

    async def meter(self, merchant_id: str, ident: str) -> NamedMeter | None:
        for named in self.meters.values():
            meter = named.meter
            if meter.merchant_id == merchant_id and ident in (meter.meter_id, meter.slug):
                return named
        return None

    async def change_meter(
        self,
        merchant_id: str,
        ident: str,
        *,
        name: str | None,
        tiers: Sequence[tuple[int, int]] | None,
    ) -> NamedMeter | None:
        named = await self.meter(merchant_id, ident)
        if named is None:
            return None
        meter = named.meter
        if tiers is not None:
            meter = replace(meter, tiers=tuple(Tier(start, rate) for start, rate in tiers))
        named = NamedMeter(meter, name or named.name, named.created_at)
        self.meters[meter.meter_id] = named
        return named

    async def delete_meter(self, merchant_id: str, ident: str, at: Instant) -> str | None:
        del at
        named = await self.meter(merchant_id, ident)
        return None if named is None else self.meters.pop(named.meter.meter_id).meter.meter_id


class MemoryLedger:
    """Decides at once, by the rules of the core; its own books."""

    def __init__(self, clock: StillClock) -> None:
        self.state = LedgerState()
        self.submitted: list[Command] = []
        self._clock = clock

    def open(self, account_id: str, kind: AccountKind, *, limit: int | None = 0) -> None:
        key = (MERCHANT.merchant_id, account_id)
        self.state.accounts[key] = Account(*key, kind, 0, 0, limit, closed=False)

    async def submit(self, command: Command, *, deadline: float | None = None) -> Outcome:
        del deadline
        self.submitted.append(command)
        (outcome,) = ledger.apply(self.state, [command], self._clock.now()).outcomes
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    async def account(self, merchant_id: str, account_id: str) -> Account | None:
        return self.state.accounts.get((merchant_id, account_id))

    async def list_grants(self, merchant_id: str, account_id: str, page: Page) -> Slice[Grant]:
        account = self.state.accounts[(merchant_id, account_id)]
        return Slice(account.grants[: page.limit], None)
