"""The ledger's state machine through the store: group commit, statements, a real database.

The rules are the core's, in `tests/property/ledger_machine.py`. Each run is a
merchant of its own, so that one database serves them all. How many there are says
LAVA_STORE_MACHINE_RUNS, with LAVA_STORE_MACHINE_STEPS each: `make machines` runs many.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test
from sqlalchemy import Connection
from typing_extensions import override

from lava_grpc.core.account import Account
from lava_grpc.core.commands import Command
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.plans import Plan
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.store.database import Database
from lava_grpc.store.group_commit import GroupCommit
from lava_grpc.store.ledger_store import LedgerStore
from lava_grpc.store.verify import check
from tests.integration.ledger.ledger_tables import add_account, add_plan, read_books
from tests.property.ledger_machine import Ask, AskEnd, LedgerMachine, answer_of, batches
from tests.support.invariants import Books

RUNS = int(os.environ.get("LAVA_STORE_MACHINE_RUNS", "0"))
STEPS = int(os.environ.get("LAVA_STORE_MACHINE_STEPS", "20"))
RUNS_IN_SUITE = 25

_numbers = itertools.count(1)


class SetClock:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.instant: Instant = 0

    def now(self) -> Instant:
        return self.instant


@dataclass
class Process:
    """What one server process has of the ledger."""

    database: Database
    clock: SetClock
    charge_abandoned: bool
    ledger: GroupCommit = field(init=False)

    def start(self) -> None:
        store = LedgerStore(
            self.database.store_engine,
            self.clock,
            io=self.database.in_writer,
            turn=self.database.turn,
            charge_abandoned=self.charge_abandoned,
        )
        self.ledger = GroupCommit(store, self.database)
        self.ledger.start()

    async def apply(self, commands: Sequence[Command]) -> list[Outcome]:
        """One by one, as callers come; what is there when a batch begins shares it."""
        async with asyncio.timeout(60):
            return list(await asyncio.gather(*[self.ledger.enqueue(c) for c in commands]))


@dataclass
class Machines:
    """A database, an event loop, and the two processes that work on it."""

    databases: tuple[Database, Database]
    runner: asyncio.Runner


class StoreMachine(LedgerMachine):
    """On a database, by one process at a time."""

    makes_room = True

    def __init__(self, on: Machines) -> None:
        super().__init__()
        self.merchant = f"mer_{next(_numbers):05}"
        self.on = on
        self.clock = SetClock()
        self.processes: list[Process] = []

    @override
    def open(self, accounts: Sequence[Account], plan: Plan) -> None:
        def fill(connection: Connection) -> None:
            add_plan(connection, plan)
            for account in accounts:
                add_account(connection, account)

        self.on.runner.run(self.on.databases[0].write(fill))
        self.processes = [
            Process(database, self.clock, self.charge_abandoned) for database in self.on.databases
        ]
        for process in self.processes:
            self.on.runner.run(self._start(process))

    @override
    def apply(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        if not commands:
            return []
        self.clock.instant = self.now * SECOND
        return self.on.runner.run(self.processes[0].apply(commands))

    @override
    def books(self) -> Books:
        database = self.on.databases[0]
        if database.store_engine.single_writer:
            self._verify()
        return self.on.runner.run(database.read(lambda c: read_books(c, self.merchant)))

    def _verify(self) -> None:
        """What an operator's `verify` finds; planning it takes PostgreSQL a while."""
        report = self.on.runner.run(
            self.on.databases[0].read(lambda connection: check(connection, self.merchant))
        )
        assert report.findings == []

    @rule()
    def the_process_is_replaced(self) -> None:
        """By one that remembers nothing; the other database connection is next."""
        if self.processes:
            self.on.runner.run(self._restart())

    @override
    def teardown(self) -> None:
        self._verify()
        for process in self.processes:
            self.on.runner.run(process.ledger.stop())

    async def _restart(self) -> None:
        await self.processes[0].ledger.stop()
        await self._start(self.processes[0])
        self.processes.reverse()

    @staticmethod
    async def _start(process: Process) -> None:
        process.start()


class TwoProcessMachine(StoreMachine):
    """Two processes, whose batches may run at the same time."""

    @rule(one=batches, other=batches)
    def two_batches_at_once(self, one: list[Ask], other: list[Ask]) -> None:
        """As if one had come after the other, whichever it was."""
        if not self.processes:
            return
        before = copy.deepcopy(self.reference)
        begun = [[self._both(ask) for ask in asks if self._known(ask)] for asks in (one, other)]
        self.clock.instant = self.now * SECOND
        outcomes = self.on.runner.run(
            self._at_once([[command for command, _ in batch] for batch in begun])
        )
        told = [[answer_of(outcome) for outcome in some] for some in outcomes]
        books = self.books()
        wrong: list[object] = []
        for order in ((0, 1), (1, 0)):
            self.reference = copy.deepcopy(before)
            given = {
                which: self._answers([answer for _, answer in begun[which]]) for which in order
            }
            if (differences := self._differences(books)) or [given[0], given[1]] != told:
                wrong.append((order, given, differences))
                continue
            self._note(given[0] + given[1])
            return
        raise AssertionError(f"answers {told} fit no order: {wrong}")

    def _known(self, ask: Ask) -> bool:
        """A hold that is ended is looked up first, so it is there before the batch is."""
        return not isinstance(ask, AskEnd) or self._pick(ask.pick) in self.reference.holds

    async def _at_once(self, batches: Sequence[Sequence[Command]]) -> list[list[Outcome]]:
        pairs = zip(self.processes, batches, strict=True)
        return await asyncio.gather(*[process.apply(some) for process, some in pairs])


@contextmanager
def machines_on(url: str) -> Iterator[Machines]:
    databases = (Database(url), Database(url))
    with asyncio.Runner() as runner:
        if databases[0].turn is not None:
            # One file, one writer.
            databases[1].close()
            databases = (databases[0], databases[0])
        try:
            yield Machines(databases, runner)
        finally:
            for database in set(databases):
                database.close()


def run(machine: type[StoreMachine], url: str, *, runs: int) -> None:
    with machines_on(url) as on:

        class Here(machine):  # type: ignore[valid-type, misc]
            def __init__(self) -> None:
                super().__init__(on)

        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=RUNS or runs,
                stateful_step_count=STEPS,
                derandomize=not RUNS,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_the_ledger_on_a_database_is_the_reference(database_url: str) -> None:
    run(StoreMachine, database_url, runs=RUNS_IN_SUITE)


def test_two_processes_on_a_database_are_the_reference_in_some_order(postgres_url: str) -> None:
    run(TwoProcessMachine, postgres_url, runs=RUNS_IN_SUITE)
