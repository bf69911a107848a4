"""Ends, on accounts that nobody touches, holds, grants and cycles whose time is up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, select

from lava_grpc.core.commands import Expire, ExpireGrants
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.time import Clock
from lava_grpc.store import schema
from lava_grpc.store.database import Database
from lava_grpc.store.group_commit import GroupCommit, ReachableHook, ignore
from lava_grpc.store.ledger_store import expire_of, overdue_holds
from lava_grpc.store.retention import Retention

_log = structlog.get_logger(__name__)

SWEEP_SECONDS = 1.0
SWEEP_ROWS_MAX = 200
"""How many holds, and how many accounts, one sweep ends: few, so that callers need not wait."""


class Sweeper:
    """Looks for what is overdue, and has the ledger end it, now and then.

    Several processes may find the same rows: ending one twice does nothing, and
    each pauses for a time of its own.
    """

    def __init__(
        self,
        database: Database,
        ledger: GroupCommit,
        clock: Clock,
        *,
        charge_abandoned: bool = False,
        pause_seconds: float = SWEEP_SECONDS,
        retention: Retention | None = None,
        on_reachable: ReachableHook = ignore,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._charge_abandoned = charge_abandoned
        self._pause_seconds = pause_seconds
        self._retention = retention
        self._on_reachable = on_reachable
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to sweep."""
        self._task = asyncio.create_task(self._run(), name="lava-sweeper")

    async def stop(self) -> None:
        """Stop, in the middle of a sweep if need be: it is all to be done again anyway."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def sweep(self) -> int:
        """End what is overdue now, up to a bound; how many commands that took."""
        commands = await self._database.read(self._overdue)
        answers = [self._ledger.enqueue(command) for command in commands]
        if answers:
            await asyncio.wait(answers)
        return len(answers)

    async def _run(self) -> None:
        while True:
            found = 0
            try:
                found = await self.sweep()
                self._on_reachable(reachable=True)
                await self._database.analyze()
                if self._retention is not None:
                    await self._retention.prune()
            except Refusal as refusal:
                if refusal.reason is Reason.STORE_UNAVAILABLE:
                    self._on_reachable(reachable=False)
                _log.warning("sweep put off", reason=refusal.reason.value)
            except Exception:  # noqa: BLE001 - the next sweep may fare better
                _log.exception("sweep failed")
            full = found >= SWEEP_ROWS_MAX
            pause = 0.0 if full else self._pause_seconds * random.uniform(0.5, 1.5)  # noqa: S311
            await asyncio.sleep(pause)

    def _overdue(self, connection: Connection) -> Sequence[Expire | ExpireGrants]:
        now = self._clock.now()
        holds = connection.execute(overdue_holds(now, SWEEP_ROWS_MAX)).all()
        grants = schema.grants.c
        accounts = connection.execute(
            select(grants.merchant_id, grants.account_id)
            .distinct()
            # What holds keep of a grant is ended with them.
            .where(grants.live, grants.expires_at <= now, grants.remaining > 0)
            .limit(SWEEP_ROWS_MAX)
        ).all()
        # Touching an account renews its cycle.
        rows = schema.subscriptions.c
        due = connection.execute(
            select(rows.merchant_id, rows.customer_id)
            .where(rows.status == "active", rows.cycle_end <= now)
            .order_by(rows.cycle_end)
            .limit(SWEEP_ROWS_MAX)
        ).all()
        touched = dict.fromkeys([tuple(row) for row in (*accounts, *due)])
        return [
            *[expire_of(row, charge_abandoned=self._charge_abandoned) for row in holds],
            *[ExpireGrants(merchant_id, account_id) for merchant_id, account_id in touched],
        ]
