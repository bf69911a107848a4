"""Queries for holds."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, literal_column, or_, select

from lava_grpc.core.hold import Hold, HoldState
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.time import Instant
from lava_grpc.store import rows, schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.documents import text_at
from lava_grpc.store.sql import HOLD_COLUMNS

_holds = schema.holds.c

HOLD = [_holds[name] for name in HOLD_COLUMNS]
# As the partial index spells it: SQLite would not see a parameter's value, nor
# PostgreSQL in a plan that it keeps.
ACTIVE: ColumnElement[bool] = _holds.state == literal_column("'active'")


def find(connection: Connection, merchant_id: str, hold_id: str) -> Hold | None:
    """The hold."""
    return _first(connection, merchant_id, _holds.hold_id == hold_id)


def of_request(connection: Connection, merchant_id: str, request_id: str) -> Hold | None:
    """The hold that was placed for a request."""
    return _first(connection, merchant_id, _holds.request_id == request_id)


def find_many(connection: Connection, merchant_id: str, hold_ids: Sequence[str]) -> dict[str, Hold]:
    """Those of the holds that there are, by their ids."""
    found = _each(connection, merchant_id, _holds.hold_id.in_(hold_ids))
    return {hold.hold_id: hold for hold in found}


def of_requests(
    connection: Connection, merchant_id: str, request_ids: Sequence[str]
) -> dict[str, Hold]:
    """The holds that were placed for requests, by the requests' ids."""
    # Ids first, which the index of requests holds: for whole rows SQLite prefers the primary
    # key from two requests on, and goes through all holds of the merchant.
    ids = select(_holds.hold_id).where(
        _holds.merchant_id == merchant_id, _holds.request_id.in_(request_ids)
    )
    found = _each(connection, merchant_id, _holds.hold_id.in_(ids))
    return {hold.request_id: hold for hold in found}


def list_page(
    connection: Connection,
    merchant_id: str,
    page: Page,
    *,
    customer_id: str | None,
    state: HoldState | None,
    now: Instant,
) -> Slice[Hold]:
    """Holds, newest first. One that is active past its expiry shows as expired."""
    query = select(*HOLD)
    if customer_id is not None:
        query = query.where(of_customer(connection, customer_id))
    order: ColumnElement[str] = _holds.hold_id
    match state:
        case None:
            pass
        case HoldState.ACTIVE:
            # Sorted by an expression, so that PostgreSQL finds the few that are active and
            # sorts them, in place of walking all holds in the order of their ids.
            order = _holds.hold_id + ""
            running = select(_holds.hold_id).where(
                active_of(connection, merchant_id), _holds.expires_at > now
            )
            if customer_id is not None:
                running = running.where(of_customer(connection, customer_id))
            if page.cursor is not None:
                running = running.where(_holds.hold_id < page.cursor)
            running = running.order_by(order.desc()).limit(page.limit + 1)
            query = query.where(_holds.hold_id.in_(running))
        case HoldState.EXPIRED:
            overdue = and_(ACTIVE, _holds.expires_at <= now)
            query = query.where(or_(_holds.state == state.value, overdue))
        case _:
            query = query.where(_holds.state == state.value)
    mine = _holds.merchant_id == merchant_id
    found, cursor = newest_first(connection, query, _holds.hold_id, page, mine, order=order)
    holds = [rows.hold_of(tuple(row)) for row in found]
    for hold in holds:
        if hold.state is HoldState.ACTIVE and hold.expires_at <= now:
            hold.state = HoldState.EXPIRED
    return Slice(holds, cursor)


def active_of(connection: Connection, merchant_id: str) -> ColumnElement[bool]:
    """Whether a hold is this merchant's and active, so that the index of active ones is used."""
    merchant: ColumnElement[str] = _holds.merchant_id
    if connection.dialect.name == "sqlite":
        # An expression keeps SQLite, which has no statistics, from walking all of a
        # merchant's holds by their primary key.
        merchant = merchant + ""
    return and_(merchant == merchant_id, ACTIVE)


def of_customer(connection: Connection, customer_id: str) -> ColumnElement[bool]:
    """Whether a hold is for a call of this customer, who need not be the one who pays."""
    return or_(
        _holds.charge_account_id == customer_id,
        and_(
            _holds.charge_account_id.is_(None),
            text_at(connection, _holds.facts, "customer_id") == customer_id,
        ),
    )


def _first(connection: Connection, merchant_id: str, condition: ColumnElement[bool]) -> Hold | None:
    query = select(*HOLD).where(_holds.merchant_id == merchant_id, condition)
    row = connection.execute(query).first()
    return rows.hold_of(tuple(row)) if row else None


def _each(connection: Connection, merchant_id: str, condition: ColumnElement[bool]) -> list[Hold]:
    query = select(*HOLD).where(_holds.merchant_id == merchant_id, condition)
    return [rows.hold_of(tuple(row)) for row in connection.execute(query)]
