"""What calls with an idempotency key answered. See `gateway.ports.IdempotencyStore`."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from lava_grpc.core.kept import Kept, KeptState
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.store import schema
from lava_grpc.store.database import Database

KEPT_SECONDS = 86_400
"""How long a key is kept."""

SWEPT_MAX = 100
"""How many of a merchant's overdue keys each new one takes away: more than come in."""

_rows = schema.idempotency.c


class StoreIdempotency:
    """One row for each merchant and key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self, merchant_id: str, key: str, method: str, fingerprint: str, now: Instant
    ) -> Kept | None:
        """Note that a call begins; what is known of the key where it is not the first."""
        overdue = now - KEPT_SECONDS * SECOND

        def work(connection: Connection) -> Kept | None:
            _sweep(connection, merchant_id, overdue)
            kept = _find(connection, merchant_id, key)
            if kept is not None and kept.created_at > overdue:
                return kept
            if kept is not None:
                connection.execute(delete(schema.idempotency).where(*_mine(merchant_id, key)))
            # Two at once meet in the primary key: the later one is run again, and finds this.
            connection.execute(
                insert(schema.idempotency).values(
                    merchant_id=merchant_id,
                    idempotency_key=key,
                    method=method,
                    fingerprint=fingerprint,
                    state=KeptState.RUNNING.value,
                    created_at=now,
                )
            )
            return None

        return await self._database.write(work)

    async def end(self, merchant_id: str, key: str, state: KeptState, answer: bytes | None) -> None:
        """Note what a call came to."""
        await self._database.write(
            lambda connection: connection.execute(
                update(schema.idempotency)
                .where(*_mine(merchant_id, key))
                .values(state=state.value, answer=answer)
            )
        )

    async def forget(self, merchant_id: str, key: str) -> None:
        """The call did nothing: the key is free again."""
        await self._database.write(
            lambda connection: connection.execute(
                delete(schema.idempotency).where(*_mine(merchant_id, key))
            )
        )


def _find(connection: Connection, merchant_id: str, key: str) -> Kept | None:
    query = select(_rows.fingerprint, _rows.state, _rows.answer, _rows.created_at)
    row = connection.execute(query.where(*_mine(merchant_id, key))).first()
    return None if row is None else Kept(row[0], KeptState(row[1]), row[2], row[3])


def _sweep(connection: Connection, merchant_id: str, overdue: Instant) -> None:
    found = connection.execute(
        select(_rows.merchant_id, _rows.idempotency_key)
        .where(_rows.merchant_id == merchant_id, _rows.created_at <= overdue)
        .order_by(_rows.created_at)
        .limit(SWEPT_MAX)
        # Two processes sweep different rows, and neither waits.
        .with_for_update(skip_locked=True)
    ).all()
    for _, key in found:
        connection.execute(delete(schema.idempotency).where(*_mine(merchant_id, key)))


def _mine(merchant_id: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (_rows.merchant_id == merchant_id, _rows.idempotency_key == key)
