"""Faults under load, and what they cost: `python -m benchmarks.faults`.

    python -m benchmarks.faults [--kills N] [--restarts N] [--cuts N] [--full-disks N]
        [--conflicts N] [--seed N]

Callers that repeat each call blindly, with its request id, until it is answered;
meanwhile the server is killed (-9) at random moments, on SQLite and on PostgreSQL
in turn; PostgreSQL is restarted or killed; and the ledger's connection is cut in
the middle of a batch, or after its COMMIT was carried out but before the answer;
the disk that the database is on fills up until calls are refused, and is freed; and
PostgreSQL turns the ledger's transactions away, as serialization failures (40001) or
victims of a deadlock (40P01), which another client's transactions cause. Then the books
are held against everything that was acknowledged. The last line is one JSON object;
exits 1 where a write was lost or doubled, an account overspent, or a rule of the books
broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from tests.crash.audit import Findings, audit, repeated_differently
from tests.crash.conflicts import Conflict, make_serializable, provoke
from tests.crash.cutting_proxy import Cut, CuttingProxy, cutting_proxy
from tests.crash.disk_databases import postgres_on, sqlite_on
from tests.crash.load import Load
from tests.crash.small_disk import NoSmallDiskError, SmallDisk, small_disk
from tests.support.postgres import PostgresServer
from tests.support.process import ServerProcess, calling, init, serving

CALLERS = 16
# Calls answered between two faults: enough that each falls into other batches.
CALLS_BETWEEN = (20, 150)
FAULT_SECONDS_MAX = 120.0
DISK_MEBIBYTES = 64
FULL_DISK_PATIENCE_SECONDS = 1

Fault = Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Ran:
    """What one engine went through."""

    engine: str
    kills: int = 0
    restarts: int = 0
    cuts: int = 0
    disk_full: int = 0
    serialization: int = 0
    calls: int = 0
    retries: int = 0
    longest_outage_seconds: float = 0.0
    findings: Findings = field(default_factory=Findings)
    # Second answers that differ from the first, and answers that no fault explains.
    strange: list[str] = field(default_factory=list)


async def sqlite_run(kills: int, dice: random.Random) -> Ran:
    """Kills alone: SQLite has no server of its own to lose."""
    ran = Ran("sqlite", kills=kills)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/lava.db"
        async with _loaded(url, url, ran) as (server, _, under_load):
            await under_load([_kill(server)] * kills, dice)
    return ran


async def postgres_run(kills: int, restarts: int, cuts: int, dice: random.Random) -> Ran:
    """Kills, restarts and cuts in random order."""
    ran = Ran("postgres", kills=kills, restarts=restarts, cuts=cuts)
    with PostgresServer(fsync=True) as postgres:
        url = postgres.url(postgres.create_database())
        port = make_url(url).port or 0
        async with cutting_proxy(port) as proxy:
            through = make_url(url).set(port=proxy.port).render_as_string(hide_password=False)
            async with _loaded(url, through, ran) as (server, _, under_load):
                faults = [_kill(server)] * kills
                faults += [_restart(postgres, crash=n % 2 == 1) for n in range(restarts)]
                faults += [_cut(proxy, list(Cut)[n % len(Cut)]) for n in range(cuts)]
                dice.shuffle(faults)
                await under_load(faults, dice)
    return ran


async def full_disk_run(engine: str, times: int, dice: random.Random) -> Ran:
    """The database on a disk of its own, which fills up; without one to be had, nothing."""
    ran = Ran(f"{engine}, full disk", disk_full=times)
    try:
        with contextlib.ExitStack() as stack:
            disk = stack.enter_context(small_disk(DISK_MEBIBYTES))
            url = sqlite_on(disk)
            if engine == "postgres":
                url = postgres_on(disk, stack.enter_context(PostgresServer(fsync=True)))
            patience = {"unreachable_seconds_max": FULL_DISK_PATIENCE_SECONDS}
            async with _loaded(url, url, ran, **patience) as (_, load, under_load):
                await under_load([_fill(disk, load)] * times, dice)
    except NoSmallDiskError as error:
        ran.disk_full = 0
        print(f"{engine}: no disk to fill: {error}")
    return ran


async def conflicts_run(times: int, dice: random.Random) -> Ran:
    """Serialization failures and deadlocks in turn, on a database that is serializable."""
    ran = Ran("postgres, conflicts", serialization=times)
    with PostgresServer(fsync=True) as postgres:
        url = postgres.url(postgres.create_database())
        make_serializable(url)
        async with _loaded(url, url, ran, log_level="warning") as (server, load, under_load):
            kinds = [list(Conflict)[n % len(Conflict)] for n in range(times)]
            await under_load([_conflict(url, kind, load) for kind in kinds], dice)
            for kind in Conflict:
                if server.log.count(kind.value) < kinds.count(kind):
                    ran.strange.append(f"fewer batches than asked for met {kind.value}")
    return ran


UnderLoad = Callable[[list[Fault], random.Random], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def _loaded(
    url: str, served_url: str, ran: Ran, **settings: object
) -> AsyncIterator[tuple[ServerProcess, Load, UnderLoad]]:
    """A server on `served_url`, its load, and what runs faults under it and then audits `url`."""
    merchant = await init(url)
    async with (
        serving(served_url, **{"log_level": "error"} | settings) as server,
        calling(server.grpc_address, merchant) as caller,
    ):
        load = Load(caller, callers=CALLERS)
        await load.prepare()

        async def under_load(faults: list[Fault], dice: random.Random) -> None:
            load.start()
            try:
                for fault in faults:
                    async with asyncio.timeout(FAULT_SECONDS_MAX):
                        await load.log.more(dice.randint(*CALLS_BETWEEN))
                        await fault()
                async with asyncio.timeout(FAULT_SECONDS_MAX):
                    await load.log.more(CALLS_BETWEEN[1])
                    await load.stop()
            finally:
                await load.cancel()
            ran.calls, ran.retries = load.log.calls, load.log.retries
            ran.longest_outage_seconds = load.log.longest_gap_seconds
            ran.strange += load.log.strange + await repeated_differently(load, caller)
            ran.findings = await asyncio.to_thread(audit, url, load)

        yield server, load, under_load


def _kill(server: ServerProcess) -> Fault:
    async def kill() -> None:
        await server.kill9()
        await server.start()

    return kill


def _restart(postgres: PostgresServer, *, crash: bool) -> Fault:
    async def restart() -> None:
        if crash:
            await asyncio.to_thread(postgres.kill9)
            await asyncio.to_thread(postgres.start)
        else:
            await asyncio.to_thread(postgres.restart)

    return restart


def _cut(proxy: CuttingProxy, when: Cut) -> Fault:
    async def cut() -> None:
        await proxy.cut(when)

    return cut


def _fill(disk: SmallDisk, load: Load) -> Fault:
    async def fill() -> None:
        await asyncio.to_thread(disk.fill)
        told = load.log.retries
        await load.log.turned_away(told + CALLERS)
        await asyncio.to_thread(disk.free)

    return fill


def _conflict(url: str, kind: Conflict, load: Load) -> Fault:
    async def conflict() -> None:
        await asyncio.to_thread(provoke, url, kind, (load.rich, load.poor))

    return conflict


async def run(options: argparse.Namespace) -> list[Ran]:
    """Both engines, one after the other."""
    dice = random.Random(options.seed)  # noqa: S311 - moments, no secrets
    on_sqlite = options.kills // 2
    return [
        await sqlite_run(on_sqlite, dice),
        await postgres_run(options.kills - on_sqlite, options.restarts, options.cuts, dice),
        await full_disk_run("sqlite", options.full_disks, dice),
        await full_disk_run("postgres", options.full_disks, dice),
        await conflicts_run(options.conflicts, dice),
    ]


def report(runs: list[Ran]) -> int:
    """Print the table, what is wrong, and the line of JSON; the exit code."""
    table = Table(title="Faults under load")
    table.add_column("engine")
    for heading in ("kills", "restarts", "cuts", "full", "conflicts", "calls", "retries"):
        table.add_column(heading, justify="right")
    for heading in ("lost", "doubled", "overspent", "unverified", "strange", "outage, s"):
        table.add_column(heading, justify="right")
    for ran in runs:
        found = ran.findings
        faults = (ran.kills, ran.restarts, ran.cuts, ran.disk_full, ran.serialization)
        counts = (*faults, ran.calls, ran.retries)
        wrong = (found.lost, found.doubled, found.overspends, found.verify_breaks, ran.strange)
        table.add_row(
            ran.engine,
            *[f"{count:,}" for count in counts],
            *[str(len(one)) for one in wrong],
            f"{ran.longest_outage_seconds:.1f}",
        )
        for sentence in [sentence for one in wrong for sentence in one][:20]:
            print(f"{ran.engine}: {sentence}")
    Console(width=140).print(table)
    summary = {
        "kills": sum(ran.kills for ran in runs),
        "restarts": sum(ran.restarts for ran in runs),
        "cuts": sum(ran.cuts for ran in runs),
        "disk_full": sum(ran.disk_full for ran in runs),
        "serialization": sum(ran.serialization for ran in runs),
        "lost": sum(len(ran.findings.lost) for ran in runs),
        "doubled": sum(len(ran.findings.doubled) for ran in runs),
        "overspends": sum(len(ran.findings.overspends) for ran in runs),
        "verify_breaks": sum(len(ran.findings.verify_breaks) for ran in runs),
        "longest_outage_seconds": round(max(ran.longest_outage_seconds for ran in runs), 3),
    }
    print(json.dumps(summary))
    clean = all(ran.findings.clean and not ran.strange for ran in runs)
    return 0 if clean else 1


def main() -> int:
    """Run the faults and tell what came of them."""
    parser = argparse.ArgumentParser(description="Faults under load.")
    parser.add_argument("--kills", type=int, default=50, help="of the server, over both engines")
    parser.add_argument(
        "--restarts", type=int, default=10, help="of PostgreSQL, half of them kills"
    )
    parser.add_argument("--cuts", type=int, default=20, help="of the ledger's connection")
    parser.add_argument("--full-disks", type=int, default=3, help="on each engine")
    parser.add_argument(
        "--conflicts", type=int, default=20, help="serialization failures and deadlocks"
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses the moments")
    return report(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    sys.exit(main())
