"""Routes out of the protos: what an HTTP call says to its RPC, and what it hears back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
import structlog.testing
from lava.v1 import (
    credit_service_pb2,
    customer_service_pb2,
    gateway_service_pb2,
    meter_service_pb2,
    request_service_pb2,
)
from lava.v1.meter_pb2 import RATE_TYPE_FIXED, Meter
from lava.v1.reservation_pb2 import RESERVATION_STATE_ACTIVE

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.rest.app import RestSettings
from tests.unit.rest.fakes import KEY, FakeDispatcher, client

METERS = "lava.v1.MeterService"


def error(response: httpx.Response) -> tuple[int, str, str | None]:
    said = response.json()["error"]
    assert said["status"] == response.status_code
    return response.status_code, said["code"], said.get("field")


async def test_a_create_reaches_its_rpc_and_answers_the_bare_resource() -> None:
    answer = meter_service_pb2.CreateMeterResponse(
        meter=Meter(meter_id="prd_1", rate_type=RATE_TYPE_FIXED)
    )
    fake = FakeDispatcher({f"{METERS}/CreateMeter": answer})
    async with client(fake) as http:
        response = await http.post("/v1/meters", json={"name": "é", "rate_type": "fixed"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert "access-control-allow-origin" not in response.headers
    assert response.json()["meter_id"] == "prd_1"
    assert response.json()["rate_type"] == "fixed"
    (asked,) = fake.asked
    assert asked.method == f"{METERS}/CreateMeter"
    assert asked.credential == KEY
    assert asked.timeout_seconds == 30.0
    assert asked.request == meter_service_pb2.CreateMeterRequest(
        name="é", rate_type=RATE_TYPE_FIXED
    )


async def test_a_list_answers_its_page() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        response = await http.get(
            "/v1/requests", params={"limit": "5", "metadata_filters": '[["a","b"]]'}
        )

    assert response.json() == {"data": [], "has_more": False, "next_cursor": None}
    assert fake.asked[0].request == request_service_pb2.ListRequestsRequest(
        limit=5, metadata_filters='[["a","b"]]'
    )


async def test_a_query_takes_enums_and_plus_signs() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        await http.get("/v1/reservations?state=active&customer_id=a+b%2B")

    assert fake.asked[0].request == gateway_service_pb2.ListReservationsRequest(
        state=RESERVATION_STATE_ACTIVE, customer_id="a b+"
    )


async def test_a_path_parameter_is_decoded_and_keeps_its_slash() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        await http.get("/v1/customers/a%2Fb%20%C3%A9/balance?meter_id=m")
        bad = await http.get("/v1/customers/%FF")

    assert fake.asked[0].request == credit_service_pb2.GetBalanceRequest(
        customer_id="a/b é", meter_id="m"
    )
    assert error(bad) == (400, "invalid_field", "customer_id")


async def test_an_additional_binding_reaches_the_same_rpc() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        await http.post("/v1/customers/con_1/credit_grants", json={"amount": "1"})
        await http.post("/v1/credit_grants", json={"amount": "1", "customer_id": "con_1"})
        differs = await http.post(
            "/v1/customers/con_1/credit_grants", json={"amount": "1", "customer_id": "con_2"}
        )

    assert fake.asked[0] == fake.asked[1]
    assert error(differs) == (400, "invalid_field", "customer_id")


async def test_a_patch_changes_the_keys_that_are_there_and_null_clears() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        await http.patch("/v1/customers/con_1", json={"name": None, "email": "a@example.com"})
        await http.patch("/v1/customers/con_1", json={"customer_id": "con_1"})

    asked = fake.asked[0].request
    assert isinstance(asked, customer_service_pb2.UpdateCustomerRequest)
    assert asked.customer_id == "con_1"
    assert asked.email == "a@example.com"
    assert not asked.HasField("name")
    assert list(asked.update_mask.paths) == ["name", "email"]
    nothing = fake.asked[1].request
    assert nothing == customer_service_pb2.UpdateCustomerRequest(customer_id="con_1")


async def test_no_body_is_an_empty_object() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        response = await http.post("/v1/reservations/res_1/release")
        deleted = await http.request(
            "DELETE", "/v1/meters/m", headers={"content-type": "application/json"}
        )

    assert response.status_code == 200
    assert deleted.json() == {"id": "", "deleted": False}
    assert fake.asked[0].request == gateway_service_pb2.ReleaseReservationRequest(
        reservation_id="res_1"
    )


async def test_an_idempotency_key_is_the_request_id_that_is_not_given() -> None:
    fake = FakeDispatcher()
    header = {"idempotency-key": "once"}
    async with client(fake) as http:
        await http.post("/v1/credit_grants", json={}, headers=header)
        await http.post("/v1/credit_grants", json={"request_id": "mine"}, headers=header)
        await http.post("/v1/requests", json={"reservation_id": "res_1"}, headers=header)
        await http.post("/v1/meters", json={}, headers=header)

    ids = [getattr(asked.request, "request_id", None) for asked in fake.asked]
    assert ids == ["once", "mine", "", None]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/v1/meters?limit=x", "", "limit"),
        ("GET", "/v1/meters?limit=", "", "limit"),
        ("GET", "/v1/meters?limit=1&limit=2", "", "limit"),
        ("GET", "/v1/meters?limt=1", "", "limt"),
        ("GET", "/v1/meters/m?meter_id=n", "", "meter_id"),
        ("GET", "/v1/reservations?state=gone", "", "state"),
        ("GET", "/v1/meters?cursor=%FF", "", "query"),
        ("GET", "/v1/meters?" + "&".join(f"a{i}=1" for i in range(101)), "", "query"),
        ("POST", "/v1/meters?name=x", "{}", "name"),
        ("POST", "/v1/meters", "[]", "body"),
        ("POST", "/v1/meters", '{"\\ud800": 1}', "?"),
        ("POST", "/v1/meters", "[" * 100_000, "body"),
        ("POST", "/v1/meters", "{", "body"),
        ("POST", "/v1/meters", b"\xff", "body"),
        ("POST", "/v1/meters", '{"name": NaN}', "body"),
        ("POST", "/v1/meters", '{"name": "a", "name": "b"}', "body"),
        ("POST", "/v1/meters", '{"tiers": [{"start": 0}]}', "tiers[0].start"),
        ("POST", "/v1/requests/batch", '{"reports": [{"cost": 1}]}', "reports[0].cost"),
        ("PATCH", "/v1/meters/m", '{"update_mask": "name"}', "update_mask"),
        ("PATCH", "/v1/meters/m", '{"rate_type": "fixed"}', "rate_type"),
    ],
)
async def test_bad_input_names_its_field(
    method: str, path: str, body: str | bytes, field: str
) -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        response = await http.request(method, path, content=body)

    assert error(response) == (400, "invalid_field", field)
    assert fake.asked == []


async def test_a_body_beyond_the_limit_is_refused_and_the_connection_closed() -> None:
    fake = FakeDispatcher()

    async def pieces() -> AsyncIterator[bytes]:  # an undeclared length is counted
        for _ in range(3):
            yield b" " * 50

    async with client(fake, RestSettings(body_bytes_max=100)) as http:
        declared = await http.post("/v1/meters", content=b" " * 101)
        counted = await http.post("/v1/meters", content=pieces())
        fits = await http.post("/v1/meters", content=b" " * 98 + b"{}")

    for response in (declared, counted):
        assert error(response) == (400, "invalid_field", "body")
        assert response.headers["connection"] == "close"
    assert fits.status_code == 200


async def test_a_refusal_has_lavas_shape() -> None:
    no = Refusal(
        Reason.INSUFFICIENT_CREDITS, "too little", facts={"account": "merchant", "request_id": "r"}
    )
    fake = FakeDispatcher({"lava.v1.GatewayService/Authorize": no})
    async with client(fake) as http:
        response = await http.post("/v1/reservations", json={"amount": "1"})

    assert error(response) == (402, "insufficient_credits", None)
    assert response.json()["error"]["details"]["account"] == "merchant"
    assert response.headers["x-lava-request-id"] == "r"


async def test_a_defect_is_internal_without_detail() -> None:
    fake = FakeDispatcher({f"{METERS}/ListMeters": RuntimeError("the table is gone")})
    with structlog.testing.capture_logs() as logged:
        async with client(fake) as http:
            response = await http.get("/v1/meters")

    assert error(response) == (500, "internal", None)
    assert "table" not in response.text
    # What it says may hold a secret: the log tells what kind it is, and where.
    (line,) = logged
    assert (line["error"], "the table is gone" in str(line)) == ("RuntimeError", False)
    assert "in unary" in line["where"]


async def test_without_a_credential_the_dispatcher_hears_an_empty_one() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        http.headers.pop("authorization")
        await http.get("/v1/meters")
        await http.get("/v1/meters?key=aks_live_k")
        await http.get("/v1/meters", headers={"x-api-key": "aks_live_x"})

    assert [asked.credential for asked in fake.asked] == ["", "aks_live_k", "aks_live_x"]


async def test_bytes_are_base64() -> None:
    fake = FakeDispatcher()
    call = {"provider": "openai", "request_body": "eyJhIjoxfQ=="}
    async with client(fake) as http:
        await http.post("/v1/reservations", content=json.dumps({"provider_call": call}))

    asked = fake.asked[0].request
    assert isinstance(asked, gateway_service_pb2.AuthorizeRequest)
    assert asked.provider_call.request_body == b'{"a":1}'
