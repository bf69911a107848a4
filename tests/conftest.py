"""Fixtures that every folder of tests shares: databases and tools.

Each xdist worker starts one PostgreSQL of its own, when the first test asks
for it, and each test gets a fresh database, copied from a migrated template.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

# Tests start processes while gRPC runs in this one, whose fork handlers would crash some.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from tests.support.pgbouncer import PgBouncer, installed
from tests.support.postgres import PostgresServer

ROOT = Path(__file__).resolve().parent.parent


class MakePostgres(Protocol):
    """Starts a server for one test; it is stopped when the test ends."""

    def __call__(self, *, fsync: bool = True) -> PostgresServer: ...


@pytest.fixture(scope="session")
def template_setup() -> Callable[[str], None]:
    """What fills an empty database, given its SQLAlchemy URL: our migrations."""

    def setup(url: str) -> None:
        # By name, so that tests which need no database load none of it.
        importlib.import_module("lava_grpc.store.migrations").upgrade(url)

    return setup


@pytest.fixture
def make_postgres() -> Iterator[MakePostgres]:
    """For tests that kill or restart a server: one of their own, empty, durable."""
    servers: list[PostgresServer] = []

    def make(*, fsync: bool = True) -> PostgresServer:
        server = PostgresServer(fsync=fsync)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def shared_postgres(template_setup: Callable[[str], None]) -> Iterator[PostgresServer]:
    """The worker's own server, with the migrated template. Do not kill or restart it."""
    # Tests of rules outlive no power cut, so they do not wait for the disk.
    with PostgresServer(fsync=False) as server:
        server.prepare_template(template_setup)
        yield server


@pytest.fixture
def postgres_url(shared_postgres: PostgresServer) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database, by SQLAlchemy URL."""
    name = shared_postgres.create_database()
    yield shared_postgres.url(name)
    shared_postgres.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, template_setup: Callable[[str], None]) -> str:
    """A fresh, migrated SQLite database, by SQLAlchemy URL."""
    url = f"sqlite:///{tmp_path / 'lava.db'}"
    template_setup(url)
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database on each engine in turn: the test runs twice."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def pooler(shared_postgres: PostgresServer) -> Iterator[PgBouncer]:
    """A pgbouncer in front of the worker's server. Without the program the test is skipped."""
    if installed() is None:
        pytest.skip("pgbouncer is not installed")
    with PgBouncer(shared_postgres) as pooler:
        yield pooler


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """The path of grpcurl. Without it the test is skipped, but not in CI where Go is."""
    path = os.pathsep.join([str(ROOT / ".tools" / "bin"), os.environ.get("PATH", os.defpath)])
    found = shutil.which("grpcurl", path=path)
    if found:
        return found
    if os.environ.get("CI") and shutil.which("go"):
        pytest.fail("grpcurl is missing: .ci/run installs it where Go is")
    pytest.skip("grpcurl is not installed: it needs Go")
