"""Twice as many calls as the server can answer: `python -m benchmarks.overload`.

    python -m benchmarks.overload [--seconds S] [--times T] [--engine sqlite|postgres]

First the peak: the most Authorize calls a second that a closed loop gets answered.
Then an open loop offers a multiple of that, in turn with the closed loop, for as long;
its callers wait for a second each and never try again. Goodput counts holds that
were placed in time. The last line is one JSON object; exits 1 where goodput fell
below 0.9 of the peak, or the server's memory grew past its bound.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from rich.console import Console
from rich.table import Table

from benchmarks import load
from benchmarks.authorize import AUTHORIZE, Server, serving
from tests.support.postgres import PostgresServer

LOADS = (32, 64, 128, 256)
DEADLINE_SECONDS = 1.0
CHANNELS = 4
TICK_SECONDS = 0.005
OUTSTANDING_MAX = 20_000
"""What the open loop has waiting at the most; it then offers less, and says so."""

GOODPUT_MIN = 0.9
GROWTH_BYTES_MAX = 128 * 1024 * 1024
"""How much more memory than at its peak load the server may have taken."""

_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of an open loop's calls."""

    seconds: float
    codes: Counter[str]
    placed: int  # before the loop ended: those that came later, nobody offered calls beside
    not_sent: int

    @property
    def goodput(self) -> float:
        """Holds placed in time, a second."""
        return self.placed / self.seconds

    @property
    def rate(self) -> float:
        """Calls offered, a second."""
        return sum(self.codes.values()) / self.seconds


async def offer(
    server: Server, requests: Sequence[bytes], *, rate: float, seconds: float
) -> Offered:
    """Call so many times a second, whatever is answered."""
    metadata = (("authorization", f"Bearer {server.key}"),)
    codes: Counter[str] = Counter()
    waiting: set[asyncio.Task[None]] = set()
    not_sent = placed = 0
    async with AsyncExitStack() as stack:
        channels = [
            grpc.aio.insecure_channel(server.address, options=_OWN_CONNECTION)
            for _ in range(CHANNELS)
        ]
        for channel in channels:
            await stack.enter_async_context(channel)
            await channel.channel_ready()
        calls: Iterator[Any] = itertools.cycle([c.unary_unary(AUTHORIZE) for c in channels])
        source = itertools.cycle(requests)

        async def one() -> None:
            nonlocal placed
            try:
                await next(calls)(next(source), metadata=metadata, timeout=DEADLINE_SECONDS)
                codes["OK"] += 1
                placed += time.perf_counter() < begun + seconds
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1

        begun = time.perf_counter()
        due = 0.0
        while (elapsed := time.perf_counter() - begun) < seconds:
            while due < rate * elapsed:
                due += 1
                if len(waiting) >= OUTSTANDING_MAX:
                    not_sent += 1
                    continue
                task = asyncio.create_task(one())
                waiting.add(task)
                task.add_done_callback(waiting.discard)
            await asyncio.sleep(TICK_SECONDS)
        if waiting:
            await asyncio.wait(waiting)
    return Offered(seconds, codes, placed, not_sent)


def peak(server: Server, *, seconds: float) -> tuple[float, int]:
    """The best closed loop's calls a second, and how many it had in flight."""
    return max((closed(server, count, seconds=seconds), count) for count in LOADS)


def closed(server: Server, in_flight: int, *, seconds: float) -> float:
    """Calls a second with so many in flight."""
    return asyncio.run(
        load.run(
            server.address,
            AUTHORIZE,
            server.hot,
            in_flight=in_flight,
            seconds=seconds,
            key=server.key,
        )
    ).per_second


def rss_bytes(server: Server) -> int:
    """The memory that the server has in use."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def measure(server: Server, *, seconds: float, times: float, rounds: int) -> dict[str, Any]:
    """The figures."""
    closed(server, 64, seconds=seconds)
    best, in_flight = peak(server, seconds=seconds)
    before = rss_bytes(server)
    ratios: list[float] = []
    goodputs: list[float] = []
    peaks: list[float] = []
    offers: list[float] = []
    by_cpu: list[float] = []
    codes: Counter[str] = Counter()
    most = not_sent = 0
    for _ in range(rounds):
        begun = server.cpu_seconds()
        best = closed(server, in_flight, seconds=seconds)
        alone = server.cpu_seconds() - begun
        told = asyncio.run(offer(server, server.hot, rate=times * best, seconds=seconds))
        both = server.cpu_seconds() - begun - alone
        by_cpu.append((told.codes["OK"] / both) / (best * seconds / alone))
        most = max(most, rss_bytes(server))
        peaks.append(best)
        goodputs.append(told.goodput)
        ratios.append(told.goodput / best)
        offers.append(told.rate / best)
        codes += told.codes
        not_sent += told.not_sent
    return {
        "peak_per_second": round(statistics.median(peaks)),
        "peak_in_flight": in_flight,
        "offered_over_peak": round(statistics.median(offers), 3),
        "goodput_per_second": round(statistics.median(goodputs)),
        "goodput_ratio": round(statistics.median(ratios), 3),
        # What a processor second of the server came to, whoever else used the machine.
        "goodput_ratio_by_cpu": round(statistics.median(by_cpu), 3),
        "outcomes": dict(codes),
        "not_sent": not_sent,
        "rss_growth_bytes": max(0, most - before),
        "rss_growth_bytes_max": GROWTH_BYTES_MAX,
    }


@contextmanager
def database(engine: str) -> Iterator[str]:
    """An empty database's URL."""
    if engine == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/lava.db"
    else:
        with PostgresServer(fsync=True) as postgres:
            yield postgres.url(postgres.create_database())


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description="Authorize at a multiple of the peak.")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs, in turns with the peak's")
    parser.add_argument("--times", type=float, default=2.0, help="how many times the peak")
    parser.add_argument("--engine", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    with database(options.engine) as url, serving(url) as server:
        figures = measure(
            server, seconds=options.seconds, times=options.times, rounds=options.rounds
        )
    table = Table(title=f"Authorize at {options.times:g} times its peak, {options.engine}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)
    good = (
        figures["goodput_ratio"] >= GOODPUT_MIN and figures["rss_growth_bytes"] <= GROWTH_BYTES_MAX
    )
    print(json.dumps({"engine": options.engine, **figures, "ok": good}))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
