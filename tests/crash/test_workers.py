"""Several processes on one port: one dies, the others go on, and it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import httpx
from lava.v1 import gateway_service_pb2 as gateway

from tests.crash.audit import audit
from tests.crash.load import AUTHORIZE, Load
from tests.support.process import (
    CHANNEL_OPTIONS,
    Caller,
    ServerProcess,
    command,
    environment,
    init,
    serving,
)

WORKERS = 4
CONNECTIONS = 12
WAIT_SECONDS_MAX = 60.0
# Channels of one process share connections, unless they are told not to.
OWN_CONNECTION = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))

_ESTABLISHED, _LISTENING = "01", "0A"


def workers_of(server: ServerProcess) -> set[int]:
    """The process ids of a server's workers."""
    pid = server.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def sockets(pid: int, port: int, state: str) -> int:
    """How many TCP sockets a process has in this state on a local port."""
    files: set[str] = set()
    # A process may end while we look, and a file may be closed.
    with contextlib.suppress(FileNotFoundError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                files.add(str(file.readlink()))
    # gRPC binds an address of IPv4 as one of IPv6.
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    inodes = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == state and int(row[1].rpartition(":")[2], 16) == port
    }
    return len(inodes & files)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.02)


async def test_a_worker_that_is_killed_comes_back_and_disturbs_only_its_own_callers(
    postgres_url: str,
) -> None:
    merchant = await init(postgres_url)
    async with serving(postgres_url, workers=WORKERS) as server, AsyncExitStack() as stack:
        port = int(server.grpc_address.rpartition(":")[2])
        before = workers_of(server)
        assert len(before) == WORKERS
        assert [sockets(pid, port, _LISTENING) > 0 for pid in before] == [True] * WORKERS
        assert sockets(server.pid, port, _LISTENING) == 0
        loads: list[Load] = []
        for number in range(CONNECTIONS):
            channel = grpc.aio.insecure_channel(server.grpc_address, options=OWN_CONNECTION)
            caller = Caller(await stack.enter_async_context(channel), merchant)
            loads.append(Load(caller, callers=2, seed=number))
        await loads[0].prepare()
        for load in loads:
            load.rich, load.poor = loads[0].rich, loads[0].poor
            load.start()
        try:
            await asyncio.gather(*[load.log.more(10) for load in loads])
            assert sum(load.log.retries for load in loads) == 0
            connections = {pid: sockets(pid, port, _ESTABLISHED) for pid in before}
            assert sum(connections.values()) == CONNECTIONS
            victim = max(before, key=lambda pid: connections[pid])
            os.kill(victim, signal.SIGKILL)
            await until(
                lambda: (
                    len(workers_of(server)) == WORKERS
                    and victim not in workers_of(server)
                    and all(sockets(pid, port, _LISTENING) for pid in workers_of(server))
                )
            )
            assert before - {victim} < workers_of(server)
            await asyncio.gather(*[load.log.more(10) for load in loads])
            await asyncio.gather(*[load.stop() for load in loads])
        finally:
            await asyncio.gather(*[load.cancel() for load in loads])
        disturbed = [load for load in loads if load.log.retries]
        assert 0 < len(disturbed) <= connections[victim]
        whole = loads[0]
        for load in loads[1:]:
            whole.log.requests |= load.log.requests
            whole.log.answers += load.log.answers
            assert load.log.strange == []
        found = audit(postgres_url, whole)
        assert found.clean, found
        assert await server.terminate() == 0


async def test_workers_serve_rest_on_one_port_and_end_with_a_parent_that_is_killed(
    postgres_url: str,
) -> None:
    merchant = await init(postgres_url)
    async with serving(postgres_url, workers=2) as server:
        async with grpc.aio.insecure_channel(server.grpc_address) as channel:
            request = gateway.AuthorizeRequest(amount="1")
            held = await Caller(channel, merchant).call(AUTHORIZE, request)
        headers = {"authorization": f"Bearer {merchant.secret_key}"}
        path = f"/v1/reservations/{held.reservation.reservation_id}"
        for _ in range(4):
            async with httpx.AsyncClient(base_url=f"http://{server.http_address}") as http:
                answer = await http.get(path, headers=headers)
                assert answer.json()["amount"] == "1.0000000000"
        workers = workers_of(server)
        port = int(server.grpc_address.rpartition(":")[2])
        await server.kill9()
        await until(lambda: not any(sockets(pid, port, _LISTENING) for pid in workers))
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


async def test_sqlite_takes_one_process(tmp_path: Path) -> None:
    env = environment(database_url=f"sqlite:///{tmp_path}/lava.db")
    done = await command("serve", "--workers", "2", env=env)
    assert done.code == 2
    assert "LAVA_WORKERS" in done.err
    assert "PostgreSQL" in done.err


async def test_an_address_that_is_taken_is_named(postgres_url: str) -> None:
    async with serving(postgres_url) as server:
        taken = server.grpc_address
        env = environment(database_url=postgres_url, grpc_address=taken, workers=2)
        done = await command("serve", env=env)
    assert done.code == 2
    assert "LAVA_GRPC_ADDRESS" in done.err
