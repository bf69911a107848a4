from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import make_url

from lava_grpc.store.database import Database
from lava_grpc.store.pipeline import Pipeline, Step
from lava_grpc.store.postgres import PostgresSession
from lava_grpc.store.sql import Row

NUMBERS = Step("numbers", "SELECT n, n * 2 FROM generate_series(1, $1::text::int) AS n", (b"3",))
# More than the socket's buffers and libpq's together take at once.
LARGE = 8 * 1024 * 1024


@pytest.fixture(params=[True, False], ids=["prepared", "unprepared"])
async def pipeline(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[Pipeline]:
    made = Pipeline(psycopg.connect(_conninfo(postgres_url)), prepare=request.param)
    yield made
    made.close()


def _conninfo(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


async def test_each_step_has_its_rows_in_order(pipeline: Pipeline) -> None:
    begin, commit = Step("b", "BEGIN"), Step("c", "COMMIT")
    for _ in range(2):  # prepared by the first run, and only run by the second
        found = await pipeline.run([begin, NUMBERS, Step("none", "SELECT 1 WHERE false"), commit])
        assert found == [[], [(1, 2), (2, 4), (3, 6)], [], []]


async def test_what_is_not_to_be_prepared_leaves_nothing_on_the_server(postgres_url: str) -> None:
    made = Pipeline(psycopg.connect(_conninfo(postgres_url)), prepare=False)
    left = Step("left", "SELECT name FROM pg_prepared_statements")
    for _ in range(2):
        assert await made.run([NUMBERS, left]) == [[(1, 2), (2, 4), (3, 6)], []]
    made.close()


async def test_the_first_error_is_told_as_what_it_is(pipeline: Pipeline) -> None:
    twice = Step("twice", "INSERT INTO meters_seen VALUES (1), (1)")
    await pipeline.run([Step("t", "CREATE TEMPORARY TABLE meters_seen (n int PRIMARY KEY)")])
    with pytest.raises(errors.UniqueViolation):
        await pipeline.run([Step("b", "BEGIN"), NUMBERS, twice, NUMBERS])


async def test_a_statement_that_cannot_be_prepared_is_told(pipeline: Pipeline) -> None:
    with pytest.raises(errors.UndefinedTable):
        await pipeline.run([NUMBERS, Step("bad", "SELECT * FROM nowhere")])


async def test_a_parameter_larger_than_every_buffer_arrives(pipeline: Pipeline) -> None:
    echo = "SELECT length($1::text), $1::text"
    text = "x" * LARGE
    sent = text.encode()
    found = await asyncio.wait_for(
        pipeline.run([Step("first", echo, (sent,)), Step("second", echo, (sent,))]), 60
    )
    assert [rows[0][0] for rows in found] == [LARGE, LARGE]
    assert found[1][0][1] == text


async def test_a_lost_connection_counts_as_lost(pipeline: Pipeline, postgres_url: str) -> None:
    [[(pid,)]] = await pipeline.run([Step("pid", "SELECT pg_backend_pid()")])
    waiting = asyncio.create_task(pipeline.run([Step("sleep", "SELECT pg_sleep(60)"), NUMBERS]))
    with psycopg.connect(_conninfo(postgres_url), autocommit=True) as other:
        while not other.execute(  # noqa: ASYNC110 - a server's wait is no event of ours
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'", (pid,)
        ).fetchone():
            await asyncio.sleep(0)
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    database = Database(postgres_url)
    with pytest.raises(psycopg.Error) as stopped:
        await asyncio.wait_for(waiting, 30)
    assert database.store_engine.lost(stopped.value)
    database.close()


async def test_what_is_left_of_a_failed_run_never_answers_the_next(pipeline: Pipeline) -> None:
    with pytest.raises(errors.UndefinedTable):
        await pipeline.run([Step("bad", "SELECT * FROM nowhere"), NUMBERS])
    with pytest.raises(psycopg.InterfaceError):
        await pipeline.run([NUMBERS])


async def test_a_connection_cut_without_a_word_counts_as_lost(
    pipeline: Pipeline, postgres_url: str
) -> None:
    [[(pid,)]] = await pipeline.run([Step("pid", "SELECT pg_backend_pid()")])
    with psycopg.connect(_conninfo(postgres_url), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    database = Database(postgres_url)
    with pytest.raises(psycopg.Error) as gone:
        await asyncio.wait_for(pipeline.run([NUMBERS]), 30)
    assert database.store_engine.lost(gone.value)
    database.close()


async def test_statements_are_planned_anew_when_that_is_asked_for(postgres_url: str) -> None:
    pipeline = Pipeline(psycopg.connect(_conninfo(postgres_url)))
    names = Step("names", "SELECT name FROM pg_prepared_statements WHERE name LIKE 'numbers%'")
    for generation in (1, 2):
        for _ in range(2):
            found = await pipeline.run([NUMBERS, names])
            assert found[0] == [(1, 2), (2, 4), (3, 6)]
            assert len(found[1]) == generation
        pipeline.plan_anew()
    pipeline.close()


class Counted:
    """A pipeline that does nothing but count."""

    def __init__(self) -> None:
        self.batches = 0
        self.planned_anew_at: list[int] = []

    async def run(self, steps: Sequence[Step]) -> list[list[Row]]:
        self.batches += 1
        return [[] for _ in steps]

    def plan_anew(self) -> None:
        self.planned_anew_at.append(self.batches)


async def test_a_session_has_its_plans_made_anew_while_tables_may_be_small() -> None:
    counted: Any = Counted()
    session = PostgresSession(counted, lambda _: [])
    for _ in range(300):
        await session.load([])
    assert counted.planned_anew_at == [3, 15, 63, 255]
