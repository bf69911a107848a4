"""Every refusal of the table, over a real gRPC channel."""

from __future__ import annotations

import base64
import json

import pytest
from lava.v1 import credit_service_pb2 as credit
from lava.v1 import gateway_service_pb2 as gateway

from lava_grpc.core.errors import Reason, Refusal
from tests.contract.case import Case
from tests.contract.refusals import CASES
from tests.contract.world import METER, RICH, Metadata, World

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{c.name}" for i, c in enumerate(CASES)])
async def test_bad_input_is_refused_by_reason_and_field(case: Case, world: World) -> None:
    with pytest.raises(Refusal) as refused:
        await world.call(case.rpc, case.request)
    assert refused.value.reason is case.reason, refused.value.message
    if case.field is not None:
        assert refused.value.field == case.field


def _token(**fields: object) -> Metadata:
    packed = base64.b64encode(json.dumps(fields).encode()).decode()
    return (("authorization", f"Bearer {packed}"),)


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer "),),
        (("authorization", "Basic YTpi"),),
        (("authorization", "Bearer aks_test_unknown"),),
        (("authorization", "Bearer lava_sk_any"),),
        (("authorization", "Bearer " + "a" * 9000),),
        (("x-api-key", "aks_live_unknown"),),
        _token(customer_id="rich"),
        _token(secret_key="aks_test_unknown"),
    ],
    ids=lambda metadata: str(metadata)[:60],
)
async def test_whoever_cannot_be_known_is_refused_on_both_kinds_of_call(
    metadata: Metadata, world: World
) -> None:
    with pytest.raises(Refusal) as refused:
        await world.call("CreditService/GetWallet", credit.GetWalletRequest(), metadata)
    assert refused.value.reason is Reason.INVALID_CREDENTIALS
    with pytest.raises(Refusal) as refused:
        await world.forward(gateway.ForwardRequest(url="https://api.openai.com/v1"), metadata)
    assert refused.value.reason is Reason.INVALID_CREDENTIALS


async def test_a_forward_token_with_a_customer_and_no_meter_names_the_meter(world: World) -> None:
    token = _token(secret_key=world.secret_key, customer_id=RICH)
    with pytest.raises(Refusal) as refused:
        await world.call("CreditService/GetWallet", credit.GetWalletRequest(), token)
    assert (refused.value.reason, refused.value.field) == (Reason.INVALID_FIELD, "meter_slug")


async def test_a_forward_token_says_who_pays(world: World) -> None:
    token = _token(secret_key=world.secret_key, customer_id=RICH, meter_slug=METER)
    held = await world.call("GatewayService/Authorize", gateway.AuthorizeRequest(amount="1"), token)
    assert held.reservation.customer_id.startswith("con_test_")
    assert held.reservation.meter_id.startswith("prd_test_")


async def test_want_of_credit_tells_what_is_required_and_what_is_there(world: World) -> None:
    ask = gateway.AuthorizeRequest(amount="2.5")
    with pytest.raises(Refusal) as refused:
        await world.call("GatewayService/Authorize", ask)
    assert refused.value.reason is Reason.INSUFFICIENT_CREDITS
    assert refused.value.facts["account"] == "merchant"
    assert refused.value.facts["required"] == "2.5000000000"
    assert refused.value.facts["available"] == "0.0000000000"


async def test_a_reservation_that_was_given_back_cannot_be_extended(world: World) -> None:
    ask = gateway.AuthorizeRequest(customer_id=RICH, amount="1")
    held = await world.call("GatewayService/Authorize", ask)
    ident = held.reservation.reservation_id
    release = gateway.ReleaseReservationRequest(reservation_id=ident)
    await world.call("GatewayService/ReleaseReservation", release)
    with pytest.raises(Refusal) as refused:
        await world.call(
            "GatewayService/ExtendReservation",
            gateway.ExtendReservationRequest(reservation_id=ident),
        )
    assert refused.value.reason is Reason.RESERVATION_ENDED
    assert refused.value.facts["state"] == "released"


async def test_a_forwarded_call_goes_to_no_host_that_nobody_listed(world: World) -> None:
    with pytest.raises(Refusal) as refused:
        await world.forward(gateway.ForwardRequest(url="https://example.com/v1", body=b"{}"))
    assert refused.value.reason is Reason.UPSTREAM_NOT_ALLOWED


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (gateway.ForwardRequest(url="https://api.openai.com/v1", method="G ET"), "method"),
        (gateway.ForwardRequest(url="https://api.openai.com/v1", provider_key=""), "provider_key"),
        (gateway.ForwardRequest(url="https://api.openai.com/v1", customer_id=""), "customer_id"),
        (gateway.ForwardRequest(url="https://api.openai.com/v1", request_id="\r"), "request_id"),
        (
            gateway.ForwardRequest(url="https://api.openai.com/v1", metadata={"é": "v"}),
            "metadata",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_malformed_forward_is_refused_by_field(
    request_: gateway.ForwardRequest, field: str, world: World
) -> None:
    with pytest.raises(Refusal) as refused:
        await world.forward(request_)
    assert refused.value.reason is Reason.INVALID_FIELD
    assert (refused.value.field or "").startswith(field)
