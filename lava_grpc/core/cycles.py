"""Billing cycles: where they begin and end, in UTC.

A cycle is counted from its anchor, never from the cycle before, so that a
subscription that began on the 31st renews on the 28th of February and on the
31st of March again.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

from lava_grpc.core.time import SECOND, Instant, from_datetime, to_datetime

DAY: Instant = 24 * 60 * 60 * SECOND
_MONTHS = 12


class Interval(StrEnum):
    """How long a plan's cycle is. A day has 24 hours, since UTC has no summer time."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


def boundary(anchor: Instant, interval: Interval, number: int) -> Instant:
    """Where cycle `number` begins and the one before ends; cycle 0 begins at the anchor.

    Months and years keep the anchor's day and time of day. A month that lacks
    that day has its last one instead.
    """
    match interval:
        case Interval.DAY:
            return anchor + number * DAY
        case Interval.WEEK:
            return anchor + number * 7 * DAY
        case Interval.MONTH:
            return _months_on(anchor, number)
        case Interval.YEAR:
            return _months_on(anchor, number * _MONTHS)


@lru_cache(maxsize=256)
def _months_on(anchor: Instant, months: int) -> Instant:
    moment = to_datetime(anchor)
    years, index = divmod(moment.month - 1 + months, _MONTHS)
    year, month = moment.year + years, index + 1
    day = min(moment.day, monthrange(year, month)[1])
    midnight = from_datetime(datetime(year, month, day, tzinfo=UTC))
    return midnight + anchor % DAY
