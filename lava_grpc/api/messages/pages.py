"""Pages as lists ask for them."""

from __future__ import annotations

from typing import Any, TypeAlias

from lava.v1 import (
    credit_bundle_service_pb2,
    credit_service_pb2,
    customer_service_pb2,
    gateway_service_pb2,
    ledger_service_pb2,
    meter_service_pb2,
    payment_service_pb2,
    plan_service_pb2,
    provider_key_service_pb2,
    request_service_pb2,
    secret_key_service_pb2,
    spend_key_service_pb2,
    subscription_service_pb2,
    webhook_service_pb2,
)

from lava_grpc.core.page import Page, Slice, check_limit
from lava_grpc.gateway.checks import check_text

ListRequest: TypeAlias = (
    credit_bundle_service_pb2.ListCreditBundlesRequest
    | credit_service_pb2.ListCreditGrantsRequest
    | customer_service_pb2.ListCustomersRequest
    | gateway_service_pb2.ListReservationsRequest
    | ledger_service_pb2.ListEntriesRequest
    | meter_service_pb2.ListMetersRequest
    | payment_service_pb2.ListPaymentsRequest
    | plan_service_pb2.ListPlansRequest
    | provider_key_service_pb2.ListProviderKeysRequest
    | request_service_pb2.ListRequestsRequest
    | secret_key_service_pb2.ListSecretKeysRequest
    | spend_key_service_pb2.ListSpendKeysRequest
    | subscription_service_pb2.ListSubscriptionsRequest
    | webhook_service_pb2.ListWebhookDeliveriesRequest
    | webhook_service_pb2.ListWebhooksRequest
)


def to_page(request: ListRequest) -> Page:
    """Which page; refuses `cursor` and `limit` out of range."""
    cursor = check_text(request.cursor, "cursor") if request.cursor else None
    return Page(cursor, check_limit(request.limit if request.HasField("limit") else None))


def has_more(page: Slice[Any]) -> bool:
    """Whether there are more items after this page."""
    return page.next_cursor is not None
