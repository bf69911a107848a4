"""SQLite: the embedded default. WAL, synchronous FULL, one writer."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from lava_grpc.store import rows
from lava_grpc.store.engine import Io, LedgerSession
from lava_grpc.store.sql import Flavor, Row, Statement, statements

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS = 30
"""How long a connection waits for another process that writes."""

ON_LOOP_ROWS_MAX = 256
"""The most rows that statements may read or write together where the event loop runs them."""

ON_LOOP_SECONDS_MAX = 0.02
BATCHES_IN_THREAD = 100
"""Once the event loop was held up for longer, so many batches run in the thread."""


# The low byte of an extended result code is the kind of error.
_PRIMARY_CODE = 0xFF
_AWAY = frozenset((sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR))


class _SqliteFlavor(Flavor):
    # A transaction that writes has the database to itself.
    for_update = ""

    @override
    def rows(self, alias: str) -> str:
        return f"json_each(?) AS {alias}"

    @override
    def written(self, *tables: str) -> str:
        # A statement for each row: half of what it takes to read them all out of JSON.
        return f" FROM {', '.join(tables)}" if tables else ""

    @override
    def value(self, position: int, column: Column[object]) -> str:
        return f"?{position + 1}"

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

    async def session(self, io: Io) -> LedgerSession:
        """See `StoreEngine.session`."""
        return SqliteSession(await io(self._connect), io)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        _prepare(connection)
        _wait_when_busy(connection, seconds=0)
        return connection

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
    """See `LedgerSession`.

    A small batch's statements take less time than handing them to a thread and getting
    the interpreter's lock back from it, so they run on the event loop: what waits for
    the disk, for another process or for many rows goes through `io`.
    """

    def __init__(self, connection: sqlite3.Connection, io: Io) -> None:
        self._connection = connection
        self._io = io
        self._batches_in_thread = 0

    async def load(self, reads: Sequence[Statement]) -> list[list[Row]]:
        """See `LedgerSession.load`."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                raise
            await self._io(self._begin_in_turn)
        self._batches_in_thread = max(0, self._batches_in_thread - 1)
        return await self._run(self._read, reads)

    async def write(self, writes: Sequence[Statement]) -> None:
        """See `LedgerSession.write`."""
        await self._run(self._write, writes)
        await self._io(lambda: self._connection.execute("COMMIT"))

    async def rollback(self) -> None:
        """See `LedgerSession.rollback`."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def close(self) -> None:
        """See `LedgerSession.close`."""
        await self._io(self._connection.close)

    def _begin_in_turn(self) -> None:
        """Begin once the process that writes has committed."""
        _wait_when_busy(self._connection, seconds=BUSY_TIMEOUT_SECONDS)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            _wait_when_busy(self._connection, seconds=0)

    async def _run(
        self, run: Callable[[Sequence[Statement]], T], statements: Sequence[Statement]
    ) -> T:
        size = sum([len(statement.rows) for statement in statements])
        if size > ON_LOOP_ROWS_MAX or self._batches_in_thread:
            return await self._io(lambda: run(statements))
        begun = time.perf_counter()
        found = run(statements)
        if time.perf_counter() - begun > ON_LOOP_SECONDS_MAX:
            # Its pages come from the disk: others should not wait for that.
            self._batches_in_thread = BATCHES_IN_THREAD
        return found

    def _read(self, statements: Sequence[Statement]) -> list[list[Row]]:
        execute = self._connection.execute
        return [
            execute(
                getattr(_STATEMENTS, statement.name), (rows.to_json(statement.rows).decode(),)
            ).fetchall()
            for statement in statements
        ]

    def _write(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            self._connection.executemany(getattr(_STATEMENTS, statement.name), statement.rows)


def _wait_when_busy(connection: sqlite3.Connection, *, seconds: int) -> None:
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000}")


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
