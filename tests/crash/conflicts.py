"""Transactions of somebody else's that make PostgreSQL turn the ledger's away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import LiteralString

import psycopg
from psycopg import errors
from sqlalchemy import make_url

POLL_SECONDS = 0.005
WAIT_SECONDS_MAX = 30.0

_ROW: LiteralString = "SELECT 1 FROM accounts WHERE account_id = %s FOR UPDATE"
_WAITING: LiteralString = (
    "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
)


class Conflict(Enum):
    """What becomes of the ledger's transaction."""

    # It reads, from the snapshot that it began with, a row that has changed since: 40001.
    SERIALIZATION = "SerializationFailure"
    # It and another wait for each other: 40P01.
    DEADLOCK = "DeadlockDetected"


def make_serializable(url: str) -> None:
    """Have every transaction that begins on the database's next connections be serializable."""
    with _connected(url) as connection:
        name = connection.info.dbname
        statement = f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable'
        connection.execute(statement.encode())


def provoke(url: str, conflict: Conflict, accounts: tuple[str, str]) -> None:
    """Cause one conflict with a ledger that is under load on these accounts."""
    first, second = sorted(accounts)
    with _connected(url) as ours, _connected(url) as watching:
        # Whoever waits longer than its time looks for a deadlock, and gives way: not we.
        ours.execute("SET deadlock_timeout = '60s'")
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < deadline:
            match conflict:
                case Conflict.SERIALIZATION:
                    _change(ours, watching, first)
                    return
                case Conflict.DEADLOCK if _cross(ours, watching, first, second):
                    return
                case Conflict.DEADLOCK:
                    continue
    raise TimeoutError(conflict)


def _change(ours: psycopg.Connection, watching: psycopg.Connection, account: str) -> None:
    """Change a row while the ledger waits for it."""
    with ours.transaction():
        ours.execute("UPDATE accounts SET held = held WHERE account_id = %s", (account,))
        _until_waited_for(ours, watching)


def _cross(ours: psycopg.Connection, watching: psycopg.Connection, first: str, second: str) -> bool:
    """Lock in the wrong order; False where the ledger waits without a lock that we want."""
    with ours.transaction():
        ours.execute(_ROW, (second,))
        _until_waited_for(ours, watching)
        try:
            with watching.transaction():
                watching.execute(f"{_ROW} NOWAIT", (first,))
        except errors.LockNotAvailable:
            ours.execute(_ROW, (first,))
            return True
        return False


def _until_waited_for(ours: psycopg.Connection, watching: psycopg.Connection) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        row = watching.execute(_WAITING, (ours.info.backend_pid,)).fetchone()
        if row is not None and row[0]:
            return
        time.sleep(POLL_SECONDS)
    raise TimeoutError("nobody waits")


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection]:
    parsed = make_url(url)
    with psycopg.connect(
        host=parsed.host,
        port=parsed.port or 5432,
        user=parsed.username,
        password=parsed.password,
        dbname=parsed.database,
        autocommit=True,
        # Its own transactions see what is committed, whatever the database's default is.
        options="-c default_transaction_isolation=read\\ committed",
    ) as connection:
        yield connection
