"""A spend key's limits hold whatever happens, in whatever order, over any number of cycles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from lava_grpc.core import ledger
from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.budget import (
    DAY,
    Budget,
    Cycle,
    Limits,
    RequestLimit,
    SpendLimit,
    counted_in,
    spent_in,
)
from lava_grpc.core.commands import Command, HoldPart, PlaceHold, Release, Settle, SettlePart
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.state import LedgerState
from lava_grpc.core.time import SECOND, Instant, to_datetime
from lava_grpc.core.usage import NOTHING

KEY = "spk_1"
START: Instant = 1_772_625_600 * SECOND  # a Wednesday
TTL_SECONDS = 400 * 86_400

Step: TypeAlias = tuple[str, int]
"""`place` an amount, `settle` or `release` the oldest hold, or `wait` so many hours."""

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.integers(0, 60)),
        st.tuples(st.just("settle"), st.integers(0, 100)),
        st.tuples(st.just("release"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from((6, 24, 24, 120, 744))),
    ),
    min_size=10,
    max_size=60,
)


def cycle_name(cycle: Cycle, now: Instant) -> str:
    """The calendar's own word for the cycle that `now` lies in."""
    day: datetime = to_datetime(now).astimezone(UTC)
    match cycle:
        case Cycle.DAILY:
            return day.strftime("%Y-%m-%d")
        case Cycle.WEEKLY:
            return (day - timedelta(days=day.weekday())).strftime("%Y-%m-%d")
        case Cycle.MONTHLY:
            return day.strftime("%Y-%m")
        case Cycle.TOTAL:
            return ""


class Machine:
    """The ledger with one key, and what plain sums say of it."""

    def __init__(self, spend: SpendLimit, requests: RequestLimit) -> None:
        self.spend, self.requests = spend, requests
        self.budget = Budget("mer_1", KEY, Limits(spend, requests))
        account = Account(
            "mer_1", KEY, AccountKind.SPEND_KEY, 0, 0, None, closed=False, budget=self.budget
        )
        self.account = account
        self.state = LedgerState(accounts={("mer_1", KEY): account})
        self.now, self.number = START, 0
        self.spent: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self.holds: list[tuple[str, int]] = []

    def place(self, amount: int) -> None:
        self.number += 1
        name = f"r{self.number}"
        outcome = self.run(
            PlaceHold(
                merchant_id="mer_1",
                request_id=name,
                hold_id=name,
                fingerprint="f",
                kind=HoldKind.FORWARD,
                parts=(HoldPart(KEY, Role.BUDGET, amount=amount),),
                facts=CallFacts(),
                ttl_seconds=TTL_SECONDS,
            )
        )
        calls = cycle_name(self.requests.cycle, self.now)
        used = self.spent.get(cycle_name(self.spend.cycle, self.now), 0)
        used += sum(held for _, held in self.holds)
        if self.calls.get(calls, 0) >= self.requests.count:
            assert outcome is Reason.RATE_LIMITED
        elif amount and used + amount > self.spend.amount:
            assert outcome is Reason.INSUFFICIENT_CREDITS
        else:
            assert outcome is None
            self.calls[calls] = self.calls.get(calls, 0) + 1
            self.holds.append((name, amount))

    def settle(self, percent: int) -> None:
        if not self.holds:
            return
        name, held = self.holds.pop(0)
        cost = held * percent // 100
        part = SettlePart(KEY, Role.BUDGET)
        assert self.run(Settle("mer_1", name, "f", (part,), CallFacts(), NOTHING, cost)) is None
        cycle = cycle_name(self.spend.cycle, self.now)
        self.spent[cycle] = self.spent.get(cycle, 0) + cost

    def release(self, _: int) -> None:
        if self.holds:
            name, _ = self.holds.pop(0)
            assert self.run(Release("mer_1", name, (KEY,))) is None

    def wait(self, hours: int) -> None:
        self.now += hours * DAY // 24

    def run(self, command: Command) -> Reason | None:
        outcome = ledger.apply(self.state, [command], self.now).outcomes[0]
        return outcome.reason if isinstance(outcome, Refusal) else None

    def check(self) -> None:
        spent = self.spent.get(cycle_name(self.spend.cycle, self.now), 0)
        calls = self.calls.get(cycle_name(self.requests.cycle, self.now), 0)
        total = -self.account.balance
        assert total == sum(self.spent.values())
        assert self.account.held == sum(held for _, held in self.holds)
        assert spent_in(self.budget, total, self.now) == spent <= self.spend.amount
        assert counted_in(self.budget, self.now) == calls <= self.requests.count
        assert self.budget.requests == sum(self.calls.values())


@given(
    st.builds(SpendLimit, st.integers(0, 100), st.sampled_from(Cycle)),
    st.builds(RequestLimit, st.integers(1, 8), st.sampled_from(Cycle)),
    STEPS,
)
def test_no_cycle_ever_passes_its_limits(
    spend: SpendLimit, requests: RequestLimit, steps: list[Step]
) -> None:
    machine = Machine(spend, requests)
    for name, number in steps:
        getattr(machine, name)(number)
        machine.check()
