"""Payments. See `gateway.ports.PaymentStore`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, insert, or_, select, update

from lava_grpc.core.page import Page, Slice
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.time import Instant
from lava_grpc.store import rows, schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.database import Database
from lava_grpc.store.sql import PAYMENT_COLUMNS

_payments = schema.payments.c
_AUTO = PaymentKind.AUTO_TOP_UP.value
_OPEN = _payments.ended_at.is_(None)


class StorePayments:
    """Runs each statement in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, payment: Payment, *, quiet_since: Instant) -> bool:
        """Store a payment; False for an auto top-up that is not to be, as the port says."""
        return await self._database.write(lambda c: _open(c, payment, quiet_since))

    async def find(self, merchant_id: str, payment_id: str) -> Payment | None:
        """The payment with this id."""
        query = select(schema.payments).where(
            _payments.merchant_id == merchant_id, _payments.payment_id == payment_id
        )
        row = await self._database.read(lambda c: c.execute(query).first())
        return None if row is None else rows.payment_of(tuple(row))

    async def of_request(self, merchant_id: str, request_id: str) -> Payment | None:
        """The payment that was asked for with this request id."""
        query = select(schema.payments).where(
            _payments.merchant_id == merchant_id, _payments.request_id == request_id
        )
        row = await self._database.read(lambda c: c.execute(query).first())
        return None if row is None else rows.payment_of(tuple(row))

    async def beginning(self, merchant_id: str, account_id: str) -> Payment | None:
        """The open payment for a plan's first cycle."""
        query = select(schema.payments).where(
            _payments.merchant_id == merchant_id,
            _payments.account_id == account_id,
            _payments.ended_at.is_(None),
            _payments.kind == PaymentKind.SUBSCRIPTION.value,
        )
        row = await self._database.read(lambda c: c.execute(query).first())
        return None if row is None else rows.payment_of(tuple(row))

    async def list(self, merchant_id: str, account_id: str | None, page: Page) -> Slice[Payment]:
        """Payments, newest first; of one account, or of all."""
        scope = [_payments.merchant_id == merchant_id]
        if account_id is not None:
            scope.append(_payments.account_id == account_id)
        query = select(schema.payments)
        key = _payments.payment_id
        found, cursor = await self._database.read(
            lambda c: newest_first(c, query, key, page, *scope, ids_first=len(scope) > 1)
        )
        return Slice([rows.payment_of(tuple(row)) for row in found], cursor)

    async def due(self, now: Instant, limit: int) -> Sequence[Payment]:
        """Open payments that nobody is at, the longest waiting first."""
        query = (
            select(schema.payments)
            .where(_payments.ended_at.is_(None), _payments.due_at <= now)
            .order_by(_payments.due_at)
            .limit(limit)
        )
        found = await self._database.read(lambda c: c.execute(query).all())
        return [rows.payment_of(tuple(row)) for row in found]

    async def take(self, payment: Payment, now: Instant, until: Instant) -> Payment | None:
        """Be the one who is at a payment until then; None where another one is, or it ended."""
        return await self._database.write(lambda c: _take(c, payment, now, until))

    async def put_off(self, payment: Payment, until: Instant) -> None:
        """Let an open payment wait until then: it was not answered."""
        await self._change(payment, {"due_at": until, "reason": None}, PaymentState.OPEN)

    async def insist(self, payment: Payment, until: Instant, reason: str) -> None:
        """Ask for a payment once more then, which was declined."""
        values: dict[str, object] = {
            "due_at": until,
            "reason": reason,
            "declines": payment.declines + 1,
        }
        await self._change(payment, values, PaymentState.OPEN)

    async def pay_with(self, payment: Payment, method_id: str | None) -> None:
        """Have an open payment asked for by another payment method from now on."""
        await self._change(payment, {"payment_method_id": method_id}, PaymentState.OPEN)

    async def mark_paid(self, payment: Payment) -> bool:
        """Note that the money of an open payment was taken; False where it is not open."""
        return await self._change(payment, {"state": PaymentState.PAID.value}, PaymentState.OPEN)

    async def end(
        self, payment: Payment, state: PaymentState, reason: str | None, at: Instant
    ) -> bool:
        """Close a payment: as declined if it is open, as succeeded if it is paid, or else not."""
        ended: dict[str, object] = {
            "state": state.value,
            "reason": reason,
            "due_at": None,
            "ended_at": at,
        }
        before = PaymentState.PAID if state is PaymentState.SUCCEEDED else PaymentState.OPEN
        return await self._change(payment, ended, before)

    async def _change(
        self, payment: Payment, values: dict[str, object], before: PaymentState
    ) -> bool:
        change = (
            update(schema.payments)
            .where(
                _payments.merchant_id == payment.merchant_id,
                _payments.payment_id == payment.payment_id,
                _payments.state == before.value,
            )
            .values(values)
        )
        return await self._database.write(lambda c: c.execute(change).rowcount) == 1


def _open(connection: Connection, payment: Payment, quiet_since: Instant) -> bool:
    """Two at once meet in a unique index: `write` runs the later one again."""
    if _hindered(connection, payment):
        return False
    if payment.kind is PaymentKind.AUTO_TOP_UP:
        hinders = select(_payments.payment_id).where(
            _payments.merchant_id == payment.merchant_id,
            _payments.account_id == payment.account_id,
            _payments.kind == _AUTO,
            _payments.ended_at.is_(None)
            | (
                (_payments.state == PaymentState.DECLINED.value)
                & _payments.reason.is_not(None)
                & (_payments.created_at > quiet_since)
            ),
        )
        if connection.execute(hinders.limit(1)).first() is not None:
            return False
    connection.execute(
        insert(schema.payments).values(
            dict(zip(PAYMENT_COLUMNS, rows.payment_row(payment), strict=True))
        )
    )
    return True


def _take(connection: Connection, payment: Payment, now: Instant, until: Instant) -> Payment | None:
    free = (
        _payments.merchant_id == payment.merchant_id,
        _payments.payment_id == payment.payment_id,
        _payments.ended_at.is_(None),
        _payments.due_at <= now,
    )
    row = connection.execute(select(schema.payments).where(*free).with_for_update()).first()
    if row is None:
        return None
    found = rows.payment_of(tuple(row))
    taken = {"due_at": until, "attempts": found.attempts + 1}
    # Why it was declined the last time is no longer the last word, should this one be lost.
    connection.execute(update(schema.payments).where(*free).values(**taken, reason=None))
    return replace(found, due_at=until, attempts=found.attempts + 1)


def _hindered(connection: Connection, payment: Payment) -> bool:
    """Whether its request was made before, or the customer is about to be on another plan."""
    same = []
    if payment.request_id is not None:
        same.append(_payments.request_id == payment.request_id)
    if payment.kind is PaymentKind.SUBSCRIPTION:
        begins = _payments.kind == PaymentKind.SUBSCRIPTION.value
        same.append((_payments.account_id == payment.account_id) & begins & _OPEN)
    if not same:
        return False
    query = select(_payments.payment_id).where(
        _payments.merchant_id == payment.merchant_id, or_(*same)
    )
    return connection.execute(query.limit(1)).first() is not None
