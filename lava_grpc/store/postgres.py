"""PostgreSQL through psycopg: any number of server processes share one database.

A batch is two round trips: one pipeline locks and reads, one writes and
commits. At READ COMMITTED each statement sees what was committed before it
began, so those behind the lock read what the lock's last holder wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import Column, Connection, Engine, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from lava_grpc.store.engine import LedgerSession
from lava_grpc.store.sql import (
    Flavor,
    Row,
    Statement,
    Statements,
    is_flag,
    is_number,
    statements,
)

CONNECT_TIMEOUT_SECONDS = 5

# A server that has gone without a word is noticed, rather than waited for without end.
_CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class _PostgresFlavor(Flavor):
    placeholder = "%s"
    for_update = " FOR UPDATE OF t"

    @override
    def rows(self, alias: str) -> str:
        # jsonb, not json: the text is parsed once, and not again for each column.
        return f"jsonb_array_elements({self.placeholder}::jsonb) AS {alias}(value)"

    @override
    def by_index(self, index: str) -> str:
        return ""

    @override
    def field(self, alias: str, position: int, column: Column[object]) -> str:
        text = f"{alias}.value ->> {position}"
        kind = _kind(column)
        return f"({text})::{kind}" if kind else f"({text})"


def _kind(column: Column[object]) -> str:
    if is_number(column):
        return "bigint"
    if is_flag(column):
        return "boolean"
    on_postgres = column.type.dialect_impl(_DIALECT)
    return "jsonb" if isinstance(on_postgres, JSONB) else ""


_DIALECT = create_engine("postgresql+psycopg://").dialect
_STATEMENTS = statements(_PostgresFlavor())


ANALYZE_ROWS_MIN = 500
"""A table with fewer rows is read as fast by any plan."""

_NEVER_ANALYZED = text(
    "SELECT relname FROM pg_stat_user_tables WHERE schemaname = current_schema()"
    " AND last_analyze IS NULL AND last_autoanalyze IS NULL AND n_live_tup >= :rows"
)


class PostgresEngine:
    """A database on a server."""

    single_writer = False

    def __init__(self, url: str, *, connections_max: int) -> None:
        self.engine: Engine = create_engine(
            url,
            pool_size=connections_max,
            max_overflow=0,
            # A connection that died while idle is replaced, not handed out.
            pool_pre_ping=True,
            connect_args=_CONNECT_ARGS,
        )

    def session(self) -> LedgerSession:
        """See `StoreEngine.session`."""
        arguments, options = self.engine.dialect.create_connect_args(self.engine.url)
        options.update(_CONNECT_ARGS)
        # Prepared at once: the same few statements run for ever.
        connection = psycopg.connect(*arguments, prepare_threshold=0, **options)
        return PostgresSession(connection, _STATEMENTS)

    def analyze(self, connection: Connection) -> None:
        """See `StoreEngine.analyze`. From then on the server's own autovacuum does it."""
        for name in connection.execute(_NEVER_ANALYZED, {"rows": ANALYZE_ROWS_MIN}).scalars():
            connection.exec_driver_sql(f'ANALYZE "{name}"')

    def retryable(self, error: BaseException) -> bool:
        """See `StoreEngine.retryable`."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        return self.lost(error) or isinstance(
            cause,
            errors.SerializationFailure | errors.DeadlockDetected | errors.UniqueViolation,
        )

    def lost(self, error: BaseException) -> bool:
        """See `StoreEngine.lost`."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        # SQLSTATE classes: 08 connection, 53 out of resources, 57 operator's doing; none at
        # all where the connection broke.
        return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError) and (
            cause.sqlstate is None or cause.sqlstate[:2] in ("08", "53", "57")
        )


# Every statement of a batch finds its rows by key. Without fresh statistics the planner takes
# a batch for a hundred rows, and then reads whole tables to join them; and it compiles what
# it thinks is dear. For this transaction alone, so that a pooler may share the connection.
_BY_INDEX = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)"
)


class PostgresSession:
    """See `LedgerSession`."""

    def __init__(self, connection: psycopg.Connection[Any], sql: Statements) -> None:
        self._connection = connection
        self._sql = sql

    def load(self, reads: Sequence[Statement]) -> list[list[Row]]:
        """See `LedgerSession.load`."""
        with self._connection.pipeline():
            self._connection.execute(_BY_INDEX)
            cursors = [self._run(read) for read in reads]
            return [cursor.fetchall() for cursor in cursors]

    def write(self, writes: Sequence[Statement]) -> None:
        """See `LedgerSession.write`."""
        with self._connection.pipeline():
            for write in writes:
                self._run(write)
            self._connection.commit()

    def rollback(self) -> None:
        """See `LedgerSession.rollback`."""
        self._connection.rollback()

    def close(self) -> None:
        """See `LedgerSession.close`."""
        self._connection.close()

    def _run(self, statement: Statement) -> psycopg.Cursor[Any]:
        return self._connection.execute(getattr(self._sql, statement.name), (statement.rows,))
