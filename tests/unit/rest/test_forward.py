"""`/v1/forward` in process: what reaches the gateway, and what comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from lava.v1 import gateway_service_pb2 as pb

from lava_grpc.core.errors import Reason, Refusal, invalid
from lava_grpc.rest.app import RestSettings
from tests.unit.rest.fakes import KEY, FakeDispatcher, chunk, client, head, summary

CALL = "/v1/forward?u=https://api.openai.com/v1/chat/completions"


def code(response: httpx.Response) -> tuple[int, str, str | None]:
    said = response.json()["error"]
    return response.status_code, said["code"], said.get("field")


async def test_the_call_reaches_the_gateway_as_it_was_made() -> None:
    fake = FakeDispatcher()
    body = b'{"model": "m",  "x": 1}\n'
    async with client(fake) as http:
        response = await http.post(CALL, content=body, headers={"Idempotency-Key": "once"})

    assert response.status_code == 200
    (call,) = fake.forwarded
    assert call.url == "https://api.openai.com/v1/chat/completions"
    assert call.method == "POST"
    assert call.body == body
    assert call.request_id == "once"
    # Who pays is the credential's to say.
    assert not call.HasField("customer_id")
    assert fake.credentials == [KEY]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
async def test_any_method_is_forwarded(method: str) -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        await http.request(method, CALL)
    assert [call.method for call in fake.forwarded] == [method]
    assert not fake.forwarded[0].HasField("request_id")


async def test_a_method_that_is_no_call_is_refused() -> None:
    async with client(FakeDispatcher()) as http:
        response = await http.request("TRACE", CALL)
    assert response.status_code == 405


async def test_only_the_callers_own_headers_go_on() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        await http.post(
            CALL,
            content=b"{}",
            headers={
                "Anthropic-Version": "2023-06-01",
                "Content-Type": "application/json",
                "X-Api-Key": "k",
                "X-Goog-Api-Key": "k",
                "Xi-Api-Key": "k",
                "Cookie": "a=b",
                "X-Lava-Metadata": "{}",
                "X-Lava-Anything": "x",
                "X-Forwarded-For": "192.0.2.1",
                "Connection": "close, x-private",
                "X-Private": "x",
                "TE": "trailers",
                "Expect": "x",
            },
        )

    passed = {header.name: header.value for header in fake.forwarded[0].headers}
    assert passed.pop("accept")
    assert passed.pop("accept-encoding")
    assert passed.pop("user-agent")
    assert passed == {"anthropic-version": "2023-06-01", "content-type": "application/json"}


async def test_the_credential_may_be_googles_query_parameter() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        http.headers.pop("authorization")
        base = "/v1/forward?u=https://generativelanguage.googleapis.com/v1beta/models/m:go"
        await http.post(f"{base}?key=aks_live_g")
        await http.post(f"{base}?alt=sse&key=aks_live_g")
        await http.post(CALL)

    assert fake.credentials == ["aks_live_g", "aks_live_g", ""]
    assert [call.url.partition("m:go")[2] for call in fake.forwarded[:2]] == ["", "?alt=sse"]


async def test_labels_come_from_three_places_and_the_closest_counts() -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        await http.post(
            CALL + "&metadata=" + '{"a":"query","b":"query","c":"query"}',
            headers={
                "x-lava-metadata": json.dumps({"b": "header", "c": "header"}),
                "X-Lava-Metadata-C": "single",
                "X-Lava-Metadata-User-Id": "u1",
            },
        )

    assert dict(fake.forwarded[0].metadata) == {
        "a": "query",
        "b": "header",
        "c": "single",
        "user_id": "u1",
    }


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[]", "metadata"),
        ("{", "metadata"),
        ('{"a": 1}', "metadata.a"),
        ('{"a":"\\ud800"}', "metadata"),
    ],
)
async def test_bad_labels_are_refused(text: str, field: str) -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        response = await http.post(CALL, headers={"x-lava-metadata": text})
    assert code(response) == (400, "invalid_field", field)
    assert fake.forwarded == []


async def test_a_call_without_a_target_is_refused() -> None:
    async with client(FakeDispatcher()) as http:
        assert code(await http.post("/v1/forward")) == (400, "invalid_field", "u")
        assert code(await http.post("/v1/forward/nobody/x")) == (404, "not_found", "provider")
        # Not the gateway's path at all.
        assert code(await http.post("/v1/forwards")) == (404, "not_found", None)


async def test_a_body_beyond_the_limit_is_refused() -> None:
    fake = FakeDispatcher()
    async with client(fake, RestSettings(forward_body_bytes_max=10)) as http:
        assert code(await http.post(CALL, content=b"x" * 11)) == (400, "invalid_field", "body")
        assert (await http.post(CALL, content=b"x" * 10)).status_code == 200
    assert len(fake.forwarded) == 1


async def test_the_providers_answer_passes_unchanged() -> None:
    pieces = [b'{"a":', b"", b'"\xff\x00"}']

    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        yield head(
            529,
            "req_9",
            content_type="application/problem",
            x_request_id="up",
            transfer_encoding="chunked",
            x_lava_request_id="forged",
            x_name="é",
        )
        for piece in pieces:
            yield chunk(piece)
        yield summary()

    async with client(FakeDispatcher(script=script)) as http:
        response = await http.post(CALL)

    assert response.status_code == 529
    assert response.content == b"".join(pieces)
    assert dict(response.headers) == {
        "x-lava-request-id": "req_9",
        "content-type": "application/problem",
        "x-request-id": "up",
        "x-name": "é",
    }


async def test_headers_that_come_twice_pass_twice() -> None:
    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        del request
        part = head()
        part.head.headers.extend(pb.Header(name="warning", value=v) for v in "ab")
        yield part
        yield summary()

    async with client(FakeDispatcher(script=script)) as http:
        response = await http.post(CALL)
    assert response.headers.get_list("warning") == ["a", "b"]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Refusal(Reason.INSUFFICIENT_CREDITS, "no"), (402, "insufficient_credits", None)),
        (Refusal(Reason.UPSTREAM_TIMEOUT, "no"), (504, "upstream_timeout", None)),
        (invalid("url", "must be https"), (400, "invalid_field", "u")),
        (RuntimeError("secret detail"), (500, "internal", None)),
        (ConnectionResetError("secret detail"), (500, "internal", None)),
    ],
)
async def test_a_refusal_before_the_head_is_lavas_error(
    failure: Exception, expected: tuple[int, str, str | None]
) -> None:
    async def script(request: pb.ForwardRequest) -> AsyncIterator[pb.ForwardResponse]:
        if request.url:
            raise failure
        yield summary()

    fake = FakeDispatcher(script=script)
    async with client(fake) as http:
        response = await http.post(CALL)

    assert code(response) == expected
    assert "secret" not in response.text
    assert "url" not in response.json()["error"]["message"]
    assert fake.closed.is_set()


@pytest.mark.parametrize(("alias", "tail"), [("openai", "chat/completions"), ("groq", "v1/x")])
async def test_a_provider_alias_in_the_path(alias: str, tail: str) -> None:
    fake = FakeDispatcher()
    async with client(fake) as http:
        await http.post(f"/v1/forward/{alias}/{tail}")
    assert fake.forwarded[0].url.endswith(f"/v1/{tail.removeprefix('v1/')}")
