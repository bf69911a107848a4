"""Records by their labels, at any size: through `request_labels`, from the rarest label on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    select,
    true,
)

from lava_grpc.core.books import RecordFilter
from lava_grpc.store import schema
from lava_grpc.store.documents import has_labels
from lava_grpc.store.rows import label_text

COUNTED_MAX = 1000
"""A label of so many records is common: a customer's own records may be fewer."""

_labels = schema.request_labels.c
_requests = schema.requests.c


def narrowed(
    connection: Connection, merchant_id: str, wanted: RecordFilter, query: Select[Any]
) -> tuple[Select[Any], Any]:
    """A query of the merchant's records cut down to those wanted; the columns to order it by.

    The columns are `requests`', or those of `request_labels`, which are the same: what is
    ordered by them walks an index that holds little else than what is wanted.
    """
    query = query.where(_requests.merchant_id == merchant_id)
    if wanted.customer_id is not None:
        query = query.where(_requests.customer_id == wanted.customer_id)
    if wanted.meter_id is not None:
        query = query.where(_requests.meter_id == wanted.meter_id)
    if not wanted.metadata:
        return query, _requests
    labelled = has_labels(connection, _requests.metadata, wanted.metadata)
    label = _rarest(connection, merchant_id, wanted)
    if label is None:
        return query.where(labelled), _requests
    # The labels in the record are those that count: the rows only point at it. Nearly all of
    # them point right, which a planner is kept from doubting: it would sort them all.
    query = query.where(case((labelled, true()), else_=false()))
    query = query.select_from(schema.request_labels).join(
        schema.requests,
        and_(
            _requests.merchant_id == _labels.merchant_id,
            _requests.request_id == _labels.request_id,
            _requests.created_at == _labels.created_at + 0,
        ),
    )
    return query.where(_labels.merchant_id == merchant_id, _labels.label == label), _labels


def _rarest(connection: Connection, merchant_id: str, wanted: RecordFilter) -> str | None:
    """The label that fewest records have; None where the customer's index serves as well."""
    texts = [label_text(name, value) for name, value in wanted.metadata]
    if len(texts) == 1 and wanted.customer_id is None:
        return texts[0]
    counts = {text: _count(connection, merchant_id, text) for text in texts}
    rarest = min(texts, key=lambda text: counts[text])
    common = counts[rarest] >= COUNTED_MAX
    return None if common and wanted.customer_id is not None else rarest


def _count(connection: Connection, merchant_id: str, text: str) -> int:
    some = (
        select(literal(1))
        .where(_labels.merchant_id == merchant_id, _labels.label == text)
        .limit(COUNTED_MAX)
        .subquery()
    )
    found: ColumnElement[int] = func.count()
    return connection.execute(select(found).select_from(some)).scalar_one()
