"""Every RPC of plans, bundles, subscriptions and payments, called well over gRPC."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from lava.v1 import credit_bundle_service_pb2 as bundles
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import payment_service_pb2 as payments
from lava.v1 import plan_pb2, subscription_pb2
from lava.v1 import plan_service_pb2 as plans
from lava.v1 import subscription_service_pb2 as subscriptions

from lava_grpc.core.errors import Reason, Refusal
from tests.contract.world import METER, World

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _plan(world: World, **changes: object) -> plan_pb2.Plan:
    fields = {
        "name": "Pro",
        "period_amount": "0",
        "billing_interval": plan_pb2.BILLING_INTERVAL_YEAR,
        "included_credit": "25",
        "credit_bundles": [plan_pb2.PlanBundleInput(name="S", cost="5", credit_amount="6")],
    }
    request = plans.CreatePlanRequest(**(fields | changes))  # type: ignore[arg-type]
    made: plan_pb2.Plan = (await world.call("PlanService/CreatePlan", request)).plan
    return made


async def test_a_plan_is_made_read_changed_and_deleted(world: World) -> None:
    made = await _plan(world, meter_ids=[METER], default_auto_top_up_bundle_index=0)
    (bundle,) = made.credit_bundles
    assert made.plan_id.startswith("pln_test_")
    assert bundle.credit_bundle_id.startswith("cb_test_")
    assert made.default_auto_top_up_bundle_id == bundle.credit_bundle_id
    get = plans.GetPlanRequest(plan_id=made.plan_id)
    assert (await world.call("PlanService/GetPlan", get)).plan == made
    page = await world.call("PlanService/ListPlans", plans.ListPlansRequest(limit=100))
    assert made in page.data
    assert [plan.name for plan in page.data if plan.is_default] == ["Free"]
    update = plans.UpdatePlanRequest(
        plan_id=made.plan_id,
        rollover_type=plan_pb2.ROLLOVER_TYPE_FULL,
        overage_limit="4",
        update_mask=FieldMask(paths=["rollover_type", "overage_limit", "meter_ids"]),
    )
    changed = (await world.call("PlanService/UpdatePlan", update)).plan
    assert changed.rollover_type == plan_pb2.ROLLOVER_TYPE_FULL
    assert changed.overage_limit == "4.0000000000"
    assert not changed.linked_meters
    fixed = plans.UpdatePlanRequest(
        plan_id=made.plan_id, update_mask=FieldMask(paths=["period_amount"])
    )
    with pytest.raises(Refusal) as refused:
        await world.call("PlanService/UpdatePlan", fixed)
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_FIELD, "update_mask")
    gone = await world.call("PlanService/DeletePlan", plans.DeletePlanRequest(plan_id=made.plan_id))
    assert (gone.id, gone.deleted) == (made.plan_id, True)
    with pytest.raises(Refusal):
        await world.call("PlanService/GetPlan", get)


async def test_bundles_are_found_by_themselves_and_by_their_plan(world: World) -> None:
    made = await _plan(world)
    (shown,) = made.credit_bundles
    listed = await world.call(
        "CreditBundleService/ListCreditBundles",
        bundles.ListCreditBundlesRequest(plan_id=made.plan_id),
    )
    (bundle,) = listed.data
    assert (bundle.credit_bundle_id, bundle.plan_id) == (shown.credit_bundle_id, made.plan_id)
    get = bundles.GetCreditBundleRequest(credit_bundle_id=bundle.credit_bundle_id)
    found = await world.call("CreditBundleService/GetCreditBundle", get)
    assert found.credit_bundle == bundle


async def test_a_subscription_begins_changes_and_is_cancelled(world: World) -> None:
    made = await _plan(world)
    new = customers.CreateCustomerRequest(reference_id="subscriber")
    ident = (await world.call("CustomerService/CreateCustomer", new)).customer.customer_id
    mine = subscriptions.GetCustomerSubscriptionRequest(customer_id="subscriber")
    none = await world.call("SubscriptionService/GetCustomerSubscription", mine)
    assert not none.HasField("subscription")
    create = subscriptions.CreateSubscriptionRequest(customer_id="subscriber", plan_id=made.plan_id)
    begun = (await world.call("SubscriptionService/CreateSubscription", create)).subscription
    assert begun.subscription_id.startswith("sub_test_")
    assert begun.credits.total_remaining == "25.0000000000"
    assert not begun.HasField("pending_change")
    update = subscriptions.UpdateSubscriptionRequest(
        subscription_id=begun.subscription_id,
        auto_top_up_bundle_id=made.credit_bundles[0].credit_bundle_id,
    )
    assert (await world.call("SubscriptionService/UpdateSubscription", update)).success
    cancel = subscriptions.CancelSubscriptionRequest(subscription_id=begun.subscription_id)
    assert (await world.call("SubscriptionService/CancelSubscription", cancel)).success
    found = (await world.call("SubscriptionService/GetCustomerSubscription", mine)).subscription
    assert found.auto_top_up_bundle_id == made.credit_bundles[0].credit_bundle_id
    assert found.pending_change.type == subscription_pb2.PENDING_CHANGE_TYPE_CANCELLATION
    assert found.pending_change.effective_at == found.cycle_end_at
    listed = await world.call(
        "SubscriptionService/ListSubscriptions",
        subscriptions.ListSubscriptionsRequest(
            status=subscriptions.SUBSCRIPTION_FILTER_ALL, customer_id=ident
        ),
    )
    (one,) = listed.data
    assert (one.customer_id, one.HasField("customer")) == (ident, True)


async def test_a_payment_waits_for_an_operators_word(world: World) -> None:
    made = await _plan(world)
    (bundle,) = made.credit_bundles
    new = customers.CreateCustomerRequest(reference_id="buyer")
    await world.call("CustomerService/CreateCustomer", new)
    create = subscriptions.CreateSubscriptionRequest(customer_id="buyer", plan_id=made.plan_id)
    await world.call("SubscriptionService/CreateSubscription", create)
    buy = payments.CreatePaymentRequest(
        customer_id="buyer", credit_bundle_id=bundle.credit_bundle_id
    )
    asked = (await world.call("PaymentService/CreatePayment", buy)).payment
    assert (asked.state, asked.provider) == (payments.PAYMENT_STATE_OPEN, "manual")
    confirm = payments.ConfirmPaymentRequest(
        payment_id=asked.payment_id, outcome=payments.PAYMENT_STATE_SUCCEEDED
    )
    paid = (await world.call("PaymentService/ConfirmPayment", confirm)).payment
    assert paid.state == payments.PAYMENT_STATE_SUCCEEDED
    get = payments.GetPaymentRequest(payment_id=asked.payment_id)
    assert (await world.call("PaymentService/GetPayment", get)).payment == paid
    listed = payments.ListPaymentsRequest(customer_id="buyer")
    assert list((await world.call("PaymentService/ListPayments", listed)).data) == [paid]
    mine = subscriptions.GetCustomerSubscriptionRequest(customer_id="buyer")
    found = (await world.call("SubscriptionService/GetCustomerSubscription", mine)).subscription
    assert found.credits.bundle_remaining == "6.0000000000"
    fund = payments.FundWalletRequest(payment_method_id="invoice", amount="50")
    funded = await world.call("PaymentService/FundWallet", fund)
    assert funded.status == payments.FUNDING_STATUS_REQUIRES_ACTION
    methods = payments.ListPaymentMethodsRequest()
    assert not (await world.call("PaymentService/ListPaymentMethods", methods)).data
