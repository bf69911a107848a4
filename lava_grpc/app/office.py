"""What operators do without a server: merchants, keys, credit, verification."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from lava_grpc import config
from lava_grpc.app.clock import SystemClock
from lava_grpc.app.parts import migrate, open_database
from lava_grpc.core.account import GrantSource
from lava_grpc.core.books import VerifyReport
from lava_grpc.core.errors import invalid, not_found
from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import format_amount, parse_amount
from lava_grpc.core.page import LIMIT_MAX, Page
from lava_grpc.core.resources import Merchant
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.credit import Credit, NewGrant
from lava_grpc.gateway.customers import UNLIMITED
from lava_grpc.gateway.keys import SecretKeys, prefix_of
from lava_grpc.gateway.principal import Principal
from lava_grpc.store import distribute, partitions
from lava_grpc.store.database import Database
from lava_grpc.store.group_commit import GroupCommit
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.reads import StoreBooks
from lava_grpc.store.resources import StoreResources

DEFAULT_POLICY = "default"
"""In place of a hold policy: the merchant has none of its own."""


@dataclass(frozen=True, slots=True)
class NewMerchant:
    """What `init` made. The key is shown this once."""

    merchant_id: str
    secret_key: str


class Office:
    """The operator's use cases on a database of their own."""

    def __init__(self, database: Database) -> None:
        self._clock = SystemClock()
        self._ids = IdSource()
        self._database = database
        self._resources = StoreResources(database)
        self._books = StoreBooks(database)
        self._keys = SecretKeys(self._resources, clock=self._clock, ids=self._ids)

    async def add_merchant(self, name: str, *, test_mode: bool, wallet_limit: str) -> NewMerchant:
        """A merchant with a wallet and a secret key."""
        limit = None if wallet_limit == UNLIMITED else parse_amount(wallet_limit, "wallet_limit")
        now = self._clock.now()
        prefix = "test_" if test_mode else ""
        merchant = Merchant(
            f"mer_{prefix}{self._ids.ulid(now)}", check_text(name, "name"), test_mode, now
        )
        await self._resources.add_merchant(merchant, wallet_limit=limit)
        _, plaintext = await self._keys.create_key(merchant, "first key")
        return NewMerchant(merchant.merchant_id, plaintext)

    async def set_hold_policy(self, merchant_id: str, policy: str) -> dict[str, str]:
        """Set how much is held for a merchant's calls; `default` leaves it to the service."""
        known = {DEFAULT_POLICY: None, **{each.value: each for each in HoldPolicy}}
        if policy not in known:
            raise invalid("policy", f"must be one of {', '.join(known)}")
        if not await self._resources.set_hold_policy(merchant_id, known[policy]):
            raise not_found("merchant", merchant_id, field="merchant")
        return {"merchant_id": merchant_id, "hold_policy": policy}

    async def verify(self, merchant_id: str | None) -> VerifyReport:
        """Check the books of one merchant, or of all."""
        if merchant_id is not None:
            await self._merchant(merchant_id)
        return await self._books.verify(merchant_id)

    async def grant(
        self, merchant_id: str, customer: str | None, amount: str, request_id: str | None
    ) -> dict[str, str]:
        """Put credit on a customer's account, or on the merchant's wallet."""
        principal = await self._principal(merchant_id)
        ledger = GroupCommit(
            LedgerStore(
                self._database.store_engine,
                self._clock,
                io=self._database.in_writer,
                turn=self._database.turn,
            ),
            self._database,
        )
        ledger.start()
        try:
            credit = Credit(self._resources, self._books, ledger, clock=self._clock, ids=self._ids)
            new = NewGrant(customer, amount, GrantSource.TOP_UP, request_id=request_id)
            made = await credit.grant(principal, new)
        finally:
            await ledger.stop()
        return {
            "grant_id": made.grant_id,
            "account_id": made.account_id,
            "amount": format_amount(made.amount),
        }

    async def partition(self, months: int, *, dry_run: bool) -> list[str]:
        """Part the table of entries by month; the statements of it."""
        now = self._clock.now()
        if dry_run:
            return await self._database.read(lambda c: partitions.plan(c, now, months=months))
        return await self._database.write(lambda c: partitions.partition(c, now, months=months))

    async def distribute(self, *, dry_run: bool) -> list[str]:
        """Spread the tables over a cluster's nodes; the statements of it."""
        if dry_run:
            return [step.sql for step in distribute.steps()]
        return await self._database.write(distribute.distribute)

    async def create_key(self, merchant_id: str, name: str) -> dict[str, str]:
        """A further key, shown this once."""
        key, plaintext = await self._keys.create_key(await self._merchant(merchant_id), name)
        return {"secret_key_id": key.secret_key_id, "secret_key": plaintext}

    async def list_keys(self, merchant_id: str) -> list[dict[str, object]]:
        """Every key that is not revoked."""
        principal = await self._principal(merchant_id)
        found: list[dict[str, object]] = []
        page = Page(limit=LIMIT_MAX)
        while True:
            part = await self._keys.list(principal, page)
            found += [asdict(key) for key in part.items]
            if part.next_cursor is None:
                return found
            page = Page(part.next_cursor, LIMIT_MAX)

    async def revoke_key(self, merchant_id: str, secret_key_id: str) -> None:
        """Revoke a key for good."""
        await self._keys.revoke(await self._principal(merchant_id), secret_key_id)

    async def _merchant(self, merchant_id: str) -> Merchant:
        merchant = await self._resources.merchant(merchant_id)
        if merchant is None:
            raise not_found("merchant", merchant_id, field="merchant")
        return merchant

    async def _principal(self, merchant_id: str) -> Principal:
        return Principal(merchant_id, prefix_of(await self._merchant(merchant_id)))


@asynccontextmanager
async def open_office(settings: config.Settings) -> AsyncIterator[Office]:
    """An office on the migrated database that the settings name."""
    migrate(settings)
    database = open_database(settings)
    try:
        yield Office(database)
    finally:
        database.close()
