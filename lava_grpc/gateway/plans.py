"""The merchant's plans and their bundles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lava_grpc.core.cycles import Interval
from lava_grpc.core.errors import invalid, not_found
from lava_grpc.core.ids import IdSource
from lava_grpc.core.money import SCALE, Amount, parse_amount
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.plans import Bundle, Plan, PlanEdit, Rollover, StoredPlan
from lava_grpc.core.time import Clock, Instant
from lava_grpc.gateway.checks import check_text
from lava_grpc.gateway.ports import Billing, Resources
from lava_grpc.gateway.principal import Principal

PERIOD_AMOUNT_MAX: Amount = 10_000 * SCALE
BUNDLES_MAX = 50
"""The most bundles of one plan, and the most that one change may name."""

PLAN_METERS_MAX = 100
DEFAULT_NAME = "Free"

CHANGEABLE = (
    "name",
    "included_credit",
    "rollover_type",
    "bundle_rollover_type",
    "default_auto_top_up_bundle_id",
    "meter_ids",
    "credit_bundles",
    "overage_limit",
    "default_auto_top_up_threshold",
)
"""What an update may name."""


@dataclass(frozen=True, slots=True)
class BundleText:
    """A bundle as a caller writes it: a new one, a change to one, or its end."""

    credit_bundle_id: str | None = None
    name: str | None = None
    cost: str | None = None
    credit_amount: str | None = None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class NewPlan:
    """A plan as a caller describes it."""

    name: str
    period_amount: str
    interval: Interval | None
    included_credit: str | None = None
    rollover: Rollover | None = None
    bundle_rollover: Rollover | None = None
    meters: Sequence[str] = ()
    bundles: Sequence[BundleText] = ()
    default_bundle_index: int | None = None
    overage_limit: str | None = None
    top_up_threshold: str | None = None


class Plans:
    """Creates, reads, changes and deletes plans; reads bundles."""

    def __init__(
        self, billing: Billing, resources: Resources, *, clock: Clock, ids: IdSource
    ) -> None:
        self._billing = billing
        self._resources = resources
        self._clock = clock
        self._ids = ids

    async def create(self, principal: Principal, new: NewPlan) -> StoredPlan:
        """A plan with its bundles."""
        await self.ensure_default(principal)
        now = self._clock.now()
        plan_id = f"pln_{principal.prefix}{self._ids.ulid(now)}"
        if new.interval is None:
            raise invalid("billing_interval", "is required")
        price = parse_amount(new.period_amount, "period_amount")
        if price > PERIOD_AMOUNT_MAX:
            raise invalid("period_amount", "must be at most '10000'")
        bundles = self._new_bundles(principal, plan_id, new.bundles, now)
        plan = Plan(
            merchant_id=principal.merchant_id,
            plan_id=plan_id,
            name=check_text(new.name, "name"),
            period_amount=price,
            included_credit=price
            if new.included_credit is None
            else parse_amount(new.included_credit, "included_credit"),
            interval=new.interval,
            rollover=new.rollover or Rollover.NONE,
            bundle_rollover=new.bundle_rollover or Rollover.FULL,
            meter_ids=await self._meter_ids(principal, new.meters),
            default_bundle_id=_chosen(bundles, new.default_bundle_index),
            overage_limit=_optional_amount(new.overage_limit, "overage_limit"),
            is_default=False,
            created_at=now,
            auto_top_up_threshold=_optional_amount(
                new.top_up_threshold, "default_auto_top_up_threshold"
            ),
        )
        return await self._billing.add_plan(plan, bundles)

    async def ensure_default(self, principal: Principal) -> Plan:
        """The plan named Free, which a merchant has from the start; made when first asked for."""
        now = self._clock.now()
        return await self._billing.ensure_default(
            Plan(
                merchant_id=principal.merchant_id,
                plan_id=f"pln_{principal.prefix}{self._ids.ulid(now)}",
                name=DEFAULT_NAME,
                period_amount=0,
                included_credit=0,
                interval=Interval.MONTH,
                rollover=Rollover.NONE,
                bundle_rollover=Rollover.FULL,
                meter_ids=None,
                default_bundle_id=None,
                overage_limit=None,
                is_default=True,
                created_at=now,
            )
        )

    async def get(self, principal: Principal, plan_id: str) -> StoredPlan:
        """One plan; refuses NOT_FOUND."""
        return _found(await self._billing.plan(principal.merchant_id, plan_id), plan_id)

    async def list(self, principal: Principal, page: Page) -> Slice[StoredPlan]:
        """Plans, newest first."""
        await self.ensure_default(principal)
        return await self._billing.list_plans(principal.merchant_id, page)

    async def update(
        self, principal: Principal, plan_id: str, changes: Mapping[str, object]
    ) -> StoredPlan:
        """Set the fields of `CHANGEABLE` that are named; None clears one that can be cleared.

        `meter_ids` is a sequence of texts, `credit_bundles` one of `BundleText`.
        """
        found = await self.get(principal, plan_id)
        values: dict[str, object] = {}
        edit = PlanEdit(values)
        for name, value in changes.items():
            if name in _SIMPLE:
                column, check = _SIMPLE[name]
                values[column] = check(value, name)
            elif name == "meter_ids" and isinstance(value, Sequence):
                values["meter_ids"] = await self._meter_ids(principal, value)
            elif name == "credit_bundles" and isinstance(value, Sequence):
                edit = self._reconciled(principal, found, value, values)
            elif name != "default_auto_top_up_bundle_id":
                raise invalid("update_mask", f"names '{name[:80]}', which cannot be changed")
        _set_default_bundle(found, changes, edit.removed, values)
        changed = await self._billing.change_plan(
            principal.merchant_id, plan_id, edit, self._clock.now()
        )
        return _found(changed, plan_id)

    async def delete(self, principal: Principal, plan_id: str) -> str:
        """Delete a plan; subscribers keep it until their cycle ends. Refuses the default plan."""
        found = await self.get(principal, plan_id)
        if found.plan.is_default:
            raise invalid("plan_id", "is the default plan, which customers fall back to")
        # There must be one to fall back to.
        await self.ensure_default(principal)
        await self._billing.delete_plan(principal.merchant_id, plan_id, self._clock.now())
        return plan_id

    async def bundle(self, principal: Principal, bundle_id: str) -> Bundle:
        """One bundle; refuses NOT_FOUND."""
        found = await self._billing.bundle(principal.merchant_id, bundle_id)
        if found is None:
            raise not_found("credit bundle", bundle_id, field="credit_bundle_id")
        return found

    async def bundles(self, principal: Principal, plan_id: str | None, page: Page) -> Slice[Bundle]:
        """Bundles, newest first; of one plan, or of all."""
        return await self._billing.list_bundles(principal.merchant_id, plan_id, page)

    async def _meter_ids(
        self, principal: Principal, meters: Sequence[str]
    ) -> tuple[str, ...] | None:
        if len(meters) > PLAN_METERS_MAX:
            raise invalid("meter_ids", f"must have at most {PLAN_METERS_MAX} meters")
        found: set[str] = set()
        for index, ident in enumerate(meters):
            field = f"meter_ids[{index}]"
            meter = await self._resources.meter(principal.merchant_id, check_text(ident, field))
            if meter is None:
                raise not_found("meter", ident, field=field)
            found.add(meter.meter.meter_id)
        return tuple(sorted(found)) or None

    def _new_bundles(
        self, principal: Principal, plan_id: str, texts: Sequence[BundleText], now: Instant
    ) -> tuple[Bundle, ...]:
        _check_count(len(texts))
        for index, text in enumerate(texts):
            if text.credit_bundle_id is not None:
                raise invalid(f"credit_bundles[{index}].credit_bundle_id", "must be absent")
        return tuple(
            [self._bundle(principal, plan_id, text, i, now) for i, text in enumerate(texts)]
        )

    def _bundle(
        self, principal: Principal, plan_id: str, text: BundleText, index: int, now: Instant
    ) -> Bundle:
        where = f"credit_bundles[{index}]"
        checked = _bundle_values(text, where)
        for name in ("name", "cost", "credit_amount"):
            if name not in checked:
                raise invalid(f"{where}.{name}", "is required")
        return Bundle(
            merchant_id=principal.merchant_id,
            credit_bundle_id=f"cb_{principal.prefix}{self._ids.ulid(now)}",
            plan_id=plan_id,
            created_at=now,
            **checked,  # type: ignore[arg-type] # each by its own check
        )

    def _reconciled(
        self,
        principal: Principal,
        found: StoredPlan,
        texts: Sequence[BundleText],
        values: Mapping[str, object],
    ) -> PlanEdit:
        """Entries without an id are new; those with one change it, or remove it."""
        _check_count(len(texts))
        mine = {bundle.credit_bundle_id for bundle in found.bundles}
        added: list[Bundle] = []
        changed: dict[str, Mapping[str, object]] = {}
        removed: set[str] = set()
        for index, text in enumerate(texts):
            ident = text.credit_bundle_id
            if ident is None:
                now = self._clock.now()
                added.append(self._bundle(principal, found.plan.plan_id, text, index, now))
            elif ident not in mine:
                field = f"credit_bundles[{index}].credit_bundle_id"
                raise not_found("credit bundle of this plan", ident, field=field)
            elif text.is_deleted:
                removed.add(ident)
            else:
                changed[ident] = _bundle_values(text, f"credit_bundles[{index}]")
        _check_count(len(mine) + len(added) - len(removed))
        return PlanEdit(values, tuple(added), changed, frozenset(removed))


def _set_default_bundle(
    found: StoredPlan,
    changes: Mapping[str, object],
    removed: frozenset[str],
    values: dict[str, object],
) -> None:
    """Auto top-up buys a bundle that the plan has, or none."""
    field = "default_auto_top_up_bundle_id"
    chosen = changes.get(field, found.plan.default_bundle_id)
    kept = {bundle.credit_bundle_id for bundle in found.bundles} - removed
    if chosen is not None and chosen not in kept:
        if field in changes:
            raise invalid(field, "is no bundle of this plan")
        chosen = None
    if chosen != found.plan.default_bundle_id:
        values["default_bundle_id"] = chosen


def _bundle_values(text: BundleText, where: str) -> dict[str, object]:
    values: dict[str, object] = {}
    if text.name is not None:
        values["name"] = check_text(text.name, f"{where}.name")
    if text.cost is not None:
        values["cost"] = parse_amount(text.cost, f"{where}.cost")
    if text.credit_amount is not None:
        values["credit_amount"] = parse_amount(text.credit_amount, f"{where}.credit_amount")
        if values["credit_amount"] == 0:
            raise invalid(f"{where}.credit_amount", "must be more than zero")
    return values


def _check_count(count: int) -> None:
    if count > BUNDLES_MAX:
        raise invalid("credit_bundles", f"must have at most {BUNDLES_MAX} bundles")


def _chosen(bundles: Sequence[Bundle], index: int | None) -> str | None:
    if index is None:
        return None
    if not 0 <= index < len(bundles):
        raise invalid("default_auto_top_up_bundle_index", "must be an index into credit_bundles")
    return bundles[index].credit_bundle_id


def _found(plan: StoredPlan | None, plan_id: str) -> StoredPlan:
    if plan is None:
        raise not_found("plan", plan_id, field="plan_id")
    return plan


def _name(value: object, field: str) -> object:
    return check_text(_given(value, field), field)


def _amount(value: object, field: str) -> object:
    return parse_amount(_given(value, field), field)


def _optional_amount(value: object, field: str) -> Amount | None:
    return None if value is None else parse_amount(_given(value, field), field)


def _rollover(value: object, field: str) -> object:
    return Rollover(_given(value, field)).value


def _given(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise invalid(field, "cannot be cleared")
    return value


_SIMPLE: Mapping[str, tuple[str, Callable[[object, str], object]]] = MappingProxyType(
    {
        "name": ("name", _name),
        "included_credit": ("included_credit", _amount),
        "rollover_type": ("rollover_type", _rollover),
        "bundle_rollover_type": ("bundle_rollover_type", _rollover),
        "overage_limit": ("overage_limit", _optional_amount),
        "default_auto_top_up_threshold": ("auto_top_up_threshold", _optional_amount),
    }
)
