"""What passes through: credentials, targets, labels, headers, and every byte."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest

from lava_grpc.testing import Fault
from tests.integration.forward.calls import (
    CHAT,
    EMBEDDINGS,
    GENERATE,
    JSON,
    MESSAGES,
    RESPONSES,
    VERSION,
    chat,
    contents,
    direct,
    encoded,
    forward,
    message,
    over_grpc,
    path,
    request,
)
from tests.support.service import Running, running


@pytest.mark.parametrize("place", ["bearer", "x-api-key", "x-goog-api-key", "xi-api-key", "key"])
@pytest.mark.parametrize("kind", ["secret key", "token"])
async def test_a_credential_is_found_wherever_clients_put_it(
    sqlite_url: str, place: str, kind: str
) -> None:
    async with running(sqlite_url) as on:
        credential = on.secret_key if kind == "secret key" else on.token(provider_key="sk-own")
        headers = {**JSON, "authorization": ""}
        url = path(CHAT)
        if place == "bearer":
            headers["authorization"] = f"Bearer {credential}"
        elif place == "key":
            url += f"&key={quote(credential, safe='')}"
        else:
            headers[place] = credential
        del on.http.headers["authorization"]
        if not headers["authorization"]:
            del headers["authorization"]
        answer = await on.http.post(url, content=encoded(None), headers=headers)

        assert answer.status_code == 200
        assert answer.headers["x-lava-request-id"].startswith("req_test_")
        seen = on.provider.calls[-1]
        key = "sk-platform" if kind == "secret key" else "sk-own"
        assert seen.header("authorization") == f"Bearer {key}"
        everything = repr((seen.headers, seen.path, seen.body))
        assert on.secret_key not in everything
        assert credential not in everything
        assert base64.b64encode(on.secret_key.encode()).decode()[:-4] not in everything


async def test_no_credential_and_a_wrong_one_are_refused(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        del on.http.headers["authorization"]
        for headers in ({}, {"x-api-key": "aks_test_wrong"}, {"authorization": "Bearer ???"}):
            answer = await on.http.post(path(CHAT), content=encoded(None), headers=headers)
            assert answer.status_code == 401, headers
            assert answer.json()["error"]["code"] == "invalid_credentials"
        assert on.provider.calls_total == 0


@pytest.mark.parametrize(
    "target",
    [
        f"/v1/forward?u={CHAT}",
        f"/v1/forward?u={quote(CHAT, safe='')}",
        f"/v1/forward/{CHAT}",
        "/v1/forward/https:/api.openai.com/v1/chat/completions",
        "/v1/forward/openai/chat/completions",
        "/v1/forward/openai/v1/chat/completions",
        f"/v1/forward/openai?u={CHAT}",
        "/v1/forward?u=https://api.openai.com/v1/v1/chat/completions",
    ],
)
async def test_a_target_is_understood_in_every_spelling(sqlite_url: str, target: str) -> None:
    async with running(sqlite_url) as on:
        answer = await on.http.post(target, content=encoded(None), headers=JSON)
        assert answer.status_code == 200
        assert on.provider.calls[-1].path == "/openai/v1/chat/completions"
        record = await on.record(answer.headers["x-lava-request-id"])
        assert record["endpoint"] == f"POST {CHAT}"


async def test_labels_come_from_all_three_places(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        answer = await on.http.post(
            path(CHAT) + "&metadata=" + quote(json.dumps({"a": "query", "b": "query"})),
            content=encoded(None),
            headers={
                **JSON,
                "x-lava-metadata": json.dumps({"b": "header", "c": "header"}),
                "X-Lava-Metadata-Feature": "chat",
            },
        )
        record = await on.record(answer.headers["x-lava-request-id"])
        assert record["metadata"] == {"a": "query", "b": "header", "c": "header", "feature": "chat"}
        assert not [name for name, _ in on.provider.calls[-1].headers if "lava" in name]


ENDPOINTS: dict[str, tuple[str, str, dict[str, Any], dict[str, str]]] = {
    "chat": (CHAT, "/openai/v1/chat/completions", chat(), {}),
    "chat stream": (CHAT, "/openai/v1/chat/completions", chat(stream=True), {}),
    "chat stream with usage": (
        CHAT,
        "/openai/v1/chat/completions",
        chat(stream=True, stream_options={"include_usage": True}),
        {},
    ),
    "two choices streamed": (CHAT, "/openai/v1/chat/completions", chat(stream=True, n=2), {}),
    "responses": (
        RESPONSES,
        "/openai/v1/responses",
        {"model": "gpt-4o-mini", "input": "one two three"},
        {},
    ),
    "responses stream": (
        RESPONSES,
        "/openai/v1/responses",
        {"model": "gpt-4o-mini", "input": "one two three", "stream": True},
        {},
    ),
    "embeddings": (
        EMBEDDINGS,
        "/openai/v1/embeddings",
        {"model": "text-embedding-3-small", "input": "one two three"},
        {},
    ),
    "messages": (MESSAGES, "/anthropic/v1/messages", message(), VERSION),
    "messages stream": (MESSAGES, "/anthropic/v1/messages", message(stream=True), VERSION),
    "generate": (
        f"{GENERATE}:generateContent",
        "/google/v1beta/models/gemini-2.5-flash:generateContent",
        contents(),
        {},
    ),
    "generate stream": (
        f"{GENERATE}:streamGenerateContent?alt=sse",
        "/google/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        contents(),
        {},
    ),
}
KEYS = {"x-api-key": "k", "authorization": "Bearer k", "x-goog-api-key": "k"}


# What a provider puts into every other chunk once usage is asked for; it stays there.
NULL = b',"usage":null'
FAULTS = {"plain": Fault(), "gzip": Fault(gzip=True), "bytewise": Fault(bytewise=True)}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("way", FAULTS)
async def test_every_byte_passes_and_the_books_say_what_was_used(
    sqlite_url: str, endpoint: str, way: str
) -> None:
    url, raw_path, body, headers = ENDPOINTS[endpoint]
    injected = endpoint in {"chat stream", "two choices streamed"}
    if injected and way == "gzip":
        pytest.skip("a provider that is asked for plain bytes sends these")
    async with running(sqlite_url) as on:
        on.provider.fault = FAULTS[way]
        async with on.http.stream(
            "POST", path(url), content=encoded(body), headers=JSON | headers
        ) as answer:
            passed = b"".join([chunk async for chunk in answer.aiter_bytes()])
        on.provider.calls_total = 0
        plain = await direct(on, raw_path, body, KEYS | headers)
        on.provider.calls_total = 0
        over = await over_grpc(on, request(url, body, headers))

        assert answer.status_code == 200
        assert (passed.replace(NULL, b"") if injected else passed) == plain
        if way != "gzip":
            assert over.body == passed
        assert (
            answer.headers["content-type"]
            == {header.name: header.value for header in over.head.headers}["content-type"]
        )
        record = await on.record(answer.headers["x-lava-request-id"])
        usage = record["model_usage"]
        assert usage["input_tokens"] == 3
        choices = body.get("n", 1)
        assert usage.get("output_tokens", 0) == (0 if endpoint == "embeddings" else 12 * choices)
        assert "flags" not in record or "estimated" not in str(record["flags"]).lower()
        assert record["cost"] != "0.0000000000"
        await on.verified()


async def test_usage_is_asked_for_only_where_it_was_not(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        for asked in (False, True):
            options = {"stream_options": {"include_usage": True}} if asked else {}
            answer = await forward(on, body=chat(stream=True, **options))
            assert on.provider.calls[-1].json()["stream_options"]["include_usage"] is True
            assert (b'"usage":{' in answer.content) is asked
            assert answer.content.endswith(b"data: [DONE]\n\n")


async def test_the_body_goes_out_byte_for_byte(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        odd = json.dumps(chat(), indent=3).encode() + b"\n  "
        await forward(on, body=odd, headers={"x-own": "kept", "cookie": "a=b"})
        seen = on.provider.calls[-1]
        assert seen.body == odd
        assert seen.header("x-own") == "kept"
        assert seen.header("cookie") is None


async def _read_to_done(on: Running, url: str, body: object, headers: dict[str, str]) -> str:
    ends = (b"data: [DONE]\n\n", b"message_stop", b"response.completed", b"finishReason")
    async with on.http.stream(
        "POST", path(url), content=encoded(body), headers=JSON | headers
    ) as answer:
        request_id: str = answer.headers["x-lava-request-id"]
        seen = b""
        async for chunk in answer.aiter_bytes():
            seen += chunk
            if any(end in seen for end in ends):
                # At this very moment, while the answer is still open.
                assert (await on.record(request_id))["status"] == "completed"
                return request_id
    raise AssertionError(seen)


@pytest.mark.parametrize("endpoint", [name for name in ENDPOINTS if "stream" in name])
async def test_who_has_read_the_end_of_a_stream_finds_it_in_the_books(
    sqlite_url: str, endpoint: str
) -> None:
    url, _, body, headers = ENDPOINTS[endpoint]
    async with running(sqlite_url) as on:
        await _read_to_done(on, url, body, headers)
        if endpoint == "chat stream":
            on.provider.fault = Fault(no_usage=True)
            request_id = await _read_to_done(on, url, body, headers)
            assert "estimated" in str((await on.record(request_id))["flags"]).lower()
        await on.verified()
