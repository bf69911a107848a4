"""Twice as many calls as the server can answer: `python -m benchmarks.overload`.

    python -m benchmarks.overload [--seconds S] [--times T] [--engine sqlite|postgres|both]

First the peak: the most Authorize calls a second that a closed loop gets answered.
Then an open loop offers a multiple of that, in turn with the closed loop, for as long;
its callers wait for a second each and never try again. Both are made by hand on the
wire (`benchmarks/wire.py`), since a client that cost as much as the server would take
from it, on a machine with few cores, what it is to show. Goodput counts holds that were
placed in time. The last line is one JSON object; exits 1 where goodput fell below 0.9
of the peak, or the server's memory grew past its bound, on either engine.
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
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.authorize import AUTHORIZE, Server, serving
from benchmarks.wire import Connection, Ended
from tests.support.postgres import PostgresServer

LOADS = (32, 64, 128, 256)
DEADLINE_SECONDS = 1.0
CONNECTIONS = 4
TICK_SECONDS = 0.005
DRAIN_SECONDS_MAX = 10.0
OUTSTANDING_MAX = 20_000
"""What the open loop has waiting at the most; it then offers less, and says so."""

ENGINES = ("sqlite", "postgres")
GOODPUT_MIN = 0.9
GROWTH_BYTES_MAX = 128 * 1024 * 1024
"""How much more memory than at its peak load the server may have taken."""


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


class Calls:
    """What became of the calls on a few connections."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.placed = 0
        self.end = 0.0
        self.again: Callable[[int], None] | None = None

    def ended(self, which: int) -> Ended:
        """What a connection tells of its calls."""

        def ended(begun: float, code: str) -> None:
            now = time.perf_counter()
            late = now - begun > DEADLINE_SECONDS
            self.codes["LATE" if late and code == "OK" else code] += 1
            if now < self.end:
                self.placed += code == "OK" and not late
                if self.again is not None:
                    self.again(which)

        return ended


@asynccontextmanager
async def connected(server: Server, calls: Calls) -> AsyncIterator[list[Connection]]:
    """Connections to the server, which end with every call that was begun."""
    connections = [
        await Connection.open(
            server.address,
            AUTHORIZE,
            key=server.key,
            timeout_seconds=DEADLINE_SECONDS,
            ended=calls.ended(which),
        )
        for which in range(CONNECTIONS)
    ]
    try:
        yield connections
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            while any(c.in_flight for c in connections):  # noqa: ASYNC110 - told per call, not once
                await asyncio.sleep(TICK_SECONDS)
    finally:
        for connection in connections:
            connection.close()


async def offer(
    server: Server, requests: Sequence[bytes], *, rate: float, seconds: float
) -> Offered:
    """Call so many times a second, whatever is answered."""
    calls, source = Calls(), itertools.cycle(requests)
    not_sent = sent = 0
    async with connected(server, calls) as connections:
        turns = itertools.cycle(connections)
        begun = time.perf_counter()
        calls.end = begun + seconds
        while (elapsed := time.perf_counter() - begun) < seconds:
            room = OUTSTANDING_MAX - sum(connection.in_flight for connection in connections)
            due = int(rate * elapsed) - sent - not_sent
            for _ in range(min(due, room)):
                next(turns).call(next(source))
            for connection in connections:
                connection.flush()
            sent += min(due, room)
            not_sent += max(0, due - room)
            await asyncio.sleep(TICK_SECONDS)
    return Offered(seconds, calls.codes, calls.placed, not_sent)


def peak(server: Server, *, seconds: float) -> tuple[float, int]:
    """The best closed loop's holds a second, and how many it had in flight."""
    return max((closed(server, count, seconds=seconds), count) for count in LOADS)


def closed(server: Server, in_flight: int, *, seconds: float) -> float:
    """Holds a second with so many in flight."""
    return asyncio.run(_closed(server, in_flight, seconds=seconds)).goodput


async def _closed(server: Server, in_flight: int, *, seconds: float) -> Offered:
    calls, source = Calls(), itertools.cycle(server.hot)
    async with connected(server, calls) as connections:
        calls.again = lambda which: connections[which].call(next(source))
        calls.end = time.perf_counter() + seconds
        for number in range(in_flight):
            connections[number % CONNECTIONS].call(next(source))
        for connection in connections:
            connection.flush()
        await asyncio.sleep(seconds)
    return Offered(seconds, calls.codes, calls.placed, 0)


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
    parser.add_argument("--engine", choices=(*ENGINES, "both"), default="both")
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for engine in ENGINES if options.engine == "both" else (options.engine,):
        with database(engine) as url, serving(url) as server:
            figures = measure(
                server, seconds=options.seconds, times=options.times, rounds=options.rounds
            )
        found[engine] = figures
        table = Table(title=f"Authorize at {options.times:g} times its peak, {engine}")
        table.add_column("figure")
        table.add_column("value", justify="right")
        for name, value in figures.items():
            table.add_row(name, str(value))
        Console().print(table)
    ratio = min(figures["goodput_ratio"] for figures in found.values())
    growth = max(figures["rss_growth_bytes"] for figures in found.values())
    good = ratio >= GOODPUT_MIN and growth <= GROWTH_BYTES_MAX
    print(json.dumps({"goodput_ratio": ratio, "rss_growth_bytes": growth, "ok": good} | found))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
