"""A load whose callers know nothing of outages: each repeats its call, same id, until answered.

What was answered is written down, so that the books can be held against it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import gateway_service_pb2 as gateway

from lava_grpc.core.money import Amount, format_amount, parse_amount
from tests.support.process import Caller

UNIT: Amount = parse_amount("0.0001", "amount")
# More than enough; and what runs out in the middle of a load.
RICH_CREDIT = parse_amount("1000", "amount")
POOR_CREDIT = parse_amount("0.1", "amount")
TTL_SECONDS = 3600
ATTEMPT_SECONDS_MAX = 15.0
RETRY_SECONDS = 0.05

AUTHORIZE, REPORT = "GatewayService/Authorize", "GatewayService/ReportUsage"
RELEASE = "GatewayService/ReleaseReservation"

# Said by a server that goes down or that lacks its database; whoever hears it asks again.
PASSING = frozenset(
    (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    )
)


@dataclass(slots=True)
class Acknowledged:
    """What the server said of one request id, once and for all."""

    customer_id: str
    held: Amount | None = None
    reservation_id: str | None = None
    charge: Amount | None = None
    released: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A call that was answered, and its answer: to be asked again afterwards."""

    rpc: str
    request: Message
    answer: Any


@dataclass(slots=True)
class Log:
    """Everything that was answered, in order."""

    requests: dict[str, Acknowledged] = field(default_factory=dict)
    answers: list[Answered] = field(default_factory=list)
    refused: int = 0
    retries: int = 0
    # Answers that no server should give, whatever befalls it.
    strange: list[str] = field(default_factory=list)
    longest_gap_seconds: float = 0.0
    _last: float = field(default_factory=time.monotonic)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return len(self.answers) + self.refused

    def note(self) -> None:
        """A call was answered just now."""
        now = time.monotonic()
        self.longest_gap_seconds = max(self.longest_gap_seconds, now - self._last)
        self._last = now
        self._changed.set()

    def retry(self) -> None:
        """A call was not answered, and is to be repeated."""
        self.retries += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what was answered."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def turned_away(self, times: int) -> None:
        """Wait until callers were told so often in all to come again."""
        await self.until(lambda: self.retries >= times)

    async def more(self, calls: int) -> None:
        """Wait until so many more calls were answered."""
        goal = self.calls + calls
        await self.until(lambda: self.calls >= goal)


class Load:
    """Callers, each with one call in flight, on one customer with plenty and one with little."""

    def __init__(self, caller: Caller, *, callers: int = 12, seed: int = 1) -> None:
        self._caller = caller
        self._callers = callers
        self._seed = seed
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.log = Log()
        self.rich = self.poor = ""

    async def prepare(self) -> None:
        """Make both customers."""
        self.rich = await self._customer(RICH_CREDIT)
        self.poor = await self._customer(POOR_CREDIT)

    def start(self) -> None:
        """Begin to call."""
        self.log = Log()
        self._tasks = [
            asyncio.create_task(self._work(f"{self._seed}-{index}", random.Random(index)))  # noqa: S311
            for index in range(self._callers)
        ]

    async def stop(self) -> None:
        """Let every call that was begun be answered; raises what a caller raised."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def cancel(self) -> None:
        """Give up, where a test has failed already."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answered(self, rpc: str, request: Message) -> Any | None:  # noqa: ANN401
        """The answer, asked for until there is one; None where credit is out."""
        while True:
            try:
                answer = await self._caller.call(
                    rpc, request, timeout_seconds=ATTEMPT_SECONDS_MAX, wait_for_ready=True
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION and rpc == AUTHORIZE:
                    self.log.refused += 1
                    self.log.note()
                    return None
                if error.code() not in PASSING:
                    self.log.strange.append(f"{rpc}: {error.code().name}: {error.details()}")
                    raise
                self.log.retry()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.log.answers.append(Answered(rpc, request, answer))
                self.log.note()
                return answer

    async def _customer(self, amount: Amount) -> str:
        made = await self._caller.call(
            "CustomerService/CreateCustomer",
            customers.CreateCustomerRequest(),
            wait_for_ready=True,
        )
        ident: str = made.customer.customer_id
        grant = credit.CreateCreditGrantRequest(customer_id=ident, amount=format_amount(amount))
        await self._caller.call("CreditService/CreateCreditGrant", grant)
        return ident

    async def _work(self, name: str, dice: random.Random) -> None:
        count = 0
        while not self._stopping:
            count += 1
            request_id = f"{name}-{count}"
            amount = UNIT * dice.randint(2, 50)
            match dice.choice(("settle", "settle", "release", "keep", "report")):
                case "settle":
                    payer = dice.choice((self.rich, self.poor))
                    if await self._hold(request_id, payer, amount):
                        await self._charge(request_id, payer, amount - UNIT)
                case "release":
                    payer = dice.choice((self.rich, self.poor))
                    if held := await self._hold(request_id, payer, amount):
                        await self._release(held)
                case "keep":
                    await self._hold(request_id, self.rich, amount)
                case _:
                    await self._charge(request_id, self.rich, amount)

    async def _hold(self, request_id: str, payer: str, amount: Amount) -> Acknowledged | None:
        request = gateway.AuthorizeRequest(
            request_id=request_id,
            customer_id=payer,
            amount=format_amount(amount),
            ttl_seconds=TTL_SECONDS,
        )
        answer = await self.answered(AUTHORIZE, request)
        if answer is None:
            return None
        found = self.log.requests.setdefault(request_id, Acknowledged(payer))
        found.held, found.reservation_id = amount, answer.reservation.reservation_id
        return found

    async def _charge(self, request_id: str, payer: str, amount: Amount) -> None:
        request = gateway.ReportUsageRequest(
            request_id=request_id, customer_id=payer, amount=format_amount(amount)
        )
        await self.answered(REPORT, request)
        self.log.requests.setdefault(request_id, Acknowledged(payer)).charge = amount

    async def _release(self, held: Acknowledged) -> None:
        request = gateway.ReleaseReservationRequest(reservation_id=held.reservation_id or "")
        await self.answered(RELEASE, request)
        held.released = True
