"""Behind a pgbouncer that lends its few connections out for one transaction at a time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from sqlalchemy import NullPool, create_engine, text

from lava_grpc.core.errors import Refusal
from lava_grpc.store.migrations import pending, upgrade
from tests.support.ledger import MERCHANT, ledger_on, place, settle, settled, tried
from tests.support.pgbouncer import SERVER_CONNECTIONS_MAX, PgBouncer
from tests.support.process import Finished, command, environment
from tests.support.service import Running, running


@pytest.fixture(params=[False, True], ids=["unprepared", "prepared"])
def prepare(request: pytest.FixtureRequest, pooler: PgBouncer) -> bool:
    """Statements that do not stay prepared, and those that do where the pooler follows them."""
    wanted: bool = request.param
    if wanted and not pooler.follows_prepared:
        pytest.skip("this pgbouncer does not follow prepared statements")
    return wanted


async def test_processes_that_share_connections_admit_exactly_what_is_affordable(
    pooler: PgBouncer, postgres_url: str, *, prepare: bool
) -> None:
    url = pooler.through(postgres_url)
    async with (
        ledger_on(url, prepare=prepare) as one,
        ledger_on(url, prepare=prepare) as two,
        ledger_on(url, prepare=prepare) as three,
    ):
        names = ("con_a", "con_b")
        for name in names:
            await one.open_account(name, credit=10)
        said: Counter[str] = Counter()
        everyone = (one, two, three)
        for turn in range(20):
            # Most lack credit, and look for overdue holds while others wait for their locks.
            asked = [tried(on.ledger, place(name, 1)) for on in everyone for name in names]
            # Beside them, reads and writes that take connections of their own.
            read = [on.books.account(MERCHANT, "con_a") for on in everyone]
            answers, _, _ = await asyncio.gather(
                asyncio.gather(*asked), asyncio.gather(*read), two.open_account(f"con_{turn}")
            )
            said.update("no" if isinstance(answer, Refusal) else "ok" for answer in answers)
        assert said == {"ok": 20, "no": 100}
        await settled(three.ledger, settle("con_a", 1, request_id="after"))
        await one.verified()
        clients, servers = pooler.connections(url)
        assert servers <= SERVER_CONNECTIONS_MAX < clients


async def test_processes_migrate_an_empty_database_at_once(
    pooler: PgBouncer, postgres_url: str, *, prepare: bool
) -> None:
    _emptied(postgres_url)
    url = pooler.through(postgres_url)
    await asyncio.gather(*[asyncio.to_thread(upgrade, url, prepare=prepare) for _ in range(4)])
    engine = create_engine(postgres_url, poolclass=NullPool)
    with engine.connect() as connection:
        assert not pending(connection)


async def test_a_service_does_all_its_work(
    pooler: PgBouncer, postgres_url: str, *, prepare: bool
) -> None:
    _emptied(postgres_url)
    url = pooler.through(postgres_url)
    async with running(url, database_prepare=prepare, webhook_poll_seconds=0.05) as lava:
        await lava.meter("words", "2")
        # More often than a driver takes to prepare a statement, on every connection.
        customers = await asyncio.gather(*[_billed(lava, number) for number in range(40)])
        listed = await lava.rest("GET", "/v1/customers?limit=100")
        assert {one["customer_id"] for one in listed["data"]} == set(customers)
        await lava.verified()
    settings = environment(database_url=url, database_prepare=prepare)
    assert "40 holds" in _succeeded(await command("verify", env=settings)).out
    _succeeded(await command("db", "partition", env=settings))
    assert "40 holds" in _succeeded(await command("verify", env=settings)).out


async def _billed(lava: Running, number: int) -> str:
    """A new customer, a hold on its credit, and its charge; the customer's id."""
    customer = await lava.customer("5", name=f"number {number}")
    request = {"customer_id": customer, "request_id": f"r{number}"}
    await lava.rest("POST", "/v1/reservations", {**request, "amount": "2"})
    await lava.rest("POST", "/v1/requests", {**request, "amount": "1"})
    assert (await lava.balance(customer))["balance"] == "4.0000000000"
    assert (await lava.record(f"r{number}"))["customer_id"] == customer
    return customer


def _emptied(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


def _succeeded(done: Finished) -> Finished:
    assert done.code == 0, done.err
    return done
