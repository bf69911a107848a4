"""Many reports at once read the store once for the holds that they do not know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from lava_grpc.core.commands import Command, Settle
from lava_grpc.core.deferred import DeferredCommand
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import CallFacts, Hold, HoldKind, HoldState, Role
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.usage import Usage
from lava_grpc.gateway.directory import Directory
from lava_grpc.gateway.ports import Books, Resources
from lava_grpc.gateway.principal import Principal
from lava_grpc.gateway.recent import RecentHolds
from lava_grpc.gateway.report import Report, Reporter
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.registry import Registry

MERCHANT = "mer_1"
DONE = Refusal(Reason.OVERLOADED, "no more is asked of this ledger")


def hold(number: int) -> Hold:
    return Hold(
        MERCHANT,
        f"res_{number}",
        f"req_{number}",
        HoldKind.AUTHORIZE,
        HoldState.ACTIVE,
        (MERCHANT,),
        (Role.COST,),
        (),
        CallFacts(),
        0,
        10**9,
        None,
        "f",
    )


class CountedBooks:
    """Knows ten holds, and counts how often it is asked."""

    def __init__(self) -> None:
        self.holds_there = [hold(number) for number in range(10)]
        self.reads: list[str] = []

    async def holds(self, merchant_id: str, hold_ids: Sequence[str]) -> Mapping[str, Hold]:
        assert merchant_id == MERCHANT
        self.reads.append("holds")
        return {h.hold_id: h for h in self.holds_there if h.hold_id in hold_ids}

    async def holds_of_requests(
        self, merchant_id: str, request_ids: Sequence[str]
    ) -> Mapping[str, Hold]:
        assert merchant_id == MERCHANT
        self.reads.append("requests")
        return {h.request_id: h for h in self.holds_there if h.request_id in request_ids}


class KeptCommands:
    """A ledger that keeps what it is asked, and does nothing."""

    def __init__(self) -> None:
        self.asked: list[Command] = []

    async def submit(self, command: Command, *, deadline: float | None = None) -> Outcome:
        raise NotImplementedError

    async def submit_many(
        self, commands: Sequence[Command], *, deadline: float | None = None
    ) -> list[Outcome]:
        del deadline
        self.asked += commands
        return [DONE] * len(commands)

    def defer(self, deferred: DeferredCommand) -> None:
        raise NotImplementedError


class Still:
    def now(self) -> int:
        return 1


def reporter() -> tuple[Reporter, CountedBooks, KeptCommands, RecentHolds]:
    books, ledger = CountedBooks(), KeptCommands()
    recent = RecentHolds(cast("Books", books))
    made = Reporter(
        ledger,
        Directory(cast("Resources", None)),
        recent,
        registry=Registry(),
        prices=PriceBook(),
        clock=Still(),
    )
    return made, books, ledger, recent


def settled(ledger: KeptCommands) -> list[Any]:
    return [(c.request_id, c.hold_id) for c in ledger.asked if isinstance(c, Settle)]


async def test_reports_by_request_share_one_read() -> None:
    report, books, ledger, _ = reporter()
    asked = [Report(Usage(input_tokens=1), request_id=f"req_{number}") for number in range(20)]
    await report.many(Principal(MERCHANT), asked)
    assert books.reads == ["requests"]
    want = [(f"req_{n}", f"res_{n}" if n < 10 else None) for n in range(20)]
    assert settled(ledger) == want


async def test_reservations_share_another_and_those_at_hand_none() -> None:
    report, books, ledger, recent = reporter()
    recent.remember(hold(3))
    asked = [Report(Usage(), reservation_id=f"res_{number}") for number in (1, 2, 3, 99)]
    results = await report.many(Principal(MERCHANT), asked)
    assert books.reads == ["holds"]
    assert settled(ledger) == [("req_1", "res_1"), ("req_2", "res_2"), ("req_3", "res_3")]
    missing = results[3]
    assert isinstance(missing, Refusal)
    assert (missing.reason, missing.field) == (Reason.NOT_FOUND, "reservation_id")
    await report.many(Principal(MERCHANT), [Report(Usage(), reservation_id="res_3")])
    assert books.reads == ["holds"]


async def test_reports_that_name_a_customer_read_nothing() -> None:
    report, books, _, _ = reporter()
    asked = [Report(Usage(), request_id="r", customer_id="con_1", amount="1") for _ in range(3)]
    await report.many(Principal(MERCHANT), asked)
    assert books.reads == []
