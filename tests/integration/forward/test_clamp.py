"""A call that credit covers in part goes out with a lower limit on its output."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import grpc
import pytest
from lava.v1 import gateway_service_pb2 as pb
from lava.v1 import gateway_service_pb2_grpc as stubs
from lava.v1 import request_record_pb2

from lava_grpc.providers.bounds import PROMPT_TOKENS
from tests.integration.forward.calls import (
    CHAT,
    GENERATE,
    MESSAGES,
    QUESTION,
    RESPONSES,
    VERSION,
    chat,
    contents,
    encoded,
    forward,
    message,
    over_grpc,
    paying,
    request,
    sent_headers,
)
from tests.support.service import Running, running

CLAMP = {"x-lava-clamp-output": "true"}
CLAMPED = "x-lava-clamped-output-tokens"
RESPONSE = {"model": "gpt-4o-mini", "input": QUESTION, "max_output_tokens": 5000}
CREDIT = "2"
"""2,000 tokens: less than the bound of any call here, whose output is limited to 5,000."""
# Ten tokens are left for output beside its bound.
LONG = "x" * (2000 - 10 - PROMPT_TOKENS - len(encoded(RESPONSE | {"input": ""})))

FAMILIES = [
    pytest.param(CHAT, chat(max_tokens=5000), ("max_tokens",), {}, id="chat"),
    pytest.param(
        CHAT,
        chat(max_tokens=None, max_completion_tokens=5000),
        ("max_completion_tokens",),
        {},
        id="chat-newer",
    ),
    pytest.param(CHAT, chat(max_tokens=None), ("max_completion_tokens",), {}, id="chat-unlimited"),
    pytest.param(CHAT, chat(max_tokens=5000, n=2), ("max_tokens",), {}, id="chat-two-choices"),
    pytest.param(CHAT, chat(max_tokens=5000, stream=True), ("max_tokens",), {}, id="chat-stream"),
    pytest.param(RESPONSES, RESPONSE, ("max_output_tokens",), {}, id="responses"),
    pytest.param(MESSAGES, message(max_tokens=5000), ("max_tokens",), VERSION, id="messages"),
    pytest.param(
        f"{GENERATE}:generateContent",
        contents(),
        ("generationConfig", "maxOutputTokens"),
        {},
        id="generate-unlimited",
    ),
    pytest.param(
        f"{GENERATE}:generateContent",
        contents() | {"generationConfig": {"temperature": 0, "maxOutputTokens": 5000}},
        ("generationConfig", "maxOutputTokens"),
        {},
        id="generate",
    ),
]


def at(body: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON is anything
    for key in path:
        body = body.get(key) if isinstance(body, dict) else None
    return body


def without(body: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401
    """The body less the limit, and less what only held it or asked for usage."""
    left = json.loads(json.dumps(body))
    left.pop("stream_options", None)
    inner = left
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner.pop(path[-1], None)
    if len(path) > 1 and not left[path[0]]:
        del left[path[0]]
    return left


def seen(on: Running) -> dict[str, Any]:
    """The body of the last call that reached the provider."""
    found: dict[str, Any] = json.loads(on.provider.calls[-1].body)
    return found


@pytest.mark.parametrize(("url", "body", "path", "headers"), FAMILIES)
async def test_the_provider_gets_the_limit_that_is_affordable(
    sqlite_url: str, url: str, body: dict[str, Any], path: tuple[str, ...], headers: dict[str, str]
) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, CREDIT)
        answer = await forward(on, url, body, token=token, headers=headers | CLAMP)
        assert answer.status_code == 200, answer.text

        limit = int(answer.headers[CLAMPED])
        assert at(seen(on), path) == limit
        assert without(seen(on), path) == without(body, path)

        record = await on.record(answer.headers["x-lava-request-id"])
        assert "clamped" in record["flags"]
        assert "overrun" not in record["flags"]
        held, choices = Decimal(record["held"]), body.get("n", 1)
        assert Decimal("1.9") < held <= Decimal(CREDIT)
        # What is held pays for the input's bound and every choice's limit, and for no more.
        units = Decimal(1000) / 10**6
        assert limit * choices * units < held < (limit * choices + 1200) * units
        charge = Decimal(record["charge"]["amount"])
        assert 0 < charge <= held
        left = await on.balance(customer)
        assert Decimal(left["balance"]) == Decimal(CREDIT) - charge
        assert Decimal(left["held"]) == 0
        await on.verified()


OTHERS = [
    pytest.param(
        "https://api.cohere.com/v2/chat",
        {"model": "command-r", "messages": [{"role": "user", "content": QUESTION}]},
        ("max_tokens",),
        id="cohere",
    ),
    pytest.param(
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.nova-lite-v1:0/converse",
        {"messages": [{"role": "user", "content": [{"text": QUESTION}]}]},
        ("inferenceConfig", "maxTokens"),
        id="converse",
    ),
    pytest.param(
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/meta.llama3-8b-instruct-v1:0/invoke",
        {"prompt": QUESTION, "max_gen_len": 5000},
        ("max_gen_len",),
        id="invoke",
    ),
    pytest.param(
        "https://api.mistral.ai/v1/chat/completions",
        {"model": "mistral-large-latest", "messages": [{"role": "user", "content": QUESTION}]},
        ("max_tokens",),
        id="mistral",
    ),
]


@pytest.mark.parametrize(("url", "body", "path"), OTHERS)
async def test_other_families_have_the_limit_in_their_own_place(
    sqlite_url: str, url: str, body: dict[str, Any], path: tuple[str, ...]
) -> None:
    host = url.split("/")[2]
    async with running(sqlite_url, hosts=[host]) as on:
        await on.meter("per-token", "1000")
        customer = await on.customer(CREDIT)
        token = on.token(customer_id=customer, meter_slug="per-token", provider_key="k")
        answer = await forward(on, url, body, token=token, headers=CLAMP)

        assert 0 < int(answer.headers[CLAMPED]) < 2000
        assert at(seen(on), path) == int(answer.headers[CLAMPED])
        assert without(seen(on), path) == without(body, path)


@pytest.mark.parametrize(
    ("url", "body", "headers"),
    [
        # The input's bound alone is more than there is.
        pytest.param(
            CHAT, chat(messages=[{"role": "user", "content": "x" * 3000}]), {}, id="input"
        ),
        # Sixteen is the least that the provider takes.
        pytest.param(RESPONSES, RESPONSE | {"input": LONG}, {}, id="least"),
        pytest.param(
            MESSAGES,
            message(max_tokens=5000, thinking={"type": "enabled", "budget_tokens": 4096}),
            VERSION,
            id="thinking",
        ),
        pytest.param(
            "https://api.openai.com/v1/images/generations",
            {"model": "gpt-image-1", "prompt": "a cat", "n": 4},
            {},
            id="no-limit-to-lower",
        ),
    ],
)
async def test_what_cannot_be_lowered_so_far_is_refused(
    sqlite_url: str, url: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, CREDIT)
        answer = await forward(on, url, body, token=token, headers=headers | CLAMP)

        assert answer.status_code == 402, answer.text
        assert answer.json()["error"]["code"] == "insufficient_credits"
        assert not on.provider.calls
        left = await on.balance(customer)
        assert Decimal(left["balance"]) == Decimal(CREDIT)
        assert Decimal(left["held"]) == 0


async def test_a_call_that_is_covered_goes_out_as_it_came(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        _, token = await paying(on, "1000")
        raw = encoded(chat(max_tokens=5000))
        answer = await forward(on, CHAT, raw, token=token, headers=CLAMP)

        assert CLAMPED not in answer.headers
        assert on.provider.calls[-1].body == raw
        record = await on.record(answer.headers["x-lava-request-id"])
        assert record["flags"] == []


async def test_nobody_is_clamped_who_did_not_ask_for_it(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        _, token = await paying(on, CREDIT)
        answer = await forward(on, CHAT, chat(max_tokens=5000), token=token)
        assert answer.status_code == 402
        assert not on.provider.calls


async def test_a_forward_token_may_ask_for_it(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, _ = await paying(on, CREDIT)
        token = on.token(customer_id=customer, meter_slug="per-token", clamp_output=True)
        answer = await forward(on, CHAT, chat(max_tokens=5000), token=token)
        assert answer.status_code == 200
        assert int(answer.headers[CLAMPED]) == seen(on)["max_tokens"]


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/chat/completions", chat(max_tokens=5000), {}),
        ("/v1/messages", message(max_tokens=5000), VERSION),
    ],
)
async def test_calls_that_name_only_a_model_are_clamped_too(
    sqlite_url: str, path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    async with running(sqlite_url) as on:
        _, token = await paying(on, CREDIT)
        answer = await on.http.post(
            path, content=encoded(body), headers=sent_headers(on, token, headers | CLAMP)
        )
        assert answer.status_code == 200, answer.text
        assert int(answer.headers[CLAMPED]) == seen(on)["max_tokens"] < 2000


async def test_over_grpc_head_and_summary_say_to_what(database_url: str) -> None:
    async with running(database_url) as on:
        customer, _ = await paying(on, CREDIT)
        asked = request(
            body=chat(max_tokens=5000),
            customer_id=customer,
            meter_slug="per-token",
            clamp_output=True,
        )
        got = await over_grpc(on, asked)

        limit = seen(on)["max_tokens"]
        assert got.summary is not None
        assert got.head.clamped_output_tokens == got.summary.clamped_output_tokens == limit
        assert got.summary.reservation.affordable_output_tokens == limit
        assert request_record_pb2.REQUEST_FLAG_CLAMPED in got.summary.request.flags
        await on.verified()


async def test_calls_at_once_never_go_past_the_credit(database_url: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, "5")
        body = chat(max_tokens=3000)
        answers = await asyncio.gather(
            *[forward(on, CHAT, body, token=token, headers=CLAMP) for _ in range(12)]
        )
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {200, 402}
        assert 200 in statuses
        left = await on.balance(customer)
        assert Decimal(left["balance"]) >= 0
        assert Decimal(left["held"]) == 0
        await on.verified()


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"x-lava-clamp-output": "perhaps"}, "clamp_output"),
        ({"x-lava-hold-policy": "small"}, "hold_policy"),
    ],
)
async def test_an_option_that_is_none_is_refused(
    sqlite_url: str, headers: dict[str, str], field: str
) -> None:
    async with running(sqlite_url) as on:
        answer = await forward(on, headers=headers)
        assert answer.status_code == 400
        assert field in answer.json()["error"]["message"]


async def test_a_hold_policy_that_is_unknown_is_refused(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        stub = stubs.GatewayServiceStub(on.channel)
        call = stub.Forward(
            request(hold_policy=7),
            metadata=on.metadata,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert "hold_policy" in (caught.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Authorize(
                pb.AuthorizeRequest(
                    provider_call=pb.ProviderCall(
                        provider="openai",
                        request_body=b"{}",
                        hold_policy=7,  # type: ignore[arg-type]
                    )
                ),
                metadata=on.metadata,
            )
        assert "provider_call.hold_policy" in (caught.value.details() or "")
