"""What was used, by the days of the caller's own offset from UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Protocol

from lava_grpc.core.books import RecordFilter, Totals
from lava_grpc.core.errors import Refusal, invalid
from lava_grpc.core.time import SECOND, Clock, Instant, from_datetime
from lava_grpc.gateway.history import record_filter
from lava_grpc.gateway.ports import Resources
from lava_grpc.gateway.principal import Principal

DAYS_MAX = 400
"""The longest range: a leap year and a month."""

DAY: Instant = 86_400 * SECOND

_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](?P<time>\d\d:\d\d(?::\d\d)?)(?:[.,](?P<fraction>\d{1,9}))?"
    # A plus sign that nobody escaped arrives in a query as a space.
    r"(?P<offset>[Zz]|[ +-]\d\d:?\d\d)?)?",
    re.ASCII,
)
_YEAR_MIN, _YEAR_MAX = 1970, 9998
_MICRO_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as it was written: the first instant it may mean, how long it lasts, its offset."""

    begins: Instant
    lasts: Instant
    offset: Instant


@dataclass(frozen=True, slots=True)
class UsageDay:
    """A day on which something was recorded. `begins` is its midnight in the caller's offset."""

    begins: Instant
    totals: Totals


@dataclass(frozen=True, slots=True)
class Usage:
    """The days, oldest first, and their sum; `offset` is the caller's, in microseconds."""

    offset: Instant
    days: Sequence[UsageDay]
    totals: Totals


class UsageBooks(Protocol):
    """Where records are summed."""

    async def usage_by_day(
        self,
        merchant_id: str,
        wanted: RecordFilter,
        *,
        start: Instant,
        before: Instant,
        day: Instant,
    ) -> Sequence[tuple[int, Totals]]:
        """The sums by days since `day`, from `start` on, before `before`; oldest first."""
        ...


class UsageReports:
    """Sums what was recorded."""

    def __init__(self, resources: Resources, books: UsageBooks, *, clock: Clock) -> None:
        self._resources = resources
        self._books = books
        self._clock = clock

    async def days(
        self,
        principal: Principal,
        *,
        start: str,
        end: str | None,
        customer: str | None,
        meter: str | None,
        metadata: Sequence[tuple[str, str]],
    ) -> Usage:
        """The days on which anything was recorded; refuses a range that is malformed or long."""
        first = read_moment(start, "start")
        if end is None:
            before = max(self._clock.now(), first.begins) + 1
        else:
            last = read_moment(end, "end", offset=first.offset)
            before = last.begins + last.lasts
        if before <= first.begins:
            raise invalid("end", "must not be before start")
        if before - first.begins > DAYS_MAX * DAY:
            raise invalid("start", f"must be at most {DAYS_MAX} days before end")
        midnight = (first.begins + first.offset) // DAY * DAY - first.offset
        merchant_id = principal.merchant_id
        wanted = await record_filter(
            self._resources, merchant_id, customer=customer, meter=meter, metadata=metadata
        )
        found = await self._books.usage_by_day(
            merchant_id, wanted, start=first.begins, before=before, day=midnight
        )
        days = [UsageDay(midnight + number * DAY, totals) for number, totals in found]
        return Usage(first.offset, days, _sum([day.totals for day in days]))


def read_moment(text: str, field: str, *, offset: Instant = 0) -> Moment:
    """A time in ISO 8601; `offset` is its offset from UTC where it states none.

    Refuses, naming `field`, what is no such time of the years 1970 to 9998.
    """
    if not text:
        raise invalid(field, "is required")
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise _no_moment(field)
    stated = match["offset"]
    own = offset if stated is None else _offset(stated, field)
    zone = timezone(timedelta(microseconds=own))
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['time'] or '00:00'}")
    except ValueError:
        raise _no_moment(field) from None
    if not _YEAR_MIN <= moment.year <= _YEAR_MAX:
        raise invalid(field, f"must be in the years {_YEAR_MIN} to {_YEAR_MAX}")
    fraction = (match["fraction"] or "")[:_MICRO_DIGITS]
    begins = from_datetime(moment.replace(tzinfo=zone)) + int(fraction.ljust(_MICRO_DIGITS, "0"))
    return Moment(begins, _lasts(match["time"], fraction), own)


def _lasts(time: str | None, fraction: str) -> Instant:
    """How long the last stated digit lasts."""
    if time is None:
        return DAY
    if not fraction:
        # Without seconds, up to the end of the minute.
        return SECOND if time.count(":") > 1 else 60 * SECOND
    return int(10 ** (_MICRO_DIGITS - len(fraction)))


def _offset(text: str, field: str) -> Instant:
    if text in ("Z", "z"):
        return 0
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - a clock's
        raise _no_moment(field)
    size = (hours * 60 + minutes) * 60 * SECOND
    return -size if text[0] == "-" else size


def _no_moment(field: str) -> Refusal:
    return invalid(field, "must be a time in ISO 8601, such as '2026-05-01T00:00:00+02:00'")


def _sum(parts: Sequence[Totals]) -> Totals:
    return Totals(
        requests=sum(part.requests for part in parts),
        tokens=sum(part.tokens for part in parts),
        cost=sum(part.cost for part in parts),
        charge=sum(part.charge for part in parts),
    )
