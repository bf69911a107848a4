"""Queries for request records, with the pending ones that only a hold knows of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    exists,
    literal,
    select,
    tuple_,
    union_all,
)

from lava_grpc.core.books import RecordFilter
from lava_grpc.core.hold import Hold, HoldState
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.pricing import NO_CHARGE
from lava_grpc.core.request_record import RequestRecord, RequestStatus
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import NOTHING
from lava_grpc.store import hold_reads, rows, schema
from lava_grpc.store.cursors import cut, no_cursor
from lava_grpc.store.documents import has_labels, text_at
from lava_grpc.store.label_reads import narrowed
from lava_grpc.store.sql import REQUEST_COLUMNS

_holds = schema.holds.c
_requests = schema.requests.c

_REQUEST = [_requests[name] for name in REQUEST_COLUMNS]
_UNRECORDED = ~exists().where(
    _requests.merchant_id == _holds.merchant_id, _requests.request_id == _holds.request_id
)


def find(connection: Connection, merchant_id: str, request_id: str) -> RequestRecord | None:
    """The record; a pending one where an active hold has none yet."""
    # The hold first: between two statements it may settle, and then the record is there.
    hold = hold_reads.of_request(connection, merchant_id, request_id)
    query = select(*_REQUEST).where(
        _requests.merchant_id == merchant_id, _requests.request_id == request_id
    )
    row = connection.execute(query).first()
    if row is not None:
        return rows.record_of(tuple(row))
    if hold is None or hold.state is not HoldState.ACTIVE:
        return None
    return pending(hold)


def list_page(
    connection: Connection, merchant_id: str, page: Page, wanted: RecordFilter
) -> Slice[RequestRecord]:
    """Records, newest first, pending ones among them.

    Ordered by creation, then id: a pending record keeps its place when it is completed.
    """
    after = None if page.cursor is None else _place(connection, merchant_id, page.cursor)
    count = page.limit + 1
    recorded = _recorded(connection, merchant_id, wanted, after).limit(count).subquery()
    waiting = _waiting(connection, merchant_id, wanted, after).limit(count).subquery()
    # The database merges: it alone knows its order of texts.
    merged = union_all(select(recorded), select(waiting)).subquery()
    query = (
        select(merged.c.merchant_id, merged.c.request_id, merged.c.recorded)
        .order_by(merged.c.created_at.desc(), merged.c.request_id.desc())
        .limit(count)
    )
    found, cursor = cut(list(connection.execute(query)), page)
    return Slice(_load(connection, merchant_id, found), cursor)


def pending(hold: Hold) -> RequestRecord:
    """What is known of a request while its hold is active."""
    return RequestRecord(
        merchant_id=hold.merchant_id,
        request_id=hold.request_id,
        status=RequestStatus.PENDING,
        facts=hold.facts,
        response_id=None,
        usage=NOTHING,
        input_cost=0,
        output_cost=0,
        cost=0,
        charge=NO_CHARGE,
        flags=(),
        hold_id=hold.hold_id,
        held=hold.amount,
        created_at=hold.created_at,
        ended_at=None,
        fingerprint=hold.fingerprint,
    )


_Place = tuple[Instant, str]
"""Where a record stands in the list: when it was created, and its id."""


def _place(connection: Connection, merchant_id: str, request_id: str) -> _Place:
    for columns in (_requests, _holds):
        query = select(columns.created_at).where(
            columns.merchant_id == merchant_id, columns.request_id == request_id
        )
        created_at = connection.execute(query).scalar()
        if created_at is not None:
            return created_at, request_id
    raise no_cursor()


def _recorded(
    connection: Connection, merchant_id: str, wanted: RecordFilter, after: _Place | None
) -> Select[Any]:
    query, by = narrowed(
        connection,
        merchant_id,
        wanted,
        select(_requests.merchant_id, _requests.request_id, _requests.created_at),
    )
    return _placed(query, by, after, recorded=True)


def _waiting(
    connection: Connection, merchant_id: str, wanted: RecordFilter, after: _Place | None
) -> Select[Any]:
    keys = select(_holds.merchant_id, _holds.request_id, _holds.created_at)
    query = _placed(keys, _holds, after, recorded=False).where(_UNRECORDED)
    # In the order of `holds_active_by_time`, so that a page reads no more than it needs.
    query = query.where(_holds.merchant_id == merchant_id, hold_reads.ACTIVE)
    facts = _holds.facts
    if wanted.customer_id is not None:
        query = query.where(hold_reads.of_customer(connection, wanted.customer_id))
    if wanted.meter_id is not None:
        query = query.where(text_at(connection, facts, "meter_id") == wanted.meter_id)
    if wanted.metadata:
        query = query.where(has_labels(connection, facts, wanted.metadata, "metadata"))
    return query


def _placed(
    query: Select[Any],
    columns: Any,  # noqa: ANN401 - the columns of any table
    after: _Place | None,
    *,
    recorded: bool,
) -> Select[Any]:
    place = (columns.created_at, columns.request_id)
    query = query.add_columns(literal(recorded).label("recorded"))
    if after is not None:
        query = query.where(tuple_(*place) < tuple_(*after))
    return query.order_by(place[0].desc(), place[1].desc())


def _load(
    connection: Connection, merchant_id: str, found: Sequence[Sequence[Any]]
) -> list[RequestRecord]:
    """The records of these keys, in their order."""
    records: dict[str, RequestRecord] = {}
    recorded = _ids(found, recorded=True)
    waiting = _ids(found, recorded=False)
    if waiting:
        for hold in hold_reads.of_requests(connection, merchant_id, waiting).values():
            records[hold.request_id] = pending(hold)
    if recorded:
        query = select(*_REQUEST).where(
            _requests.merchant_id == merchant_id, _requests.request_id.in_(recorded)
        )
        for row in connection.execute(query):
            record = rows.record_of(tuple(row))
            records[record.request_id] = record
    return [records[request_id] for _, request_id, _ in found]


def _ids(found: Sequence[Sequence[Any]], *, recorded: bool) -> list[str]:
    return [request_id for _, request_id, kind in found if bool(kind) is recorded]
