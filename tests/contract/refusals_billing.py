"""Bad calls of plans, bundles, subscriptions and payments."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from lava.v1 import credit_bundle_service_pb2 as bundles
from lava.v1 import payment_service_pb2 as payments
from lava.v1 import plan_pb2
from lava.v1 import plan_service_pb2 as plans
from lava.v1 import subscription_service_pb2 as subscriptions

from tests.contract.case import BAD, LONG, MISSING, Case
from tests.contract.world import POOR

_BUNDLE = plan_pb2.PlanBundleInput
_MANY = [_BUNDLE(name="x", cost="1", credit_amount="1")] * 51


def _plan(**changes: Any) -> plans.CreatePlanRequest:
    fields: dict[str, Any] = {
        "name": "Pro",
        "period_amount": "20",
        "billing_interval": plan_pb2.BILLING_INTERVAL_MONTH,
    }
    return plans.CreatePlanRequest(**(fields | changes))


def _plans() -> list[Case]:
    service = "PlanService"
    make, change = f"{service}/CreatePlan", f"{service}/UpdatePlan"
    update = plans.UpdatePlanRequest
    price = "credit_bundles[0].cost"
    return [
        Case(make, _plan(name=""), BAD, "name"),
        Case(make, _plan(name=LONG), BAD, "name"),
        Case(make, _plan(period_amount="free"), BAD, "period_amount"),
        Case(make, _plan(period_amount="-1"), BAD, "period_amount"),
        Case(make, _plan(period_amount="10000.01"), BAD, "period_amount"),
        Case(make, _plan(billing_interval=0), BAD, "billing_interval"),
        Case(make, _plan(included_credit="x"), BAD, "included_credit"),
        Case(make, _plan(overage_limit="-1"), BAD, "overage_limit"),
        Case(
            make,
            _plan(default_auto_top_up_threshold="x"),
            BAD,
            "default_auto_top_up_threshold",
        ),
        Case(make, _plan(meter_ids=["nothing"]), MISSING, "meter_ids[0]"),
        Case(make, _plan(meter_ids=["tokens"] * 101), BAD, "meter_ids"),
        Case(make, _plan(credit_bundles=_MANY), BAD, "credit_bundles"),
        Case(make, _plan(credit_bundles=[_BUNDLE(name="x", credit_amount="1")]), BAD, price),
        Case(
            make,
            _plan(credit_bundles=[_BUNDLE(name="x", cost="1", credit_amount="0")]),
            BAD,
            "credit_bundles[0].credit_amount",
        ),
        Case(
            make,
            _plan(credit_bundles=[_BUNDLE(credit_bundle_id="cb_1", name="x", cost="1")]),
            BAD,
            "credit_bundles[0].credit_bundle_id",
        ),
        Case(
            make,
            _plan(default_auto_top_up_bundle_index=0),
            BAD,
            "default_auto_top_up_bundle_index",
        ),
        Case(f"{service}/ListPlans", plans.ListPlansRequest(limit=0), BAD, "limit"),
        Case(f"{service}/ListPlans", plans.ListPlansRequest(cursor="x"), BAD, "cursor"),
        Case(f"{service}/GetPlan", plans.GetPlanRequest(plan_id="pln_x"), MISSING, "plan_id"),
        Case(change, update(plan_id="pln_x", name="x"), MISSING, "plan_id"),
        Case(
            change,
            update(plan_id="pln_x", update_mask=FieldMask(paths=["period_amount"])),
            MISSING,
            "plan_id",
        ),
        Case(f"{service}/DeletePlan", plans.DeletePlanRequest(plan_id="pln_x"), MISSING, "plan_id"),
    ]


def _bundles() -> list[Case]:
    service = "CreditBundleService"
    listed, one = bundles.ListCreditBundlesRequest, bundles.GetCreditBundleRequest
    return [
        Case(f"{service}/ListCreditBundles", listed(limit=101), BAD, "limit"),
        Case(f"{service}/ListCreditBundles", listed(cursor="x"), BAD, "cursor"),
        Case(
            f"{service}/GetCreditBundle", one(credit_bundle_id="cb_x"), MISSING, "credit_bundle_id"
        ),
    ]


def _subscriptions() -> list[Case]:
    service = "SubscriptionService"
    make, listed = f"{service}/CreateSubscription", f"{service}/ListSubscriptions"
    change, cancel = f"{service}/UpdateSubscription", f"{service}/CancelSubscription"
    new, update = subscriptions.CreateSubscriptionRequest, subscriptions.UpdateSubscriptionRequest
    page = subscriptions.ListSubscriptionsRequest
    mask = FieldMask(paths=["status"])
    return [
        Case(make, new(plan_id="pln_x"), BAD, "customer_id"),
        Case(make, new(customer_id=POOR), BAD, "plan_id"),
        Case(make, new(customer_id="nobody", plan_id="pln_x"), MISSING, "customer_id"),
        Case(make, new(customer_id=POOR, plan_id="pln_x"), MISSING, "plan_id"),
        Case(listed, page(limit=101), BAD, "limit"),
        Case(listed, page(cursor="x"), BAD, "cursor"),
        Case(
            f"{service}/GetCustomerSubscription",
            subscriptions.GetCustomerSubscriptionRequest(customer_id="nobody"),
            MISSING,
            "customer_id",
        ),
        Case(
            make,
            new(customer_id=POOR, plan_id="pln_x", payment_method_id="x"),
            MISSING,
            "plan_id",
        ),
        Case(change, update(subscription_id="sub_x"), BAD, "auto_top_up_bundle_id"),
        Case(
            change,
            update(subscription_id="sub_x", auto_top_up_threshold="x"),
            MISSING,
            "subscription_id",
        ),
        Case(change, update(subscription_id="sub_x", update_mask=mask), BAD, "update_mask"),
        Case(
            change,
            update(subscription_id="sub_x", auto_top_up_bundle_id="cb_x"),
            MISSING,
            "subscription_id",
        ),
        Case(
            cancel,
            subscriptions.CancelSubscriptionRequest(subscription_id="sub_x"),
            MISSING,
            "subscription_id",
        ),
    ]


def _payments() -> list[Case]:
    service = "PaymentService"
    fund, buy = payments.FundWalletRequest, payments.CreatePaymentRequest
    page, confirm = payments.ListPaymentsRequest, payments.ConfirmPaymentRequest
    done = payments.PAYMENT_STATE_SUCCEEDED
    sure, bundle = f"{service}/ConfirmPayment", "credit_bundle_id"
    return [
        Case(f"{service}/FundWallet", fund(payment_method_id="x", amount="9"), BAD, "amount"),
        Case(f"{service}/FundWallet", fund(payment_method_id="x", amount="10001"), BAD, "amount"),
        Case(f"{service}/FundWallet", fund(amount="50"), BAD, "payment_method_id"),
        Case(
            f"{service}/FundWallet",
            fund(payment_method_id="x", amount="50", request_id=LONG),
            BAD,
            "request_id",
        ),
        Case(
            f"{service}/CreatePayment",
            buy(customer_id=POOR, credit_bundle_id="cb_x", request_id=LONG),
            BAD,
            "request_id",
        ),
        Case(f"{service}/CreatePayment", buy(credit_bundle_id="cb_x"), BAD, "customer_id"),
        Case(f"{service}/CreatePayment", buy(customer_id=POOR), BAD, bundle),
        Case(
            f"{service}/CreatePayment",
            buy(customer_id=POOR, credit_bundle_id="cb_x"),
            MISSING,
            bundle,
        ),
        Case(f"{service}/ListPayments", page(limit=101), BAD, "limit"),
        Case(f"{service}/ListPayments", page(cursor="x"), BAD, "cursor"),
        Case(
            f"{service}/GetPayment",
            payments.GetPaymentRequest(payment_id="pay_x"),
            MISSING,
            "payment_id",
        ),
        Case(sure, confirm(payment_id="pay_x"), BAD, "outcome"),
        Case(sure, confirm(payment_id="pay_x", outcome=done), MISSING, "payment_id"),
    ]


BILLING_CASES = [*_plans(), *_bundles(), *_subscriptions(), *_payments()]
