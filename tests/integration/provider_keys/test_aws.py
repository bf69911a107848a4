"""Calls to Bedrock with AWS access keys: the provider checks each signature as AWS does."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from lava_grpc.testing.fake_provider.provider import Scripted
from tests.integration.forward.calls import METER, QUESTION, forward, over_grpc, request
from tests.integration.provider_keys.keys import stored, storing
from tests.support.aws import check_signature
from tests.support.service import Running

RUNTIME = "bedrock-runtime.eu-west-1.amazonaws.com"
MANTLE = "bedrock-mantle.us-east-2.api.aws"
CONVERSE = f"https://{RUNTIME}/model/us.amazon.nova-lite-v1%3A0/converse"
CHAT = f"https://{MANTLE}/v1/chat/completions"
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//token+=="
OBJECT = {"access_key_id": KEY_ID, "secret_access_key": SECRET}
TEXT = f"{KEY_ID}:{SECRET}"
SESSION = f"{TEXT}:{TOKEN}"
ASKED = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 12, "totalTokens": 15},
}


def _answering(on: Running, url: str) -> None:
    chunks = (json.dumps(ANSWER).encode(),)
    headers = (("content-type", "application/json"),)
    on.provider.script("POST", urlsplit(url).path, Scripted(200, headers, chunks))


def _signed_by(on: Running) -> tuple[str, str, str]:
    """Who signed the last call, and for which region and service; fails unless it is good."""
    call = on.provider.calls[-1]
    return check_signature(
        call.method, call.path, call.headers, call.body, secrets={KEY_ID: SECRET}
    )


@pytest.mark.parametrize(
    "key",
    [OBJECT, {**OBJECT, "session_token": TOKEN, "region": "us-west-1"}, TEXT, [{"key": OBJECT}]],
    ids=["object", "session", "text", "list"],
)
async def test_the_platforms_access_key_signs(sqlite_url: str, key: Any) -> None:  # noqa: ANN401
    async with storing(sqlite_url, hosts=[RUNTIME], provider_keys={"bedrock": key}) as on:
        _answering(on, CONVERSE)
        answer = await forward(on, CONVERSE, ASKED)
        assert answer.status_code == 200, answer.text
        # The host's region counts, whatever the key's owner wrote.
        assert _signed_by(on) == (KEY_ID, "eu-west-1", "bedrock")
        record = await on.record(answer.headers["x-lava-request-id"])
        assert record["provider_key_type"] == "managed"
        assert record["model_usage"]["total_tokens"] == 15
        await on.verified()


@pytest.mark.parametrize("secret", [TEXT, SESSION, json.dumps(OBJECT)])
async def test_a_stored_access_key_signs(database_url: str, secret: str) -> None:
    async with storing(database_url, hosts=[RUNTIME], provider_keys={}) as on:
        key = await stored(on, secret, provider="bedrock")
        assert key["key_preview"] == "AKI…MPLE"
        _answering(on, CONVERSE)
        answer = await forward(on, CONVERSE, ASKED)
        assert answer.status_code == 200, answer.text
        assert _signed_by(on) == (KEY_ID, "eu-west-1", "bedrock")
        token = on.provider.calls[-1].header("x-amz-security-token")
        assert token == (TOKEN if secret == SESSION else None)
        record = await on.record(answer.headers["x-lava-request-id"])
        assert record["provider_key_type"] == "stored"


@pytest.mark.parametrize("secret", [TEXT, SESSION, json.dumps(OBJECT)])
async def test_a_callers_own_access_key_signs_over_both_edges(sqlite_url: str, secret: str) -> None:
    async with storing(sqlite_url, hosts=[RUNTIME], provider_keys={}) as on:
        _answering(on, CONVERSE)
        answer = await forward(on, CONVERSE, ASKED, token=on.token(provider_key=secret))
        assert answer.status_code == 200, answer.text
        assert _signed_by(on) == (KEY_ID, "eu-west-1", "bedrock")
        got = await over_grpc(on, request(CONVERSE, ASKED, provider_key=secret))
        assert got.head.status == 200
        assert _signed_by(on) == (KEY_ID, "eu-west-1", "bedrock")


@pytest.mark.parametrize("model", ["anthropic.claude-3-haiku-v1:0", "arn%3Aaws%3Abedrock%2Fx"])
async def test_model_ids_are_signed_as_they_are_written(sqlite_url: str, model: str) -> None:
    url = f"https://{RUNTIME}/model/{model}/invoke"
    async with storing(sqlite_url, hosts=[RUNTIME], provider_keys={"bedrock": TEXT}) as on:
        _answering(on, url)
        assert (await forward(on, url, ASKED)).status_code == 200
        assert on.provider.calls[-1].path == f"/model/{model}/invoke"
        assert _signed_by(on)[1:] == ("eu-west-1", "bedrock")


async def test_the_mantle_is_a_service_of_its_own_and_streams_are_signed_as_sent(
    sqlite_url: str,
) -> None:
    asked = {"model": "openai.gpt-oss-20b", "stream": True, "messages": [{"role": "user"}]}
    async with storing(sqlite_url, hosts=[MANTLE], provider_keys={"bedrock": TEXT}) as on:
        answer = await forward(on, CHAT, asked)
        assert answer.status_code == 200, answer.text
        # The body that went out asks for usage too: that is what was signed.
        assert on.provider.calls[-1].json()["stream_options"] == {"include_usage": True}
        assert _signed_by(on) == (KEY_ID, "us-east-2", "bedrock-mantle")


async def test_a_large_body_is_signed_whole(sqlite_url: str) -> None:
    asked = {"messages": [{"role": "user", "content": [{"text": "long " * 50_000}]}]}
    async with storing(sqlite_url, hosts=[RUNTIME], provider_keys={"bedrock": TEXT}) as on:
        _answering(on, CONVERSE)
        assert (await forward(on, CONVERSE, asked)).status_code == 200
        assert _signed_by(on)[0] == KEY_ID


async def test_what_an_aws_client_signed_for_us_is_replaced(sqlite_url: str) -> None:
    theirs = {"x-amz-date": "20000101T000000Z", "x-amz-security-token": "theirs"}
    async with storing(sqlite_url, hosts=[RUNTIME], provider_keys={"bedrock": TEXT}) as on:
        _answering(on, CONVERSE)
        await forward(on, CONVERSE, ASKED, headers=theirs)
        assert _signed_by(on)[0] == KEY_ID
        assert "theirs" not in str(on.provider.calls[-1].headers)


async def test_a_bedrock_api_key_still_goes_as_a_bearer(sqlite_url: str) -> None:
    async with storing(sqlite_url, hosts=[RUNTIME], provider_keys={}) as on:
        await stored(on, "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl", provider="bedrock")
        _answering(on, CONVERSE)
        await forward(on, CONVERSE, ASKED)
        sent = on.provider.calls[-1].header("authorization")
        assert sent == "Bearer ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl"


@pytest.mark.parametrize("secret", [f"{KEY_ID}:short", "{}", '{"access_key_id":"A"}'])
async def test_a_malformed_access_key_is_refused_before_anything_is_sent(
    sqlite_url: str, secret: str
) -> None:
    async with storing(sqlite_url, hosts=[RUNTIME], provider_keys={}) as on:
        refused = await forward(on, CONVERSE, ASKED, token=on.token(provider_key=secret))
        error = refused.json()["error"]
        assert (refused.status_code, error["field"]) == (400, "provider_key")
        body = {"name": "n", "provider": "bedrock", "key": secret.ljust(10)}
        refused = await on.http.post("/v1/provider_keys", json=body)
        assert (refused.status_code, refused.json()["error"]["field"]) == (400, "key")
        assert on.provider.calls_total == 0


async def test_a_clamped_stream_is_signed_as_it_is_sent(sqlite_url: str) -> None:
    asked = {
        "model": "openai.gpt-oss-20b",
        "stream": True,
        "max_tokens": 5000,
        "messages": [{"role": "user", "content": QUESTION}],
    }
    raw = json.dumps(asked).encode()
    async with storing(sqlite_url, hosts=[MANTLE], provider_keys={"bedrock": SESSION}) as on:
        await on.meter(METER, "1000")
        token = on.token(customer_id=await on.customer("2"), meter_slug=METER)
        answer = await forward(on, CHAT, raw, token=token, headers={"x-lava-clamp-output": "true"})
        assert answer.status_code == 200, answer.text
        limit = int(answer.headers["x-lava-clamped-output-tokens"])
        assert 0 < limit < 2000
        sent = on.provider.calls[-1]
        assert sent.json() == asked | {
            "max_tokens": limit,
            "stream_options": {"include_usage": True},
        }
        # Both edits are in what was signed, and in nothing else.
        assert _signed_by(on) == (KEY_ID, "us-east-2", "bedrock-mantle")
        assert b'"include_usage"' not in raw
        record = await on.record(answer.headers["x-lava-request-id"])
        assert "clamped" in record["flags"]
        await on.verified()


@pytest.mark.parametrize("secret", [TEXT, SESSION, json.dumps(OBJECT), " " + json.dumps(OBJECT)])
@pytest.mark.parametrize("whose", ["callers", "platforms"])
async def test_an_access_key_is_never_sent_to_a_stranger(
    sqlite_url: str, secret: str, whose: str
) -> None:
    keys = {"openai": secret} if whose == "platforms" else {}
    async with storing(sqlite_url, provider_keys=keys) as on:
        asked = request(provider_key=secret) if whose == "callers" else request()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await over_grpc(on, asked)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert SECRET not in str(caught.value)
        assert on.provider.calls_total == 0
        await on.verified()
