"""Deliveries: written with what they tell of, taken by whoever sends them, kept for a while.

A delivery that is taken is leased: `due_at` lies in the future, so that nobody
else takes it, and if its process dies it is due again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    update,
)

from lava_grpc.core.time import SECOND, Instant
from lava_grpc.core.webhooks import (
    PAUSES_SECONDS,
    Attempted,
    DeliveryState,
    Event,
    Outgoing,
    Told,
)
from lava_grpc.store import customers, schema

MERGED_MAX = 1000
"""How many changes of balances one look at the outbox merges into later ones."""

PRUNED_MAX = 1000
"""How many old deliveries one look removes."""

_DAY: Instant = 86_400 * SECOND
DELIVERED_KEPT: Instant = 7 * _DAY
FAILED_KEPT: Instant = 30 * _DAY

_webhooks = schema.webhooks.c
_deliveries = schema.webhook_deliveries.c
# Spelled out, for SQLite takes an index of the pending ones for no value that it does not see.
_PENDING = text(f"'{DeliveryState.PENDING.value}'")
_KEY = (_deliveries.merchant_id, _deliveries.webhook_id, _deliveries.delivery_id)


def has_due(connection: Connection, now: Instant) -> bool:
    """Whether there is anything to send."""
    due = _owned(select(literal(1))).where(_due(_deliveries, now)).limit(1)
    return connection.execute(due).first() is not None


def take(
    connection: Connection,
    now: Instant,
    *,
    render: Callable[[Told], str],
    lease: Instant,
    room: int,
    per_webhook: int,
    in_flight: Mapping[str, int],
) -> list[Outgoing]:
    """Take up to `room` deliveries that are due, at most `per_webhook` in flight of each webhook.

    Of one customer's deliveries to one webhook only the oldest that has not
    ended is ever taken, so that they arrive in order. `render` spells a body
    at its first attempt; later ones send the same.
    """
    _merge(connection, now)
    taken = Counter(in_flight)
    out: list[Outgoing] = []
    for row in connection.execute(_ready(now, room=room, per_webhook=per_webhook)).all():
        if taken[row.webhook_id] >= per_webhook:
            continue
        taken[row.webhook_id] += 1
        body = row.body or render(_told(connection, row))
        attempt = row.attempts + 1
        connection.execute(
            update(schema.webhook_deliveries)
            .where(tuple_(*_KEY) == (row.merchant_id, row.webhook_id, row.delivery_id))
            .values(body=body, attempts=attempt, due_at=now + lease)
        )
        out.append(
            Outgoing(
                row.merchant_id,
                row.webhook_id,
                row.delivery_id,
                attempt,
                row.url,
                body,
                row.secret,
            )
        )
    return out


def finish(connection: Connection, sent: Outgoing, became: Attempted, now: Instant) -> None:
    """Note what became of an attempt; nothing where another attempt has begun since."""
    values: dict[str, object] = {
        "response_status": became.response_status,
        "error": became.error,
        "due_at": None,
        "ended_at": now,
    }
    if became.error is None:
        values["state"] = DeliveryState.DELIVERED.value
    elif sent.attempt > len(PAUSES_SECONDS):
        values["state"] = DeliveryState.FAILED.value
    else:
        values["due_at"] = now + PAUSES_SECONDS[sent.attempt - 1] * SECOND
        values["ended_at"] = None
    connection.execute(
        update(schema.webhook_deliveries)
        .where(
            tuple_(*_KEY) == (sent.merchant_id, sent.webhook_id, sent.delivery_id),
            _deliveries.state == _PENDING,
            _deliveries.attempts == sent.attempt,
        )
        .values(values)
    )


def has_old(connection: Connection, now: Instant) -> bool:
    """Whether there is anything to prune."""
    return connection.execute(select(literal(1)).where(_old(now)).limit(1)).first() is not None


def prune(connection: Connection, now: Instant) -> int:
    """Remove old deliveries, and those of webhooks that are gone; how many, up to a bound."""
    found = select(*_KEY).where(_old(now)).limit(PRUNED_MAX)
    gone = delete(schema.webhook_deliveries).where(tuple_(*_KEY).in_(found))
    return connection.execute(gone).rowcount


def _old(now: Instant) -> ColumnElement[bool]:
    ended, state = _deliveries.ended_at, _deliveries.state
    orphan = ~exists().where(
        _webhooks.merchant_id == _deliveries.merchant_id,
        _webhooks.webhook_id == _deliveries.webhook_id,
    )
    return or_(
        and_(state == DeliveryState.DELIVERED.value, ended <= now - DELIVERED_KEPT),
        and_(state == DeliveryState.FAILED.value, ended <= now - FAILED_KEPT),
        and_(state == _PENDING, _deliveries.due_at <= now - _DAY, orphan),
    )


def _ready(now: Instant, *, room: int, per_webhook: int) -> Select[Any]:
    """The deliveries to take, locked; those that another process locks are passed over."""
    own = schema.webhook_deliveries.alias("own")
    place = func.row_number().over(
        partition_by=(own.c.merchant_id, own.c.webhook_id),
        order_by=(own.c.due_at, own.c.delivery_id),
    )
    heads = (
        select(own.c.merchant_id, own.c.webhook_id, own.c.delivery_id, place.label("place"))
        .where(_due(own.c, now), ~_has_earlier(own.c))
        .subquery("heads")
    )
    query = _owned(
        select(
            *_KEY,
            _deliveries.customer_id,
            _deliveries.event,
            _deliveries.details,
            _deliveries.body,
            _deliveries.attempts,
            _webhooks.url,
            _webhooks.secret,
        )
    )
    return (
        query.join(
            heads,
            and_(
                heads.c.merchant_id == _deliveries.merchant_id,
                heads.c.webhook_id == _deliveries.webhook_id,
                heads.c.delivery_id == _deliveries.delivery_id,
            ),
        )
        .where(heads.c.place <= per_webhook, _due(_deliveries, now))
        .order_by(_deliveries.due_at)
        .limit(room)
        .with_for_update(of=schema.webhook_deliveries, skip_locked=True)
    )


def _merge(connection: Connection, now: Instant) -> None:
    """Drop changes of a balance that nobody was told of where a later one waits too.

    A hot customer's balance changes faster than anybody can be told.
    """
    superseded = _waiting(
        "later",
        lambda later: and_(
            later.delivery_id + "" > _deliveries.delivery_id,
            later.event == Event.BALANCE_UPDATED.value,
            later.body.is_(None),
        ),
        _deliveries,
    )
    found = (
        select(*_KEY)
        .where(
            _due(_deliveries, now),
            _deliveries.event == Event.BALANCE_UPDATED.value,
            _deliveries.body.is_(None),
            superseded,
        )
        .limit(MERGED_MAX)
        .with_for_update(of=schema.webhook_deliveries, skip_locked=True)
    )
    keys = [tuple(row) for row in connection.execute(found)]
    if keys:
        gone = delete(schema.webhook_deliveries).where(tuple_(*_KEY).in_(keys))
        connection.execute(gone)


def _has_earlier(own: Any) -> ColumnElement[bool]:  # noqa: ANN401 - an alias's columns
    return _waiting("earlier", lambda earlier: earlier.delivery_id + "" < own.delivery_id, own)


def _waiting(
    name: str,
    which: Callable[[Any], ColumnElement[bool]],
    own: Any,  # noqa: ANN401 - an alias's columns
) -> ColumnElement[bool]:
    """Whether another delivery of the same customer to the same webhook is pending.

    `which` compares ids by an expression: SQLite else goes by the primary key
    through all that was ever sent.
    """
    other = schema.webhook_deliveries.alias(name)
    return (
        select(literal(1))
        .select_from(other)
        .where(
            other.c.merchant_id == own.merchant_id,
            other.c.webhook_id == own.webhook_id,
            other.c.customer_id == own.customer_id,
            other.c.state == _PENDING,
            which(other.c),
        )
        .correlate_except(other)
        .exists()
    )


def _due(columns: Any, now: Instant) -> ColumnElement[bool]:  # noqa: ANN401 - an alias's columns
    return and_(columns.state == _PENDING, columns.due_at <= now)


def _owned(query: Select[Any]) -> Select[Any]:
    """Deliveries with their webhooks."""
    return query.join_from(
        schema.webhook_deliveries,
        schema.webhooks,
        and_(
            _webhooks.merchant_id == _deliveries.merchant_id,
            _webhooks.webhook_id == _deliveries.webhook_id,
        ),
    )


def _told(connection: Connection, row: Any) -> Told:  # noqa: ANN401 - a row of `_ready`
    customer = None
    if row.customer_id is not None:
        customer = customers.even_deleted(connection, row.merchant_id, row.customer_id)
    return Told(row.delivery_id, Event(row.event), customer, row.details)
