"""The queue in front of the ledger: commands that arrive while a batch commits form the next.

An idle queue commits a lone command at once, and so it does for a few callers.
Under load a batch may wait for some time, measured by what the last one took to
commit, so that a transaction's own cost is shared by more commands; but never once
all callers wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import structlog

from lava_grpc.core.commands import Command, PlaceHold
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.errors import InvariantBroken, Reason, Refusal
from lava_grpc.core.ledger import Outcome
from lava_grpc.store.database import Database, unavailable
from lava_grpc.store.ledger_store import LedgerStore

_log = structlog.get_logger(__name__)

BATCH_COMMANDS_MAX = 512
QUEUE_COMMANDS_MAX = 10_000
GATHER_COMMANDS_MIN = 4
"""The size of a batch that tells of load: the next one is given time to fill."""

GATHER_COMMITS = 2
GATHER_SECONDS_MAX = 0.008
"""How long a batch is given: so many times as long as the last one took, and this at the most."""

RETRY_PAUSE_SECONDS = 0.02
RETRY_PAUSE_SECONDS_MAX = 1.0
UNREACHABLE_SECONDS_MAX = 5.0
"""How long a batch is retried while the database cannot be reached."""
CONFLICT_ATTEMPTS_MAX = 20


class ReachableHook(Protocol):
    """Told after each attempt whether the database could be reached."""

    def __call__(self, *, reachable: bool) -> None:
        """Take note."""
        ...


def ignore(*, reachable: bool) -> None:
    """The hook of who does not care."""
    del reachable


@dataclass(slots=True)
class _One:
    """A command and who waits for its outcome."""

    commands: tuple[Command]
    answer: asyncio.Future[Outcome]
    deadline: float | None
    count = 1

    def ready(self, now: float) -> bool:
        return _in_time(self, now)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        # A caller that has gone is told nothing; its command stands.
        if not self.answer.done():
            self.answer.set_result(outcomes[0])


@dataclass(slots=True)
class _Many:
    """Commands that share a batch and a future: one for each would cost more than deciding it."""

    commands: Sequence[Command]
    answer: asyncio.Future[Sequence[Outcome]]
    deadline: float | None

    @property
    def count(self) -> int:
        return len(self.commands)

    def ready(self, now: float) -> bool:
        return _in_time(self, now)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        if not self.answer.done():
            self.answer.set_result(outcomes)


@dataclass(slots=True)
class _Deferred:
    """A command that is made when its batch is."""

    deferred: DeferredCommand
    commands: tuple[Command, ...] = ()
    count = 1

    # One that breaks its word, and raises, must not take its neighbours' answers along.
    def ready(self, _now: float) -> bool:
        try:
            command = self.deferred.make()
        except Exception as error:  # noqa: BLE001 - what it says may hold a secret
            _log.error("a command could not be made", error=type(error).__name__)
            self.tell([_internal()])
            return False
        if command is None:
            return False
        self.commands = (command,)
        return True

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        try:
            self.deferred.conclude(outcomes[0])
        except Exception as error:  # noqa: BLE001 - what it says may hold a secret
            _log.error("an outcome could not be told", error=type(error).__name__)


_Waiting: TypeAlias = _One | _Many | _Deferred


def _in_time(waiting: _One | _Many, now: float) -> bool:
    """Whether somebody waits still, and may; who may not is told."""
    if waiting.answer.done():
        return False
    if waiting.deadline is not None and waiting.deadline <= now:
        waiting.tell([_too_late()] * waiting.count)
        return False
    return True


@dataclass(frozen=True, slots=True)
class QueueBounds:
    """How much may wait, how much goes into one transaction, how long an outage is sat out."""

    queue_commands_max: int = QUEUE_COMMANDS_MAX
    batch_commands_max: int = BATCH_COMMANDS_MAX
    unreachable_seconds_max: float = UNREACHABLE_SECONDS_MAX


class GroupCommit:
    """The process's one way to write to the ledger. See `gateway.ports.Ledger`.

    `callers` tells how many calls are in flight: a batch that they all wait for gains
    nothing by waiting for more. `on_broken` is called once if the loop ends, for a
    reason that is our bug: the process must then stop saying that it is healthy.
    """

    def __init__(
        self,
        store: LedgerStore,
        database: Database,
        bounds: QueueBounds = QueueBounds(),
        *,
        callers: Callable[[], int] = lambda: QUEUE_COMMANDS_MAX,
        on_broken: Callable[[], None] = lambda: None,
        on_reachable: ReachableHook = ignore,
    ) -> None:
        self._store = store
        self._lost = database.store_engine.lost
        self._retryable = database.store_engine.retryable
        self._bounds = bounds
        self._callers = callers
        self._on_broken = on_broken
        self._on_reachable = on_reachable
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0  # commands in the queue
        self._wake = asyncio.Event()
        self._wake_size = 1
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="lava-group-commit")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Refuse new commands, commit those that wait, and end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            with contextlib.suppress(Exception):
                await self._task
        await self._store.close()

    @property
    def waiting(self) -> int:
        """How many commands wait for a batch."""
        return self._waiting

    async def submit(self, command: Command, *, deadline: float | None = None) -> Outcome:
        """See `gateway.ports.Ledger.submit`."""
        answer = self.enqueue(command, deadline=deadline)
        # A hold that nobody waits for any more need not be placed. All else happened, or
        # gives back what somebody else may need: it goes on without its caller.
        outcome = await (answer if isinstance(command, PlaceHold) else asyncio.shield(answer))
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    def enqueue(
        self, command: Command, *, deadline: float | None = None
    ) -> asyncio.Future[Outcome]:
        """The future outcome, a Refusal among the possible ones; refuses OVERLOADED at once."""
        self._check_room(1)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._add(_One((command,), answer, deadline))
        return answer

    async def submit_many(
        self, commands: Sequence[Command], *, deadline: float | None = None
    ) -> list[Outcome]:
        """See `gateway.ports.BatchLedger.submit_many`."""
        if not commands:
            return []
        self._check_room(len(commands))
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Sequence[Outcome]]] = []
        size = self._bounds.batch_commands_max
        for start in range(0, len(commands), size):
            answer: asyncio.Future[Sequence[Outcome]] = loop.create_future()
            answers.append(answer)
            self._add(_Many(commands[start : start + size], answer, deadline))
        if len(answers) == 1:
            return list(await asyncio.shield(answers[0]))
        return [outcome for part in answers for outcome in await asyncio.shield(part)]

    def defer(self, deferred: DeferredCommand) -> None:
        """See `gateway.ports.DeferringLedger.defer`."""
        self._check_room(1)
        self._add(_Deferred(deferred))

    def _check_room(self, count: int) -> None:
        """Refuse what the queue has no room for; an empty queue has room for any one call."""
        if self._closing or self._task is None or self._task.done():
            raise _overloaded("the service is stopping")
        if self._waiting and self._waiting + count > self._bounds.queue_commands_max:
            raise _overloaded("too many commands wait for the ledger")

    def _add(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        self._waiting += waiting.count
        if self._waiting >= self._wake_size:
            self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        size, seconds = 0, 0.0
        while True:
            if size >= GATHER_COMMANDS_MIN:
                await self._until(
                    min(2 * size, self._callers()),
                    min(GATHER_COMMITS * seconds, GATHER_SECONDS_MAX),
                )
            if not self._queue:
                if self._closing:
                    return
                await self._until(1, None)
            begun = loop.time()
            batch = self._take()
            if batch:
                await self._commit(batch)
            else:
                # None came to anything: others have their turn before more of them are made.
                await asyncio.sleep(0)
            size, seconds = _size(batch), loop.time() - begun

    async def _until(self, size: int, seconds: float | None) -> None:
        """Wait until so many commands are queued, but no longer than so many seconds."""
        self._wake_size = size
        if self._waiting >= size or self._closing:
            return
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _take(self) -> list[_Waiting]:
        """The next batch. Who has gone, or whose deadline has passed, is not in it.

        Their room stays empty: making a command that is none takes its time too.
        """
        now = asyncio.get_running_loop().time()
        batch: list[_Waiting] = []
        room = self._bounds.batch_commands_max
        while self._queue and self._queue[0].count <= room:
            waiting = self._queue.popleft()
            self._waiting -= waiting.count
            room -= waiting.count
            if waiting.ready(now):
                batch.append(waiting)
        return batch

    async def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._apply([c for waiting in batch for c in waiting.commands])
        except InvariantBroken:
            _tell_all(batch, _internal())
            raise
        except Exception as error:  # noqa: BLE001 - one bad command must not take its neighbours along
            if self._lost(error):
                _tell_all(batch, unavailable())
            elif len(batch) > 1:
                await self._commit_apart(batch)
            elif batch[0].count > 1:
                await self._commit_each(batch[0])
            else:
                _log.error("ledger command failed", error=type(error).__name__)
                _tell_all(batch, _internal())
            return
        start = 0
        for waiting in batch:
            end = start + waiting.count
            waiting.tell(outcomes[start:end])
            start = end

    async def _commit_apart(self, batch: Sequence[_Waiting]) -> None:
        """Commit what waits one by one: commands are idempotent by id, so each can be."""
        reached = 0
        try:
            for waiting in batch:
                reached += 1
                await self._commit([waiting])
        finally:
            # Where the loop ends here, those that were not reached would wait for ever.
            _tell_all(batch[reached:], _internal())

    async def _commit_each(self, waiting: _Waiting) -> None:
        """Apply commands that share a future one by one."""
        loop = asyncio.get_running_loop()
        alone = [_One((command,), loop.create_future(), None) for command in waiting.commands]
        try:
            for one in alone:
                await self._commit([one])
        finally:
            # Where the loop ends here, those that were not reached have no outcome yet.
            done = [one.answer.result() if one.answer.done() else _internal() for one in alone]
            waiting.tell(done)

    async def _apply(self, commands: list[Command]) -> list[Outcome]:
        """Apply, again after a conflict or while the database is away."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._bounds.unreachable_seconds_max
        pause, attempt = RETRY_PAUSE_SECONDS, 0
        while True:
            attempt += 1
            try:
                outcomes = await self._store.apply(commands)
            except Exception as error:
                lost = self._lost(error)
                if lost:
                    self._on_reachable(reachable=False)
                    if loop.time() >= give_up:
                        raise
                elif not self._retryable(error) or attempt >= CONFLICT_ATTEMPTS_MAX:
                    raise
                _log.warning("ledger batch is retried", error=type(error).__name__, attempt=attempt)
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                pause = min(pause * 2, RETRY_PAUSE_SECONDS_MAX)
            else:
                self._on_reachable(reachable=True)
                return outcomes

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            return
        self._closing = True
        _tell_all(self._queue, _internal())
        self._queue.clear()
        self._waiting = 0
        error = None if task.cancelled() else task.exception()
        # Our own words about our own rules name ids and amounts; a driver's may hold anything.
        _log.critical(
            "the ledger's loop ended",
            error=type(error).__name__,
            detail=str(error) if isinstance(error, InvariantBroken) else None,
        )
        self._on_broken()


def _size(batch: Iterable[_Waiting]) -> int:
    return sum(waiting.count for waiting in batch)


def _tell_all(batch: Iterable[_Waiting], refusal: Refusal) -> None:
    for waiting in batch:
        waiting.tell([refusal] * waiting.count)


def _overloaded(why: str) -> Refusal:
    return Refusal(Reason.OVERLOADED, why, facts={"queue": "ledger"}, retry_after_seconds=1)


def _too_late() -> Refusal:
    return Refusal(Reason.DEADLINE_EXCEEDED, "the deadline passed before the ledger got to it")


def _internal() -> Refusal:
    return Refusal(Reason.INTERNAL, "internal error")
