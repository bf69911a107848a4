"""Payments whose provider was asked when the server was killed: gone on with, taken once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from lava.v1 import customer_service_pb2 as customers
from lava.v1 import ledger_service_pb2 as ledger
from lava.v1 import payment_service_pb2 as payments
from lava.v1 import plan_pb2
from lava.v1 import plan_service_pb2 as plans
from lava.v1 import subscription_service_pb2 as subscriptions

from lava_grpc import config
from lava_grpc.app.clock import SystemClock
from lava_grpc.app.service import Service
from lava_grpc.core.page import Page
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.gateway.cashier import LEASE_SECONDS
from lava_grpc.store.database import Database
from lava_grpc.store.payments import StorePayments
from tests.integration.billing.calendar import Calendar, Shop, until
from tests.support.process import Caller, Merchant, calling, init, serving
from tests.support.service import running


class Later:
    """The machine's clock, when every lease that was taken until now has ended."""

    def now(self) -> Instant:
        """See `core.time.Clock.now`."""
        return SystemClock().now() + 2 * LEASE_SECONDS * SECOND


class Yesterday:
    """The machine's clock, when a day's cycle began that is over by now."""

    def now(self) -> Instant:
        """See `core.time.Clock.now`."""
        return SystemClock().now() - 25 * 3600 * SECOND


async def plan(caller: Caller, price: str) -> plan_pb2.Plan:
    new = plans.CreatePlanRequest(
        name=price,
        period_amount=price,
        included_credit="25",
        billing_interval=plan_pb2.BILLING_INTERVAL_YEAR,
        credit_bundles=[plan_pb2.PlanBundleInput(name="S", cost="5.03", credit_amount="6")],
    )
    made: plan_pb2.Plan = (await caller.call("PlanService/CreatePlan", new)).plan
    return made


async def open_payment(caller: Caller, customer: str) -> payments.Payment:
    async def look() -> Any:  # noqa: ANN401
        listed = payments.ListPaymentsRequest(customer_id=customer)
        return list((await caller.call("PaymentService/ListPayments", listed)).data)

    (found,) = await until(look, bool)
    made: payments.Payment = found
    assert made.state == payments.PAYMENT_STATE_OPEN
    return made


async def test_what_was_asked_for_before_a_kill_is_paid_once_and_handed_out(
    database_url: str,
) -> None:
    merchant = await init(database_url)
    async with (
        # `.03` is not answered the first time, as by a provider that is slower than the kill.
        serving(database_url, payment_provider="test", payment_seconds=30) as server,
        calling(server.grpc_address, merchant) as caller,
    ):
        for name in ("buyer", "subscriber"):
            new = customers.CreateCustomerRequest(reference_id=name)
            await caller.call("CustomerService/CreateCustomer", new)
        free, paid = await plan(caller, "0"), await plan(caller, "20.03")
        create = subscriptions.CreateSubscriptionRequest
        await caller.call(
            "SubscriptionService/CreateSubscription",
            create(customer_id="buyer", plan_id=free.plan_id),
        )
        (bundle,) = free.credit_bundles
        asks = [
            caller.call(
                "PaymentService/CreatePayment",
                payments.CreatePaymentRequest(
                    customer_id="buyer", credit_bundle_id=bundle.credit_bundle_id
                ),
            ),
            caller.call(
                "SubscriptionService/CreateSubscription",
                create(
                    customer_id="subscriber",
                    plan_id=paid.plan_id,
                    payment_method_id="pm_test_card",
                ),
            ),
        ]
        asking = [asyncio.ensure_future(ask) for ask in asks]
        found = [await open_payment(caller, name) for name in ("buyer", "subscriber")]
        await server.kill9()
        for task in asking:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await task
    async with afterwards(database_url, merchant) as caller:
        for payment in found:
            get = payments.GetPaymentRequest(payment_id=payment.payment_id)

            async def look(get: payments.GetPaymentRequest = get) -> Any:  # noqa: ANN401
                return (await caller.call("PaymentService/GetPayment", get)).payment.state

            await until(look, lambda state: state == payments.PAYMENT_STATE_SUCCEEDED)
        for name, credit in (("buyer", "31.0000000000"), ("subscriber", "25.0000000000")):
            assert await left(caller, name) == credit


async def test_a_renewal_that_was_asked_for_before_a_kill_is_paid_once(database_url: str) -> None:
    async with running(database_url, clock=Yesterday(), payment_provider="test") as lava:
        shop = Shop(lava, Calendar())
        customer = await lava.customer()
        plan = await shop.plan(
            period_amount="0", included_credit="25", overage_limit="10", billing_interval="day"
        )
        body = {"customer_id": customer, "plan_id": plan["plan_id"]}
        await lava.rest("POST", "/v1/subscriptions", body | {"payment_method_id": "pm_test_card"})
        # Overage whose payment is not answered the first time.
        await lava.meter("calls", "30.03", kind="requests")
        await shop.report(customer, 1, "calls")
        merchant = Merchant(lava.merchant_id, lava.secret_key)
    database = Database(database_url)
    store = StorePayments(database)

    async def renewals() -> Sequence[Payment]:
        found = await store.list(merchant.merchant_id, customer, Page(limit=10))
        return found.items

    try:
        async with serving(database_url, payment_provider="test", payment_seconds=30) as server:
            (asked,) = await until(renewals, lambda found: any(one.attempts for one in found))
            assert (asked.kind, asked.state) == (PaymentKind.RENEWAL, PaymentState.OPEN)
            await server.kill9()
        (open_still,) = await renewals()
        assert (open_still.state, open_still.attempts) == (PaymentState.OPEN, 1)
        async with afterwards(database_url, merchant) as caller:
            await until(renewals, lambda found: found[0].state is PaymentState.SUCCEEDED)
            (paid,) = await renewals()
            # The question that nobody answered, asked again: not another one.
            assert (paid.charge_key, paid.amount) == (asked.charge_key, asked.amount)
            assert await left(caller, customer) == "25.0000000000"
            report = await caller.call("LedgerService/Verify", ledger.VerifyRequest())
            assert report.ok, report.findings
    finally:
        database.close()


@asynccontextmanager
async def afterwards(database_url: str, merchant: Merchant) -> AsyncIterator[Caller]:
    """A service on what a killed one left, once every lease that it took has ended."""
    loaded = config.load(
        {
            "database_url": database_url,
            "grpc_address": "127.0.0.1:0",
            "http_address": "",
            "payment_provider": "test",
        }
    )
    service = Service(loaded, Later())
    addresses = await service.start()
    try:
        async with calling(addresses.grpc_address, merchant) as caller:
            yield caller
    finally:
        await service.stop()


async def left(caller: Caller, customer: str) -> str:
    mine = subscriptions.GetCustomerSubscriptionRequest(customer_id=customer)
    shown = await caller.call("SubscriptionService/GetCustomerSubscription", mine)
    total: str = shown.subscription.credits.total_remaining
    return total
