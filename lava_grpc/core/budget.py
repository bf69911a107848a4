"""A spend key's limits, and the rules by which calls count against them.

A key's account is never granted anything: what it spent is its overage, so its
balance is what it ever spent, below zero. Its credit limit is not stored but
follows from its budget: what was spent when the running cycle began, and the
limit on top of that. A hold is then covered, or not, like any other.

What was spent and counted when the running day, week and month began is kept
whatever the limits are, so that a changed limit or cycle counts what went before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.money import AMOUNT_MAX, Amount
from lava_grpc.core.time import SECOND, Instant, cycle_of

if TYPE_CHECKING:
    from lava_grpc.core.account import Account

SPEND_KEY_PREFIX = "spk_"
"""What the id of a spend key, and of its account, begins with."""

MINUTE: Instant = 60 * SECOND
DAY: Instant = 86_400 * SECOND
WEEK: Instant = 7 * DAY
# 1970-01-05, the first Monday.
_MONDAY: Instant = 4 * DAY

RPM_MAX = 1_000_000
"""The highest rate: at it, calls are 60 microseconds apart."""

NEVER_SECONDS = 86_400.0
"""When to come back to a limit that no cycle resets: somebody has to raise it first."""


class Cycle(StrEnum):
    """What a limit is for: a day or a month, UTC, a week from Monday 00:00 UTC, or for ever."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class SpendLimit:
    """The most that may be spent in a cycle."""

    amount: Amount
    cycle: Cycle


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """The most calls that may be admitted in a cycle."""

    count: int
    cycle: Cycle


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Calls per minute, and how many of them may come at once; `rpm` of them unless said."""

    rpm: int
    burst: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may do; None is no limit."""

    spend: SpendLimit | None = None
    requests: RequestLimit | None = None
    rate: RateLimit | None = None


@dataclass(slots=True)
class Marks:
    """What a total stood at when the running day, week and month began."""

    day: int = 0
    week: int = 0
    month: int = 0

    def at(self, cycle: Cycle | None) -> int:
        """What is not of the running cycle; nothing where there is none."""
        match cycle:
            case Cycle.DAILY:
                return self.day
            case Cycle.WEEKLY:
                return self.week
            case Cycle.MONTHLY:
                return self.month
            case _:
                return 0

    def roll(self, total: int, before: Instant, now: Instant) -> None:
        """Begin each cycle that began after `before`."""
        if _day(now) > before:
            self.day = total
        if _week(now) > before:
            self.week = total
        if cycle_of(now)[0] > before:
            self.month = total


@dataclass(slots=True)
class Budget:
    """A spend key's limits, and how far each is used up."""

    merchant_id: str
    account_id: str
    limits: Limits
    spent: Marks = field(default_factory=Marks)
    counted: Marks = field(default_factory=Marks)
    requests: int = 0
    rolled_at: Instant = 0
    # When the next call would be due if they came one by one at the rate (GCRA's theoretical
    # arrival time, as ITU-T I.371 has it): a token bucket in one number.
    paced_until: Instant = 0
    last_used_at: Instant | None = None

    def roll(self, account: Account, now: Instant) -> bool:
        """Begin the cycles that are due, and set the account's credit limit; whether any was due.

        A clock that is behind another process's counts as being at the last roll.
        """
        now = max(now, self.rolled_at)
        due = _day(now) > self.rolled_at
        if due:
            self.spent.roll(account.overage(), self.rolled_at, now)
            self.counted.roll(self.requests, self.rolled_at, now)
            self.rolled_at = now
        spend = self.limits.spend
        if spend is None:
            account.credit_limit = None
        else:
            account.credit_limit = min(self.spent.at(spend.cycle) + spend.amount, AMOUNT_MAX)
        return due

    def require_room(self, now: Instant) -> None:
        """Refuse RATE_LIMITED a call that comes too soon, or is one too many for the cycle."""
        rate, requests = self.limits.rate, self.limits.requests
        if rate is not None:
            wait = pace_wait(self.paced_until, rate, now)
            if wait > 0:
                raise _limited(self, "rate_limit", f"{rate.rpm} calls a minute", wait / SECOND)
        if requests is not None:
            used = self.requests - self.counted.at(requests.cycle)
            if used >= requests.count:
                text = f"{requests.count} calls ({requests.cycle.value})"
                raise _limited(self, "request_limit", text, _until_next(requests.cycle, now))

    def count(self, now: Instant) -> None:
        """A call was admitted."""
        self.requests += 1
        self.last_used_at = max(now, self.last_used_at or now)
        if self.limits.rate is not None:
            self.paced_until = pace(self.paced_until, self.limits.rate, now)


def pace_wait(paced_until: Instant, rate: RateLimit, now: Instant) -> Instant:
    """How long a call has to wait for its turn; 0 or less where it need not."""
    return _behind(paced_until, rate, now) - (_burst(rate) - 1) * _interval(rate)


def pace(paced_until: Instant, rate: RateLimit, now: Instant) -> Instant:
    """`paced_until` after one more call."""
    return now + _behind(paced_until, rate, now) + _interval(rate)


def pace_left(paced_until: Instant, rate: RateLimit, now: Instant) -> int:
    """How many calls could come at once now."""
    return _burst(rate) - -(-_behind(paced_until, rate, now) // _interval(rate))


def spent_in(budget: Budget, total: Amount, now: Instant) -> Amount:
    """Of `total` spent, what belongs to the cycle of the spend limit; all of it without one."""
    spend = budget.limits.spend
    return _current(total, budget.spent, spend.cycle if spend else None, budget.rolled_at, now)


def counted_in(budget: Budget, now: Instant) -> int:
    """How many calls belong to the cycle of the request limit; all of them without one."""
    requests = budget.limits.requests
    cycle = requests.cycle if requests else None
    return _current(budget.requests, budget.counted, cycle, budget.rolled_at, now)


def _current(
    total: int, marks: Marks, cycle: Cycle | None, rolled_at: Instant, now: Instant
) -> int:
    start = _start(cycle, now)
    return 0 if start is not None and start > rolled_at else total - marks.at(cycle)


def _start(cycle: Cycle | None, now: Instant) -> Instant | None:
    match cycle:
        case Cycle.DAILY:
            return _day(now)
        case Cycle.WEEKLY:
            return _week(now)
        case Cycle.MONTHLY:
            return cycle_of(now)[0]
        case _:
            return None


def _until_next(cycle: Cycle, now: Instant) -> float:
    match cycle:
        case Cycle.DAILY:
            end = _day(now) + DAY
        case Cycle.WEEKLY:
            end = _week(now) + WEEK
        case Cycle.MONTHLY:
            end = cycle_of(now)[1]
        case Cycle.TOTAL:
            return NEVER_SECONDS
    return (end - now) / SECOND


def _burst(rate: RateLimit) -> int:
    return rate.burst if rate.burst is not None else rate.rpm


def _behind(paced_until: Instant, rate: RateLimit, now: Instant) -> Instant:
    """How far the schedule is ahead of now: never further than an empty bucket is from a full one.

    It would be after a change to a faster rate, or with a clock that is behind.
    """
    return min(max(paced_until - now, 0), _burst(rate) * _interval(rate))


def _interval(rate: RateLimit) -> Instant:
    # Rounded up: over a minute, less than one call too few.
    return -(-MINUTE // rate.rpm)


def _day(now: Instant) -> Instant:
    return now - now % DAY


def _week(now: Instant) -> Instant:
    return now - (now - _MONDAY) % WEEK


def _limited(budget: Budget, limit: str, text: str, seconds: float) -> Refusal:
    return Refusal(
        Reason.RATE_LIMITED,
        f"spend key {budget.account_id} has reached its limit of {text}",
        facts={"limit": limit, "spend_key_id": budget.account_id},
        retry_after_seconds=seconds,
    )
