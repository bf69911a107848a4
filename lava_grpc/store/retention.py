"""Removes holds that ended long ago. Entries and records of requests stay for good.

What a hold is for is over when it has ended: the charge is in the entries, and the record
of the request keeps what was held. `retention` remembers up to when holds may be gone, so
that `verify` tells one that was removed from one that was lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, tuple_, update

from lava_grpc.core.hold import HoldState
from lava_grpc.core.time import SECOND, Clock, Instant
from lava_grpc.store import schema
from lava_grpc.store.database import Database

PRUNED_MAX = 500
"""How many holds one transaction removes: few, so that callers need not wait."""

PAUSE_SECONDS = 900
"""How long nothing is looked for once every merchant's old holds are gone."""

DAY: Instant = 86_400 * SECOND

_holds = schema.holds.c
_kept = schema.retention.c
_budgets = schema.budgets.c


@dataclass(slots=True)
class _Place:
    """Where the walk over the holds stands: a merchant, and the hold it came to."""

    merchant_id: str = ""
    hold_id: str = ""


class Retention:
    """Walks over each merchant's holds, the oldest first, and removes those that have ended.

    Several processes may walk at once: each passes over the rows that another is at.
    """

    def __init__(self, database: Database, clock: Clock, *, kept_days: int) -> None:
        self._database = database
        self._clock = clock
        self._kept = kept_days * DAY
        self._place = _Place()
        self._resume_at: Instant = 0

    async def prune(self) -> int:
        """Remove some; how many. None while all that are old are gone."""
        now = self._clock.now()
        if now < self._resume_at:
            return 0
        if not self._place.merchant_id and not await self._next_merchant():
            self._resume_at = now + PAUSE_SECONDS * SECOND
            return 0
        place = self._place
        last, count = await self._database.write(lambda c: _prune(c, place, now - self._kept))
        if last is None:
            await self._next_merchant()
        else:
            place.hold_id = last
        return count

    async def _next_merchant(self) -> bool:
        """Move on; False past the last merchant, and the walk begins anew."""
        after = self._place.merchant_id
        following = select(func.min(schema.merchants.c.merchant_id)).where(
            schema.merchants.c.merchant_id > after
        )
        found = await self._database.read(lambda c: c.execute(following).scalar())
        self._place = _Place(found or "")
        return found is not None


def _prune(connection: Connection, place: _Place, before: Instant) -> tuple[str | None, int]:
    """Remove ended holds that were placed before then; the last one, None where no more follow."""
    oldest = (
        select(_holds.hold_id, _holds.budget_account_id, _holds.state, _holds.created_at)
        .where(_holds.merchant_id == place.merchant_id, _holds.hold_id > place.hold_id)
        .order_by(_holds.hold_id)
        .limit(PRUNED_MAX)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(oldest).all()
    # In the order of their ids, which is that of time but for clocks that differ.
    old = [row for row in rows if row.created_at < before]
    gone = [row for row in old if row.state != HoldState.ACTIVE.value]
    if gone:
        _remember(connection, place.merchant_id, before)
        _count(connection, place.merchant_id, [row.budget_account_id for row in gone])
        ids = [row.hold_id for row in gone]
        connection.execute(
            delete(schema.holds).where(
                _holds.merchant_id == place.merchant_id, _holds.hold_id.in_(ids)
            )
        )
    more = len(rows) == PRUNED_MAX and bool(old)
    return (rows[-1].hold_id if more else None), len(gone)


def _remember(connection: Connection, merchant_id: str, before: Instant) -> None:
    known = connection.execute(
        select(_kept.holds_before).where(_kept.merchant_id == merchant_id)
    ).scalar()
    if known is None:
        # Two at once meet in the primary key: the later one is run again.
        row = {"merchant_id": merchant_id, "holds_before": before}
        connection.execute(schema.retention.insert().values(row))
    elif known < before:
        connection.execute(
            update(schema.retention)
            .where(_kept.merchant_id == merchant_id, _kept.holds_before < before)
            .values(holds_before=before)
        )


def _count(connection: Connection, merchant_id: str, budgets: Iterable[str | None]) -> None:
    """Note, with each spend key, how many of its calls' holds are gone."""
    calls = Counter(account_id for account_id in budgets if account_id is not None)
    # In one order, as locks always are.
    for account_id, count in sorted(calls.items()):
        connection.execute(
            update(schema.budgets)
            .where(tuple_(_budgets.merchant_id, _budgets.account_id) == (merchant_id, account_id))
            .values(holds_pruned=_budgets.holds_pruned + count)
        )
