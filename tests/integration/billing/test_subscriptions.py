"""Plans and subscriptions over REST, with a clock that the tests move, on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.billing.calendar import Calendar, Shop, at
from tests.support.service import running


@pytest_asyncio.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    calendar = Calendar()
    async with running(database_url, clock=calendar) as lava:
        yield Shop(lava, calendar)
        await lava.verified()


async def test_a_plan_is_what_the_sdk_expects(shop: Shop) -> None:
    meter = await shop.lava.meter("chat", "1", kind="requests")
    meter_id = (await shop.lava.rest("GET", f"/v1/meters/{meter}"))["meter_id"]
    made = await shop.plan(
        included_credit="25",
        rollover_type="full",
        meter_ids=[meter],
        credit_bundles=[
            {"name": "Small", "cost": "5", "credit_amount": "6"},
            {"name": "Large", "cost": "50", "credit_amount": "70"},
        ],
        default_auto_top_up_bundle_index=1,
    )
    small, large = made["credit_bundles"]
    assert made == {
        "plan_id": made["plan_id"],
        "merchant_id": shop.lava.merchant_id,
        "name": "Pro",
        "period_amount": "20.0000000000",
        "included_credit": "25.0000000000",
        "billing_interval": "month",
        "rollover_type": "full",
        "bundle_rollover_type": "full",
        "default_auto_top_up_bundle_id": large["credit_bundle_id"],
        "linked_meters": [{"meter_id": meter_id, "name": "chat"}],
        "credit_bundles": [small, large],
        "created_at": "2024-01-31T12:00:00Z",
    }
    assert small == {
        "credit_bundle_id": small["credit_bundle_id"],
        "name": "Small",
        "cost": "5.0000000000",
        "credit_amount": "6.0000000000",
    }
    plan_id = made["plan_id"]
    assert await shop.lava.rest("GET", f"/v1/plans/{plan_id}") == made
    listed = await shop.lava.rest("GET", "/v1/plans")
    assert [plan["name"] for plan in listed["data"]] == ["Pro", "Free"]
    assert listed["data"][1]["is_default"] is True
    assert (listed["has_more"], listed["next_cursor"]) == (False, None)
    bundle = small | {"plan_id": plan_id, "created_at": "2024-01-31T12:00:00Z"}
    found = await shop.lava.rest("GET", f"/v1/credit_bundles?plan_id={plan_id}")
    assert found["data"][1] == bundle
    ident = small["credit_bundle_id"]
    assert await shop.lava.rest("GET", f"/v1/credit_bundles/{ident}") == bundle


async def test_a_plans_bundles_are_reconciled(shop: Shop) -> None:
    made = await shop.plan(
        credit_bundles=[
            {"name": "Small", "cost": "5", "credit_amount": "6"},
            {"name": "Large", "cost": "50", "credit_amount": "70"},
        ],
        default_auto_top_up_bundle_index=1,
    )
    small, large = [bundle["credit_bundle_id"] for bundle in made["credit_bundles"]]
    changed = await shop.lava.rest(
        "PATCH",
        f"/v1/plans/{made['plan_id']}",
        {
            "name": "Pro 2",
            "included_credit": "30",
            "credit_bundles": [
                {"credit_bundle_id": small, "cost": "4"},
                {"credit_bundle_id": large, "is_deleted": True},
                {"name": "Huge", "cost": "100", "credit_amount": "200"},
            ],
        },
    )
    assert (changed["name"], changed["included_credit"]) == ("Pro 2", "30.0000000000")
    assert [(b["name"], b["cost"]) for b in changed["credit_bundles"]] == [
        ("Small", "4.0000000000"),
        ("Huge", "100.0000000000"),
    ]
    # The bundle that auto top-up bought is gone.
    assert changed["default_auto_top_up_bundle_id"] is None
    gone = await shop.lava.http.get(f"/v1/credit_bundles/{large}")
    assert gone.status_code == 404
    named = {"default_auto_top_up_bundle_id": small}
    path = f"/v1/plans/{made['plan_id']}"
    assert (await shop.lava.rest("PATCH", path, named))["default_auto_top_up_bundle_id"] == small
    cleared = await shop.lava.rest("PATCH", path, {"default_auto_top_up_bundle_id": None})
    assert cleared["default_auto_top_up_bundle_id"] is None


async def test_a_subscription_is_what_the_sdk_expects(shop: Shop) -> None:
    customer = await shop.lava.customer(name="Ada Lovelace", email="ada@example.com")
    assert await shop.subscription(customer) is None
    plan = await shop.plan(period_amount="0", included_credit="25")
    body = {"customer_id": customer, "plan_id": plan["plan_id"]}
    made = (await shop.lava.rest("POST", "/v1/subscriptions", body))["subscription"]
    assert made == {
        "subscription_id": made["subscription_id"],
        "plan_id": plan["plan_id"],
        "status": "active",
        "auto_top_up_bundle_id": None,
        "started_at": "2024-01-31T12:00:00Z",
        "cancelled_at": None,
        "cycle_start_at": "2024-01-31T12:00:00Z",
        "cycle_end_at": "2024-02-29T12:00:00Z",
        "plan": {
            "name": "Pro",
            "period_amount": "0.0000000000",
            "included_credit": "25.0000000000",
            "billing_interval": "month",
            "rollover_type": "none",
            "bundle_rollover_type": "full",
        },
        "credits": {
            "total_remaining": "25.0000000000",
            "cycle_remaining": "25.0000000000",
            "bundle_remaining": "0.0000000000",
        },
        "pending_change": None,
    }
    assert await shop.subscription(customer) == made
    (listed,) = (await shop.lava.rest("GET", "/v1/subscriptions"))["data"]
    contact = {"phone": "", "email": "ada@example.com", "first_name": "Ada"}
    assert listed == made | {
        "customer_id": customer,
        "customer": contact | {"last_name": "Lovelace"},
    }
    shown = await shop.lava.rest("GET", f"/v1/customers/{customer}")
    assert shown["subscription"] == {
        "subscription_id": made["subscription_id"],
        "plan_id": plan["plan_id"],
        "name": "Pro",
        "status": "active",
    }
    assert (await shop.lava.rest("POST", "/v1/subscriptions", body))["subscription"] == made


async def test_a_cycle_is_renewed_for_whoever_comes_first(shop: Shop) -> None:
    customer = await shop.lava.customer()
    plan = await shop.plan(included_credit="25")
    await shop.subscribe(customer, plan)
    await shop.lava.meter("calls", "10", kind="requests")
    await shop.report(customer, 1, "calls")
    left = (await shop.subscription(customer))["credits"]
    assert left["cycle_remaining"] == "15.0000000000"
    shop.calendar.instant = at(2024, 2, 29)
    await shop.report(customer, 1, "calls")
    found = await shop.subscription(customer)
    assert found["credits"]["cycle_remaining"] == "15.0000000000"
    assert found["cycle_end_at"] == "2024-03-31T12:00:00Z"
    shop.calendar.instant = at(2025, 2, 28)
    assert (await shop.lava.balance(customer))["available"] == "25.0000000000"
    found = await shop.subscription(customer)
    assert found["cycle_start_at"] == "2025-02-28T12:00:00Z"


async def test_a_cancelled_subscription_runs_until_its_cycle_ends(shop: Shop) -> None:
    customer = await shop.lava.customer()
    made = await shop.subscribe(customer, await shop.plan(included_credit="25"))
    path = f"/v1/subscriptions/{made['subscription_id']}"
    assert await shop.lava.rest("DELETE", path) == {"success": True}
    assert (await shop.subscription(customer))["pending_change"] == {
        "type": "cancellation",
        "effective_at": "2024-02-29T12:00:00Z",
    }
    shop.calendar.instant = at(2024, 3, 5)
    found = await shop.subscription(customer)
    assert (found["plan"]["name"], found["credits"]["total_remaining"]) == ("Free", "0.0000000000")
    assert found["started_at"] == "2024-02-29T12:00:00Z"
    query = f"/v1/subscriptions?status=cancelled&customer_id={customer}"
    (over,) = (await shop.lava.rest("GET", query))["data"]
    assert (over["status"], over["cancelled_at"]) == ("cancelled", "2024-02-29T12:00:00Z")
    both = await shop.lava.rest("GET", f"/v1/subscriptions?status=all&customer_id={customer}")
    assert len(both["data"]) == 2
    assert await shop.lava.rest("DELETE", path) == {"success": True}


async def test_upgrades_come_at_once_and_downgrades_wait(shop: Shop) -> None:
    customer = await shop.lava.customer()
    small = await shop.plan(name="Small", period_amount="5")
    large = await shop.plan(name="Large", period_amount="50")
    await shop.subscribe(customer, small)
    shop.calendar.instant = at(2024, 2, 10)
    found = await shop.subscribe(customer, large)
    assert found["plan"]["name"] == "Large"
    assert found["cycle_end_at"] == "2024-03-10T12:00:00Z"
    assert found["credits"]["cycle_remaining"] == "55.0000000000"
    found = await shop.subscribe(customer, small)
    assert found["plan"]["name"] == "Large"
    assert found["pending_change"] == {
        "type": "downgrade",
        "effective_at": "2024-03-10T12:00:00Z",
        "plan_id": small["plan_id"],
        "name": "Small",
        "period_amount": "5.0000000000",
        "included_credit": "5.0000000000",
    }
    shop.calendar.instant = at(2024, 3, 10)
    found = await shop.subscription(customer)
    assert (found["plan"]["name"], found["pending_change"]) == ("Small", None)
    assert found["credits"]["cycle_remaining"] == "5.0000000000"


async def test_a_deleted_plans_subscribers_fall_back_to_the_default_plan(shop: Shop) -> None:
    customer = await shop.lava.customer()
    plan = await shop.plan()
    await shop.subscribe(customer, plan)
    gone = await shop.lava.rest("DELETE", f"/v1/plans/{plan['plan_id']}")
    assert gone == {"id": plan["plan_id"], "deleted": True}
    found = await shop.subscription(customer)
    assert found["pending_change"]["type"] == "cancellation"
    shop.calendar.instant = at(2024, 2, 29)
    assert (await shop.subscription(customer))["plan"]["name"] == "Free"


async def test_new_customers_are_on_a_free_plan_that_includes_credit(shop: Shop) -> None:
    (free,) = (await shop.lava.rest("GET", "/v1/plans"))["data"]
    path = f"/v1/plans/{free['plan_id']}"
    await shop.lava.rest("PATCH", path, {"included_credit": "3"})
    customer = await shop.lava.customer()
    found = await shop.subscription(customer)
    assert (found["plan"]["name"], found["credits"]["total_remaining"]) == ("Free", "3.0000000000")
    again = await shop.lava.customer(reference_id="ada")
    assert again == await shop.lava.customer(reference_id="ada")
    assert (await shop.subscription(again))["credits"]["total_remaining"] == "3.0000000000"
    refused = await shop.lava.http.delete(path)
    assert refused.status_code == 400


async def test_auto_top_up_is_set_and_stopped(shop: Shop) -> None:
    customer = await shop.lava.customer()
    plan = await shop.plan(credit_bundles=[{"name": "S", "cost": "5", "credit_amount": "6"}])
    made = await shop.subscribe(customer, plan)
    path = f"/v1/subscriptions/{made['subscription_id']}"
    (bundle,) = plan["credit_bundles"]
    ident = bundle["credit_bundle_id"]
    assert await shop.lava.rest("PATCH", path, {"auto_top_up_bundle_id": ident}) == {
        "success": True
    }
    assert (await shop.subscription(customer))["auto_top_up_bundle_id"] == ident
    await shop.lava.rest("PATCH", path, {"auto_top_up_bundle_id": None})
    assert (await shop.subscription(customer))["auto_top_up_bundle_id"] is None
    refused = await shop.lava.http.patch(path, json={"auto_top_up_bundle_id": "cb_other"})
    assert refused.status_code == 400


async def test_a_paid_plan_is_not_given_away(shop: Shop) -> None:
    customer = await shop.lava.customer()
    plan = await shop.plan()
    answer = await shop.lava.http.post(
        "/v1/subscriptions", json={"customer_id": customer, "plan_id": plan["plan_id"]}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_field"


async def test_a_plans_overage_limit_blocks_when_it_is_reached(shop: Shop) -> None:
    customer = await shop.lava.customer()
    plan = await shop.plan(included_credit="10", overage_limit="5")
    await shop.subscribe(customer, plan)
    await shop.lava.meter("calls", "5", kind="requests")
    await shop.report(customer, 2, "calls")
    assert (await shop.lava.balance(customer))["available"] == "5.0000000000"
    await shop.report(customer, 1, "calls")
    assert (await shop.lava.balance(customer))["available"] == "0.0000000000"
    left = (await shop.subscription(customer))["credits"]
    assert left["total_remaining"] == "-5.0000000000"
