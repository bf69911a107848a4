"""Sums of records, in one statement over an index on time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    column,
    func,
    literal,
    select,
    true,
)

from lava_grpc.core.books import RecordFilter, Totals
from lava_grpc.core.money import SCALE
from lava_grpc.core.request_record import Flag, RequestStatus
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.core.usage import Usage
from lava_grpc.store import schema
from lava_grpc.store.label_reads import narrowed

_DAY: Instant = 86_400 * SECOND
# Whose output says nothing of what such calls use.
_UNTYPICAL = frozenset((Flag.ESTIMATED.value, Flag.CLAMPED.value))
_requests = schema.requests.c


def by_day(
    connection: Connection,
    merchant_id: str,
    wanted: RecordFilter,
    *,
    start: Instant,
    before: Instant,
    day: Instant,
) -> Sequence[tuple[int, Totals]]:
    """The sums by days since `day`, of records created from `start` on and before `before`."""
    sums = select(
        func.count().label("requests"),
        *_exact_sum(_requests.total_tokens),
        *_exact_sum(_requests.cost),
        *_exact_sum(_requests.charge),
    )
    query, by = narrowed(connection, merchant_id, wanted, sums)
    query = query.where(by.created_at >= start, by.created_at < before)
    if connection.dialect.name == "postgresql":
        days = ((start - day) // _DAY, (before - 1 - day) // _DAY)
        query = _each_day(query, by.created_at, day, days)
    else:
        number = ((by.created_at - day) // _DAY).label("number")
        # By its place: the parameters of two spellings would make two expressions of it.
        query = query.with_only_columns(number, *query.selected_columns)
        query = query.group_by("number").order_by("number")
    return [_totals_of(tuple(row)) for row in connection.execute(query)]


def newest(
    connection: Connection, merchant_id: str, customer_id: str | None, limit: int
) -> Sequence[tuple[str, str | None, Usage]]:
    """Provider, model and usage of the newest records, newest first, as far as they are typical.

    One customer's, or all of the merchant's; `limit` of them are looked at.
    """
    query = (
        select(_requests.provider, _requests.model, _requests.usage, _requests.flags)
        .where(_requests.merchant_id == merchant_id)
        .where(_requests.status == RequestStatus.COMPLETED.value)
        .order_by(_requests.created_at.desc(), _requests.request_id.desc())
        .limit(limit)
    )
    if customer_id is not None:
        query = query.where(_requests.customer_id == customer_id)
    return [
        (provider, model, Usage.from_dict(json.loads(usage)))
        for provider, model, usage, flags in connection.execute(query)
        if _UNTYPICAL.isdisjoint(flags.split())
    ]


def _each_day(
    sums: Select[Any], created_at: ColumnElement[int], day: Instant, between: tuple[int, int]
) -> Select[Any]:
    """The sums of each day on which there is anything, of those `between` two since `day`.

    PostgreSQL cannot tell how few days there are, and sorts all records by day to sum them. A
    look into an index for each day needs no sorting.
    """
    numbers = [literal(number, BigInteger) for number in between]
    days = func.generate_series(*numbers).table_valued(column("number", BigInteger), name="days")
    days = days.render_derived()
    begins = days.c.number * _DAY + day
    sums = sums.where(created_at >= begins, created_at < begins + _DAY)
    totals = sums.lateral("totals")
    return (
        select(days.c.number, *totals.c)
        .join_from(days, totals, true())
        .where(totals.c.requests > 0)
        .order_by(days.c.number)
    )


def _exact_sum(column: ColumnElement[int]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """A sum in two parts, neither of which 64 bits are too few for: see `_whole`."""
    return func.sum(column // SCALE), func.sum(column % SCALE)


def _whole(high: Any, low: Any) -> int:  # noqa: ANN401 - PostgreSQL sums to decimals
    return int(high) * SCALE + int(low)


def _totals_of(row: Sequence[Any]) -> tuple[int, Totals]:
    number, requests, *parts = row
    tokens, cost, charge = (_whole(*parts[at : at + 2]) for at in (0, 2, 4))
    return int(number), Totals(requests, tokens, cost, charge)
