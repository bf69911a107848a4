"""A service with a calendar of its own, and short ways to ask for plans."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lava_grpc.core.time import SECOND, from_datetime
from tests.support.service import Running

WAIT_SECONDS = 20


def at(year: int, month: int, day: int) -> int:
    """Noon of a day, UTC."""
    return from_datetime(datetime(year, month, day, 12, tzinfo=UTC))


@dataclass
class Calendar:
    """A clock that only the test moves."""

    instant: int = at(2024, 1, 31)

    def now(self) -> int:
        return self.instant

    def wait(self, seconds: int) -> None:
        self.instant += seconds * SECOND


@dataclass
class Shop:
    """A service and its calendar."""

    lava: Running
    calendar: Calendar
    serial: int = 0

    async def plan(self, **facts: object) -> dict[str, Any]:
        body = {"name": "Pro", "period_amount": "20", "billing_interval": "month", **facts}
        made: dict[str, Any] = await self.lava.rest("POST", "/v1/plans", body)
        return made

    async def subscribe(self, customer: str, plan: dict[str, Any]) -> dict[str, Any]:
        body = {"customer_id": customer, "plan_id": plan["plan_id"], "billed_externally": True}
        made = await self.lava.rest("POST", "/v1/subscriptions", body)
        found: dict[str, Any] = made["subscription"]
        return found

    async def subscription(self, customer: str) -> dict[str, Any]:
        found = await self.lava.rest("GET", f"/v1/customers/{customer}/subscription")
        made: dict[str, Any] = found["subscription"]
        return made

    async def report(self, customer: str, requests: int, meter: str) -> None:
        for _ in range(requests):
            self.serial += 1
            body = {"request_id": f"r{self.serial}", "customer_id": customer, "meter_slug": meter}
            await self.lava.rest("POST", "/v1/requests", body)

    async def reserve(self, customer: str, amount: str) -> int:
        """The status of a reservation."""
        self.serial += 1
        body = {"request_id": f"a{self.serial}", "customer_id": customer, "amount": amount}
        return (await self.lava.http.post("/v1/reservations", json=body)).status_code

    async def payments(self, customer: str) -> list[dict[str, Any]]:
        found = await self.lava.rest("GET", f"/v1/payments?customer_id={customer}")
        listed: list[dict[str, Any]] = found["data"]
        return listed

    async def topping_up(self, cost: str, **facts: object) -> str:
        """A customer without credit, on a plan whose bundle of 6 is bought when credit runs out."""
        customer = await self.lava.customer()
        plan = await self.plan(
            included_credit="0",
            credit_bundles=[{"name": "S", "cost": cost, "credit_amount": "6"}],
            default_auto_top_up_bundle_index=0,
            **facts,
        )
        await self.subscribe(customer, plan)
        return customer


async def until(
    look: Callable[[], Awaitable[Any]],
    right: Callable[[Any], bool],
    *,
    seconds: float = WAIT_SECONDS,
) -> Any:  # noqa: ANN401 - what was looked at
    """What `look` finds once it is right."""
    async with asyncio.timeout(seconds):
        while True:
            found = await look()
            if right(found):
                return found
            await asyncio.sleep(0.01)
