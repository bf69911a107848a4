"""Work that goes on after the answer: held for meanwhile, charged once when it is done."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from lava_grpc.app.office import open_office
from lava_grpc.gateway.jobs import JOB_HOLD_SECONDS
from lava_grpc.testing.fake_provider import Scripted
from tests.integration.forward.calls import (
    METER,
    forward,
    path,
    paying,
    record_when_there,
    released_when_there,
    unheld,
)
from tests.support.ledger import MovingClock
from tests.support.service import Running, running

HOSTS = ("api.replicate.com", "api.assemblyai.com")
KEYS = {
    "openai": "sk-platform",
    "anthropic": "sk-ant-platform",
    "google": "g-platform",
    "replicate": "r8-platform",
    "assemblyai": "aai-platform",
}
OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta"
USED = {"input_tokens": 300_000, "output_tokens": 700_000, "total_tokens": 1_000_000}
BACKGROUND = {"model": "gpt-4o-mini", "input": "one two three", "background": True}


def script(
    on: Running, method: str, url: str, body: object, kind: str = "application/json"
) -> None:
    """Have the provider answer so from now on."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    prefix = {OPENAI: "/openai/v1", ANTHROPIC: "/anthropic/v1", GOOGLE: "/google/v1beta"}
    for base, mapped in prefix.items():
        url = url.replace(base, mapped)
    url = url.removeprefix("https://api.replicate.com").removeprefix("https://api.assemblyai.com")
    on.provider.script(method, url, Scripted(200, (("content-type", kind),), (raw,)))


async def get(on: Running, url: str, token: str | None = None) -> Any:  # noqa: ANN401
    """Ask after something; the provider's JSON."""
    answer = await on.http.get(
        path(url), headers={"authorization": f"Bearer {token or on.secret_key}"}
    )
    assert answer.status_code == 200, answer.text
    return answer


async def begun(
    on: Running, url: str, body: object, token: str, request_id: str, made: object
) -> None:
    """Start the work as the request of this id."""
    script(on, "POST", url, made)
    answer = await forward(on, url, body, token=token, headers={"idempotency-key": request_id})
    assert answer.status_code == 200, answer.text
    assert answer.json() == made
    assert (await on.record(request_id))["status"] == "pending"


def response(status: str, **more: object) -> dict[str, object]:
    """An answer of the Responses API."""
    return {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-4o-mini-2024-07-18",
        "status": status,
        "usage": None,
        **more,
    }


async def test_a_background_response_is_held_for_and_charged_when_it_is_done(
    database_url: str,
) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
        assert (await on.balance(customer))["held"] != "0.0000000000"
        script(on, "GET", f"{OPENAI}/responses/resp_1", response("in_progress"))
        await get(on, f"{OPENAI}/responses/resp_1")
        assert (await on.record("bg"))["status"] == "pending"
        done = response("completed", usage=USED)
        script(on, "GET", f"{OPENAI}/responses/resp_1", done)
        # Whoever of the merchant's asks, as often as they like.
        for _ in range(3):
            assert (await get(on, f"{OPENAI}/responses/resp_1")).json() == done
        record = await on.record("bg")
        assert (record["status"], record["customer_id"]) == ("completed", customer)
        assert tokens(record) == (300_000, 700_000)
        assert record["response_id"] == "resp_1"
        # gpt-4o-mini: 0.15 and 0.60 a million.
        assert record["cost"] == "0.4650000000"
        await unheld(on, customer, "4000")
        await on.verified()


async def test_a_hold_waits_a_day_for_its_work(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
        (hold,) = (await on.rest("GET", f"/v1/reservations?customer_id={customer}"))["data"]
        begin, end = map(datetime.fromisoformat, (hold["created_at"], hold["expires_at"]))
        assert JOB_HOLD_SECONDS <= (end - begin).total_seconds() < JOB_HOLD_SECONDS + 60


async def test_what_is_asked_for_too_late_is_charged_as_late(database_url: str) -> None:
    clock = MovingClock()
    async with running(database_url, clock=clock) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
        clock.move(JOB_HOLD_SECONDS + 1)
        assert (await record_when_there(on, "bg"))["flags"] == ["abandoned"]
        script(on, "GET", f"{OPENAI}/responses/resp_1", response("completed", usage=USED))
        await get(on, f"{OPENAI}/responses/resp_1")
        record = await on.record("bg")
        assert (record["status"], "late" in record["flags"]) == ("completed", True)
        await unheld(on, customer, "4000")
        await on.verified()


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_work_that_failed_is_charged_nothing(database_url: str, status: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
        cancel = f"{OPENAI}/responses/resp_1/cancel"
        script(on, "POST", cancel, response(status))
        assert (await forward(on, cancel, {})).status_code == 200
        await released_when_there(on, customer)
        await unheld(on, customer, "5000")
        await on.verified()


async def test_work_that_was_cancelled_half_way_is_charged_for_what_it_states(
    sqlite_url: str,
) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
        stopped = response("cancelled", usage=USED)
        script(on, "GET", f"{OPENAI}/responses/resp_1", stopped)
        await get(on, f"{OPENAI}/responses/resp_1")
        await unheld(on, customer, "4000")


async def test_any_number_who_ask_at_once_charge_once(database_url: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
        script(on, "GET", f"{OPENAI}/responses/resp_1", response("completed", usage=USED))
        await asyncio.gather(*(get(on, f"{OPENAI}/responses/resp_1") for _ in range(12)))
        await unheld(on, customer, "4000")
        await on.verified()


async def test_who_asks_pays_nothing_and_needs_no_credit(database_url: str) -> None:
    async with running(database_url) as on:
        await on.meter("per-call", "1", kind="requests")
        customer = await on.customer("100")
        paying_token = on.token(customer_id=customer, meter_slug="per-call")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, paying_token, "bg", response("queued"))
        poor = await on.customer()
        token = on.token(customer_id=poor, meter_slug="per-call")
        script(on, "GET", f"{OPENAI}/responses/resp_1", response("completed", usage=USED))
        await get(on, f"{OPENAI}/responses/resp_1", token)
        await unheld(on, poor, "0")
        await unheld(on, customer, "99")


async def test_another_merchant_settles_nothing(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
        script(on, "GET", f"{OPENAI}/responses/resp_1", response("completed", usage=USED))
        async with open_office(on.service._settings) as office:  # noqa: SLF001 - the same database
            other = await office.add_merchant("other", test_mode=True, wallet_limit="unlimited")
        await get(on, f"{OPENAI}/responses/resp_1", other.secret_key)
        assert (await on.record("bg"))["status"] == "pending"
        assert (await on.balance(customer))["held"] != "0.0000000000"


async def test_a_background_stream_that_broke_off_is_asked_after_too(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, "5000")
        event = {"type": "response.created", "response": response("in_progress")}
        raw = f"event: response.created\ndata: {json.dumps(event)}\n\n".encode()
        script(on, "POST", f"{OPENAI}/responses", raw, "text/event-stream")
        sent = {**BACKGROUND, "stream": True}
        url = f"{OPENAI}/responses"
        await forward(on, url, sent, token=token, headers={"idempotency-key": "bg"})
        assert (await on.record("bg"))["status"] == "pending"
        done = {"type": "response.completed", "response": response("completed", usage=USED)}
        raw = f"event: response.completed\ndata: {json.dumps(done)}\n\n".encode()
        again = f"{OPENAI}/responses/resp_1?stream=true&starting_after=1"
        script(on, "GET", again, raw, "text/event-stream")
        assert (await get(on, again)).content == raw
        await unheld(on, customer, "4000")


async def test_a_meter_that_was_deleted_meanwhile_still_prices_the_work(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/responses", BACKGROUND, token, "bg", response("queued"))
        await on.http.delete(f"/v1/meters/{METER}")
        script(on, "GET", f"{OPENAI}/responses/resp_1", response("completed", usage=USED))
        await get(on, f"{OPENAI}/responses/resp_1")
        await unheld(on, customer, "4000")


def openai_batch(status: str, **more: object) -> dict[str, object]:
    """A batch of OpenAI's."""
    return {
        "id": "batch_1",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "status": status,
        "output_file_id": None,
        "request_counts": {"total": 2, "completed": 0, "failed": 0},
        **more,
    }


NEW_BATCH = {
    "input_file_id": "file-in",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


async def test_a_batch_that_states_its_usage_is_charged_half_the_price(database_url: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, "5000")
        made = openai_batch("validating", usage={"input_tokens": 0, "output_tokens": 0})
        await begun(on, f"{OPENAI}/batches", NEW_BATCH, token, "batch", made)
        script(on, "GET", f"{OPENAI}/batches/batch_1", openai_batch("in_progress"))
        await get(on, f"{OPENAI}/batches/batch_1")
        assert (await on.record("batch"))["status"] == "pending"
        done = openai_batch(
            "completed", model="gpt-4o-mini-2024-07-18", usage=USED, output_file_id="file-out"
        )
        script(on, "GET", f"{OPENAI}/batches/batch_1", done)
        for _ in range(2):
            await get(on, f"{OPENAI}/batches/batch_1")
        record = await on.record("batch")
        assert record["service_tier"] == "batch"
        assert tokens(record) == (300_000, 700_000)
        assert record["model"] == "gpt-4o-mini-2024-07-18"
        assert record["cost"] == "0.2325000000"
        await unheld(on, customer, "4000")
        await on.verified()


def output_line(n: int, tokens_in: int) -> bytes:
    """One answer of a batch's output file."""
    usage = {"prompt_tokens": tokens_in, "completion_tokens": 100_000, "total_tokens": 0}
    body = {"id": f"c{n}", "object": "chat.completion", "model": "gpt-4o-mini", "usage": usage}
    line = {"id": f"l{n}", "custom_id": f"{n}", "response": {"status_code": 200, "body": body}}
    return json.dumps(line).encode() + b"\n"


async def test_a_batch_without_a_total_is_charged_by_its_output_file(database_url: str) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, "5000")
        made = openai_batch("validating")
        await begun(on, f"{OPENAI}/batches", NEW_BATCH, token, "batch", made)
        done = openai_batch("completed", output_file_id="file-out")
        script(on, "GET", f"{OPENAI}/batches/batch_1", done)
        await get(on, f"{OPENAI}/batches/batch_1")
        assert (await on.record("batch"))["status"] == "pending"
        lines = output_line(1, 200_000) + output_line(2, 600_000)
        output = f"{OPENAI}/files/file-out/content"
        script(on, "GET", output, lines, "application/octet-stream")
        for _ in range(2):
            assert (await get(on, output)).content == lines
        record = await on.record("batch")
        assert tokens(record) == (800_000, 200_000)
        assert record["cost"] == "0.1200000000"
        await unheld(on, customer, "4000")
        await on.verified()


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
async def test_a_batch_that_answered_nothing_is_released(sqlite_url: str, status: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, "5000")
        await begun(on, f"{OPENAI}/batches", NEW_BATCH, token, "b", openai_batch("validating"))
        script(on, "GET", f"{OPENAI}/batches/batch_1", openai_batch(status))
        await get(on, f"{OPENAI}/batches/batch_1")
        await released_when_there(on, customer)
        await unheld(on, customer, "5000")


def anthropic_batch(status: str, succeeded: int = 0) -> dict[str, object]:
    """A batch of Anthropic's."""
    results = f"{ANTHROPIC}/messages/batches/msgbatch_1/results"
    return {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {"processing": 0, "succeeded": succeeded, "errored": 0},
        "results_url": results if status == "ended" else None,
    }


MESSAGES = {
    "requests": [
        {
            "custom_id": str(n),
            "params": {
                "model": "claude-sonnet-4-6",
                "max_tokens": 1000,
                "messages": [{"role": "user", "content": "hello"}],
            },
        }
        for n in range(2)
    ]
}


async def test_a_batch_of_messages_is_held_for_whole_and_charged_by_its_results(
    database_url: str,
) -> None:
    async with running(database_url) as on:
        customer, token = await paying(on, "5000")
        batches = f"{ANTHROPIC}/messages/batches"
        await begun(on, batches, MESSAGES, token, "batch", anthropic_batch("in_progress"))
        # Two calls of 1,000 tokens out, and what their bodies may come to.
        assert "2" <= (await on.balance(customer))["held"] < "9"
        script(on, "GET", f"{batches}/msgbatch_1", anthropic_batch("ended", 2))
        await get(on, f"{batches}/msgbatch_1")
        usage = {"input_tokens": 250_000, "output_tokens": 250_000, "service_tier": "batch"}
        message = {"id": "m", "type": "message", "model": "claude-sonnet-4-6", "usage": usage}
        lines = b"".join(
            json.dumps({"custom_id": str(n), "result": {"type": kind, "message": message}}).encode()
            + b"\n"
            for n, kind in enumerate(["succeeded", "succeeded"])
        )
        script(on, "GET", f"{batches}/msgbatch_1/results", lines, "application/x-jsonl")
        await asyncio.gather(*(get(on, f"{batches}/msgbatch_1/results") for _ in range(3)))
        record = await on.record("batch")
        assert tokens(record) == (500_000, 500_000)
        # Sonnet's 3 and 15 a million, halved.
        assert record["cost"] == "4.5000000000"
        await unheld(on, customer, "4000")
        await on.verified()


async def test_a_batch_of_messages_none_of_which_succeeded_is_released(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        customer, token = await paying(on, "5000")
        batches = f"{ANTHROPIC}/messages/batches"
        await begun(on, batches, MESSAGES, token, "batch", anthropic_batch("in_progress"))
        script(on, "GET", f"{batches}/msgbatch_1", anthropic_batch("ended"))
        await get(on, f"{batches}/msgbatch_1")
        await released_when_there(on, customer)


OPENAI_VIDEO = {"id": "video_1", "object": "video", "model": "sora-2", "seconds": "8"}
REPLICATE = "https://api.replicate.com/v1/predictions"
RUNNING = {"id": "p1", "model": "acme/paint", "version": "v", "status": "starting", "metrics": {}}
VEO = f"{GOOGLE}/models/veo-3.0:predictLongRunning"
OPERATION = {"name": "models/veo-3.0/operations/op1"}
TRANSCRIPT = "https://api.assemblyai.com/v2/transcript"
MEDIA = {
    "a video": (
        f"{OPENAI}/videos",
        {"model": "sora-2", "prompt": "p", "seconds": "8"},
        {**OPENAI_VIDEO, "status": "queued"},
        f"{OPENAI}/videos/video_1",
        {**OPENAI_VIDEO, "status": "completed"},
        8.0,
    ),
    "a prediction": (
        REPLICATE,
        {"version": "v", "input": {"prompt": "p"}},
        RUNNING,
        f"{REPLICATE}/p1",
        {**RUNNING, "status": "succeeded", "metrics": {"predict_time": 2.5}},
        2.5,
    ),
    "an operation": (
        VEO,
        {"instances": [{"prompt": "p"}], "parameters": {"durationSeconds": 6, "sampleCount": 2}},
        OPERATION,
        f"{GOOGLE}/models/veo-3.0/operations/op1",
        {**OPERATION, "done": True, "response": {}},
        12.0,
    ),
    "a transcript": (
        TRANSCRIPT,
        {"audio_url": "https://example.com/a.mp3"},
        {"id": "t1", "status": "queued", "audio_url": "https://example.com/a.mp3"},
        f"{TRANSCRIPT}/t1",
        {"id": "t1", "status": "completed", "text": "hi", "audio_duration": 90},
        90.0,
    ),
}


@pytest.mark.parametrize("name", MEDIA)
async def test_media_are_charged_by_the_second_when_they_are_made(
    database_url: str, name: str
) -> None:
    url, body, made, poll, done, seconds = MEDIA[name]
    async with running(database_url, hosts=HOSTS, provider_keys=KEYS) as on:
        await on.meter("per-second", "1", kind="seconds")
        customer = await on.customer("100000")
        token = on.token(customer_id=customer, meter_slug="per-second")
        await begun(on, url, body, token, "made", made)
        script(on, "GET", poll, made)
        await get(on, poll)
        assert (await on.record("made"))["status"] == "pending"
        script(on, "GET", poll, done)
        await asyncio.gather(get(on, poll), get(on, poll))
        record = await on.record("made")
        assert record["model_usage"]["total_seconds"] == seconds
        assert Decimal(record["charge"]["amount"]) == Decimal(str(seconds))
        assert "estimated" not in record["flags"]
        await on.verified()


async def test_a_video_that_can_be_fetched_is_made(sqlite_url: str) -> None:
    url, body, made, poll, _, _ = MEDIA["a video"]
    async with running(sqlite_url) as on:
        await on.meter("per-second", "1", kind="seconds")
        customer = await on.customer("100")
        await begun(
            on, url, body, on.token(customer_id=customer, meter_slug="per-second"), "v", made
        )
        assert (await on.balance(customer))["held"] == "8.0000000000"
        script(on, "GET", f"{poll}/content", b"\0\0\0\x18ftypmp42", "video/mp4")
        await get(on, f"{poll}/content")
        await unheld(on, customer, "92")


async def test_a_prediction_that_is_waited_for_is_charged_at_once(sqlite_url: str) -> None:
    url, body, _, _, done, _ = MEDIA["a prediction"]
    async with running(sqlite_url, hosts=HOSTS, provider_keys=KEYS) as on:
        await on.meter("per-second", "1", kind="seconds")
        customer = await on.customer("100")
        token = on.token(customer_id=customer, meter_slug="per-second")
        script(on, "POST", url, done)
        await forward(on, url, body, token=token, headers={"prefer": "wait"})
        has = await on.balance(customer)
        assert (has["balance"], has.get("held", "0.0000000000")) == (
            "97.5000000000",
            "0.0000000000",
        )


@pytest.mark.parametrize(
    ("name", "failed"),
    [
        ("a video", {**OPENAI_VIDEO, "status": "failed", "error": {"code": "x", "message": "m"}}),
        ("a prediction", {**RUNNING, "status": "failed", "error": "no", "metrics": {}}),
        ("an operation", {**OPERATION, "done": True, "error": {"code": 3, "message": "no"}}),
        ("a transcript", {"id": "t1", "status": "error", "error": "no", "audio_duration": None}),
    ],
)
async def test_media_that_failed_are_released(
    sqlite_url: str, name: str, failed: dict[str, object]
) -> None:
    url, body, made, poll, _, _ = MEDIA[name]
    async with running(sqlite_url, hosts=HOSTS, provider_keys=KEYS) as on:
        await on.meter("per-second", "1", kind="seconds")
        customer = await on.customer("100000")
        await begun(
            on, url, body, on.token(customer_id=customer, meter_slug="per-second"), "made", made
        )
        script(on, "GET", poll, failed)
        await get(on, poll)
        await released_when_there(on, customer)
        await unheld(on, customer, "100000")
        await on.verified()


def tokens(record: dict[str, Any]) -> tuple[int, int]:
    """Tokens in and out."""
    usage = record["model_usage"]
    return usage["input_tokens"], usage["output_tokens"]


async def test_a_spend_key_may_ask_after_its_work_and_pays_for_it_once(sqlite_url: str) -> None:
    async with running(sqlite_url) as on:
        made = await on.rest(
            "POST", "/v1/spend_keys", {"name": "agent", "allowed_models": ["gpt-4o-mini"]}
        )
        await begun(on, f"{OPENAI}/responses", BACKGROUND, made["key"], "bg", response("queued"))
        script(on, "GET", f"{OPENAI}/responses/resp_1", response("completed", usage=USED))
        for _ in range(2):
            await get(on, f"{OPENAI}/responses/resp_1", made["key"])
        (key,) = (await on.rest("GET", "/v1/spend_keys"))["data"]
        assert key["total_spend"] == "0.4650000000"
        await on.verified()
