"""Plans, bundles and subscriptions. See `gateway.ports.Billing`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from lava_grpc.core.account import Account
from lava_grpc.core.page import Page, Slice
from lava_grpc.core.plans import (
    Bundle,
    Enrolment,
    Plan,
    PlanEdit,
    StoredPlan,
    SubscriptionStatus,
)
from lava_grpc.core.time import Instant
from lava_grpc.store import account_reads, plans, subscriptions
from lava_grpc.store.database import Database, one_snapshot


class StoreBilling:
    """Runs each statement of its siblings in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_plan(self, plan: Plan, bundles: Sequence[Bundle]) -> StoredPlan:
        """Store a plan and its bundles."""
        return await self._database.write(lambda c: plans.add(c, plan, bundles))

    async def default_plan(self, merchant_id: str) -> Plan | None:
        """The plan that customers without another are on."""
        return await self._database.read(lambda c: plans.default(c, merchant_id))

    async def ensure_default(self, plan: Plan) -> Plan:
        """The merchant's default plan; `plan` where there was none."""
        found = await self.default_plan(plan.merchant_id)
        if found is None:
            found = await self._database.write(lambda c: plans.ensure_default(c, plan))
        return found

    async def plan(self, merchant_id: str, plan_id: str) -> StoredPlan | None:
        """The plan with this id."""
        return await self._database.read(lambda c: plans.find(c, merchant_id, plan_id))

    async def list_plans(self, merchant_id: str, page: Page) -> Slice[StoredPlan]:
        """Plans, newest first."""
        return await self._database.read(lambda c: plans.list_page(c, merchant_id, page))

    async def change_plan(
        self, merchant_id: str, plan_id: str, edit: PlanEdit, at: Instant
    ) -> StoredPlan | None:
        """Change a plan and its bundles, all or nothing."""
        return await self._database.write(lambda c: plans.change(c, merchant_id, plan_id, edit, at))

    async def delete_plan(self, merchant_id: str, plan_id: str, at: Instant) -> bool:
        """Delete a plan; False where there is none, or it is the default one."""
        return await self._database.write(lambda c: plans.delete(c, merchant_id, plan_id, at))

    async def bundle(self, merchant_id: str, bundle_id: str) -> Bundle | None:
        """The bundle with this id."""
        return await self._database.read(lambda c: plans.find_bundle(c, merchant_id, bundle_id))

    async def list_bundles(
        self, merchant_id: str, plan_id: str | None, page: Page
    ) -> Slice[Bundle]:
        """Bundles, newest first; of one plan, or of all."""
        return await self._database.read(
            lambda c: plans.list_bundles(c, merchant_id, plan_id, page)
        )

    async def subscription(self, merchant_id: str, subscription_id: str) -> Enrolment | None:
        """The subscription with this id, active or over."""
        return await self._database.read(
            lambda c: subscriptions.find(c, merchant_id, subscription_id)
        )

    async def active_subscription(self, merchant_id: str, customer_id: str) -> Enrolment | None:
        """The customer's active subscription."""
        return await self._database.read(
            lambda c: subscriptions.active(c, merchant_id, customer_id)
        )

    async def place(
        self, merchant_id: str, customer_id: str
    ) -> tuple[Enrolment | None, Account | None]:
        """The customer's active subscription and account, of one commit."""
        return await self._database.read(lambda c: _place(c, merchant_id, customer_id))

    async def list_subscriptions(
        self,
        merchant_id: str,
        page: Page,
        *,
        status: SubscriptionStatus | None,
        customer_id: str | None,
    ) -> Slice[Enrolment]:
        """Subscriptions, newest first; with one status, or with either."""
        return await self._database.read(
            lambda c: subscriptions.list_page(
                c, merchant_id, page, status=status, customer_id=customer_id
            )
        )


def _place(
    connection: Connection, merchant_id: str, customer_id: str
) -> tuple[Enrolment | None, Account | None]:
    one_snapshot(connection)
    return (
        subscriptions.active(connection, merchant_id, customer_id),
        account_reads.find(connection, merchant_id, customer_id),
    )
