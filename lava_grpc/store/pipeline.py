"""Statements, prepared where they may be, in libpq's pipeline mode, driven by the event loop.

psycopg's own pipelines do as much and more, in Python for every statement; its
wrapper of libpq, used here as it is, leaves half of the processor time of a
batch. What libpq asks of its callers in this mode is in the PostgreSQL manual,
"Pipeline Mode" and "Asynchronous Command Processing".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.adapt import Transformer

from lava_grpc.store.sql import Row

_FAILED = frozenset((pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE))


@dataclass(frozen=True, slots=True)
class Step:
    """One statement: its name on the server, its text with `$1` and so on, and its parameters.

    A name always goes with the same text.
    """

    name: str
    text: str
    parameters: tuple[bytes, ...] = ()


class Pipeline:
    """A connection of its own, one run at a time. After any exception it is fit to be closed only.

    Made where a connection may block, used on the event loop. Without `prepare` nothing is
    left on the server: each statement is sent whole, without its name.
    """

    def __init__(self, connection: psycopg.Connection[Any], *, prepare: bool = True) -> None:
        self._connection = connection
        self._prepare = prepare
        self._libpq = connection.pgconn
        self._libpq.nonblocking = 1
        self._libpq.enter_pipeline_mode()
        # Between a run and its last answer: what is left of one must not answer the next.
        self._amid = False
        self._prepared: dict[str, bytes] = {}
        self._generation = 0
        self._rows = Transformer(connection)

    async def run(self, steps: Sequence[Step]) -> list[list[Row]]:
        """The rows of each step, none for one that returns none; one round trip.

        Raises what psycopg has for the first step that failed, and OperationalError
        where the connection broke.
        """
        if self._amid:
            raise psycopg.InterfaceError("the last run was not finished")
        self._amid = True
        made = [self._send(step) for step in steps]
        self._libpq.pipeline_sync()
        await self._flush()
        found: list[list[Row]] = []
        for is_new in made:
            if is_new:
                await self._finish_one()
            found.append(self._rows_of(await self._finish_one()))
        await self._result()  # the answer to the sync, which nothing follows
        self._amid = False
        return found

    def plan_anew(self) -> None:
        """Prepare every statement again at its next run: the server planned it for small tables."""
        self._generation += 1
        self._prepared.clear()

    def close(self) -> None:
        """Give the connection up."""
        self._connection.close()

    def _send(self, step: Step) -> bool:
        """Queue a step; whether it had to be prepared first."""
        if not self._prepare:
            self._libpq.send_query_params(step.text.encode(), step.parameters)
            return False
        name = self._prepared.get(step.name)
        is_new = name is None
        if name is None:
            # Those of earlier generations stay with the server, unused: there are few.
            name = self._prepared[step.name] = f"{step.name}.{self._generation}".encode()
            self._libpq.send_prepare(name, step.text.encode())
        self._libpq.send_query_prepared(name, step.parameters)
        return is_new

    async def _flush(self) -> None:
        while self._libpq.flush():
            # The server may wait to be read before it reads on.
            await self._ready(writable=True)
            self._libpq.consume_input()

    async def _finish_one(self) -> pq.abc.PGresult:
        """The result of one command. What follows it in libpq's queue is an empty one."""
        result = await self._result()
        if await self._maybe_result() is not None:
            raise psycopg.InternalError("a statement had more than one result")
        return result

    async def _result(self) -> pq.abc.PGresult:
        result = await self._maybe_result()
        if result is None:
            raise _lost()
        if result.status in _FAILED:
            if self._libpq.status == pq.ConnStatus.BAD:
                raise _lost()
            raise errors.error_from_result(result)
        return result

    async def _maybe_result(self) -> pq.abc.PGresult | None:
        while self._libpq.is_busy():
            await self._ready()
            self._libpq.consume_input()
        return self._libpq.get_result()

    async def _ready(self, *, writable: bool = False) -> None:
        """Wait until the socket can be read, or written where that is what is waited for."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        socket = self._libpq.socket
        loop.add_reader(socket, _wake, ready)
        if writable:
            loop.add_writer(socket, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(socket)
            if writable:
                loop.remove_writer(socket)

    def _rows_of(self, result: pq.abc.PGresult) -> list[Row]:
        if result.status != pq.ExecStatus.TUPLES_OK or not result.ntuples:
            return []
        self._rows.set_pgresult(result)
        return self._rows.load_rows(0, result.ntuples, tuple)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _lost() -> psycopg.OperationalError:
    return psycopg.OperationalError("the connection was lost")
