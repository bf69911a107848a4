"""Parts the table of entries by time, on PostgreSQL.

Entries are never changed and never deleted: in the end they are most of the database. In
parts of a month each, only the newest part's indexes are written to and need to be in
memory; what is old can be backed up once, frozen, or moved to a cheaper tablespace.

An entry's id begins with its time, and is the second half of the primary key, so that the
table is partitioned by it and every unique key still names it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.core.ids import encode_ulid
from lava_grpc.core.time import Instant, from_datetime, to_datetime
from lava_grpc.store import schema

MONTHS_AHEAD = 12
MONTHS_AHEAD_MAX = 120
_TABLE = schema.entries.name
_OLD = f"{_TABLE}_before"
_REST = f"{_TABLE}_rest"
_MONTHS = 12


def partition(connection: Connection, now: Instant, *, months: int = MONTHS_AHEAD) -> list[str]:
    """Part the table, or add the parts of the months to come; the statements that did it.

    Refuses INVALID_FIELD on an engine without partitions, for a number of months that is out
    of range, and where entries of a month without a part are in the rest already.
    """
    planned = plan(connection, now, months=months)
    for statement in planned:
        connection.exec_driver_sql(statement)
    return planned


def plan(connection: Connection, now: Instant, *, months: int = MONTHS_AHEAD) -> list[str]:
    """The statements that `partition` runs."""
    if connection.dialect.name != "postgresql":
        raise invalid("database_url", "must name a PostgreSQL database: SQLite has no partitions")
    if not 1 <= months <= MONTHS_AHEAD_MAX:
        raise invalid("months", f"must be from 1 to {MONTHS_AHEAD_MAX}")
    first = _next_month(to_datetime(now))
    parts = _parts(connection)
    planned: list[str] = [] if parts else _convert(connection, first)
    if parts:
        _require_empty_rest(connection)
    month = first
    for _ in range(months):
        name, following = f"{_TABLE}_{month:%Y_%m}", _next_month(month)
        if name not in parts:
            planned.append(
                f"CREATE TABLE {name} PARTITION OF {_TABLE}"
                f" FOR VALUES FROM ('{_bound(month)}') TO ('{_bound(following)}')"
            )
        month = following
    if _REST not in parts:
        planned.append(f"CREATE TABLE {_REST} PARTITION OF {_TABLE} DEFAULT")
    return planned


def _convert(connection: Connection, first: datetime) -> list[str]:
    """Make the table that is there the part of all that comes before the first month."""
    key = schema.entries.primary_key
    listed = ", ".join(key.columns.keys())
    old_key = connection.execute(
        text(
            "SELECT conname FROM pg_constraint"
            " WHERE contype = 'p' AND conrelid = CAST(:name AS regclass)"
        ),
        {"name": _TABLE},
    ).scalar_one()
    indexes = sorted(schema.entries.indexes, key=lambda index: str(index.name))
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    bound = _bound(first)
    return [
        f"ALTER TABLE {_TABLE} RENAME TO {_OLD}",
        f"ALTER TABLE {_OLD} RENAME CONSTRAINT {old_key} TO {_OLD}_pkey",
        *[f"ALTER INDEX {index.name} RENAME TO {_OLD}_{index.name}" for index in indexes],
        f"CREATE TABLE {_TABLE} (LIKE {_OLD}) PARTITION BY RANGE (entry_id)",
        f"ALTER TABLE {_TABLE} ADD CONSTRAINT {_TABLE}_pkey PRIMARY KEY ({listed})",
        *[str(CreateIndex(index).compile(dialect=dialect)) for index in indexes],
        # Reads the table once. Its indexes become parts of the new ones as they are.
        (f"ALTER TABLE {_TABLE} ATTACH PARTITION {_OLD} FOR VALUES FROM (MINVALUE) TO ('{bound}')"),
    ]


def _parts(connection: Connection) -> set[str]:
    query = text(
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = CAST(:name AS regclass)"
    )
    return set(connection.execute(query, {"name": _TABLE}).scalars())


def _require_empty_rest(connection: Connection) -> None:
    rest = connection.execute(
        text("SELECT to_regclass(:name) IS NOT NULL"), {"name": _REST}
    ).scalar_one()
    query = text(f"SELECT EXISTS (SELECT 1 FROM {_REST})")  # noqa: S608 - our own name
    if rest and connection.execute(query).scalar_one():
        raise _late()


def _late() -> Refusal:
    return invalid(
        "database_url",
        f"has entries in {_REST}: their months had no part when they came. Rename the table, "
        "detach it, run this again, and insert its rows into entries",
    )


def _next_month(moment: datetime) -> datetime:
    month = moment.year * _MONTHS + moment.month
    return datetime(month // _MONTHS, month % _MONTHS + 1, 1, tzinfo=UTC)


def _bound(month: datetime) -> str:
    return encode_ulid(from_datetime(month) // 1000, 0)
