"""A merchant with a customer, over a real database, and short ways to ask things of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, insert, update

from lava_grpc.core.account import GrantSource
from lava_grpc.core.commands import AddGrant, Command, HoldPart, PlaceHold, Settle, SettlePart
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.resources import Customer, Merchant
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.core.usage import NOTHING
from lava_grpc.store.database import Database
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.reads import StoreBooks
from lava_grpc.store.resources import StoreResources

START: Instant = 1_800_000_000 * SECOND
MERCHANT = "mer_1"
CUSTOMER = "con_1"


@dataclass(slots=True)
class FixedClock:
    """A clock that a test moves."""

    instant: Instant = START

    def now(self) -> Instant:
        return self.instant


@dataclass(slots=True)
class World:
    """Everything over one database."""

    database: Database
    clock: FixedClock = field(default_factory=FixedClock)
    resources: StoreResources = field(init=False)
    books: StoreBooks = field(init=False)
    ledger: LedgerStore = field(init=False)

    def __post_init__(self) -> None:
        self.resources = StoreResources(self.database)
        self.books = StoreBooks(self.database)
        self.ledger = LedgerStore(self.database.store_engine, self.clock)

    async def furnish(self) -> None:
        """The merchant and its customer, without credit."""
        await self.resources.add_merchant(Merchant(MERCHANT, "Acme", test_mode=False, created_at=1))
        await self.resources.add_customer(customer(CUSTOMER))

    async def run(self, *commands: Command) -> Sequence[Outcome]:
        """Apply a batch that nobody refuses."""
        outcomes = await self.ledger.apply(commands)
        for outcome in outcomes:
            if isinstance(outcome, Refusal):
                raise outcome
        return outcomes

    async def corrupt(self, table: Table, ident: str, **values: object) -> None:
        """Change one row, named by its id (the second column), behind the ledger's back."""
        key = list(table.columns)[1]

        def work(connection: Connection) -> int:
            return connection.execute(update(table).where(key == ident).values(values)).rowcount

        assert await self.database.write(work) == 1

    async def insert(self, table: Table, **values: object) -> None:
        """Put a row in behind the ledger's back."""
        await self.database.write(lambda c: c.execute(insert(table).values(values)))


def customer(customer_id: str, **changes: Any) -> Customer:
    """A customer of the merchant's."""
    fields: dict[str, Any] = {
        "merchant_id": MERCHANT,
        "reference_id": None,
        "name": None,
        "email": None,
        "phone": None,
        "metadata": None,
        "credit_limit": 0,
        "created_at": START,
    }
    return Customer(**(fields | {"customer_id": customer_id} | changes))


def grant(grant_id: str, amount: int, **changes: Any) -> AddGrant:
    """Credit for the customer."""
    fields: dict[str, Any] = {
        "account_id": CUSTOMER,
        "source": GrantSource.TOP_UP,
        "priority": 20,
        "meter_ids": None,
        "expires_at": None,
    }
    return AddGrant(
        merchant_id=MERCHANT,
        grant_id=grant_id,
        request_id=f"of {grant_id}",
        fingerprint="same",
        amount=amount,
        **(fields | changes),
    )


def hold(request_id: str, amount: int, **changes: Any) -> PlaceHold:
    """A hold on the customer's credit; its id is `res_` and the request's."""
    facts: dict[str, Any] = {
        "customer_id": CUSTOMER,
        "meter_id": "prd_1",
        "metadata": (("team", "blue"),),
    }
    kind = changes.pop("kind", HoldKind.AUTHORIZE)
    ttl_seconds = changes.pop("ttl_seconds", 120)
    return PlaceHold(
        merchant_id=MERCHANT,
        request_id=request_id,
        hold_id=f"res_{request_id}",
        fingerprint="same",
        kind=kind,
        parts=(HoldPart(CUSTOMER, Role.CHARGE, amount=amount),),
        facts=CallFacts(**(facts | changes)),
        ttl_seconds=ttl_seconds,
    )


def settle(request_id: str, amount: int, **changes: Any) -> Settle:
    """Usage of the customer's."""
    facts: dict[str, Any] = {
        "customer_id": CUSTOMER,
        "meter_id": "prd_1",
        "metadata": (("team", "blue"),),
    }
    return Settle(
        merchant_id=MERCHANT,
        request_id=request_id,
        fingerprint="same",
        parts=(SettlePart(CUSTOMER, Role.CHARGE, amount=amount),),
        facts=CallFacts(**(facts | changes)),
        usage=NOTHING,
    )
