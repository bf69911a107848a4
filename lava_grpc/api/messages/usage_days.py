"""Usage by days."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from lava.v1 import usage_service_pb2 as pb

from lava_grpc.core.books import Totals
from lava_grpc.core.money import format_amount
from lava_grpc.core.time import SECOND, Instant, to_datetime
from lava_grpc.gateway.usage_days import DAY, Usage, UsageDay

_COUNT_MAX = 2**63 - 1


def from_usage(usage: Usage) -> pb.GetUsageResponse:
    """The days and their sum as their merchant sees them."""
    return pb.GetUsageResponse(
        items=[_from_day(day, usage.offset) for day in usage.days],
        totals=pb.UsageTotals(
            total_requests=usage.totals.requests,
            total_usage_tokens=_tokens(usage.totals),
            total_cost=format_amount(usage.totals.cost),
            total_charge=format_amount(usage.totals.charge),
        ),
    )


def _from_day(day: UsageDay, offset: Instant) -> pb.UsageDay:
    begins = _local(day.begins, offset)
    return pb.UsageDay(
        date=begins.date().isoformat(),
        start=_text(begins),
        end=_text(_local(day.begins + DAY - SECOND, offset)),
        total_requests=day.totals.requests,
        total_usage_tokens=_tokens(day.totals),
        total_cost=format_amount(day.totals.cost),
        total_charge=format_amount(day.totals.charge),
    )


def _tokens(totals: Totals) -> int:
    return min(totals.tokens, _COUNT_MAX)


def _local(instant: Instant, offset: Instant) -> datetime:
    return to_datetime(instant).astimezone(timezone(timedelta(microseconds=offset)))


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
