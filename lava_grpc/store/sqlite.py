"""SQLite: the embedded default. WAL, synchronous FULL, one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from lava_grpc.store.engine import LedgerSession
from lava_grpc.store.sql import Flavor, Row, Statement, Statements, statements

BUSY_TIMEOUT_SECONDS = 30
"""How long a connection waits for another process that writes."""


# The low byte of an extended result code is the kind of error.
_PRIMARY_CODE = 0xFF
_AWAY = frozenset((sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR))


class _SqliteFlavor(Flavor):
    placeholder = "?"
    # A transaction that writes has the database to itself.
    for_update = ""

    @override
    def rows(self, alias: str) -> str:
        return f"json_each({self.placeholder}) AS {alias}"

    @override
    def by_index(self, index: str) -> str:
        # Without statistics it takes the primary key's first column for good enough.
        return f" INDEXED BY {index}"

    @override
    def field(self, alias: str, position: int, column: Column[object]) -> str:
        return f"{alias}.value ->> {position}"


_STATEMENTS = statements(_SqliteFlavor())


class SqliteEngine:
    """A database in one file; raises ValueError for one in memory."""

    single_writer = True

    def __init__(self, url: str, *, connections_max: int) -> None:
        parsed = make_url(url)
        if not parsed.database or parsed.database == ":memory:":
            raise ValueError("a SQLite database needs a file: sqlite:///path/to/lava.db")
        self._path = parsed.database
        self.engine: Engine = create_engine(
            url, pool_size=connections_max, max_overflow=0, pool_timeout=BUSY_TIMEOUT_SECONDS
        )
        event.listen(self.engine, "connect", _prepare)
        event.listen(self.engine, "begin", _begin)

    def session(self) -> LedgerSession:
        """See `StoreEngine.session`."""
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        _prepare(connection)
        return SqliteSession(connection, _STATEMENTS)

    def analyze(self, connection: Connection) -> None:
        """See `StoreEngine.analyze`: the statements leave its planner no choice."""

    def retryable(self, error: BaseException) -> bool:
        """See `StoreEngine.retryable`."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, sqlite3.IntegrityError):
            return "UNIQUE" in str(cause)
        return isinstance(cause, sqlite3.OperationalError) and "locked" in str(cause)

    def lost(self, error: BaseException) -> bool:
        """See `StoreEngine.lost`: a full disk, or a file that cannot be read or opened."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        return (
            isinstance(cause, sqlite3.OperationalError)
            and getattr(cause, "sqlite_errorcode", 0) & _PRIMARY_CODE in _AWAY
        )


class SqliteSession:
    """See `LedgerSession`."""

    def __init__(self, connection: sqlite3.Connection, sql: Statements) -> None:
        self._connection = connection
        self._sql = sql

    def load(self, reads: Sequence[Statement]) -> list[list[Row]]:
        """See `LedgerSession.load`."""
        self._connection.execute("BEGIN IMMEDIATE")
        return [self._run(read).fetchall() for read in reads]

    def write(self, writes: Sequence[Statement]) -> None:
        """See `LedgerSession.write`."""
        for write in writes:
            self._run(write)
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """See `LedgerSession.rollback`."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """See `LedgerSession.close`."""
        self._connection.close()

    def _run(self, statement: Statement) -> sqlite3.Cursor:
        return self._connection.execute(getattr(self._sql, statement.name), (statement.rows,))


def _prepare(connection: sqlite3.Connection, _record: object = None) -> None:
    # The driver's own transactions begin late; ours begin when we say so.
    connection.isolation_level = None
    for setting in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}",
        "cache_size = -65536",
    ):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's hook
    deferred = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if deferred else "BEGIN IMMEDIATE")
