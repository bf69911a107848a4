"""The application as a whole: every endpoint that Lava documents answers in Lava's way."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest

from lava_grpc.rest.app import build_app
from lava_grpc.rest.http import Answer, Incoming
from lava_grpc.rest.inventory import endpoints
from lava_grpc.rest.router import Params, Router
from lava_grpc.rest.transcode import CREATED, bindings, services
from tests.unit.rest.fakes import FakeDispatcher, client


async def nothing(request: Incoming, params: Params) -> Answer:
    return Answer(f"{request.method} {params}".encode())


def asked(method: str, path: str) -> Incoming:
    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError("nobody reads the body")

    scope = {
        "method": method,
        "raw_path": path.encode(),
        "path": path,
        "query_string": b"",
        "headers": [],
    }
    return Incoming(scope, receive)


@pytest.mark.parametrize(("method", "path"), endpoints())
async def test_every_documented_endpoint_is_served_or_says_not_yet(method: str, path: str) -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        response = await http.request(method, path.replace("{id}", "x"))

    if fake.asked:
        assert response.status_code == (201 if fake.asked[0].method in CREATED else 200)
    else:
        assert response.status_code == 501
        assert response.json()["error"]["code"] == "not_implemented"


async def test_what_the_protos_declare_is_never_not_implemented() -> None:
    fake = FakeDispatcher()
    declared = [binding for service in services() for binding in bindings(service)]
    async with client(fake) as http:
        for binding in declared:
            path = binding.template.replace("{", "").replace("}", "")
            response = await http.request(binding.http_method, path)
            assert response.status_code == (201 if binding.rpc in CREATED else 200), binding
    assert [a.method for a in fake.asked] == [binding.rpc for binding in declared]


async def test_unknown_paths_and_methods() -> None:
    async with client(FakeDispatcher()) as http:
        for path in ("/", "/v2/meters", "/v1/meters/", "/v1//meters", "/v1/" + "a/" * 40):
            response = await http.get(path)
            assert response.status_code == 404
            assert response.json()["error"]["code"] == "not_found"
        wrong = await http.put("/v1/meters")
        preflight = await http.options("/v1/meters")

    for response in (wrong, preflight):
        assert response.status_code == 405
        assert response.headers["allow"] == "GET, POST"
        assert response.json()["error"]["code"] == "method_not_allowed"


async def test_rewrite_is_not_implemented_yet() -> None:
    async with client(FakeDispatcher()) as http:
        response = await http.post("/v1/rewrite/openai/https://api.anthropic.com/v1/messages")
    assert response.status_code == 501


@pytest.mark.parametrize(("serving", "status"), [(True, 200), (False, 503)])
async def test_health_follows_the_service(serving: bool, status: int) -> None:  # noqa: FBT001
    app = build_app(FakeDispatcher(), serving=lambda: serving)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://lava.test"
    ) as http:
        assert (await http.get("/healthz")).status_code == status


async def test_a_literal_goes_before_a_parameter_unless_its_method_is_missing() -> None:
    router = Router()
    router.add("POST", "/v1/requests/batch", nothing)
    router.add("GET", "/v1/requests/{request_id}", nothing)

    assert (await router.answer(asked("POST", "/v1/requests/batch"))).body == b"POST {}"
    got = await router.answer(asked("GET", "/v1/requests/batch"))
    assert got.body == b"GET {'request_id': 'batch'}"


def test_routes_that_clash_or_cannot_be_served_stop_the_start() -> None:
    router = Router()
    router.add("GET", "/v1/a/{x}", nothing)
    with pytest.raises(ValueError, match="twice"):
        router.add("GET", "/v1/a/{y}", nothing)
    for template in ("/v1/{name=**}", "/v1/a:cancel", "/v1//b"):
        with pytest.raises(ValueError, match="neither"):
            router.add("GET", template, nothing)


async def test_lifespan_and_websockets_are_answered() -> None:
    app = build_app(FakeDispatcher())
    events = iter(({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))
    sent: list[str] = []

    async def receive() -> MutableMapping[str, Any]:
        return next(events)

    async def send(event: MutableMapping[str, Any]) -> None:
        sent.append(event["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
