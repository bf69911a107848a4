"""Alembic migrations, the same for every engine."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, make_url

CONNECT_SECONDS_MAX = 10


def upgrade(url: str, *, prepare: bool = True) -> None:
    """Bring the database at a SQLAlchemy `url` to the newest revision, in one transaction.

    Several processes may do so at once: the first does it, the others wait. `prepare` is
    that of `Database`.
    """
    arguments = _connect_args(url, prepare=prepare)
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    try:
        with engine.begin() as connection:
            # A replica, where nothing can be written, is at the newest revision already.
            if not pending(connection):
                return
        with engine.begin() as connection:
            _lock(connection)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def pending(connection: Connection) -> bool:
    """Whether the database behind `connection` is not at the newest revision."""
    current = MigrationContext.configure(connection).get_current_revision()
    return current != ScriptDirectory.from_config(_config()).get_current_head()


def _connect_args(url: str, *, prepare: bool) -> dict[str, int | None]:
    # A server that does not answer is told of, not waited for.
    if make_url(url).get_backend_name() == "sqlite":
        return {"timeout": CONNECT_SECONDS_MAX}
    unprepared = {} if prepare else {"prepare_threshold": None}
    return {"connect_timeout": CONNECT_SECONDS_MAX, **unprepared}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


# Any number will do, as long as it is always the same.
_LOCK_KEY = 5_018_726_041


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
    else:
        connection.exec_driver_sql("PRAGMA busy_timeout = 30000")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
