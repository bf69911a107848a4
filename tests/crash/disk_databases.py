"""Databases on a disk that can be filled up."""

from __future__ import annotations

from psycopg import sql

from tests.crash.small_disk import SmallDisk
from tests.support.postgres import PostgresServer


def sqlite_on(disk: SmallDisk) -> str:
    """The URL of a database whose file is there."""
    return f"sqlite:///{disk.path}/lava.db"


def postgres_on(disk: SmallDisk, postgres: PostgresServer) -> str:
    """The URL of a database whose tables are there; its log is not, so the server lives."""
    folder = disk.path / "tables"
    folder.mkdir(mode=0o777)
    postgres.give(folder)
    location = sql.Literal(str(folder))
    postgres.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(location))
    postgres.execute(sql.SQL("CREATE DATABASE on_disk TEMPLATE template0 TABLESPACE small"))
    return postgres.url("on_disk")
