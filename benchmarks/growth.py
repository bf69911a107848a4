"""How the service fares on a database that has grown: `make bench-growth`.

    python -m benchmarks.growth [--customers N] [--requests N] [--engine E] [--seconds S]

Fills one database with customers and requests (benchmarks/filling.py), leaves another
empty but for a thousand customers, serves both, and asks both the same in turns, so that a
machine that slows down slows both. Every ratio is the full one's time over the empty one's.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from lava.v1 import (
    customer_service_pb2,
    customer_service_pb2_grpc,
    gateway_service_pb2,
    gateway_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    request_service_pb2,
    request_service_pb2_grpc,
    usage_service_pb2,
    usage_service_pb2_grpc,
)
from rich.console import Console
from rich.table import Table

from benchmarks import filling, load
from benchmarks.filling import Size
from lava_grpc.app.clock import SystemClock
from lava_grpc.core.time import SECOND, to_datetime
from tests.support.postgres import PostgresServer

AUTHORIZE = "/lava.v1.GatewayService/Authorize"
REPORT = "/lava.v1.GatewayService/ReportUsage"
IN_FLIGHT = 64
EMPTY = Size(1000, 0)
# As many different customers are called for as there are, up to this many.
SPREAD_MAX = 20_000
REPEATS = 7
VERIFY_SECONDS_MAX = 3600
SHARED_BUFFERS = "1GB"


@dataclass(frozen=True, slots=True)
class Served:
    """A server on a database of some size."""

    url: str
    address: str
    key: str
    merchant_id: str
    size: Size
    filled_seconds: float

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The merchant's credential."""
        return (("authorization", f"Bearer {self.key}"),)

    def customers(self) -> list[str]:
        """Customers from all over the table."""
        count = min(self.size.customers, SPREAD_MAX)
        step = self.size.customers // count
        ids = [filling.customer_id(number * step) for number in range(count)]
        random.Random(1).shuffle(ids)  # noqa: S311 - the same order each time
        return ids


@contextmanager
def serving(url: str, size: Size, tell: Callable[[str], None]) -> Iterator[Served]:
    """Make the database, fill it, serve it."""
    environment = os.environ | {
        "LAVA_DATABASE_URL": url,
        "LAVA_GRPC_ADDRESS": "127.0.0.1:0",
        "LAVA_HTTP_ADDRESS": "",
    }
    made = json.loads(
        subprocess.run(
            [sys.executable, "-m", "lava_grpc.cli", "init", "--json"],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    )
    seconds = filling.fill(url, made["merchant_id"], size, SystemClock().now(), tell)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"], env=environment, stdout=subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("no standard output")
        address = json.loads(process.stdout.readline())["grpc_address"]
        yield Served(url, address, made["secret_key"], made["merchant_id"], size, seconds)
    finally:
        process.terminate()
        process.wait(30)


def hot_path(full: Served, empty: Served, *, seconds: float, rounds: int) -> dict[str, float]:
    """Authorize and ReportUsage: many in flight, and one at a time."""
    figures: dict[str, float] = {}
    for name, method, make in (
        ("authorize", AUTHORIZE, _authorize),
        ("report", REPORT, _report),
    ):
        for in_flight in (IN_FLIGHT, 1):
            taken: dict[Served, list[load.Run]] = {full: [], empty: []}
            for number in range(rounds + 1):
                for served, runs in taken.items():
                    ran = _calls(served, method, make, in_flight, seconds)
                    if number:  # the first round warms up
                        runs.append(ran)
            fulls, empties = taken[full], taken[empty]
            rate = statistics.median(r.per_second for r in fulls)
            rate_empty = statistics.median(r.per_second for r in empties)
            figures[f"{name}_{in_flight}_per_second"] = round(rate, 1)
            figures[f"{name}_{in_flight}_per_second_empty"] = round(rate_empty, 1)
            figures[f"{name}_{in_flight}_p50_ms"] = _median_ms(fulls)
            figures[f"{name}_{in_flight}_p50_ms_empty"] = _median_ms(empties)
            figures[f"{name}_{in_flight}_ratio"] = round(
                statistics.median(
                    e.per_second / f.per_second for f, e in zip(fulls, empties, strict=True)
                ),
                3,
            )
    return figures


def _calls(
    served: Served, method: str, make: Callable[[str], bytes], in_flight: int, seconds: float
) -> load.Run:
    requests = [make(ident) for ident in served.customers()]
    ran = asyncio.run(
        load.run(
            served.address,
            method,
            itertools.cycle(requests),
            in_flight=in_flight,
            seconds=seconds,
            key=served.key,
        )
    )
    if ran.errors:
        raise SystemExit(f"{ran.errors} of {ran.calls} calls failed")
    return ran


def _median_ms(runs: Sequence[load.Run]) -> float:
    return round(statistics.median(run.p50_ms for run in runs), 2)


def _authorize(customer_id: str) -> bytes:
    return gateway_service_pb2.AuthorizeRequest(
        customer_id=customer_id, amount="0.0100", ttl_seconds=3600
    ).SerializeToString()


def _report(customer_id: str) -> bytes:
    return gateway_service_pb2.ReportUsageRequest(
        request_id=f"req_{uuid.uuid4().hex}",
        customer_id=customer_id,
        meter_slug="slug-prd_1",
        input_tokens=400,
        output_tokens=100,
    ).SerializeToString()


def reads(served: Served) -> dict[str, float]:
    """Milliseconds of each list and sum, the least of several."""
    now = SystemClock().now()
    day = to_datetime(now - 86_400 * SECOND).isoformat()
    month = to_datetime(now - 30 * 86_400 * SECOND).isoformat()
    middle = served.size.requests // 2
    customer = filling.customer_id(served.size.customers // 2)
    label = json.dumps([filling.RARE_LABEL])
    deep = filling.request_id(middle) if served.size.requests else ""
    deep_customer = filling.customer_id(served.size.customers // 2)
    deep_entry = filling.entry_id(middle) if served.size.requests else ""
    with grpc.insecure_channel(served.address) as channel:
        records = request_service_pb2_grpc.RequestServiceStub(channel).ListRequests
        customers = customer_service_pb2_grpc.CustomerServiceStub(channel).ListCustomers
        entries = ledger_service_pb2_grpc.LedgerServiceStub(channel).ListEntries
        usage = usage_service_pb2_grpc.UsageServiceStub(channel).GetUsage
        holds = gateway_service_pb2_grpc.GatewayServiceStub(channel).ListReservations
        held = gateway_service_pb2.ListReservationsRequest
        asked = request_service_pb2.ListRequestsRequest
        summed = usage_service_pb2.GetUsageRequest
        listed = ledger_service_pb2.ListEntriesRequest
        calls: dict[str, Callable[[], object]] = {
            "requests": lambda: records(asked(), metadata=served.metadata),
            "requests_deep": lambda: records(asked(cursor=deep), metadata=served.metadata),
            "requests_of_customer": lambda: records(
                asked(customer_id=customer), metadata=served.metadata
            ),
            "requests_of_rare_meter": lambda: records(
                asked(meter_id=filling.RARE_METER), metadata=served.metadata
            ),
            "requests_of_label": lambda: records(
                asked(metadata_filters='[["team","t7"]]'), metadata=served.metadata
            ),
            "requests_of_rare_label": lambda: records(
                asked(metadata_filters=label), metadata=served.metadata
            ),
            "reservations": lambda: holds(held(), metadata=served.metadata),
            "reservations_of_customer": lambda: holds(
                held(customer_id=customer), metadata=served.metadata
            ),
            "customers": lambda: customers(
                customer_service_pb2.ListCustomersRequest(), metadata=served.metadata
            ),
            "customers_deep": lambda: customers(
                customer_service_pb2.ListCustomersRequest(cursor=deep_customer),
                metadata=served.metadata,
            ),
            "entries": lambda: entries(listed(), metadata=served.metadata),
            "entries_deep": lambda: entries(listed(cursor=deep_entry), metadata=served.metadata),
            "entries_of_customer": lambda: entries(
                listed(account_id=customer), metadata=served.metadata
            ),
            "usage_of_customer": lambda: usage(
                summed(start=month, customer_id=customer), metadata=served.metadata
            ),
            "usage_of_rare_label": lambda: usage(
                summed(start=month, metadata_filters=label), metadata=served.metadata
            ),
            "usage_of_rare_meter": lambda: usage(
                summed(start=month, meter_id=filling.RARE_METER), metadata=served.metadata
            ),
            "usage_of_a_day": lambda: usage(summed(start=day), metadata=served.metadata),
            "usage_of_30_days": lambda: usage(summed(start=month), metadata=served.metadata),
        }
        return {name: _timed(call) for name, call in calls.items()}


def _timed(call: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begun))
        if sum(times) > 10_000:  # noqa: PLR2004 - slow enough to be known well
            break
    return round(min(times), 2)


def verified(served: Served) -> float:
    """Seconds of `verify` over everything; exits where a rule is broken."""
    begun = time.perf_counter()
    with grpc.insecure_channel(served.address) as channel:
        report = ledger_service_pb2_grpc.LedgerServiceStub(channel).Verify(
            ledger_service_pb2.VerifyRequest(),
            metadata=served.metadata,
            timeout=VERIFY_SECONDS_MAX,
        )
    if not report.ok:
        raise SystemExit(f"the books do not balance: {report.findings[:3]}")
    return round(time.perf_counter() - begun, 2)


def run(engine: str, size: Size, args: argparse.Namespace, console: Console) -> dict[str, object]:
    """Everything on one engine."""
    with ExitStack() as stack:
        urls = _urls(engine, stack)
        full = stack.enter_context(serving(urls[0], size, console.print))
        empty = stack.enter_context(serving(urls[1], EMPTY, lambda _: None))
        grown = filling.table_bytes(full.url)
        bare = filling.table_bytes(empty.url)
        figures: dict[str, object] = {
            "customers": size.customers,
            "requests": size.requests,
            "filled_seconds": round(full.filled_seconds, 1),
            "bytes_per_request": round((sum(grown.values()) - sum(bare.values())) / size.requests),
            "table_bytes_per_request": {
                name: round((count - bare[name]) / size.requests, 1)
                for name, count in grown.items()
            },
        }
        # First, while no hold is active: a filtered list looks at those one by one.
        figures["reads_ms"] = reads(full)
        figures["reads_ms_empty"] = reads(empty)
        figures |= hot_path(full, empty, seconds=args.seconds, rounds=args.rounds)
        if not args.no_verify:
            figures["verify_seconds"] = verified(full)
            figures["verify_seconds_empty"] = verified(empty)
        return figures


def _urls(engine: str, stack: ExitStack) -> tuple[str, str]:
    if engine == "sqlite":
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lava-growth-")))
        return f"sqlite:///{folder / 'full.db'}", f"sqlite:///{folder / 'empty.db'}"
    server = stack.enter_context(
        PostgresServer(
            settings={
                "shared_buffers": SHARED_BUFFERS,
                "max_wal_size": "8GB",
                "maintenance_work_mem": "512MB",
            }
        )
    )
    return server.url(server.create_database()), server.url(server.create_database())


def show(engine: str, figures: dict[str, object], console: Console) -> None:
    """Print what was measured."""
    table = Table(title=f"{engine}: full against empty")
    for column in ("", "full", "empty", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for name in ("authorize", "report"):
        for in_flight in (IN_FLIGHT, 1):
            key = f"{name}_{in_flight}"
            table.add_row(
                f"{name}, {in_flight} in flight, a second",
                str(figures[f"{key}_per_second"]),
                str(figures[f"{key}_per_second_empty"]),
                str(figures[f"{key}_ratio"]),
            )
    full, empty = figures["reads_ms"], figures["reads_ms_empty"]
    if isinstance(full, dict) and isinstance(empty, dict):
        for name, taken in full.items():
            table.add_row(f"{name}, ms", str(taken), str(empty[name]), f"{taken / empty[name]:.2f}")
    console.print(table)
    console.print(f"bytes a request: {figures['bytes_per_request']}")


def main() -> int:
    """Measure, print, end with a line of JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.growth", description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--engine", choices=("sqlite", "postgres"), action="append")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run of a loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-verify", action="store_true", help="`verify` reads everything")
    args = parser.parse_args()
    if args.requests < 1 or args.customers < 1 or args.requests % args.customers:
        parser.error("--requests must be a multiple of --customers")
    console = Console(stderr=True)
    size = Size(args.customers, args.requests)
    found: dict[str, object] = {}
    for engine in args.engine or ("postgres",):
        figures = run(engine, size, args, console)
        show(engine, figures, console)
        found[engine] = figures
    print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
