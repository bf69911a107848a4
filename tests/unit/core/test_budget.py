"""A spend key's cycles, counts and pace."""

from __future__ import annotations

import pytest

from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.budget import (
    DAY,
    MINUTE,
    Budget,
    Cycle,
    Limits,
    RateLimit,
    RequestLimit,
    SpendLimit,
    counted_in,
    pace,
    pace_left,
    pace_wait,
    spent_in,
)
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.money import AMOUNT_MAX
from lava_grpc.core.time import SECOND, Instant

# 2026-03-04, a Wednesday, at noon.
NOON: Instant = 1_772_625_600 * SECOND


def account(spent: int = 0) -> Account:
    return Account("mer_1", "spk_1", AccountKind.SPEND_KEY, -spent, 0, None, closed=False)


def budget(
    spend: SpendLimit | None = None,
    requests: RequestLimit | None = None,
    rate: RateLimit | None = None,
) -> Budget:
    return Budget("mer_1", "spk_1", Limits(spend, requests, rate))


@pytest.mark.parametrize(
    ("cycle", "last_of_it", "first_of_next"),
    [
        (Cycle.DAILY, NOON + DAY // 2 - 1, NOON + DAY // 2),
        # Sunday ends the week, Monday begins the next.
        (Cycle.WEEKLY, NOON + 4 * DAY + DAY // 2 - 1, NOON + 4 * DAY + DAY // 2),
        (Cycle.MONTHLY, NOON + 27 * DAY + DAY // 2 - 1, NOON + 27 * DAY + DAY // 2),
    ],
)
def test_a_cycle_ends_at_midnight_utc(
    cycle: Cycle, last_of_it: Instant, first_of_next: Instant
) -> None:
    mine, books = budget(spend=SpendLimit(100, cycle)), account()
    mine.roll(books, NOON)
    books.balance = -70
    mine.roll(books, last_of_it)
    assert (books.credit_limit, books.available(None, NOON)) == (100, 30)
    assert spent_in(mine, 70, last_of_it) == 70
    assert spent_in(mine, 70, first_of_next) == 0
    mine.roll(books, first_of_next)
    assert (books.credit_limit, books.available(None, NOON)) == (170, 100)


def test_a_total_never_starts_again() -> None:
    mine, books = budget(spend=SpendLimit(100, Cycle.TOTAL)), account(spent=40)
    mine.roll(books, NOON)
    mine.roll(books, NOON + 4000 * DAY)
    assert books.available(None, NOON) == 60
    assert spent_in(mine, 40, NOON + 4000 * DAY) == 40


def test_what_is_held_over_the_end_of_a_cycle_counts_in_the_next() -> None:
    mine, books = budget(spend=SpendLimit(100, Cycle.DAILY)), account()
    mine.roll(books, NOON)
    books.held = 80
    mine.roll(books, NOON + DAY)
    assert books.available(None, NOON) == 20


def test_a_limit_that_64_bits_cannot_hold_is_cut_to_what_they_can() -> None:
    mine, books = budget(spend=SpendLimit(AMOUNT_MAX, Cycle.DAILY)), account(spent=5)
    mine.roll(books, NOON)
    assert books.credit_limit == AMOUNT_MAX


def test_a_clock_that_is_behind_does_not_bring_an_old_cycle_back() -> None:
    mine, books = budget(requests=RequestLimit(1, Cycle.DAILY)), account()
    mine.roll(books, NOON + DAY)
    mine.count(NOON + DAY)
    assert mine.roll(books, NOON) is False
    with pytest.raises(Refusal):
        mine.require_room(NOON)


def test_a_cycle_that_is_due_is_told_of_once() -> None:
    mine, books = budget(), account()
    assert [mine.roll(books, NOON), mine.roll(books, NOON + 1)] == [True, False]


def test_one_call_too_many_is_refused_until_the_cycle_ends() -> None:
    mine, books = budget(requests=RequestLimit(2, Cycle.DAILY)), account()
    mine.roll(books, NOON)
    for _ in range(2):
        mine.require_room(NOON)
        mine.count(NOON)
    with pytest.raises(Refusal) as refused:
        mine.require_room(NOON)
    assert refused.value.reason is Reason.RATE_LIMITED
    assert refused.value.retry_after_seconds == 12 * 3600
    assert refused.value.facts["limit"] == "request_limit"
    assert counted_in(mine, NOON) == 2
    assert counted_in(mine, NOON + DAY) == 0
    assert mine.requests == 2


def test_a_changed_cycle_counts_what_went_before() -> None:
    mine, books = budget(requests=RequestLimit(2, Cycle.DAILY)), account()
    mine.roll(books, NOON)
    mine.count(NOON)
    mine.roll(books, NOON + DAY)
    mine.limits = Limits(requests=RequestLimit(1, Cycle.WEEKLY))
    assert counted_in(mine, NOON + DAY) == 1
    with pytest.raises(Refusal):
        mine.require_room(NOON + DAY)


def test_a_burst_goes_through_and_then_one_call_at_a_time() -> None:
    rate, paced = RateLimit(60, burst=3), 0
    for _ in range(3):
        assert pace_wait(paced, rate, NOON) <= 0
        paced = pace(paced, rate, NOON)
    assert pace_left(paced, rate, NOON) == 0
    assert pace_wait(paced, rate, NOON) == SECOND
    assert pace_wait(paced, rate, NOON + SECOND) == 0
    assert pace_left(paced, rate, NOON + SECOND) == 1
    assert pace_left(paced, rate, NOON + MINUTE) == 3


def test_without_a_burst_a_minutes_calls_may_come_at_once() -> None:
    rate, paced = RateLimit(5), 0
    for _ in range(5):
        paced = pace(paced, rate, NOON)
    assert pace_wait(paced, rate, NOON) == MINUTE // 5


def test_a_faster_rate_counts_at_once() -> None:
    slow, paced = RateLimit(1, burst=100), 0
    for _ in range(100):
        paced = pace(paced, slow, NOON)
    assert pace_wait(paced, RateLimit(60), NOON) == SECOND
