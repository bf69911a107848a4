"""Calls that are one command of the ledger each, read and answered where its batches are made.

Such a call waits, as it arrived, until the ledger makes up its next batch; all that wait
are then read one right after the other, and answered so too. What takes a look-up first
goes the long way, through `dispatch.LocalDispatcher.unary`, which says the same to everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from lava_grpc.api.auth import Authenticator
from lava_grpc.api.defects import defect, told
from lava_grpc.api.gate import CALLS_MAX, require_time
from lava_grpc.core.commands import Command
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.ledger import Outcome
from lava_grpc.gateway.principal import Principal

C = TypeVar("C")

Answer: TypeAlias = bytes | Refusal
"""A message or a no."""

RAW_BYTES_MAX = 16 * 1024
"""The largest message that waits as it arrived: thousands may, and are then read in a row."""


LOOK_UPS_MAX = CALLS_MAX
"""How many calls may be looked up at once, those among them whose callers have gone."""


class LongWay(Protocol):
    """`dispatch.LocalDispatcher.unary`."""

    def __call__(
        self, method: str, request: Message, *, credential: str, timeout_seconds: float | None
    ) -> Awaitable[Message]:
        """The answer of `method`; raises a Refusal for every no."""
        ...


class OneCommand(Protocol):
    """A use case whose calls are one command of the ledger each."""

    # Whether a call whose caller has gone need not be made any more.
    needs_caller: bool

    def command(self, request: Any, principal: Principal) -> Command | None:  # noqa: ANN401 - the RPC's request
        """The command; None where that takes a look-up. Raises a Refusal for a no."""
        ...

    def answer(self, command: Any, outcome: Outcome) -> Message:  # noqa: ANN401 - one of its own commands
        """What its caller is told of an outcome that is no Refusal."""
        ...

    def defer(self, deferred: DeferredCommand) -> None:
        """See `gateway.ports.DeferringLedger.defer`."""
        ...


@dataclass(frozen=True, slots=True)
class Reading(Generic[C]):
    """How an edge reads what came in: `request` refuses bytes that are no message."""

    request: Callable[[bytes], Message]
    credential: Callable[[C], str]
    seconds_left: Callable[[C], float | None]


class _Caller(NamedTuple):
    credential: str
    principal: Principal


class DirectMethod(Generic[C]):
    """Takes the calls of one method, each as bytes and the edge's own context."""

    def __init__(
        self,
        name: str,
        use: OneCommand,
        authenticator: Authenticator,
        reading: Reading[C],
        long_way: LongWay,
    ) -> None:
        self.name = name
        self.use = use
        self._authenticator = authenticator
        self._reading = reading
        self._long_way = long_way
        self._looking: set[asyncio.Task[None]] = set()

    def __call__(self, raw: bytes, context: C) -> Awaitable[Answer] | None:
        """The answer to come; refuses OVERLOADED at once.

        None for a message that is large, and for a caller who has to be asked for: what
        waits here takes no look-up to be told that it may.
        """
        if len(raw) > RAW_BYTES_MAX:
            return None
        # Now: once its caller has gone, gRPC may have given a call's metadata away.
        credential = self._reading.credential(context)
        principal = self._authenticator.remembered(credential)
        if principal is None:
            return None
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.use.defer(_Call(self, raw, context, _Caller(credential, principal), answer))
        # What happened is charged though nobody waits for it any more.
        return answer if self.use.needs_caller else asyncio.shield(answer)

    def command_of(self, raw: bytes, context: C, principal: Principal) -> Command | None:
        """The command of a call; None where that takes a look-up."""
        require_time(self._reading.seconds_left(context))
        return self.use.command(self._reading.request(raw), principal)

    def answer_to(self, command: Command | None, outcome: Outcome) -> bytes:
        """What the caller of a command is told; raises the Refusal where the outcome is one."""
        if isinstance(outcome, Refusal):
            raise outcome
        return self.use.answer(command, outcome).SerializeToString()

    async def looked_up(self, raw: bytes, context: C, credential: str) -> bytes:
        """What the caller is told where the call takes a look-up; raises a Refusal for a no."""
        reading = self._reading
        answer = await self._long_way(
            self.name,
            reading.request(raw),
            credential=credential,
            timeout_seconds=reading.seconds_left(context),
        )
        return answer.SerializeToString()

    def look_up(self, call: _Call[C], answer: asyncio.Future[Answer]) -> None:
        """Have `call` go the long way, for as long as its answer is wanted.

        In a task of its own, since nobody may wait any more for what is charged all the same.
        Refuses OVERLOADED where too many do already: who has gone is in no other count.
        """
        if len(self._looking) >= LOOK_UPS_MAX:
            raise Refusal(
                Reason.OVERLOADED,
                f"{LOOK_UPS_MAX} calls are being looked up already",
                facts={"queue": "look-ups"},
                retry_after_seconds=1.0,
            )
        looking = asyncio.create_task(call.look_up())
        # Held here, since the loop alone does not keep a task from being collected.
        self._looking.add(looking)
        looking.add_done_callback(self._looking.discard)
        answer.add_done_callback(lambda _: looking.cancel())


class _Call(Generic[C]):
    """See `DeferredCommand`."""

    __slots__ = ("_answer", "_caller", "_command", "_context", "_method", "_raw")

    def __init__(
        self,
        method: DirectMethod[C],
        raw: bytes,
        context: C,
        caller: _Caller,
        answer: asyncio.Future[Answer],
    ) -> None:
        self._method = method
        self._raw = raw
        self._context = context
        self._caller = caller
        self._answer = answer
        self._command: Command | None = None

    def make(self) -> Command | None:
        if self._answer.done():
            return None
        try:
            self._command = self._method.command_of(
                self._raw, self._context, self._caller.principal
            )
            if self._command is None:
                self._method.look_up(self, self._answer)
        except Refusal as refusal:
            self._tell(told(self._method.name, refusal))
        except Exception as error:  # noqa: BLE001 - told to the log; the caller gets no detail
            self._tell(defect(self._method.name, error))
        return self._command

    async def look_up(self) -> None:
        """Go the long way."""
        try:
            answer = await self._method.looked_up(self._raw, self._context, self._caller.credential)
        except Refusal as refusal:
            self._tell(refusal)
        except Exception as error:  # noqa: BLE001 - told to the log; the caller gets no detail
            self._tell(defect(self._method.name, error))
        else:
            self._tell(answer)

    def conclude(self, outcome: Outcome) -> None:
        try:
            answer = self._method.answer_to(self._command, outcome)
        except Refusal as refusal:
            self._tell(told(self._method.name, refusal))
        except Exception as error:  # noqa: BLE001 - told to the log; the caller gets no detail
            self._tell(defect(self._method.name, error))
        else:
            self._tell(answer)

    def _tell(self, answer: Answer) -> None:
        # A caller that has gone is told nothing; its command stands.
        if not self._answer.done():
            self._answer.set_result(answer)


OneCommands: TypeAlias = Mapping[str, OneCommand]
"""By full method name: `lava.v1.GatewayService/Authorize`."""
