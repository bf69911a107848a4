"""Bad calls of GatewayService."""

from __future__ import annotations

from typing import Any

from lava.v1 import gateway_service_pb2 as gateway
from lava.v1 import usage_pb2

from lava_grpc.core.errors import Reason
from lava_grpc.core.usage import COUNT_MAX
from tests.contract.case import BAD, LONG, MISSING, Case
from tests.contract.world import METER, POOR, RICH

SOME = usage_pb2.Usage(input_tokens=1)
_RESERVATION = "reservation_id"


def _authorize() -> list[Case]:
    rpc, ask = "GatewayService/Authorize", gateway.AuthorizeRequest
    batch = "GatewayService/BatchAuthorize"
    stream = "GatewayService/AuthorizeStream"
    spec = gateway.ProviderCall
    good: dict[str, Any] = {"customer_id": RICH, "meter_slug": METER}
    labels = {f"k{i}": "v" for i in range(101)}
    return [
        Case(batch, gateway.BatchAuthorizeRequest(), BAD, "requests"),
        Case(batch, gateway.BatchAuthorizeRequest(requests=[ask()] * 1001), BAD, "requests"),
        Case(stream, gateway.AuthorizeStreamRequest(), BAD, "requests"),
        Case(rpc, ask(customer_id=RICH), BAD, "estimate"),
        Case(rpc, ask(customer_id=RICH, amount=""), BAD, "amount"),
        Case(rpc, ask(customer_id=RICH, amount="0"), BAD, "amount"),
        Case(rpc, ask(customer_id=RICH, amount="-1"), BAD, "amount"),
        Case(rpc, ask(customer_id=RICH, amount="1e3"), BAD, "amount"),
        Case(rpc, ask(customer_id=RICH, amount="0.00000000001"), BAD, "amount"),
        Case(rpc, ask(customer_id=RICH, amount="99999999999"), BAD, "amount"),
        Case(rpc, ask(customer_id="", amount="1"), BAD, "customer_id"),
        Case(rpc, ask(customer_id=LONG, amount="1"), BAD, "customer_id"),
        Case(rpc, ask(customer_id="a\0b", amount="1"), BAD, "customer_id"),
        Case(rpc, ask(customer_id="nobody", amount="1"), MISSING, "customer_id"),
        Case(rpc, ask(customer_id="con_nobody", amount="1"), MISSING, "customer_id"),
        Case(rpc, ask(customer_id=RICH, meter_slug="", amount="1"), BAD, "meter_slug"),
        Case(rpc, ask(customer_id=RICH, meter_slug="none", amount="1"), MISSING, "meter_slug"),
        Case(rpc, ask(customer_id=RICH, usage=SOME), BAD, "meter_slug"),
        Case(rpc, ask(**good, usage=usage_pb2.Usage(input_tokens=-1)), BAD, "usage.input_tokens"),
        Case(
            rpc,
            ask(**good, usage=usage_pb2.Usage(output_tokens=COUNT_MAX + 1)),
            BAD,
            "usage.output_tokens",
        ),
        Case(
            rpc,
            ask(**good, usage=usage_pb2.Usage(input_seconds=-0.5)),
            BAD,
            "usage.input_seconds",
        ),
        Case(
            rpc,
            ask(**good, usage=usage_pb2.Usage(input_tokens=1, cache_read_tokens=2)),
            BAD,
            "usage.cache_read_tokens",
        ),
        Case(
            rpc,
            ask(**good, provider_call=spec(provider="")),
            BAD,
            "provider_call.provider",
        ),
        Case(
            rpc,
            ask(
                **good,
                provider_call=spec(
                    provider="openai",
                    request_body=b"{}",
                    hold_policy=7,  # type: ignore[arg-type]
                ),
            ),
            BAD,
            "provider_call.hold_policy",
        ),
        Case(rpc, ask(customer_id=RICH, amount="1", request_id=""), BAD, "request_id"),
        Case(rpc, ask(customer_id=RICH, amount="1", request_id=LONG), BAD, "request_id"),
        Case(rpc, ask(customer_id=RICH, amount="1", request_id="a\nb"), BAD, "request_id"),
        Case(rpc, ask(customer_id=RICH, amount="1", ttl_seconds=0), BAD, "ttl_seconds"),
        Case(rpc, ask(customer_id=RICH, amount="1", ttl_seconds=86_401), BAD, "ttl_seconds"),
        Case(rpc, ask(customer_id=RICH, amount="1", metadata=labels), BAD, "metadata"),
        Case(rpc, ask(customer_id=RICH, amount="1", metadata={"a-b": "v"}), BAD, "metadata.a-b"),
        Case(rpc, ask(customer_id=RICH, amount="1", metadata={"k": ""}), BAD, "metadata.k"),
        Case(rpc, ask(customer_id=RICH, amount="1", metadata={"k": LONG}), BAD, "metadata.k"),
        Case(rpc, ask(customer_id=RICH, amount="1", metadata={"k": "\0"}), BAD, "metadata.k"),
        Case(rpc, ask(customer_id=POOR, amount="1"), Reason.INSUFFICIENT_CREDITS),
        Case(rpc, ask(amount="1"), Reason.INSUFFICIENT_CREDITS),
    ]


def _report() -> list[Case]:
    rpc, report = "GatewayService/ReportUsage", gateway.ReportUsageRequest
    good: dict[str, Any] = {"request_id": "never", "customer_id": RICH, "meter_slug": METER}
    other: dict[str, Any] = {"request_id": "used", "customer_id": RICH, "meter_slug": METER}
    batch = "GatewayService/BatchReportUsage"
    stream = "GatewayService/ReportUsageStream"
    return [
        Case(rpc, report(customer_id=RICH, meter_slug=METER), BAD, "request_id"),
        Case(rpc, report(**(good | {"request_id": "a\tb"})), BAD, "request_id"),
        Case(rpc, report(**(good | {"customer_id": ""})), BAD, "customer_id"),
        Case(rpc, report(**(good | {"customer_id": "nobody"})), MISSING, "customer_id"),
        Case(rpc, report(**(good | {"meter_slug": "none"})), MISSING, "meter_slug"),
        Case(rpc, report(request_id="never", customer_id=RICH), BAD, "meter_slug"),
        Case(rpc, report(**good, input_tokens=-1), BAD, "input_tokens"),
        Case(rpc, report(**good, output_characters=COUNT_MAX + 1), BAD, "output_characters"),
        Case(rpc, report(**good, output_seconds=1e10), BAD, "output_seconds"),
        Case(rpc, report(**good, output_tokens=1, reasoning_tokens=2), BAD, "reasoning_tokens"),
        Case(
            rpc,
            report(**good, input_tokens=3, cache_read_tokens=2, cache_write_tokens=2),
            BAD,
            "cache_write_tokens",
        ),
        Case(rpc, report(**good, amount="1"), BAD, "amount"),
        Case(rpc, report(**good, cost="free"), BAD, "cost"),
        Case(rpc, report(**good, cost="-1"), BAD, "cost"),
        Case(rpc, report(**good, provider=""), BAD, "provider"),
        Case(rpc, report(**good, response_json="{}"), BAD, "provider"),
        Case(rpc, report(**good, response_json="{}", provider="nobody"), BAD, "provider"),
        Case(rpc, report(**good, response_json="", provider="openai"), BAD, "response_json"),
        Case(rpc, report(**good, response_json="{}", provider="openai"), BAD, "response_json"),
        Case(rpc, report(**good, response_stream=b"", provider="openai"), BAD, "response_stream"),
        Case(rpc, report(**good, response_json="{}", provider="google"), BAD, "model"),
        Case(
            rpc,
            report(**good, response_json="{}", provider="openai", endpoint="GET /v1/models"),
            BAD,
            "endpoint",
        ),
        Case(rpc, report(**good, endpoint="e" * 2049), BAD, "endpoint"),
        Case(rpc, report(**good, metadata={"a b": "v"}), BAD, "metadata.a b"),
        Case(rpc, report(**good, reservation_id="res_none"), MISSING, "reservation_id"),
        Case(rpc, report(**other, input_tokens=2), Reason.REQUEST_ID_REUSED, "request_id"),
        Case(batch, gateway.BatchReportUsageRequest(), BAD, "reports"),
        Case(stream, gateway.ReportUsageStreamRequest(), BAD, "reports"),
        Case(batch, gateway.BatchReportUsageRequest(reports=[report()] * 1001), BAD, "reports"),
    ]


def _reservations() -> list[Case]:
    service = "GatewayService"
    release, extend = gateway.ReleaseReservationRequest, gateway.ExtendReservationRequest
    get, listing = gateway.GetReservationRequest, gateway.ListReservationsRequest
    none = "res_none"
    return [
        Case(f"{service}/ReleaseReservation", release(reservation_id=none), MISSING, _RESERVATION),
        Case(f"{service}/ReleaseReservation", release(reservation_id=LONG), BAD, _RESERVATION),
        Case(f"{service}/ExtendReservation", extend(reservation_id=none), MISSING, _RESERVATION),
        Case(
            f"{service}/ExtendReservation",
            extend(reservation_id=none, ttl_seconds=-1),
            BAD,
            "ttl_seconds",
        ),
        Case(f"{service}/GetReservation", get(reservation_id=none), MISSING, _RESERVATION),
        Case(f"{service}/GetReservation", get(reservation_id="a\0"), BAD, _RESERVATION),
        Case(f"{service}/ListReservations", listing(limit=0), BAD, "limit"),
        Case(f"{service}/ListReservations", listing(cursor="nothing"), BAD, "cursor"),
    ]


GATEWAY_CASES = [*_authorize(), *_report(), *_reservations()]
