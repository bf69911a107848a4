"""The ids that the service gives its own grants: a caller's grant is never in their way."""

from __future__ import annotations

from typing import Any

from tests.integration.billing.calendar import Calendar, Shop, at
from tests.support.service import Running, running


async def refused(lava: Running, customer: str, request_id: str) -> bool:
    """Whether credit with this request id is refused, for that id."""
    body = {"amount": "1", "request_id": request_id}
    answer = await lava.http.post(f"/v1/customers/{customer}/credit_grants", json=body)
    if answer.status_code == 200:
        return False
    error: dict[str, Any] = answer.json()["error"]
    assert (error["code"], error["field"]) == ("invalid_field", "request_id")
    return True


async def test_a_callers_grant_does_not_stop_a_renewal(database_url: str) -> None:
    calendar = Calendar()
    async with running(database_url, clock=calendar, payment_provider="test") as lava:
        shop = Shop(lava, calendar)
        customer = await lava.customer()
        made = await shop.subscribe(customer, await shop.plan(included_credit="25"))
        # The renewal's grant would have this one, and no two grants have the same.
        assert await refused(lava, customer, f"{made['subscription_id']}/2")
        # Other services' ids of that kind are anybody's.
        assert not await refused(lava, customer, "sub_1MowQVLkdIwHu7ixeRlqHVzs/2")
        calendar.instant = at(2024, 2, 29)
        found = await shop.subscription(customer)
        assert found["credits"]["cycle_remaining"] == "25.0000000000"
        await lava.verified()


async def test_a_callers_grant_does_not_stop_what_was_paid(sqlite_url: str) -> None:
    calendar = Calendar()
    async with running(sqlite_url, clock=calendar, payment_provider="manual") as lava:
        shop = Shop(lava, calendar)
        customer = await lava.customer()
        plan = await shop.plan(
            included_credit="0",
            credit_bundles=[{"name": "S", "cost": "5", "credit_amount": "6"}],
        )
        await shop.subscribe(customer, plan)
        (bundle,) = plan["credit_bundles"]
        asked = {"customer_id": customer, "credit_bundle_id": bundle["credit_bundle_id"]}
        payment = (await lava.rest("POST", "/v1/payments", asked))["payment_id"]
        assert await refused(lava, customer, payment)
        paid = await lava.rest("POST", f"/v1/payments/{payment}/confirm", {"outcome": "succeeded"})
        assert (paid["state"], paid["reason"]) == ("succeeded", None)
        assert (await lava.balance(customer))["balance"] == "6.0000000000"
        await lava.verified()
