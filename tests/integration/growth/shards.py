"""A PostgreSQL whose tables are parted by a hash of the merchant, as a cluster's nodes have them.

PostgreSQL holds to the same rule as Citus: a unique key that does not name the merchant is
refused. And its plans tell which of the parts a statement reads or writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, MetaData, create_engine, event, text
from typing_extensions import override

from lava_grpc.store import distribute, schema
from lava_grpc.store.database import Database
from lava_grpc.store.engine import Io, LedgerSession
from lava_grpc.store.pipeline import Pipeline, Step
from lava_grpc.store.postgres import PostgresEngine, PostgresSession
from lava_grpc.store.sharded import by_merchant
from lava_grpc.store.sql import Row

SHARDS = 8
_SHARD = re.compile(r"_shard(\d+)$")


def make_tables(url: str) -> None:
    """The schema in an empty database, each distributed table in parts."""
    engine = create_engine(url)
    shards = MetaData()
    for table in schema.metadata.sorted_tables:
        copy = table.to_metadata(shards)
        if table.name not in distribute.REFERENCE:
            copy.dialect_options["postgresql"]["with"] = {}
            copy.dialect_options["postgresql"]["partition_by"] = "HASH (merchant_id)"
    with engine.begin() as connection:
        shards.create_all(connection)
        for name in shards.tables.keys() - distribute.REFERENCE.keys():
            for shard in range(SHARDS):
                connection.execute(
                    text(
                        f"CREATE TABLE {name}_shard{shard} PARTITION OF {name}"
                        f" FOR VALUES WITH (MODULUS {SHARDS}, REMAINDER {shard})"
                    )
                )
    engine.dispose()


class Seen:
    """For each statement, the parts that it touched."""

    def __init__(self) -> None:
        self.shards: list[tuple[str, set[int]]] = []

    def crossed(self) -> list[str]:
        """The statements that touched more than one part."""
        return [sql for sql, shards in self.shards if len(shards) > 1]


class ExplainingPipeline(Pipeline):
    """Has each statement explained before it runs."""

    def __init__(self, connection: psycopg.Connection[Any], seen: Seen) -> None:
        super().__init__(connection)
        self._seen = seen

    @override
    async def run(self, steps: Sequence[Step]) -> list[list[Row]]:
        found: list[list[Row]] = []
        for step in steps:
            if step.parameters:
                await self._explain(step)
            found += await super().run([step])
        return found

    async def _explain(self, step: Step) -> None:
        # What reads is run for it, since some parts are left out only then.
        word = "ANALYZE, " if step.text.startswith("SELECT") else ""
        text = f"EXPLAIN ({word}FORMAT JSON) {step.text}"
        [[(plan,)]] = await super().run([Step(f"explain_{step.name}", text, step.parameters)])
        self._seen.shards.append((step.text, touched(plan[0]["Plan"])))  # type: ignore[index]


class ShardedEngine(PostgresEngine):
    """PostgreSQL, taken for a cluster."""

    def __init__(self, url: str, seen: Seen) -> None:
        super().__init__(url, connections_max=4)
        self._seen = seen

    @override
    async def session(self, io: Io) -> LedgerSession:
        arguments, options = self.engine.dialect.create_connect_args(self.engine.url)
        connection = await io(lambda: psycopg.connect(*arguments, **options))
        return PostgresSession(ExplainingPipeline(connection, self._seen), by_merchant)


@contextmanager
def watched(database: Database, seen: Seen) -> Iterator[None]:
    """Have the queries of everybody but the ledger explained meanwhile."""

    def explain(
        connection: Connection,
        cursor: Any,  # noqa: ANN401
        statement: str,
        parameters: Any,  # noqa: ANN401
        _context: object,
        _many: object,
    ) -> None:
        del connection
        if statement.startswith("SELECT"):
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            seen.shards.append((statement, touched(cursor.fetchone()[0][0]["Plan"])))

    engine = database.store_engine.engine
    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def touched(plan: dict[str, Any]) -> set[int]:
    """The numbers of the parts that a plan reads or writes; not those that were left out."""
    if plan.get("Actual Loops") == 0:
        return set()
    found = _SHARD.search(plan.get("Relation Name", ""))
    shards = {int(found[1])} if found else set()
    for below in plan.get("Plans", []):
        shards |= touched(below)
    return shards


def shard_of(url: str, merchant_id: str) -> int:
    """The part that a merchant's rows are in."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT tableoid::regclass::text FROM accounts WHERE merchant_id = :merchant"),
            {"merchant": merchant_id},
        ).scalars()
        found = _SHARD.search(next(iter(rows)))
    engine.dispose()
    assert found is not None, json.dumps(merchant_id)
    return int(found[1])
