"""Plans, and commands for subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime

from lava_grpc.core.commands import ChangeSubscription, Enrolled, RenewCycles, Subscribe
from lava_grpc.core.cycles import Interval
from lava_grpc.core.plans import Plan, Rollover, Subscription, SubscriptionStatus
from lava_grpc.core.time import Instant, from_datetime
from tests.unit.core.builders import ANN, Ledger, M, units

SUBSCRIPTION = "sub_test_1"


def at(year: int, month: int, day: int, hour: int = 12) -> Instant:
    """A moment, UTC."""
    return from_datetime(datetime(year, month, day, hour, tzinfo=UTC))


def plan(
    name: str = "pro",
    *,
    price: float = 20,
    credit: float = 25,
    interval: Interval = Interval.MONTH,
    rollover: Rollover = Rollover.NONE,
    bundle_rollover: Rollover = Rollover.FULL,
    meter_ids: tuple[str, ...] | None = None,
    overage_limit: float | None = None,
    default: bool = False,
    deleted: bool = False,
) -> Plan:
    """A plan; its id is its name's."""
    return Plan(
        merchant_id=M,
        plan_id=f"pln_{name}",
        name=name,
        period_amount=units(price),
        included_credit=units(credit),
        interval=interval,
        rollover=rollover,
        bundle_rollover=bundle_rollover,
        meter_ids=meter_ids,
        default_bundle_id=None,
        overage_limit=None if overage_limit is None else units(overage_limit),
        is_default=default,
        created_at=0,
        deleted_at=1 if deleted else None,
    )


class Subscribed(Ledger):
    """A ledger whose customers have plans."""

    def subscribe(self, chosen: Plan, ident: str = SUBSCRIPTION) -> Subscription:
        """Put Ann on a plan."""
        self.rows.plans[M, chosen.plan_id] = chosen
        return self._one(Enrolled, Subscribe(M, ANN, ident, chosen)).enrolment.subscription

    def change(self, **what: object) -> Subscription:
        """Cancel, or set auto top-up."""
        command = ChangeSubscription(M, ANN, SUBSCRIPTION, **what)  # type: ignore[arg-type]
        return self._one(Enrolled, command).enrolment.subscription

    def come_back(self, moment: Instant) -> None:
        """Let time pass, and let Ann be noticed."""
        self.now = moment
        self.batch(RenewCycles(M, ANN))

    def active(self) -> Subscription | None:
        """Ann's subscription."""
        found = [
            row
            for row in self.rows.subscriptions.values()
            if row.status is SubscriptionStatus.ACTIVE
        ]
        assert len(found) <= 1
        return found[0] if found else None
