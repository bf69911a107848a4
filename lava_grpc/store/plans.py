"""Statements for plans and their bundles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from lava_grpc.core.page import Page, Slice
from lava_grpc.core.plans import Bundle, Plan, PlanEdit, StoredPlan
from lava_grpc.core.time import Instant
from lava_grpc.store import rows, schema
from lava_grpc.store.cursors import newest_first
from lava_grpc.store.sql import PLAN_COLUMNS

_plans = schema.plans.c
_bundles = schema.credit_bundles.c
_meters = schema.meters.c

_PLAN = [_plans[name] for name in PLAN_COLUMNS]
_BUNDLE = (
    _bundles.merchant_id,
    _bundles.credit_bundle_id,
    _bundles.plan_id,
    _bundles.name,
    _bundles.cost,
    _bundles.credit_amount,
    _bundles.created_at,
)


def add(connection: Connection, plan: Plan, bundles: Sequence[Bundle]) -> StoredPlan:
    """Store a plan and its bundles."""
    connection.execute(insert(schema.plans).values(rows.plan_row(plan)))
    _add_bundles(connection, bundles)
    return _with_parts(connection, plan.merchant_id, [plan])[0]


def default(connection: Connection, merchant_id: str) -> Plan | None:
    """The plan that customers without another are on."""
    query = select(*_PLAN).where(_plans.merchant_id == merchant_id, _plans.is_default)
    row = connection.execute(query).first()
    return rows.plan_of(tuple(row)) if row else None


def ensure_default(connection: Connection, plan: Plan) -> Plan:
    """The merchant's default plan; `plan` where there was none."""
    found = default(connection, plan.merchant_id)
    if found is None:
        connection.execute(insert(schema.plans).values(rows.plan_row(plan)))
    return found or plan


def find(connection: Connection, merchant_id: str, plan_id: str) -> StoredPlan | None:
    """The plan with this id, unless it was deleted."""
    query = _living().where(_plans.merchant_id == merchant_id, _plans.plan_id == plan_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    return _with_parts(connection, merchant_id, [rows.plan_of(tuple(row))])[0]


def list_page(connection: Connection, merchant_id: str, page: Page) -> Slice[StoredPlan]:
    """Plans, newest first."""
    mine = (_plans.merchant_id == merchant_id, _plans.deleted_at.is_(None))
    found, cursor = newest_first(connection, select(*_PLAN), _plans.plan_id, page, *mine)
    plans = [rows.plan_of(tuple(row)) for row in found]
    return Slice(_with_parts(connection, merchant_id, plans), cursor)


def change(
    connection: Connection, merchant_id: str, plan_id: str, edit: PlanEdit, at: Instant
) -> StoredPlan | None:
    """Change a plan and its bundles."""
    if edit.values:
        values = dict(edit.values)
        meter_ids = values.get("meter_ids")
        if meter_ids is not None:
            values["meter_ids"] = rows.dumps(meter_ids)
        connection.execute(
            update(schema.plans)
            .where(
                _plans.merchant_id == merchant_id,
                _plans.plan_id == plan_id,
                _plans.deleted_at.is_(None),
            )
            .values(values)
        )
    _add_bundles(connection, edit.added)
    for bundle_id, changed in edit.changed.items():
        _set_bundle(connection, merchant_id, plan_id, bundle_id, dict(changed))
    for bundle_id in edit.removed:
        _set_bundle(connection, merchant_id, plan_id, bundle_id, {"deleted_at": at})
    return find(connection, merchant_id, plan_id)


def delete(connection: Connection, merchant_id: str, plan_id: str, at: Instant) -> bool:
    """Delete a plan and its bundles; False where there is none, or it is the default one."""
    mine = (_plans.merchant_id == merchant_id, _plans.plan_id == plan_id)
    done = connection.execute(
        update(schema.plans)
        .where(*mine, _plans.deleted_at.is_(None), ~_plans.is_default)
        .values(deleted_at=at)
    )
    return done.rowcount == 1


def find_bundle(connection: Connection, merchant_id: str, bundle_id: str) -> Bundle | None:
    """The bundle with this id, unless it or its plan was deleted."""
    query = _sold().where(
        _bundles.merchant_id == merchant_id, _bundles.credit_bundle_id == bundle_id
    )
    row = connection.execute(query).first()
    return Bundle(*row) if row else None


def list_bundles(
    connection: Connection, merchant_id: str, plan_id: str | None, page: Page
) -> Slice[Bundle]:
    """Bundles, newest first; of one plan, or of all."""
    scope = [_bundles.merchant_id == merchant_id]
    if plan_id is not None:
        scope.append(_bundles.plan_id == plan_id)
    found, cursor = newest_first(connection, _sold(), _bundles.credit_bundle_id, page, *scope)
    return Slice([Bundle(*row) for row in found], cursor)


def _living() -> Select[Any]:
    return select(*_PLAN).where(_plans.deleted_at.is_(None))


def _sold() -> Select[Any]:
    of_plan = (_plans.merchant_id == _bundles.merchant_id) & (_plans.plan_id == _bundles.plan_id)
    return (
        select(*_BUNDLE)
        .join_from(schema.credit_bundles, schema.plans, of_plan)
        .where(_bundles.deleted_at.is_(None), _plans.deleted_at.is_(None))
    )


def _add_bundles(connection: Connection, bundles: Iterable[Bundle]) -> None:
    values = [
        {
            "merchant_id": bundle.merchant_id,
            "credit_bundle_id": bundle.credit_bundle_id,
            "plan_id": bundle.plan_id,
            "name": bundle.name,
            "cost": bundle.cost,
            "credit_amount": bundle.credit_amount,
            "created_at": bundle.created_at,
        }
        for bundle in bundles
    ]
    if values:
        connection.execute(insert(schema.credit_bundles), values)


def _set_bundle(
    connection: Connection,
    merchant_id: str,
    plan_id: str,
    bundle_id: str,
    values: dict[str, object],
) -> None:
    if not values:
        return
    connection.execute(
        update(schema.credit_bundles)
        .where(
            _bundles.merchant_id == merchant_id,
            _bundles.credit_bundle_id == bundle_id,
            _bundles.plan_id == plan_id,
        )
        .values(values)
    )


def _with_parts(
    connection: Connection, merchant_id: str, plans: Sequence[Plan]
) -> list[StoredPlan]:
    """Plans with their bundles, oldest first, and their meters' names."""
    ids = [plan.plan_id for plan in plans]
    found = connection.execute(
        select(*_BUNDLE)
        .where(
            _bundles.merchant_id == merchant_id,
            _bundles.plan_id.in_(ids),
            _bundles.deleted_at.is_(None),
        )
        .order_by(_bundles.credit_bundle_id)
    )
    bundles = [Bundle(*row) for row in found]
    linked = {ident for plan in plans for ident in plan.meter_ids or ()}
    # A meter that was deleted keeps its name: the plan is still linked to it.
    named = connection.execute(
        select(_meters.meter_id, _meters.name).where(
            _meters.merchant_id == merchant_id, _meters.meter_id.in_(linked)
        )
    )
    names = {str(meter_id): str(name) for meter_id, name in named}
    return [
        StoredPlan(
            plan,
            tuple([bundle for bundle in bundles if bundle.plan_id == plan.plan_id]),
            tuple([(ident, names.get(ident, "")) for ident in plan.meter_ids or ()]),
        )
        for plan in plans
    ]
