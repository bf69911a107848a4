"""PostgreSQL through psycopg: any number of server processes share one database.

A batch is two round trips: one pipeline locks and reads, one writes and
commits (`pipeline.py`). At READ COMMITTED each statement sees what was committed before it
began, so those behind the lock read what the lock's last holder wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias

import psycopg
from psycopg import errors
from sqlalchemy import Column, Connection, Engine, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from typing_extensions import override

from lava_grpc.store import rows
from lava_grpc.store.engine import Io, LedgerSession
from lava_grpc.store.pipeline import Pipeline, Step
from lava_grpc.store.sql import (
    Flavor,
    Row,
    Statement,
    is_flag,
    is_number,
    statements,
)

CONNECT_TIMEOUT_SECONDS = 5


def _connect_args(*, prepare: bool) -> dict[str, Any]:
    # A server that has gone without a word is noticed, rather than waited for without end.
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    if not prepare:
        arguments["prepare_threshold"] = None
    return arguments


class PostgresFlavor(Flavor):
    """A set of rows is one parameter of jsonb."""

    for_update = " FOR UPDATE OF t"

    @override
    def rows(self, alias: str) -> str:
        # jsonb, not json: the text is parsed once, and not again for each column.
        return f"jsonb_array_elements($1::jsonb) AS {alias}(value)"

    @override
    def written(self, *tables: str) -> str:
        return f" FROM {', '.join([self.rows('r'), *tables])}"

    @override
    def value(self, position: int, column: Column[object]) -> str:
        return self.field("r", position, column)

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
_STATEMENTS = statements(PostgresFlavor())


ANALYZE_ROWS_MIN = 500
"""A table with fewer rows is read as fast by any plan."""

ANALYZE_GROWTH = 10
"""How many times larger than it was when it was last looked at a table may be."""

# What was never analyzed counts as having had -1 rows.
_OUTGROWN = text(
    "SELECT s.relname FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid"
    " WHERE s.schemaname = current_schema() AND s.n_live_tup >= :rows"
    " AND s.n_live_tup > :growth * c.reltuples"
)


class PostgresEngine:
    """A database on a server."""

    single_writer = False

    def __init__(self, url: str, *, connections_max: int, prepare: bool = True) -> None:
        self._prepare = prepare
        self._connect_args = _connect_args(prepare=prepare)
        self.engine: Engine = create_engine(
            url,
            pool_size=connections_max,
            max_overflow=0,
            # A connection that died while idle is replaced, not handed out.
            pool_pre_ping=True,
            connect_args=self._connect_args,
        )

    async def session(self, io: Io) -> LedgerSession:
        """See `StoreEngine.session`."""
        return await io(self._session)

    def _session(self) -> LedgerSession:
        arguments, options = self.engine.dialect.create_connect_args(self.engine.url)
        options.update(self._connect_args)
        connection = psycopg.connect(*arguments, **options)
        spell = _as_it_is
        if _is_cluster(connection):
            from lava_grpc.store.sharded import by_merchant  # noqa: PLC0415 - a flavor of this

            spell = by_merchant
        return PostgresSession(Pipeline(connection, prepare=self._prepare), spell)

    def analyze(self, connection: Connection) -> None:
        """See `StoreEngine.analyze`. What grows slowly the server's own autovacuum sees to."""
        bounds = {"rows": ANALYZE_ROWS_MIN, "growth": ANALYZE_GROWTH}
        for name in connection.execute(_OUTGROWN, bounds).scalars():
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


def _is_cluster(connection: psycopg.Connection[Any]) -> bool:
    """Whether tables may be spread over nodes: see `distribute.py`."""
    found = connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'citus'").fetchone()
    connection.rollback()
    return found is not None


# Every statement of a batch finds its rows by key. Without fresh statistics the planner takes
# a batch for a hundred rows, and then reads whole tables to join them; and it compiles what
# it thinks is dear. For this transaction alone, so that a pooler may share the connection.
BY_INDEX = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)"
)


# The commands' names are their texts.
_BEGIN, _COMMIT, _ROLLBACK = (Step(text, text) for text in ("BEGIN", "COMMIT", "ROLLBACK"))
_PLAN_BY_INDEX = Step("plan_by_index", BY_INDEX)

Spell: TypeAlias = Callable[[Statement], list[Step]]
"""The steps that one of the ledger's statements takes."""


PLANNED_ANEW = 4
"""After so many batches statements are planned anew, and again after so many times as many."""


class PostgresSession:
    """See `LedgerSession`.

    The server keeps the plan of a prepared statement, and where it was made for a table that
    had no rows yet, any index would do: one that leads with the merchant went through all that
    the merchant had come to have. Plans are made anew while tables may still be small.
    """

    def __init__(self, pipeline: Pipeline, spell: Spell) -> None:
        self._pipeline = pipeline
        self._spell = spell
        self._batches = 0
        self._plan_anew_at = PLANNED_ANEW

    async def load(self, reads: Sequence[Statement]) -> list[list[Row]]:
        """See `LedgerSession.load`."""
        self._batches += 1
        if self._batches == self._plan_anew_at:
            self._plan_anew_at *= PLANNED_ANEW
            self._pipeline.plan_anew()
        spelled = [self._spell(read) for read in reads]
        steps = [_BEGIN, _PLAN_BY_INDEX, *chain.from_iterable(spelled)]
        found = iter((await self._pipeline.run(steps))[2:])
        return [list(chain.from_iterable(islice(found, len(part)))) for part in spelled]

    async def write(self, writes: Sequence[Statement]) -> None:
        """See `LedgerSession.write`."""
        steps = [*chain.from_iterable(map(self._spell, writes)), _COMMIT]
        await self._pipeline.run(steps)

    async def rollback(self) -> None:
        """See `LedgerSession.rollback`."""
        await self._pipeline.run([_ROLLBACK])

    async def close(self) -> None:
        """See `LedgerSession.close`."""
        self._pipeline.close()


def _as_it_is(statement: Statement) -> list[Step]:
    name = statement.name
    return [Step(name, getattr(_STATEMENTS, name), (rows.to_json(statement.rows),))]
