"""Several server processes on one PostgreSQL, under load: `make bench-workers`.

    python -m benchmarks.workers [--workers N] [--accounts N] [--seconds S] [--credit N]

First every caller holds credit on one account, which runs out on the way: what was
granted must be held, all of it and nothing more. Then callers hold and report usage on
many accounts at once. The last line is one JSON object; exits 1 where PostgreSQL met a
deadlock, an account was overspent, a call ended as none should, or a rule of the books
was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field

from google.protobuf.message import Message
from lava.v1 import gateway_service_pb2 as pb
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection as Database
from sqlalchemy import create_engine, insert, select, text

from benchmarks.wire import Connection
from lava_grpc.app.clock import SystemClock
from lava_grpc.core.account import GrantSource
from lava_grpc.core.commands import AddGrant, Granted
from lava_grpc.core.money import SCALE
from lava_grpc.store import database as stores
from lava_grpc.store import schema
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.verify import check
from tests.support.postgres import PostgresServer
from tests.support.process import Merchant, init, serving

AUTHORIZE = "/lava.v1.GatewayService/Authorize"
REPORT = "/lava.v1.GatewayService/ReportUsage"
HOT = "con_test_hot"
CONNECTIONS = 16
IN_FLIGHT = 8
"""On each connection, so that none waits long for its turn on one account."""

TIMEOUT_SECONDS = 30.0
RICH = 1_000_000
BATCH = 500
EXPECTED = frozenset(("OK", "FAILED_PRECONDITION"))


@dataclass(slots=True)
class Figures:
    """What was seen."""

    workers: int
    accounts: int
    hot_credit: int
    hot_placed: int = 0
    hot_held: int = 0
    hot_calls_per_second: float = 0.0
    spread_calls_per_second: float = 0.0
    deadlocks: int = 0
    overspends: int = 0
    verify_breaks: int = 0
    unexpected: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all is as it must be."""
        exact = self.hot_placed == self.hot_held == self.hot_credit
        wrong = self.deadlocks + self.overspends + self.verify_breaks + len(self.unexpected)
        return exact and not wrong


async def measure(url: str, *, workers: int, accounts: int, seconds: float, credit: int) -> Figures:
    """Serve an empty database, load it, and look at what is left."""
    figures = Figures(workers, accounts, credit)
    merchant = await init(url)
    names = [f"con_test_{number:06}" for number in range(accounts)]
    await _fill(url, merchant.merchant_id, {HOT: credit} | dict.fromkeys(names, RICH))
    async with serving(url, workers=workers, log_level="error") as server:
        # As long as it takes to spend it all, and then for a while.
        ended, spent = await _load(server.grpc_address, merchant, {AUTHORIZE: [HOT]}, calls=credit)
        figures.hot_calls_per_second = round(sum(ended.values()) / spent, 1)
        figures.hot_placed = ended["OK"]
        spread = {AUTHORIZE: names, REPORT: names}
        more, spent = await _load(server.grpc_address, merchant, spread, seconds=seconds)
        figures.spread_calls_per_second = round(sum(more.values()) / spent, 1)
        figures.unexpected = {
            code: count for code, count in (ended + more).items() if code not in EXPECTED
        }
        await server.terminate()
    await asyncio.to_thread(_look, url, figures)
    return figures


async def _load(
    address: str,
    merchant: Merchant,
    customers: Mapping[str, Sequence[str]],
    *,
    calls: int = 0,
    seconds: float = 0.0,
) -> tuple[Counter[str], float]:
    """Keep calling in closed loops until so many calls were placed and so much time is over.

    How the calls ended, and how long that took.
    """
    ended: Counter[str] = Counter()
    begun = time.perf_counter()
    finished = asyncio.Event()

    def over() -> bool:
        enough = ended["OK"] >= calls and time.perf_counter() - begun >= seconds
        # Once the credit is out, as many calls again find that it is.
        return enough and (seconds > 0 or ended.total() >= 2 * calls)

    async with AsyncExitStack() as stack:
        connections: list[Connection] = []

        def told(which: int, source: Iterator[bytes]) -> None:
            if not over() and not _hopeless(ended):
                connections[which].call(next(source))
            elif not any(connection.in_flight for connection in connections):
                finished.set()

        for which in range(CONNECTIONS):
            method, names = list(customers.items())[which % len(customers)]
            # Each starts elsewhere, so that they meet in every order.
            source = _messages(method, names, which * len(names) // CONNECTIONS)

            def on_end(
                _begun: float,
                code: str,
                which: int = which,
                source: Iterator[bytes] = source,
            ) -> None:
                ended[code] += 1
                told(which, source)

            connection = await Connection.open(
                address,
                method,
                key=merchant.secret_key,
                timeout_seconds=TIMEOUT_SECONDS,
                ended=on_end,
            )
            stack.callback(connection.close)
            connections.append(connection)
            for _ in range(IN_FLIGHT):
                connection.call(next(source))
        for connection in connections:
            connection.flush()
        async with asyncio.timeout(TIMEOUT_SECONDS + seconds + calls / 10):
            await finished.wait()
    return ended, time.perf_counter() - begun


def _hopeless(ended: Counter[str]) -> bool:
    return any(code not in EXPECTED for code in ended)


def _messages(method: str, customers: Sequence[str], first: int) -> Iterator[bytes]:
    """Requests for one customer after the other, each but once."""
    for number in itertools.count(first):
        name = customers[number % len(customers)]
        message: Message = pb.AuthorizeRequest(customer_id=name, amount="1", ttl_seconds=3600)
        if method == REPORT:
            ident = f"{first}-{number}"
            message = pb.ReportUsageRequest(customer_id=name, amount="1", request_id=ident)
        yield message.SerializeToString()


async def _fill(url: str, merchant_id: str, credit: dict[str, int]) -> None:
    """Customers with credit, in whole units."""
    database = stores.Database(url)
    store = LedgerStore(database.store_engine, SystemClock(), io=database.in_writer)

    def add(connection: Database) -> None:
        owner = {"merchant_id": merchant_id}
        customers = [owner | {"customer_id": name, "created_at": 0} for name in credit]
        connection.execute(insert(schema.customers), customers)
        accounts = [owner | {"account_id": name, "kind": "customer"} for name in credit]
        connection.execute(insert(schema.accounts), accounts)

    try:
        await database.write(add)
        grants = [_grant(merchant_id, name, amount) for name, amount in credit.items()]
        for start in range(0, len(grants), BATCH):
            outcomes = await store.apply(grants[start : start + BATCH])
            if not all(isinstance(outcome, Granted) for outcome in outcomes):
                raise SystemExit("credit was refused")
        await database.analyze()
    finally:
        await store.close()
        database.close()


def _grant(merchant_id: str, customer_id: str, units: int) -> AddGrant:
    return AddGrant(
        merchant_id,
        customer_id,
        f"grt_{customer_id}",
        f"credit of {customer_id}",
        "",
        GrantSource.TOP_UP,
        20,
        units * SCALE,
        None,
        None,
    )


def _look(url: str, figures: Figures) -> None:
    engine = create_engine(url)
    accounts = schema.accounts.c
    try:
        with engine.connect() as connection:
            figures.verify_breaks = len(check(connection, None).findings)
        with engine.connect() as connection:
            held = select(accounts.held).where(accounts.account_id == HOT)
            figures.hot_held = connection.execute(held).scalar_one() // SCALE
            over = select(accounts.account_id).where(
                accounts.kind == "customer", accounts.balance < accounts.held
            )
            figures.overspends = len(connection.execute(over).all())
            figures.deadlocks = connection.execute(
                text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            ).scalar_one()
    finally:
        engine.dispose()


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description="Several processes on one PostgreSQL.")
    parser.add_argument("--workers", type=int, default=4, help="server processes")
    parser.add_argument("--accounts", type=int, default=10_000, help="beside the hot one")
    parser.add_argument("--seconds", type=float, default=10.0, help="load on many accounts")
    parser.add_argument("--credit", type=int, default=20_000, help="holds on the hot account")
    options = parser.parse_args()
    with PostgresServer(fsync=True) as postgres:
        figures = asyncio.run(
            measure(
                postgres.url(postgres.create_database()),
                workers=options.workers,
                accounts=options.accounts,
                seconds=options.seconds,
                credit=options.credit,
            )
        )
    table = Table(title=f"{options.workers} processes on one PostgreSQL")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in asdict(figures).items():
        table.add_row(name, str(value))
    Console().print(table)
    print(json.dumps(asdict(figures) | {"ok": figures.ok}))
    return 0 if figures.ok else 1


if __name__ == "__main__":
    sys.exit(main())
