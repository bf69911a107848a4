"""Spreads the tables over the nodes of a Citus cluster, by merchant.

Tables whose every unique key names the merchant are distributed by it, all alike, so that a
merchant's rows are on one node. The few that are asked for before the merchant is known are
small, and copied to every node.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Table, UniqueConstraint, text

from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.store import schema

PARTITION_KEY = "merchant_id"

REFERENCE: dict[str, str] = {
    "merchants": "read together with the secret key that a call shows",
    "secret_keys": "found by the key's hash, before the merchant is known",
    "spend_keys": "found by the key's hash, before the merchant is known",
}
"""The tables that every node has a copy of, and why."""

_FIRST = "accounts"


@dataclass(frozen=True, slots=True)
class Step:
    """A table, and the statement that distributes it."""

    table: str
    sql: str


def steps() -> list[Step]:
    """What is to be run, reference tables first."""
    tables = {table.name: table for table in schema.metadata.sorted_tables}
    spread = sorted(tables.keys() - REFERENCE.keys(), key=lambda name: (name != _FIRST, name))
    return [
        *[Step(name, f"SELECT create_reference_table('{name}')") for name in sorted(REFERENCE)],
        *[Step(name, _distributed(name)) for name in spread],
    ]


def unfit(table: Table) -> list[str]:
    """The unique keys of a table that do not name the merchant: it cannot be distributed."""
    unique: list[tuple[str, set[str]]] = [("primary key", set(table.primary_key.columns.keys()))]
    unique += [(str(i.name), set(i.columns.keys())) for i in table.indexes if i.unique]
    unique += [
        (str(c.name), set(c.columns.keys()))
        for c in table.constraints
        if isinstance(c, UniqueConstraint)
    ]
    return [name for name, columns in unique if PARTITION_KEY not in columns]


def distribute(connection: Connection) -> list[str]:
    """Distribute what is not yet; the statements that did it.

    Refuses INVALID_FIELD where the database is no Citus coordinator.
    """
    if not has_citus(connection):
        raise _no_citus(connection)
    done = set(
        connection.execute(
            text("SELECT CAST(CAST(logicalrelid AS regclass) AS text) FROM pg_dist_partition")
        ).scalars()
    )
    todo = [step for step in steps() if step.table not in done]
    for step in todo:
        connection.execute(text(step.sql))
    return [step.sql for step in todo]


def has_citus(connection: Connection) -> bool:
    """Whether the database has the extension."""
    if connection.dialect.name != "postgresql":
        return False
    query = text("SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citus')")
    return bool(connection.execute(query).scalar_one())


def _distributed(name: str) -> str:
    beside = "" if name == _FIRST else f", colocate_with => '{_FIRST}'"
    return f"SELECT create_distributed_table('{name}', '{PARTITION_KEY}'{beside})"


def _no_citus(connection: Connection) -> Refusal:
    if connection.dialect.name != "postgresql":
        return invalid("database_url", "must name a PostgreSQL database with the Citus extension")
    return invalid(
        "database_url",
        "has no Citus extension: install it on every node, then CREATE EXTENSION citus",
    )
