"""What an engine must offer; `sqlite.py` and `postgres.py` are the siblings that do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine

from lava_grpc.store.sql import Row, Statement

T = TypeVar("T")


class Io(Protocol):
    """How a store waits for what blocks."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """What `work` returns, run where it may block."""
        ...


class LedgerSession(Protocol):
    """One connection that runs the ledger's batches, one transaction at a time.

    Awaited on the event loop, which it never blocks for long. After any exception it
    is closed, and never used again.
    """

    async def load(self, reads: Sequence[Statement]) -> list[list[Row]]:
        """Begin, and run statements that read; the rows of each, in order.

        What locks comes first, so that the others read what the lock's last
        holder wrote.
        """
        ...

    async def write(self, writes: Sequence[Statement]) -> None:
        """Run statements that write, and commit; durable once it returns."""
        ...

    async def rollback(self) -> None:
        """Undo what `load` began."""
        ...

    async def close(self) -> None:
        """Give the connection up."""
        ...


class StoreEngine(Protocol):
    """One kind of database."""

    engine: Engine
    # SQLite takes one writer: management writes then queue behind the batches.
    single_writer: bool

    async def session(self, io: Io) -> LedgerSession:
        """A new session of its own; what it must block for, it does through `io`."""
        ...

    def analyze(self, connection: Connection) -> None:
        """Have the planner look at tables that are many times as large as when it last did.

        Cached plans that were made while they were small are then made anew.
        """
        ...

    def retryable(self, error: BaseException) -> bool:
        """Whether the transaction may succeed if it is run again: a conflict, a lost connection."""
        ...

    def lost(self, error: BaseException) -> bool:
        """Whether the database could not be reached, so that waiting may help."""
        ...
