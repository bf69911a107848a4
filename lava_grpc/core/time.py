"""Instants and billing cycles. The core never reads a clock: `now` is always given."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol, TypeAlias

Instant: TypeAlias = int
"""Microseconds since 1970-01-01T00:00:00Z: exact, ordered, and stored as it is."""

SECOND: Instant = 1_000_000


class Clock(Protocol):
    """Where the time comes from; a seam, so that tests can move it."""

    def now(self) -> Instant:
        """The current instant."""
        ...


def to_datetime(instant: Instant) -> datetime:
    """The instant as an aware UTC datetime, exactly."""
    seconds, micros = divmod(instant, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def from_datetime(moment: datetime) -> Instant:
    """An aware datetime as an instant, exactly."""
    return int(moment.replace(microsecond=0).timestamp()) * SECOND + moment.microsecond


def cycle_of(now: Instant) -> tuple[Instant, Instant]:
    """Start and end of the calendar month, UTC, that `now` lies in.

    Tier counters of customers without a subscription start again with it.
    """
    moment = to_datetime(now)
    return _month(moment.year, moment.month)


@lru_cache(maxsize=64)
def _month(year: int, month: int) -> tuple[Instant, Instant]:
    start = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return from_datetime(start), from_datetime(end)
