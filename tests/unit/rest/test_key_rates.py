"""How many calls an API key may make, what is said of it, and that browsers may make none."""

from __future__ import annotations

import base64
import json

import httpx
import pytest
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.rest.app import RestSettings, build_app
from tests.unit.rest import fakes

LIMIT, REMAINING, RESET = "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"
START: Instant = 1_000_000 * SECOND


class Clock:
    """A clock that is moved by hand."""

    instant = START

    def now(self) -> Instant:
        return self.instant


class Shim:
    """The application over a fake dispatcher, at three calls a minute."""

    def __init__(self, per_minute: int = 3) -> None:
        self.clock = Clock()
        self.dispatcher = fakes.FakeDispatcher()
        app = build_app(
            self.dispatcher,
            settings=RestSettings(calls_per_minute=per_minute),
            provider_bases=fakes.BASES,
            clock=self.clock,
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://lava.test"
        )

    async def get(self, key: str, path: str = "/v1/meters") -> httpx.Response:
        return await self.http.get(path, headers={"authorization": f"Bearer {key}"})


@pytest.fixture
def shim() -> Shim:
    return Shim()


async def test_every_answer_tells_what_is_left(shim: Shim) -> None:
    answers = [await shim.get(fakes.KEY) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert {answer.headers[LIMIT] for answer in answers} == {"3"}
    assert [answer.headers[REMAINING] for answer in answers] == ["2", "1", "0", "0"]
    assert [answer.headers[RESET] for answer in answers[:3]] == ["1000020", "1000040", "1000060"]
    assert answers[3].headers["retry-after"] == "20"
    assert answers[3].json()["error"]["code"] == "rate_limited"
    shim.clock.instant += 20 * SECOND
    assert (await shim.get(fakes.KEY)).status_code == 200
    assert (await shim.get(fakes.KEY)).status_code == 429


async def test_refusals_count_and_tell_too(shim: Shim) -> None:
    rpc = "lava.v1.MeterService/ListMeters"
    shim.dispatcher.answers[rpc] = Refusal(Reason.STORE_UNAVAILABLE, "away")
    answers = [await shim.get(fakes.KEY) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 503, 503, 429]
    assert answers[2].headers[REMAINING] == "0"


async def test_each_key_has_its_own_count_however_it_comes(shim: Shim) -> None:
    token = base64.b64encode(json.dumps({"secret_key": fakes.KEY}).encode()).decode()
    for key in (fakes.KEY, token, fakes.KEY):
        assert (await shim.get(key)).status_code == 200
    assert (await shim.get(token)).status_code == 429
    assert (await shim.get("aks_live_other")).status_code == 200


async def test_a_bad_key_is_told_nothing_and_not_remembered(shim: Shim) -> None:
    rpc = "lava.v1.MeterService/ListMeters"
    shim.dispatcher.answers[rpc] = Refusal(Reason.INVALID_CREDENTIALS, "unknown")
    for _ in range(5):
        answer = await shim.get(fakes.KEY)
        assert answer.status_code == 401
        assert LIMIT not in answer.headers


async def test_metered_and_forwarded_calls_have_no_such_limit(shim: Shim) -> None:
    headers = {"authorization": f"Bearer {fakes.KEY}"}
    for _ in range(5):
        for path in ("/v1/requests", "/v1/forward?u=https://api.openai.com/v1/models"):
            answer = await shim.http.post(path, json={}, headers=headers)
            assert answer.status_code == 200
            assert LIMIT not in answer.headers


async def test_zero_is_no_limit() -> None:
    shim = Shim(per_minute=0)
    answers = [await shim.get(fakes.KEY) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any(LIMIT in answer.headers for answer in answers)


@pytest.mark.parametrize("path", ["/v1/meters", "/v1/forward?u=https://api.openai.com/v1", "/x"])
async def test_a_browser_that_asks_is_refused(path: str, shim: Shim) -> None:
    asking = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    answer = await shim.http.options(path, headers=asking)
    assert answer.status_code == 403
    assert "CORS" in answer.json()["error"]["message"]
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert not shim.dispatcher.forwarded


async def test_a_provider_cannot_let_browsers_in(shim: Shim) -> None:
    async def script(request: pb.ForwardRequest):  # type: ignore[no-untyped-def]  # noqa: ANN202
        del request
        yield fakes.head(access_control_allow_origin="*", x_model="m")
        yield fakes.summary()

    shim.dispatcher.script = script
    path = "/v1/forward?u=https://api.openai.com/v1/models"
    answer = await shim.http.get(path, headers={"origin": "https://shop.example"})
    assert answer.headers["x-model"] == "m"
    assert not [name for name in answer.headers if name.startswith("access-control-")]
