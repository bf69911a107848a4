"""What an engine must offer; `sqlite.py` and `postgres.py` are the siblings that do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection, Engine

from lava_grpc.store.sql import Row, Statement


class LedgerSession(Protocol):
    """One connection that runs the ledger's batches, one transaction at a time.

    Used from one thread at a time. After any exception it is rolled back or closed, and
    never used again.
    """

    def load(self, reads: Sequence[Statement]) -> list[list[Row]]:
        """Begin, and run statements that read; the rows of each, in order.

        What locks comes first, so that the others read what the lock's last
        holder wrote.
        """
        ...

    def write(self, writes: Sequence[Statement]) -> None:
        """Run statements that write, and commit; durable once it returns."""
        ...

    def rollback(self) -> None:
        """Undo what `load` began."""
        ...

    def close(self) -> None:
        """Give the connection up."""
        ...


class StoreEngine(Protocol):
    """One kind of database."""

    engine: Engine
    # SQLite takes one writer: management writes then queue behind the batches.
    single_writer: bool

    def session(self) -> LedgerSession:
        """A new session of its own."""
        ...

    def analyze(self, connection: Connection) -> None:
        """Have the planner look at tables that have grown and that it has never looked at.

        Cached plans that were made while they were empty are then made anew.
        """
        ...

    def retryable(self, error: BaseException) -> bool:
        """Whether the transaction may succeed if it is run again: a conflict, a lost connection."""
        ...

    def lost(self, error: BaseException) -> bool:
        """Whether the database could not be reached, so that waiting may help."""
        ...
