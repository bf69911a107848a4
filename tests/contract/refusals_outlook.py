"""Bad calls about webhooks, usage and the catalogue."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from lava.v1 import model_service_pb2 as models
from lava.v1 import usage_service_pb2 as usage
from lava.v1 import webhook_service_pb2 as webhooks

from tests.contract.case import BAD, LONG, MISSING, Case

_URL = "https://example.com/hook"


def _webhooks() -> list[Case]:
    service = "WebhookService"
    create, update = webhooks.CreateWebhookRequest, webhooks.UpdateWebhookRequest
    make, change = f"{service}/CreateWebhook", f"{service}/UpdateWebhook"
    mask = FieldMask(paths=["webhook_secret"])
    deliveries = webhooks.ListWebhookDeliveriesRequest
    again = webhooks.RedeliverWebhookRequest
    ident = "webhook_id"
    return [
        Case(make, create(url=_URL), BAD, "name"),
        Case(make, create(name=LONG, url=_URL), BAD, "name"),
        Case(make, create(name="Hook"), BAD, "url"),
        Case(make, create(name="Hook", url="http://example.com/"), BAD, "url"),
        Case(make, create(name="Hook", url="https://192.168.0.1/"), BAD, "url"),
        Case(make, create(name="Hook", url=f"{_URL}#part"), BAD, "url"),
        Case(
            make,
            create(name="Hook", url=_URL, low_balance_threshold="-1"),
            BAD,
            "low_balance_threshold",
        ),
        Case(f"{service}/ListWebhooks", webhooks.ListWebhooksRequest(limit=0), BAD, "limit"),
        Case(f"{service}/ListWebhooks", webhooks.ListWebhooksRequest(cursor="x"), BAD, "cursor"),
        Case(
            f"{service}/GetWebhook", webhooks.GetWebhookRequest(webhook_id="none"), MISSING, ident
        ),
        Case(change, update(webhook_id="none", name="x"), MISSING, ident),
        Case(change, update(webhook_id="none", url="ftp://example.com"), BAD, "url"),
        Case(change, update(webhook_id="none", update_mask=mask), BAD, "update_mask"),
        Case(
            f"{service}/DeleteWebhook",
            webhooks.DeleteWebhookRequest(webhook_id="none"),
            MISSING,
            ident,
        ),
        Case(f"{service}/ListWebhookDeliveries", deliveries(webhook_id="none"), MISSING, ident),
        Case(
            f"{service}/RedeliverWebhook",
            again(webhook_id="none", delivery_id="none"),
            MISSING,
            "delivery_id",
        ),
    ]


def _usage() -> list[Case]:
    rpc, get = "UsageService/GetUsage", usage.GetUsageRequest
    day = "2026-05-01"
    return [
        Case(rpc, get(), BAD, "start"),
        Case(rpc, get(start="May"), BAD, "start"),
        Case(rpc, get(start=day, end="2026-04-30"), BAD, "end"),
        Case(rpc, get(start="2024-01-01", end=day), BAD, "start"),
        Case(rpc, get(start=day, end=day, customer_id=LONG), BAD, "customer_id"),
        Case(rpc, get(start=day, end=day, metadata_filters="{}"), BAD, "metadata_filters"),
    ]


def _models() -> list[Case]:
    return [Case("ModelService/ListServices", models.ListServicesRequest(provider=""), BAD)]


OUTLOOK_CASES: list[Case] = [*_webhooks(), *_usage(), *_models()]
