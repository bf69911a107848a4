"""Authorize and ReportUsage against a no-op RPC on the same server: `make bench-authorize`.

    python -m benchmarks.authorize [--seconds S] [--rounds N]

On each engine, durable (SQLite synchronous FULL, PostgreSQL fsync on): the no-op
and Authorize in turns, 64 in flight, so that a machine that slows down slows both; so
ReportUsage by itself, priced by a meter, and as the settlement of a hold (`two_step`
counts both calls). Then one hot account against many, latencies at several loads, and
the group commit against a transaction for each hold. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from lava.v1 import (
    credit_service_pb2,
    credit_service_pb2_grpc,
    customer_service_pb2,
    customer_service_pb2_grpc,
    gateway_service_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    meter_pb2,
    meter_service_pb2,
    meter_service_pb2_grpc,
)
from rich.console import Console
from rich.table import Table

from benchmarks import load, many
from benchmarks.server import NOOP
from lava_grpc.app.clock import SystemClock
from lava_grpc.core.account import GrantSource
from lava_grpc.core.commands import AddGrant, Command, HoldPart, PlaceHold
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.ids import IdSource
from lava_grpc.store import schema
from lava_grpc.store.database import Database
from lava_grpc.store.group_commit import GroupCommit
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.migrations import upgrade
from tests.support.postgres import PostgresServer

AUTHORIZE = "/lava.v1.GatewayService/Authorize"
REPORT = "/lava.v1.GatewayService/ReportUsage"
METER = "tokens"
IN_FLIGHT = 64
LOADS = (1, 16, 64, 256)
ACCOUNTS = 1000
SETUP_CALLS = 100
NAIVE_THREADS = 16


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, with a customer of plenty and many more."""

    address: str
    http_address: str
    key: str
    customers: list[str]
    hot: list[bytes]
    spread: list[bytes]
    # Of usage by one customer, each still without a request id.
    reports: list[bytes]
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """Processor time that the server has taken so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(url: str) -> Iterator[Server]:
    """Start a server on an empty database, and fill in accounts."""
    environment = os.environ | {
        "LAVA_DATABASE_URL": url,
        "LAVA_GRPC_ADDRESS": "127.0.0.1:0",
        "LAVA_HTTP_ADDRESS": "127.0.0.1:0",
    }
    made = json.loads(
        subprocess.run(
            [sys.executable, "-m", "lava_grpc.cli", "init", "--json"],
            env=environment,
            check=True,
            capture_output=True,
        ).stdout
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"], env=environment, stdout=subprocess.PIPE
    )
    try:
        if process.stdout is None:
            raise RuntimeError("no standard output")
        told = json.loads(process.stdout.readline())
        address = told["grpc_address"]
        ids = _customers(address, made["secret_key"])
        requests = [_request(ident) for ident in ids]
        reports = [_report(ident) for ident in ids]
        yield Server(
            address,
            told["http_address"],
            made["secret_key"],
            ids,
            requests[:1],
            requests,
            reports,
            process,
        )
        _verify(address, made["secret_key"])
    finally:
        process.terminate()
        process.wait(30)


def _customers(address: str, key: str) -> list[str]:
    metadata = (("authorization", f"Bearer {key}"),)
    with grpc.insecure_channel(address) as channel:
        meter_service_pb2_grpc.MeterServiceStub(channel).CreateMeter(
            meter_service_pb2.CreateMeterRequest(
                name="Tokens",
                meter_slug=METER,
                rate_type=meter_pb2.RATE_TYPE_FIXED,
                tier_type=meter_pb2.TIER_TYPE_TOKENS_1M,
                tiers=[meter_pb2.MeterTierInput(start="0", rate="2")],
            ),
            metadata=metadata,
        )
        customers = customer_service_pb2_grpc.CustomerServiceStub(channel)
        credit = credit_service_pb2_grpc.CreditServiceStub(channel)
        ids: list[str] = []
        # Not all at once: a server turns away what it will not come to in time.
        for _ in range(0, ACCOUNTS, SETUP_CALLS):
            made = [
                customers.CreateCustomer.future(
                    customer_service_pb2.CreateCustomerRequest(), metadata=metadata
                )
                for _ in range(SETUP_CALLS)
            ]
            new = [call.result().customer.customer_id for call in made]
            grants = [
                credit.CreateCreditGrant.future(
                    credit_service_pb2.CreateCreditGrantRequest(
                        customer_id=ident, amount="1000000"
                    ),
                    metadata=metadata,
                )
                for ident in new
            ]
            for call in grants:
                call.result()
            ids += new
    return ids


def _request(customer_id: str) -> bytes:
    request = gateway_service_pb2.AuthorizeRequest(
        customer_id=customer_id, amount="0.0100", ttl_seconds=3600
    )
    return request.SerializeToString()


def _report(customer_id: str) -> bytes:
    request = gateway_service_pb2.ReportUsageRequest(
        customer_id=customer_id, meter_slug=METER, input_tokens=900, output_tokens=120
    )
    return request.SerializeToString()


def _anew(report: bytes) -> bytes:
    """The report under a new request id: messages that follow each other are one."""
    named = gateway_service_pb2.ReportUsageRequest(request_id=secrets.token_hex(16))
    return report + named.SerializeToString()


def _settlement(answer: bytes) -> bytes:
    """The report that settles the hold that was placed, for half of it."""
    held = gateway_service_pb2.AuthorizeResponse.FromString(answer).reservation
    request = gateway_service_pb2.ReportUsageRequest(
        reservation_id=held.reservation_id, amount="0.0050"
    )
    return request.SerializeToString()


SETTLE = load.Then(REPORT, _settlement)


def _verify(address: str, key: str) -> None:
    with grpc.insecure_channel(address) as channel:
        report = ledger_service_pb2_grpc.LedgerServiceStub(channel).Verify(
            ledger_service_pb2.VerifyRequest(), metadata=(("authorization", f"Bearer {key}"),)
        )
    if not report.ok:
        raise SystemExit(f"the books do not balance: {report.findings[:3]}")


def measure(server: Server, *, seconds: float, rounds: int) -> dict[str, float]:
    """The figures of one engine."""

    def rate(
        method: str,
        requests: list[bytes],
        in_flight: int = IN_FLIGHT,
        *,
        then: load.Then | None = None,
    ) -> load.Run:
        source = itertools.cycle(requests)
        ran = asyncio.run(
            load.run(
                server.address,
                method,
                map(_anew, source) if method == REPORT else source,
                in_flight=in_flight,
                seconds=seconds,
                key=server.key,
                then=then,
            )
        )
        if ran.errors:
            raise SystemExit(f"{ran.errors} of {ran.calls} calls failed")
        return ran

    def in_batches() -> float:
        return asyncio.run(
            many.batches(server.address, server.spread, seconds=seconds, key=server.key)
        )

    def in_streams() -> float:
        return asyncio.run(
            many.streams(server.address, server.spread, seconds=seconds, key=server.key)
        )

    for method in (NOOP, AUTHORIZE):
        rate(method, server.spread)
    floors, hots, spreads, cpu = [], [], [], []
    batches, streams, many_cpu, floor_cpu, reports, two_steps = [], [], [], [], [], []
    for _ in range(rounds):
        before = server.cpu_seconds()
        floor = rate(NOOP, server.hot)
        floors.append(floor.per_second)
        floor_cpu.append((server.cpu_seconds() - before) / floor.calls * 1000)
        before = server.cpu_seconds()
        ran = rate(AUTHORIZE, server.hot)
        hots.append(ran.per_second)
        cpu.append((server.cpu_seconds() - before) / ran.calls * 1000)
        spreads.append(rate(AUTHORIZE, server.spread).per_second)
        reports.append(rate(REPORT, server.reports).per_second)
        two_steps.append(rate(AUTHORIZE, server.spread, then=SETTLE).per_second)
        before = server.cpu_seconds()
        batches.append(in_batches())
        many_cpu.append((server.cpu_seconds() - before) / (batches[-1] * seconds) * 1000)
        streams.append(in_streams())
    ratios = [hot / floor for hot, floor in zip(hots, floors, strict=True)]
    figures = {
        "noop_per_second": statistics.median(floors),
        "hot_per_second": statistics.median(hots),
        "spread_per_second": statistics.median(spreads),
        "unary_ratio": statistics.median(ratios),
        "hot_over_spread": statistics.median(
            [hot / spread for hot, spread in zip(hots, spreads, strict=True)]
        ),
        "report_per_second": statistics.median(reports),
        "report_ratio": _ratio(reports, floors),
        "two_step_ratio": _ratio(two_steps, floors),
        "cpu_seconds_per_1000": statistics.median(cpu),
        "batch_holds_per_second": statistics.median(batches),
        "stream_holds_per_second": statistics.median(streams),
        "batch_over_noop": _ratio(batches, floors),
        "stream_over_noop": _ratio(streams, floors),
        "noop_cpu_seconds_per_1000": statistics.median(floor_cpu),
        "batch_cpu_seconds_per_1000": statistics.median(many_cpu),
    }
    for in_flight in LOADS:
        floor, ran = rate(NOOP, server.hot, in_flight), rate(AUTHORIZE, server.hot, in_flight)
        figures |= {
            f"noop_p50_ms_at_{in_flight}": floor.p50_ms,
            f"p50_ms_at_{in_flight}": ran.p50_ms,
            f"p99_ms_at_{in_flight}": ran.p99_ms,
        }
    return figures


def _ratio(rates: list[float], floors: list[float]) -> float:
    return statistics.median([rate / floor for rate, floor in zip(rates, floors, strict=True)])


def group_over_naive(url: str, *, seconds: float) -> float:
    """Holds a second on one hot account: in groups, over one transaction each."""
    clock, ids = SystemClock(), IdSource()
    database = Database(url)
    account = "con_naive"
    with database.store_engine.engine.begin() as connection:
        connection.execute(
            schema.accounts.insert().values(
                merchant_id="mer_naive", account_id=account, kind="customer", credit_limit=0
            )
        )
    setup = LedgerStore(database.store_engine, clock)
    asyncio.run(setup.apply([_plenty(account)]))
    asyncio.run(setup.close())
    lock = threading.Lock()

    def hold() -> Command:
        with lock:
            ident = ids.ulid(clock.now())
        part = HoldPart(account, Role.CHARGE, amount=100)
        return PlaceHold(
            merchant_id="mer_naive",
            request_id=ident,
            hold_id=f"res_{ident}",
            fingerprint="",
            kind=HoldKind.AUTHORIZE,
            parts=(part,),
            facts=CallFacts(),
            ttl_seconds=3600,
        )

    end = time.perf_counter() + seconds
    counts = [0] * NAIVE_THREADS

    def naive(worker: int) -> None:
        asyncio.run(alone(worker))

    async def alone(worker: int) -> None:
        store = LedgerStore(database.store_engine, clock)
        while time.perf_counter() < end:
            await store.apply([hold()])
            counts[worker] += 1
        await store.close()

    threads = [threading.Thread(target=naive, args=(i,)) for i in range(NAIVE_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def grouped() -> int:
        ledger = GroupCommit(
            LedgerStore(database.store_engine, clock, io=database.in_writer, turn=database.turn),
            database,
        )
        ledger.start()
        done = 0
        until = time.perf_counter() + seconds

        async def worker() -> None:
            nonlocal done
            while time.perf_counter() < until:
                await ledger.submit(hold())
                done += 1

        await asyncio.gather(*[worker() for _ in range(IN_FLIGHT)])
        await ledger.stop()
        return done

    total = asyncio.run(grouped())
    database.close()
    return total / sum(counts)


def _plenty(account: str) -> AddGrant:
    return AddGrant(
        merchant_id="mer_naive",
        account_id=account,
        grant_id="grt_naive",
        request_id="grant",
        fingerprint="",
        source=GrantSource.TOP_UP,
        priority=20,
        amount=10**18,
        meter_ids=None,
        expires_at=None,
    )


def main() -> int:
    """Measure both engines and print what came out."""
    parser = argparse.ArgumentParser(description="Authorize against a no-op RPC.")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind, in turns")
    options = parser.parse_args()
    engines: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, serving(f"sqlite:///{folder}/lava.db") as server:
        engines["sqlite"] = measure(server, seconds=options.seconds, rounds=options.rounds)
    with PostgresServer(fsync=True) as postgres:
        with serving(postgres.url(postgres.create_database())) as server:
            engines["postgres"] = measure(server, seconds=options.seconds, rounds=options.rounds)
        url = postgres.url(postgres.create_database())
        upgrade(url)
        naive = group_over_naive(url, seconds=options.seconds)
    table = Table(title=f"Authorize, {IN_FLIGHT} in flight unless said")
    table.add_column("figure")
    for engine in engines:
        table.add_column(engine, justify="right")
    for figure in engines["sqlite"]:
        table.add_row(figure, *[f"{engines[engine][figure]:,.3f}" for engine in engines])
    table.add_row("group_over_naive", "", f"{naive:,.3f}")
    Console().print(table)
    summary = {
        "unary_ratio_sqlite": engines["sqlite"]["unary_ratio"],
        "unary_ratio_postgres": engines["postgres"]["unary_ratio"],
        "hot_over_spread": engines["postgres"]["hot_over_spread"],
        "hot_over_spread_sqlite": engines["sqlite"]["hot_over_spread"],
        "group_over_naive": naive,
        "latency_ms": {
            engine: {
                str(n): {"p50": figures[f"p50_ms_at_{n}"], "p99": figures[f"p99_ms_at_{n}"]}
                for n in LOADS
            }
            for engine, figures in engines.items()
        },
        **{
            name: {engine: figures[name] for engine, figures in engines.items()}
            for name in (
                "batch_holds_per_second",
                "stream_holds_per_second",
                "batch_over_noop",
                "stream_over_noop",
                "report_ratio",
                "two_step_ratio",
            )
        },
        "cpu_seconds_per_1000_holds": {
            engine: figures["cpu_seconds_per_1000"] for engine, figures in engines.items()
        },
        "cpu_seconds_per_1000_holds_in_batches": {
            engine: figures["batch_cpu_seconds_per_1000"] for engine, figures in engines.items()
        },
        "cpu_seconds_per_1000_noops": {
            engine: figures["noop_cpu_seconds_per_1000"] for engine, figures in engines.items()
        },
    }
    print(json.dumps(_rounded(summary)))
    return 0


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
