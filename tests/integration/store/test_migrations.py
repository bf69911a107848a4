from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import NullPool, create_engine, inspect

from lava_grpc.store import schema
from lava_grpc.store.migrations import pending, upgrade


def test_migrations_make_what_the_schema_says(database_url: str) -> None:
    engine = create_engine(database_url, poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        assert not pending(connection)


def test_indexes_are_those_of_the_schema(database_url: str) -> None:
    inspector = inspect(create_engine(database_url, poolclass=NullPool))
    for table in schema.metadata.sorted_tables:
        made = {index["name"] for index in inspector.get_indexes(table.name)}
        assert made == {index.name for index in table.indexes}


def test_migrating_again_changes_nothing(database_url: str) -> None:
    upgrade(database_url)
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        assert not pending(connection)
