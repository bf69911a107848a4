"""Several server processes on one port each for gRPC and REST, and the parent that keeps them.

The kernel hands each new connection to one of them (SO_REUSEPORT). They share
nothing but the database. The parent serves nobody: a worker that ends before it
was told to is started again, and the others do not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import socket
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import structlog
import uvloop

from lava_grpc import config
from lava_grpc.app.parts import migrate
from lava_grpc.app.service import Addresses, Service
from lava_grpc.telemetry import logs

RESTART_SECONDS = 0.1
"""How long a worker that ended is left alone before it is started again: twice as long
each time, up to the bound, until one has lived for a while."""

RESTART_SECONDS_MAX = 30.0
STEADY_SECONDS = 60.0
START_SECONDS_MAX = 60.0
STOP_SECONDS = 5.0
"""How much longer than its own drains a worker may take to end."""

_SIZE_BYTES = 8
_BROKEN = 1  # what a process exits with that found a rule broken

_log = structlog.get_logger(__name__)


async def serve_workers(settings: config.Settings, ready: Callable[[Addresses], None]) -> bool:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT.

    Tells `ready` the addresses once all of them serve. False if a worker found a
    rule broken. Raises ConfigError where one cannot be started at first.
    """
    migrate(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    with _reserved(settings) as addresses:
        workers = [_Worker(index, _with(settings, addresses)) for index in range(settings.workers)]
        try:
            await _all_started(workers, stop)
            if not stop.is_set():
                _log.info("serving", workers=len(workers), **asdict(addresses))
                ready(addresses)
                await stop.wait()
        finally:
            stop.set()
            _log.info("stopping")
            codes = await asyncio.gather(*[worker.stop() for worker in workers])
    return _BROKEN not in codes


async def _all_started(workers: list[_Worker], stop: asyncio.Event) -> None:
    """Until each serves, or the parent is told to stop."""
    starting = [asyncio.create_task(worker.start()) for worker in workers]
    told = asyncio.create_task(stop.wait())
    try:
        together = asyncio.gather(*starting)
        either: set[asyncio.Future[Any]] = {together, told}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            await together
    finally:
        for task in (*starting, told):
            task.cancel()
        await asyncio.gather(*starting, told, return_exceptions=True)


class _Worker:
    """One place for a worker, and the process that fills it."""

    def __init__(self, index: int, settings: config.Settings) -> None:
        self._index = index
        self._settings = settings
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Until it serves; from then on it is started again whenever it ends."""
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name=f"lava-worker-{self._index}")

    async def stop(self) -> int:
        """Ask it to end, and see to it that it does; its exit code."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        process = self._process
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(2 * self._settings.shutdown_seconds + STOP_SECONDS):
                return await process.wait()
        except TimeoutError:
            _log.error("worker does not end, and is killed", worker=self._index)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            return await process.wait()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = RESTART_SECONDS
        while True:
            begun = loop.time()
            if self._process is not None:
                code = await self._process.wait()
                _log.error("worker ended, and is started again", worker=self._index, code=code)
            if loop.time() - begun > STEADY_SECONDS:
                pause = RESTART_SECONDS
            await asyncio.sleep(pause)
            pause = min(2 * pause, RESTART_SECONDS_MAX)
            try:
                await self._spawn()
            except config.ConfigError as error:
                _log.warning("worker does not start", worker=self._index, why=str(error))

    async def _spawn(self) -> None:
        """Start a process and wait until it serves; raises ConfigError where it does not."""
        settings = pickle.dumps(self._settings)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lava_grpc.app.workers", str(self._index)),
            stdin=PIPE,
            stdout=PIPE,
        )
        self._process = process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a worker without pipes")
        # Through a pipe, and not as arguments or variables, which others could read. The
        # pipe stays open: its end tells a worker that its parent is gone.
        process.stdin.write(len(settings).to_bytes(_SIZE_BYTES) + settings)
        line = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(START_SECONDS_MAX):
                await process.stdin.drain()
                line = await process.stdout.readline()
        if not line:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            code = await process.wait()
            raise config.ConfigError(f"{config.PREFIX}WORKERS: a worker did not start ({code})")


@contextlib.contextmanager
def _reserved(settings: config.Settings) -> Iterator[Addresses]:
    """The addresses, their ports chosen and kept: bound here, though nobody listens here."""
    with contextlib.ExitStack() as stack:
        found: dict[str, str | None] = {}
        for name in ("grpc_address", "http_address"):
            address: str = getattr(settings, name)
            found[name] = stack.enter_context(_bound(name, address)) if address else None
        yield Addresses(found["grpc_address"] or "", found["http_address"])


@contextlib.contextmanager
def _bound(setting: str, address: str) -> Iterator[str]:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            kept.bind((host.strip("[]"), int(port)))
        except OSError as error:
            name = f"{config.PREFIX}{setting.upper()}"
            raise config.ConfigError(f"{name}: cannot listen: {error}") from None
        yield f"{host}:{kept.getsockname()[1]}"


def _with(settings: config.Settings, addresses: Addresses) -> config.Settings:
    """The settings at these addresses, in a class that can be sent to another process."""
    values = {name: getattr(settings, name) for name in config.Settings.model_fields}
    values |= {
        "grpc_address": addresses.grpc_address,
        "http_address": addresses.http_address or "",
    }
    return config.Settings.model_construct(**values)


def main() -> int:
    """A worker's life: settings from standard input, a line on standard output once it serves."""
    told = sys.stdin.buffer
    size = int.from_bytes(told.read(_SIZE_BYTES))
    settings: config.Settings = pickle.loads(told.read(size))  # noqa: S301 - from our parent
    logs.configure(level=settings.log_level, as_json=settings.log_json)
    structlog.contextvars.bind_contextvars(worker=int(sys.argv[1]))
    threading.Thread(target=_end_with_parent, name="lava-parent", daemon=True).start()

    def ready(addresses: Addresses) -> None:
        sys.stdout.write(json.dumps(asdict(addresses)) + "\n")
        sys.stdout.flush()

    try:
        healthy = uvloop.run(Service.serve(settings, ready, reuse_port=True))
    except config.ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0 if healthy else _BROKEN


def _end_with_parent() -> None:
    """Wait for the end of standard input, which the parent holds open, then drain as told to."""
    # Not through `sys.stdin`, whose lock this thread would hold when the process ends.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
