"""Cycles over centuries, leap days among them."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from lava_grpc.core.cycles import DAY, Interval, boundary
from lava_grpc.core.time import Instant, from_datetime, to_datetime

moments = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(2400, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)
numbers = st.integers(0, 2_400)
calendars = st.sampled_from([Interval.MONTH, Interval.YEAR])


def at(year: int, month: int, day: int) -> Instant:
    return from_datetime(datetime(year, month, day, 9, 30, 15, 7, tzinfo=UTC))


@given(moments, st.sampled_from(Interval), numbers)
def test_cycles_follow_each_other_without_a_gap_and_never_run_backwards(
    moment: datetime, interval: Interval, number: int
) -> None:
    anchor = from_datetime(moment)
    assert boundary(anchor, interval, 0) == anchor
    length = boundary(anchor, interval, number + 1) - boundary(anchor, interval, number)
    shortest, longest = {
        Interval.DAY: (1, 1),
        Interval.WEEK: (7, 7),
        Interval.MONTH: (28, 31),
        Interval.YEAR: (365, 366),
    }[interval]
    assert shortest * DAY <= length <= longest * DAY
    assert length % DAY == 0


@given(moments, calendars, numbers)
@example(datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC), Interval.YEAR, 4)
@example(datetime(2023, 1, 31, tzinfo=UTC), Interval.MONTH, 13)
def test_a_cycle_keeps_the_anchors_day_or_takes_the_months_last(
    moment: datetime, interval: Interval, number: int
) -> None:
    found = to_datetime(boundary(from_datetime(moment), interval, number))
    last = calendar.monthrange(found.year, found.month)[1]
    assert found.day == min(moment.day, last)
    assert found.timetz() == moment.timetz()
    months = number if interval is Interval.MONTH else 12 * number
    assert (found.year - moment.year) * 12 + found.month - moment.month == months


@given(moments, st.sampled_from([(Interval.DAY, 1), (Interval.WEEK, 7)]), numbers)
def test_days_and_weeks_are_whole_days(
    moment: datetime, chosen: tuple[Interval, int], number: int
) -> None:
    interval, days = chosen
    expected = moment + timedelta(days=days * number)
    assert boundary(from_datetime(moment), interval, number) == from_datetime(expected)


def test_the_last_day_of_january_comes_back_after_february() -> None:
    anchor = at(2023, 1, 31)
    found = [boundary(anchor, Interval.MONTH, number) for number in range(1, 15)]
    assert found[:4] == [at(2023, 2, 28), at(2023, 3, 31), at(2023, 4, 30), at(2023, 5, 31)]
    assert found[12:] == [at(2024, 2, 29), at(2024, 3, 31)]


def test_a_year_from_a_leap_day_ends_on_the_28th_until_the_next_leap_year() -> None:
    anchor = at(2024, 2, 29)
    found = [boundary(anchor, Interval.YEAR, number) for number in range(1, 5)]
    assert found == [at(2025, 2, 28), at(2026, 2, 28), at(2027, 2, 28), at(2028, 2, 29)]


def test_2100_is_no_leap_year_and_2000_was_one() -> None:
    assert boundary(at(2096, 2, 29), Interval.YEAR, 4) == at(2100, 2, 28)
    assert boundary(at(1996, 2, 29), Interval.YEAR, 4) == at(2000, 2, 29)
