"""Payments. See `gateway.ports.PaymentStore`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from lava_grpc.core.page import Page, Slice
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.time import Instant
from lava_grpc.store import schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.database import Database

_payments = schema.payments.c
_AUTO = PaymentKind.AUTO_TOP_UP.value


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
        return None if row is None else _payment_of(tuple(row))

    async def list(self, merchant_id: str, account_id: str | None, page: Page) -> Slice[Payment]:
        """Payments, newest first; of one account, or of all."""
        scope = [_payments.merchant_id == merchant_id]
        if account_id is not None:
            scope.append(_payments.account_id == account_id)
        query = select(schema.payments)
        key = _payments.payment_id
        rows, cursor = await self._database.read(
            lambda c: newest_first(c, query, key, page, *scope, ids_first=len(scope) > 1)
        )
        return Slice([_payment_of(tuple(row)) for row in rows], cursor)

    async def due(self, now: Instant, limit: int) -> Sequence[Payment]:
        """Open payments that nobody is at, the longest waiting first."""
        query = (
            select(schema.payments)
            .where(_payments.ended_at.is_(None), _payments.due_at <= now)
            .order_by(_payments.due_at)
            .limit(limit)
        )
        rows = await self._database.read(lambda c: c.execute(query).all())
        return [_payment_of(tuple(row)) for row in rows]

    async def take(self, payment: Payment, now: Instant, until: Instant) -> bool:
        """Be the one who is at a payment until then; False where another one is, or it ended."""
        change = (
            update(schema.payments)
            .where(
                _payments.merchant_id == payment.merchant_id,
                _payments.payment_id == payment.payment_id,
                _payments.ended_at.is_(None),
                _payments.due_at <= now,
            )
            .values(due_at=until, attempts=_payments.attempts + 1)
        )
        return await self._database.write(lambda c: c.execute(change).rowcount) == 1

    async def put_off(self, payment: Payment, until: Instant) -> None:
        """Let an open payment wait until then."""
        await self._change(payment, {"due_at": until}, PaymentState.OPEN)

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
    """Two at once meet in the index `payments_open`: `write` runs the later one again."""
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
            merchant_id=payment.merchant_id,
            payment_id=payment.payment_id,
            account_id=payment.account_id,
            kind=payment.kind.value,
            provider=payment.provider,
            payment_method_id=payment.payment_method_id,
            credit_bundle_id=payment.credit_bundle_id,
            amount=payment.amount,
            credit_amount=payment.credit_amount,
            state=payment.state.value,
            reason=payment.reason,
            attempts=payment.attempts,
            due_at=payment.due_at,
            created_at=payment.created_at,
            ended_at=payment.ended_at,
        )
    )
    return True


def _payment_of(row: Any) -> Payment:  # noqa: ANN401 - what a driver hands out has no types
    values = list(row)
    values[3], values[9] = PaymentKind(values[3]), PaymentState(values[9])
    return Payment(*values)
