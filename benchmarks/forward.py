"""Forward against a bare pass-through: `make bench-forward`.

    python -m benchmarks.forward [--seconds S] [--rounds N] [--streams N]

A fixed upstream on loopback (`benchmarks/upstream.py`), called directly, through a proxy
of a page of aiohttp (`benchmarks/passthrough.py`), and through a gateway on each engine,
durable, over HTTP: in turns, 64 in flight. Each call through the gateway has a customer, a
meter and the platform's key: its hold takes from two accounts, and so does its settlement.
Then the first byte of a stream, one call at a time, and what many open streams take of the
gateway's memory. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.table import Table

from benchmarks import http_load
from benchmarks.authorize import METER, Server, serving
from benchmarks.overload import rss_bytes
from lava_grpc.testing.stack import forward_token
from tests.support.postgres import PostgresServer

IN_FLIGHT = 64
CALLS_ALONE = 200
WARM_SECONDS = 1.0
HOST = "api.openai.com"
PATH = "/v1/chat/completions"
_ASKED: dict[str, object] = {
    "model": "gpt-4o-mini",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Say that this is a benchmark."}],
}
BODY = json.dumps(_ASKED).encode()
STREAMED = json.dumps(_ASKED | {"stream": True}).encode()


@contextmanager
def process(*arguments: str) -> Iterator[str]:
    """A server of this package, by its address."""
    running = subprocess.Popen(
        [sys.executable, "-m", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        if running.stdout is None or running.stdin is None:
            raise RuntimeError("no standard streams")
        yield f"127.0.0.1:{int(running.stdout.readline())}"
        running.stdin.close()
    finally:
        running.terminate()
        running.wait(30)


class Ways:
    """The calls of each way to the upstream, ready to be sent."""

    def __init__(self, upstream: str, bare: str, gateway: Server) -> None:
        token = forward_token(gateway.key, gateway.customers[0], METER)
        path = f"/v1/forward?u=https://{HOST}{PATH}"
        self.calls: dict[str, tuple[str, bytes, bytes]] = {}
        for name, address, where, key in (
            ("direct", upstream, PATH, "sk-bench"),
            ("bare", bare, PATH, "sk-bench"),
            ("gateway", gateway.http_address, path, token),
        ):
            whole, streamed = [
                http_load.request(address, where, body, authorization=f"Bearer {key}")
                for body in (BODY, STREAMED)
            ]
            self.calls[name] = (address, whole, streamed)

    def per_second(self, name: str, *, seconds: float, stream: bool = False) -> float:
        """Calls a second, 64 in flight."""
        address, *made = self.calls[name]
        answers = asyncio.run(
            http_load.closed_loop(address, made[stream], in_flight=IN_FLIGHT, seconds=seconds)
        )
        return len(answers) / seconds

    def first_byte_ms(self, name: str, *, calls: int) -> list[float]:
        """Milliseconds to the first byte of a stream's body, one call at a time."""
        address, _, streamed = self.calls[name]
        answers = asyncio.run(http_load.one_at_a_time(address, streamed, calls=calls))
        return [1000 * answered.first_byte for answered in answers]


async def _open_streams(gateway: Server, ways: Ways, count: int) -> float:
    """Bytes of memory that each of so many open streams takes."""
    address, _, streamed = ways.calls["gateway"]
    held = streamed.replace(b"\r\n", b"\r\nx-bench-hold: 1\r\n", 1)
    before = rss_bytes(gateway)
    callers = [await http_load.connect(address, lambda _: False) for _ in range(count)]
    for caller in callers:
        caller.call(held)
    until = time.perf_counter() + 60
    while not all(caller.begun_to_answer for caller in callers):
        lost = next((caller.lost for caller in callers if caller.lost), None)
        if lost is not None or time.perf_counter() > until:
            raise RuntimeError("streams did not open") from lost
        await asyncio.sleep(0.05)
    taken = (rss_bytes(gateway) - before) / count
    for caller in callers:
        caller.close()
    return taken


def measure(ways: Ways, gateway: Server, options: argparse.Namespace) -> dict[str, float]:
    """The figures of one engine."""
    seconds: float = options.seconds
    for name in ways.calls:
        ways.per_second(name, seconds=WARM_SECONDS)
    rates: dict[str, list[float]] = {name: [] for name in ways.calls}
    streams: dict[str, list[float]] = {"bare": [], "gateway": []}
    cpu: list[float] = []
    firsts: dict[str, list[float]] = {name: [] for name in ways.calls}
    for _ in range(options.rounds):
        for name, found in rates.items():
            before = gateway.cpu_seconds()
            found.append(ways.per_second(name, seconds=seconds))
            if name == "gateway":
                cpu.append((gateway.cpu_seconds() - before) / (found[-1] * seconds) * 1000)
        for name, found in streams.items():
            found.append(ways.per_second(name, seconds=seconds, stream=True))
        for name, times in firsts.items():
            times.extend(ways.first_byte_ms(name, calls=CALLS_ALONE))
    alone = {name: statistics.median(found) for name, found in firsts.items()}
    return {
        "direct_per_second": statistics.median(rates["direct"]),
        "bare_per_second": statistics.median(rates["bare"]),
        "forward_per_second": statistics.median(rates["gateway"]),
        "forward_ratio": _ratio(rates["gateway"], rates["bare"]),
        "stream_ratio": _ratio(streams["gateway"], streams["bare"]),
        "cpu_seconds_per_1000": statistics.median(cpu),
        "first_byte_ms_direct": alone["direct"],
        "first_byte_ms_bare": alone["bare"],
        "first_byte_ms": alone["gateway"],
        "first_byte_ms_later": alone["gateway"] - alone["direct"],
        "bytes_per_open_stream": asyncio.run(_open_streams(gateway, ways, options.streams)),
    }


def _ratio(ours: Sequence[float], floor: Sequence[float]) -> float:
    return statistics.median([some / whole for some, whole in zip(ours, floor, strict=True)])


def main() -> int:
    """Measure both engines and print what came out."""
    parser = argparse.ArgumentParser(description="Forward against a bare pass-through.")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind, in turns")
    parser.add_argument("--streams", type=int, default=1000, help="open streams to weigh")
    options = parser.parse_args()
    engines: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        upstream = stack.enter_context(process("benchmarks.upstream"))
        bare = stack.enter_context(process("benchmarks.passthrough", f"http://{upstream}"))
        os.environ["LAVA_UPSTREAM_MAP"] = json.dumps({HOST: f"http://{upstream}"})
        os.environ["LAVA_PROVIDER_KEYS"] = json.dumps({"openai": "sk-bench"})
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        postgres = stack.enter_context(PostgresServer(fsync=True))
        urls = {
            "sqlite": f"sqlite:///{folder}/lava.db",
            "postgres": postgres.url(postgres.create_database()),
        }
        for engine, url in urls.items():
            with serving(url) as gateway:
                engines[engine] = measure(Ways(upstream, bare, gateway), gateway, options)
    table = Table(title=f"Forward of a small JSON call, {IN_FLIGHT} in flight unless said")
    table.add_column("figure")
    for engine in engines:
        table.add_column(engine, justify="right")
    for figure in engines["sqlite"]:
        table.add_row(figure, *[f"{engines[engine][figure]:,.3f}" for engine in engines])
    Console().print(table)
    print(
        json.dumps(
            {
                engine: {name: round(value, 3) for name, value in figures.items()}
                for engine, figures in engines.items()
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
