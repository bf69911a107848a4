"""Sums of records, in one statement over an index on time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from lava_grpc.core.books import RecordFilter, Totals
from lava_grpc.core.money import SCALE
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.store import schema
from lava_grpc.store.documents import has_labels

_DAY: Instant = 86_400 * SECOND
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
    number = (_requests.created_at - day) // _DAY
    query = (
        select(
            number.label("number"),
            func.count().label("requests"),
            *_exact_sum(_requests.total_tokens),
            *_exact_sum(_requests.cost),
            *_exact_sum(_requests.charge),
        )
        .where(
            _requests.merchant_id == merchant_id,
            _requests.created_at >= start,
            _requests.created_at < before,
        )
        # By its place: the parameters of two spellings would make two expressions of it.
        .group_by("number")
        .order_by("number")
    )
    if wanted.customer_id is not None:
        query = query.where(_requests.customer_id == wanted.customer_id)
    if wanted.meter_id is not None:
        query = query.where(_requests.meter_id == wanted.meter_id)
    if wanted.metadata:
        query = query.where(has_labels(connection, _requests.metadata, wanted.metadata))
    return [_totals_of(tuple(row)) for row in connection.execute(query)]


def _exact_sum(column: ColumnElement[int]) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """A sum in two parts, neither of which 64 bits are too few for: see `_whole`."""
    return func.sum(column // SCALE), func.sum(column % SCALE)


def _whole(high: Any, low: Any) -> int:  # noqa: ANN401 - PostgreSQL sums to decimals
    return int(high) * SCALE + int(low)


def _totals_of(row: Sequence[Any]) -> tuple[int, Totals]:
    number, requests, *parts = row
    tokens, cost, charge = (_whole(*parts[at : at + 2]) for at in (0, 2, 4))
    return int(number), Totals(requests, tokens, cost, charge)
