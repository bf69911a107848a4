"""Real processes of ours: servers that tests kill, and commands that end by themselves.

Each is ended by its own id when the block that started it ends, whatever
happened in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc.aio
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0

# A server that comes back is found again soon, not after gRPC's minutes.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
)


# gRPC's fork handlers crash a child that is forked in a thread while calls run, as
# `PostgresServer` is restarted. Our children begin with exec, and need no handlers.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Nor need anyone be told of them.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


class ProcessError(Exception):
    """A process of ours did not do what it should; the text has what it logged."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command came to."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Merchant:
    """What `lava-grpc init` made."""

    merchant_id: str
    secret_key: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The credential for gRPC."""
        return (("authorization", f"Bearer {self.secret_key}"),)


def environment(**settings: object) -> dict[str, str]:
    """The environment of a process with these settings (as `config.Settings` names them) alone."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LAVA_")}
    given = {
        f"LAVA_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    return clean | given


async def command(
    *arguments: str, env: dict[str, str] | None = None, typed: str | None = None
) -> Finished:
    """Run `lava-grpc` with these arguments to its end, with `typed` on its standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lava_grpc.cli",
        *arguments,
        env=environment() if env is None else env,
        stdin=asyncio.subprocess.DEVNULL if typed is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            out, err = await process.communicate(None if typed is None else typed.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Finished(process.returncode or 0, out.decode(), err.decode())


async def init(
    database_url: str, *, wallet_limit: str = "unlimited", **settings: object
) -> Merchant:
    """A new merchant in the database."""
    done = await command(
        *("init", "--json", "--wallet-limit", wallet_limit),
        env=environment(database_url=database_url, **settings),
    )
    if done.code:
        raise ProcessError(done.err)
    made = json.loads(done.out)
    return Merchant(made["merchant_id"], made["secret_key"])


class ServerProcess:
    """One `lava-grpc serve`. Its ports are chosen at the first start and kept after."""

    def __init__(self, database_url: str, **settings: object) -> None:
        self._settings = {
            "grpc_address": "127.0.0.1:0",
            "http_address": "127.0.0.1:0",
            "log_level": "info",
            "shutdown_seconds": 10,
            **settings,
            "database_url": database_url,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.grpc_address = ""
        self.http_address = ""

    @property
    def log(self) -> str:
        """What it wrote to standard error, over all its starts."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id; ProcessError while it is down."""
        return self._running().pid

    async def start(self) -> None:
        """Start it, and wait until it says where it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "lava_grpc.cli", "serve", "--json"),
            env=environment(**self._settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=self._log,
        )
        line = b""
        if self._process.stdout is not None:
            async with asyncio.timeout(START_SECONDS_MAX):
                line = await self._process.stdout.readline()
        if not line:
            raise ProcessError(f"the server did not start:\n{self.log}")
        told = json.loads(line)
        self.grpc_address = self._settings["grpc_address"] = told["grpc_address"]
        if told["http_address"]:
            self.http_address = self._settings["http_address"] = told["http_address"]

    async def kill9(self) -> None:
        """End it as a crash would: at once."""
        process, self._process = self._running(), None
        process.kill()
        await process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self._running().pid, number)

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        process = self._running()
        async with asyncio.timeout(STOP_SECONDS_MAX):
            code = await process.wait()
        self._process = None
        return code

    async def terminate(self) -> int:
        """Ask it to end; its exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def close(self) -> None:
        """Make sure that it is gone."""
        if self._process is not None:
            if self._process.returncode is None:
                # Not `Process.kill`, which takes the exit code of one that ends just now.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        self._log.close()

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise ProcessError("the server is not running")
        return self._process


@asynccontextmanager
async def serving(database_url: str, **settings: object) -> AsyncIterator[ServerProcess]:
    """A server process that runs until the block ends, or is killed in it."""
    server = ServerProcess(database_url, **settings)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


class Caller:
    """Calls a server's RPCs by name, as one merchant."""

    def __init__(self, channel: grpc.aio.Channel, merchant: Merchant) -> None:
        self.channel = channel
        self.merchant = merchant

    async def call(
        self,
        rpc: str,
        request: Message,
        *,
        timeout_seconds: float | None = None,
        wait_for_ready: bool = False,
    ) -> Any:  # noqa: ANN401 - the answer of whichever RPC was named
        """The answer of a unary `rpc` (`MeterService/CreateMeter`); raises AioRpcError."""
        method = Default().FindMethodByName(f"lava.v1.{rpc.replace('/', '.')}")
        call: Any = self.channel.unary_unary(
            f"/lava.v1.{rpc}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        return await call(
            request,
            metadata=self.merchant.metadata,
            timeout=timeout_seconds,
            wait_for_ready=wait_for_ready,
        )


@asynccontextmanager
async def calling(grpc_address: str, merchant: Merchant) -> AsyncIterator[Caller]:
    """A channel to a server, which finds the server again after it was away."""
    async with grpc.aio.insecure_channel(grpc_address, options=CHANNEL_OPTIONS) as channel:
        yield Caller(channel, merchant)


class Health:
    """What a server's health says, as it says it: a watch that outlives the server's absence."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._task: asyncio.Task[None] | None = None
        self._said: bool | None = None
        self._changed = asyncio.Event()
        self.history: list[bool] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def until(self, *, serving: bool) -> None:
        """Wait until it says so."""
        async with asyncio.timeout(STOP_SECONDS_MAX):
            while self._said is not serving:
                self._changed.clear()
                await self._changed.wait()

    async def _watch(self) -> None:
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        while True:
            try:
                async for answer in stub.Watch(
                    health_pb2.HealthCheckRequest(), wait_for_ready=True
                ):
                    self._said = answer.status == health_pb2.HealthCheckResponse.SERVING
                    self.history.append(self._said)
                    self._changed.set()
            except grpc.aio.AioRpcError:
                # The server ended or was killed; it may come back.
                await asyncio.sleep(0.05)
