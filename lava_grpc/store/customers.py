"""Statements for customers and their accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, insert, select, text, update

from lava_grpc.core.account import AccountKind
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.money import Amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.resources import Customer, CustomerPlan
from lava_grpc.core.time import Instant
from lava_grpc.core.webhooks import Event
from lava_grpc.store import announce, schema
from lava_grpc.store.cursors import newest_first

ID_PREFIX = "con_"
"""What begins with it is an id; a reference id may not."""

_CHANGEABLE = frozenset({"reference_id", "name", "email", "phone", "metadata"})

_customers = schema.customers.c
_accounts = schema.accounts.c
_subscriptions = schema.subscriptions.c
_plans = schema.plans.c
_LIVING: ColumnElement[bool] = _customers.deleted_at.is_(None)


def add(connection: Connection, customer: Customer) -> Customer:
    """Store a customer and open its account; the one with the same `reference_id`, if any."""
    if customer.reference_id is not None:
        first = _by_reference(connection, customer.merchant_id, customer.reference_id)
        if first is not None:
            return first
    connection.execute(
        insert(schema.customers).values(
            merchant_id=customer.merchant_id,
            customer_id=customer.customer_id,
            reference_id=customer.reference_id,
            name=customer.name,
            email=customer.email,
            phone=customer.phone,
            metadata=customer.metadata,
            created_at=customer.created_at,
        )
    )
    connection.execute(
        insert(schema.accounts).values(
            merchant_id=customer.merchant_id,
            account_id=customer.customer_id,
            kind=AccountKind.CUSTOMER.value,
            credit_limit=customer.credit_limit,
        )
    )
    announce.tell(
        connection,
        customer.merchant_id,
        customer.customer_id,
        Event.CUSTOMER_CREATED,
        customer.created_at,
    )
    return customer


def find(connection: Connection, merchant_id: str, ident: str) -> Customer | None:
    """The customer with this id or reference id."""
    if not ident.startswith(ID_PREFIX):
        return _by_reference(connection, merchant_id, ident)
    return _first(connection, merchant_id, _customers.customer_id == ident)


def even_deleted(connection: Connection, merchant_id: str, customer_id: str) -> Customer | None:
    """The customer with this id, whether it was deleted or not."""
    query = _all().where(
        _customers.merchant_id == merchant_id, _customers.customer_id == customer_id
    )
    row = connection.execute(query).first()
    return _customer_of(row) if row else None


def list_page(connection: Connection, merchant_id: str, page: Page) -> Slice[Customer]:
    """Customers, newest first."""
    mine = _customers.merchant_id == merchant_id
    rows, cursor = newest_first(
        connection, _all(), _customers.customer_id, page, mine, among=[_LIVING], ids_first=True
    )
    return Slice([_customer_of(row) for row in rows], cursor)


def change(
    connection: Connection, merchant_id: str, ident: str, changes: Mapping[str, object]
) -> Customer | None:
    """Set fields of `Customer` by name; raises ValueError for one that never changes."""
    fields = dict(changes)
    limit = {"credit_limit": fields.pop("credit_limit")} if "credit_limit" in fields else {}
    if not _CHANGEABLE.issuperset(fields):
        raise ValueError(f"these never change: {sorted(fields.keys() - _CHANGEABLE)}")
    customer = find(connection, merchant_id, ident)
    if customer is None:
        return None
    reference_id = fields.get("reference_id")
    if isinstance(reference_id, str):
        _require_free(connection, customer, reference_id)
    if fields:
        connection.execute(
            update(schema.customers)
            .where(
                _customers.merchant_id == merchant_id,
                _customers.customer_id == customer.customer_id,
            )
            .values(fields)
        )
    if limit:
        _set_limit(connection, customer, limit["credit_limit"])
    return find(connection, merchant_id, customer.customer_id)


def delete(connection: Connection, merchant_id: str, ident: str, at: Instant) -> bool:
    """Delete a customer and close its account; False where there is none."""
    customer = find(connection, merchant_id, ident)
    if customer is None:
        return False
    done = connection.execute(
        update(schema.customers)
        .where(
            _customers.merchant_id == merchant_id,
            _customers.customer_id == customer.customer_id,
            _customers.deleted_at.is_(None),
        )
        .values(deleted_at=at)
    )
    if done.rowcount == 0:
        return False
    _set_account(connection, customer, {"closed": True})
    announce.tell(connection, merchant_id, customer.customer_id, Event.CUSTOMER_DELETED, at)
    return True


def _set_limit(connection: Connection, customer: Customer, limit: object) -> None:
    """Set the customer's own limit; while a plan sets another one, it waits."""
    mine = (
        _accounts.merchant_id == customer.merchant_id,
        _accounts.account_id == customer.customer_id,
    )
    current = select(_accounts.credit_limit, _accounts.plan_limited).where(*mine)
    # Locked: the ledger may be at a renewal, where the plan's limit comes or goes.
    row = connection.execute(current.with_for_update()).one()
    values: dict[str, object] = {"own_limit": limit}
    if not row.plan_limited:
        values = {"credit_limit": limit}
        if _lower(limit, row.credit_limit):
            values["limit_lowered"] = True
    _set_account(connection, customer, values)


def _lower(limit: object, than: Amount | None) -> bool:
    """Whether a limit is below another; None is unlimited."""
    return isinstance(limit, int) and (than is None or limit < than)


def _set_account(connection: Connection, customer: Customer, values: Mapping[str, object]) -> None:
    """Set what the ledger's batches read and never write."""
    connection.execute(
        update(schema.accounts)
        .where(
            _accounts.merchant_id == customer.merchant_id,
            _accounts.account_id == customer.customer_id,
        )
        .values(values)
    )


def _require_free(connection: Connection, customer: Customer, reference_id: str) -> None:
    taken = _by_reference(connection, customer.merchant_id, reference_id)
    if taken is not None and taken.customer_id != customer.customer_id:
        raise Refusal(
            Reason.ALREADY_EXISTS,
            f"another customer has the reference_id '{reference_id[:80]}'",
            field="reference_id",
        )


def _living() -> Select[Any]:
    return _all().where(_LIVING)


def _all() -> Select[Any]:
    query = select(
        _customers.merchant_id,
        _customers.customer_id,
        _customers.reference_id,
        _customers.name,
        _customers.email,
        _customers.phone,
        _customers.metadata,
        case((_accounts.plan_limited, _accounts.own_limit), else_=_accounts.credit_limit).label(
            "credit_limit"
        ),
        _customers.created_at,
        _subscriptions.subscription_id,
        _subscriptions.plan_id,
        _plans.name.label("plan_name"),
    ).join_from(
        schema.customers,
        schema.accounts,
        and_(
            _accounts.merchant_id == _customers.merchant_id,
            _accounts.account_id == _customers.customer_id,
        ),
    )
    active = and_(
        _subscriptions.merchant_id == _customers.merchant_id,
        _subscriptions.customer_id == _customers.customer_id,
        _subscriptions.status == text("'active'"),
    )
    on_plan = and_(
        _plans.merchant_id == _subscriptions.merchant_id,
        _plans.plan_id == _subscriptions.plan_id,
    )
    return query.outerjoin(schema.subscriptions, active).outerjoin(schema.plans, on_plan)


def _by_reference(connection: Connection, merchant_id: str, ident: str) -> Customer | None:
    return _first(connection, merchant_id, _customers.reference_id == ident)


def _first(
    connection: Connection, merchant_id: str, condition: ColumnElement[bool]
) -> Customer | None:
    query = _living().where(_customers.merchant_id == merchant_id, condition)
    row = connection.execute(query).first()
    return _customer_of(row) if row else None


def _customer_of(row: Sequence[Any]) -> Customer:
    *fields, subscription_id, plan_id, plan_name = row
    plan = None if subscription_id is None else CustomerPlan(subscription_id, plan_id, plan_name)
    return replace(Customer(*fields), subscription=plan)
