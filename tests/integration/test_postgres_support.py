from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.conftest import MakePostgres
from tests.support.postgres import PostgresError, PostgresServer


@pytest.fixture(scope="module")
def plain_postgres() -> Iterator[PostgresServer]:
    with PostgresServer(fsync=False) as server:
        yield server


def run(url: str, *statements: str) -> list[object]:
    """Run statements in one transaction; the last one's first column."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements[:-1]:
            connection.execute(text(statement))
        result = connection.execute(text(statements[-1]))
        return list(result.scalars()) if result.returns_rows else []


def test_a_commit_survives_a_kill_and_the_url_stays_good(make_postgres: MakePostgres) -> None:
    server = make_postgres()
    url = server.url(server.create_database())
    run(url, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
    server.kill9()
    with pytest.raises(OperationalError, match="refused"):
        run(url, "SELECT 1")
    server.restart()
    assert run(url, "SELECT n FROM kept") == [7]
    assert run(url, "SHOW fsync") == ["on"]


def test_a_restart_cuts_open_connections(plain_postgres: PostgresServer) -> None:
    engine = create_engine(plain_postgres.url(), poolclass=NullPool)
    with engine.connect() as connection:
        before = plain_postgres.pid
        plain_postgres.restart()
        assert plain_postgres.pid != before
        with pytest.raises(OperationalError, match=r"terminat|closed"):
            connection.execute(text("SELECT 1"))
    assert run(plain_postgres.url(), "SELECT 1") == [1]


def test_databases_are_copies_of_the_template_and_apart(plain_postgres: PostgresServer) -> None:
    calls: list[str] = []

    def setup(url: str) -> None:
        calls.append(url)
        run(url, "CREATE TABLE made (n int)", "INSERT INTO made VALUES (1)")

    plain_postgres.prepare_template(setup)
    plain_postgres.prepare_template(setup)
    first, second = (plain_postgres.create_database() for _ in range(2))
    run(plain_postgres.url(first), "INSERT INTO made VALUES (2)")

    assert len(calls) == 1
    assert run(plain_postgres.url(second), "SELECT n FROM made") == [1]
    plain_postgres.drop_database(first)
    with pytest.raises(OperationalError, match="does not exist"):
        run(plain_postgres.url(first), "SELECT 1")


def test_only_the_password_lets_one_in(plain_postgres: PostgresServer) -> None:
    guess = plain_postgres.url().replace("postgresql+psycopg", "postgresql")
    head, _, tail = guess.partition("@")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"{head.rpartition(':')[0]}:guess@{tail}")


def test_a_stopped_server_says_so() -> None:
    server = PostgresServer()
    with pytest.raises(PostgresError, match="not running"):
        server.kill9()
    server.stop()
