"""A real pgbouncer that tests start and kill themselves, in front of their PostgreSQL.

It lends a connection for one transaction at a time, and has few of them. It
listens on loopback alone and asks for the server's password.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from sqlalchemy import make_url
from typing_extensions import override

from tests.support.postgres import (
    POLL_SECONDS,
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    PostgresServer,
    free_port,
    unprivileged,
)
from tests.support.running import Running

SERVER_CONNECTIONS_MAX = 2
FOLLOWS_PREPARED = (1, 22)
"""The version from which on it knows which statements a client has prepared."""

_CONFIG = """\
[databases]
* = host=127.0.0.1 port={upstream_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
admin_users = {user}
pool_mode = transaction
default_pool_size = {connections}
# A batch that waits for a connection because others wait for its locks is to be told soon.
query_wait_timeout = 20
"""


class PgBouncerError(Exception):
    """It could not be started."""


class PgBouncer(Running):
    """One pgbouncer before all databases of one server; starts as a context manager.

    Its port is kept when it is killed and started again.
    """

    def __init__(self, server: PostgresServer) -> None:
        program = installed()
        if program is None:
            raise PgBouncerError("pgbouncer is not installed")
        upstream = make_url(server.url())
        if not (upstream.username and upstream.password):
            raise PgBouncerError("the server has no user of its own")
        self._program = program
        self._user, self._password = upstream.username, upstream.password
        self._owner = unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="lava-pgbouncer-"))
        self.port = free_port()
        users = self._folder / "users.txt"
        self._written(users, f'"{self._user}" "{self._password}"\n')
        config = _CONFIG.format(
            upstream_port=upstream.port,
            port=self.port,
            users=users,
            user=self._user,
            connections=SERVER_CONNECTIONS_MAX,
        )
        self.follows_prepared = version(program) >= FOLLOWS_PREPARED
        if self.follows_prepared:
            config += "max_prepared_statements = 200\n"
        self._written(self._folder / "pgbouncer.ini", config)
        if self._owner:
            os.chown(self._folder, self._owner.pw_uid, self._owner.pw_gid)

    def through(self, url: str) -> str:
        """The same database, by way of the pooler."""
        return make_url(url).set(port=self.port).render_as_string(hide_password=False)

    @override
    def start(self) -> None:
        """Start it and wait until it answers; PgBouncerError, with its log, if it does not."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(self._folder / "pgbouncer.ini")],
                start_new_session=True,
                # It refuses root.
                user=self._owner.pw_uid if self._owner else None,
                group=self._owner.pw_gid if self._owner else None,
                extra_groups=[] if self._owner else None,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(psycopg.OperationalError):
                self._show("VERSION")
                return
            time.sleep(POLL_SECONDS)
        log_end = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise PgBouncerError(f"pgbouncer does not start:\n{log_end}")

    def kill9(self) -> None:
        """End it at once: every connection through it is cut."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(STOP_SECONDS_MAX)

    @override
    def stop(self) -> None:
        """End it and remove its folder."""
        self.kill9()
        shutil.rmtree(self._folder, ignore_errors=True)

    def connections(self, url: str) -> tuple[int, int]:
        """How many clients it has for a database, and how many server connections they share."""
        database = make_url(url).database
        clients, servers = (
            sum(row["database"] == database for row in self._show(kind))
            for kind in ("CLIENTS", "SERVERS")
        )
        return clients, servers

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _show(self, what: str) -> list[DictRow]:
        # Its console speaks the simple protocol only.
        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=self._user,
            password=self._password,
            dbname="pgbouncer",
            autocommit=True,
            connect_timeout=5,
        ) as connection:
            shown = psycopg.ClientCursor(connection, row_factory=dict_row)
            return shown.execute(sql.SQL("SHOW {}").format(sql.SQL(what))).fetchall()

    def _written(self, path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        if self._owner:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)


def installed() -> str | None:
    """The path of pgbouncer, None where it is missing."""
    # Debian puts it where only root looks.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return shutil.which("pgbouncer", path=path)


def version(program: str) -> tuple[int, int]:
    """Its version, such as (1, 18)."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"PgBouncer (\d+)\.(\d+)", done.stdout)
    if found is None:
        raise PgBouncerError(f"no version: {done.stdout}")
    return int(found[1]), int(found[2])
