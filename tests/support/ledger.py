"""Builders for tests of the ledger on a real database."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import insert

from lava_grpc.core.account import GrantSource
from lava_grpc.core.commands import (
    AddGrant,
    Command,
    Held,
    HoldPart,
    PlaceHold,
    Settle,
    Settled,
    SettlePart,
)
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import SCALE
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.core.usage import NOTHING
from lava_grpc.store import schema
from lava_grpc.store.database import Database
from lava_grpc.store.group_commit import GroupCommit, QueueBounds
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.reads import StoreBooks

MERCHANT = "mer_test"
_numbers = itertools.count(1)


class MovingClock:
    """The machine's clock, which a test can move on."""

    def __init__(self) -> None:
        self.ahead: Instant = 0

    def now(self) -> Instant:
        return time.time_ns() // 1000 + self.ahead

    def move(self, seconds: float) -> None:
        self.ahead += int(seconds * SECOND)


@dataclass(slots=True)
class OnDatabase:
    """A ledger on a database, with its books."""

    database: Database
    ledger: GroupCommit
    books: StoreBooks
    clock: MovingClock
    broken: list[bool] = field(default_factory=list)
    reachable: list[bool] = field(default_factory=list)

    async def open_account(
        self, account_id: str, *, credit: int = 0, limit: int | None = 0, kind: str = "customer"
    ) -> str:
        """An account with a grant of `credit` whole units."""

        def add(connection: object) -> None:
            connection.execute(  # type: ignore[attr-defined]
                insert(schema.accounts).values(
                    merchant_id=MERCHANT,
                    account_id=account_id,
                    kind=kind,
                    credit_limit=None if limit is None else limit * SCALE,
                )
            )

        await self.database.write(add)
        if credit:
            await self.ledger.submit(grant(account_id, credit))
        return account_id

    async def verified(self) -> None:
        """Fail unless the books balance."""
        report = await self.books.verify(None)
        assert report.findings == []


@asynccontextmanager
async def ledger_on(
    url: str,
    *,
    clock: MovingClock | None = None,
    bounds: QueueBounds | None = None,
    charge_abandoned: bool = False,
    prepare: bool = True,
) -> AsyncIterator[OnDatabase]:
    """What one server process has of the ledger, on a migrated database."""
    moving = clock or MovingClock()
    database = Database(url, prepare=prepare)
    broken: list[bool] = []
    reachable: list[bool] = []

    def note(*, reachable_now: bool) -> None:
        reachable.append(reachable_now)

    ledger = GroupCommit(
        LedgerStore(
            database.store_engine,
            moving,
            io=database.in_writer,
            turn=database.turn,
            charge_abandoned=charge_abandoned,
        ),
        database,
        bounds or QueueBounds(),
        on_broken=lambda: broken.append(True),
        on_reachable=lambda *, reachable: note(reachable_now=reachable),
    )
    ledger.start()
    try:
        yield OnDatabase(database, ledger, StoreBooks(database), moving, broken, reachable)
    finally:
        await ledger.stop()
        database.close()


def grant(
    account_id: str, units: int, *, expires_at: Instant | None = None, request_id: str | None = None
) -> AddGrant:
    """A top-up of whole units."""
    number = next(_numbers)
    return AddGrant(
        merchant_id=MERCHANT,
        account_id=account_id,
        grant_id=f"grt_{number:08}",
        request_id=request_id or f"grant-{number}",
        fingerprint=f"{units}",
        source=GrantSource.TOP_UP,
        priority=20,
        amount=units * SCALE,
        meter_ids=None,
        expires_at=expires_at,
    )


def place(
    account_id: str,
    units: int,
    *,
    request_id: str | None = None,
    ttl_seconds: int = 120,
    kind: HoldKind = HoldKind.AUTHORIZE,
    wallet_id: str | None = None,
) -> PlaceHold:
    """A hold of whole units, on a wallet too if one is named."""
    number = next(_numbers)
    parts = [HoldPart(account_id, Role.CHARGE, amount=units * SCALE)]
    if wallet_id is not None:
        parts.append(HoldPart(wallet_id, Role.COST, amount=units * SCALE))
    return PlaceHold(
        merchant_id=MERCHANT,
        request_id=request_id or f"req-{number}",
        hold_id=f"res_{number:08}",
        fingerprint=f"{account_id}:{units}",
        kind=kind,
        parts=tuple(parts),
        facts=CallFacts(customer_id=account_id),
        ttl_seconds=ttl_seconds,
    )


def settle(account_id: str, units: int, *, request_id: str, hold_id: str | None = None) -> Settle:
    """A charge of whole units."""
    return Settle(
        merchant_id=MERCHANT,
        request_id=request_id,
        fingerprint=f"{account_id}:{units}",
        parts=(SettlePart(account_id, Role.CHARGE, amount=units * SCALE),),
        facts=CallFacts(customer_id=account_id),
        usage=NOTHING,
        hold_id=hold_id,
    )


async def tried(ledger: GroupCommit, command: Command) -> Outcome:
    """The outcome, a refusal among them."""
    try:
        return await ledger.submit(command)
    except Refusal as refusal:
        return refusal


async def held(ledger: GroupCommit, command: PlaceHold) -> Held:
    """The hold that was placed."""
    outcome = await ledger.submit(command)
    assert isinstance(outcome, Held)
    return outcome


async def settled(ledger: GroupCommit, command: Settle) -> Settled:
    """The charge that was made."""
    outcome = await ledger.submit(command)
    assert isinstance(outcome, Settled)
    return outcome
