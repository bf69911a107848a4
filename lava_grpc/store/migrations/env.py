"""Alembic's entry point: runs the revisions on the connection that it is handed."""

from __future__ import annotations

from alembic import context

from lava_grpc.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    # SQLite alters a table by copying it.
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
