"""Merchants, keys, customers and meters. See `gateway.ports.Resources`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.money import Amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.resources import Customer, Merchant, NamedMeter, SecretKey
from lava_grpc.core.time import Instant
from lava_grpc.store import customers, merchants, meters
from lava_grpc.store.database import Database


class StoreResources:
    """Runs each statement of its siblings in a transaction of its own.

    Two that create the same thing at once meet in a unique index: `write` then
    runs the later one again, which finds what the first one stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_merchant(self, merchant: Merchant, *, wallet_limit: Amount | None = 0) -> None:
        """Store a merchant and open its wallet."""
        await self._database.write(lambda c: merchants.add(c, merchant, wallet_limit))

    async def merchant(self, merchant_id: str) -> Merchant | None:
        """The merchant."""
        return await self._database.read(lambda c: merchants.find(c, merchant_id))

    async def list_merchants(self) -> Sequence[Merchant]:
        """All of them, oldest first."""
        return await self._database.read(merchants.list_all)

    async def set_hold_policy(self, merchant_id: str, policy: HoldPolicy | None) -> bool:
        """Set how much is held for a merchant's calls; False where there is no such merchant."""
        return await self._database.write(
            lambda c: merchants.set_hold_policy(c, merchant_id, policy)
        )

    async def add_key(self, key: SecretKey, key_hash: str) -> None:
        """Store a key by its hash."""
        await self._database.write(lambda c: merchants.add_key(c, key, key_hash))

    async def key_owner(self, key_hash: str) -> tuple[SecretKey, Merchant] | None:
        """The key with this hash and its merchant, None where it is unknown or revoked."""
        return await self._database.read(lambda c: merchants.key_owner(c, key_hash))

    async def list_keys(self, merchant_id: str, page: Page) -> Slice[SecretKey]:
        """The keys that are not revoked, newest first."""
        return await self._database.read(lambda c: merchants.list_keys(c, merchant_id, page))

    async def revoke_key(self, merchant_id: str, secret_key_id: str, at: Instant) -> bool:
        """Revoke a key for good; False where there is none to revoke."""

        def work(connection: Connection) -> bool:
            return merchants.revoke_key(connection, merchant_id, secret_key_id, at)

        return await self._database.write(work)

    async def add_customer(self, customer: Customer) -> Customer:
        """Store a customer and open its account; the one with the same `reference_id`, if any."""
        return await self._database.write(lambda c: customers.add(c, customer))

    async def customer(self, merchant_id: str, ident: str) -> Customer | None:
        """The customer with this id or reference id."""
        return await self._database.read(lambda c: customers.find(c, merchant_id, ident))

    async def list_customers(self, merchant_id: str, page: Page) -> Slice[Customer]:
        """Customers, newest first."""
        return await self._database.read(lambda c: customers.list_page(c, merchant_id, page))

    async def change_customer(
        self, merchant_id: str, ident: str, changes: Mapping[str, object]
    ) -> Customer | None:
        """Set fields of `Customer` by name. Refuses ALREADY_EXISTS for a taken reference id."""
        return await self._database.write(
            lambda c: customers.change(c, merchant_id, ident, changes)
        )

    async def delete_customer(self, merchant_id: str, ident: str, at: Instant) -> bool:
        """Delete a customer and close its account; False where there is none."""
        return await self._database.write(lambda c: customers.delete(c, merchant_id, ident, at))

    async def add_meter(self, meter: NamedMeter) -> None:
        """Store a meter. Refuses ALREADY_EXISTS (field `meter_slug`) for a taken slug."""
        await self._database.write(lambda c: meters.add(c, meter))

    async def meter(self, merchant_id: str, ident: str) -> NamedMeter | None:
        """The meter with this id or slug."""
        return await self._database.read(lambda c: meters.find(c, merchant_id, ident))

    async def list_meters(self, merchant_id: str, page: Page) -> Slice[NamedMeter]:
        """Meters, newest first."""
        return await self._database.read(lambda c: meters.list_page(c, merchant_id, page))

    async def change_meter(
        self,
        merchant_id: str,
        ident: str,
        *,
        name: str | None,
        tiers: Sequence[tuple[int, int]] | None,
    ) -> NamedMeter | None:
        """Set the name, the tiers (start, rate in 10^-10), or both; None leaves one as it is."""

        def work(connection: Connection) -> NamedMeter | None:
            return meters.change(connection, merchant_id, ident, name=name, tiers=tiers)

        return await self._database.write(work)

    async def delete_meter(self, merchant_id: str, ident: str, at: Instant) -> str | None:
        """Delete a meter; its id, None where there is none."""
        return await self._database.write(lambda c: meters.delete(c, merchant_id, ident, at))
