"""The fake on the wire: what it answers, byte by byte, and how it fails on command."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from lava_grpc.testing import FakeProvider, Fault, Outcome, Scripted

KEY = {"authorization": "Bearer sk-any"}
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "one two"}]}
STREAM = {**CHAT, "stream": True}


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def http(fake: FakeProvider) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(fake.base_url, auto_decompress=False) as session:
        yield session


async def ask(
    http: aiohttp.ClientSession,
    body: object = CHAT,
    /,
    *,
    path: str = "/v1/chat/completions",
    **headers: str,
) -> tuple[int, bytes]:
    """Ask for a chat completion; headers by their name after `x-fake-`."""
    named = {f"x-fake-{name.replace('_', '-')}": value for name, value in headers.items()}
    async with http.post(path, json=body, headers={**KEY, **named}) as answer:
        return answer.status, await answer.read()


async def test_a_stream_is_events_closed_by_done(http: aiohttp.ClientSession) -> None:
    status, raw = await ask(http, STREAM, words="2")

    events = raw.decode().split("\n\n")
    assert status == 200
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert [delta.get("content") for delta in deltas[1:]] == ["river", " carries", None]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_the_same_request_gets_the_same_words(http: aiohttp.ClientSession) -> None:
    first, second = [json.loads((await ask(http))[1]) for _ in range(2)]

    assert first["choices"] == second["choices"]
    assert first["usage"] == second["usage"]
    assert first["id"] != second["id"]


@pytest.mark.parametrize("prefix", ["", "/openai", "/openai/inference"])
async def test_paths_serve_with_and_without_a_prefix(
    http: aiohttp.ClientSession, prefix: str
) -> None:
    status, _ = await ask(http, path=f"{prefix}/v1/chat/completions")

    assert status == 200


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/v1/chat/completions", b"{", KEY, 400, "We could not parse the JSON body"),
        ("/v1/chat/completions", b'{"model":"gpt-4o"}', KEY, 400, "'messages'"),
        ("/v1/chat/completions", b"{}", {}, 401, "You didn't provide an API key"),
        ("/v1/nowhere", b"{}", KEY, 404, "Invalid URL (POST /v1/nowhere)"),
        ("/v1/messages", b"{}", {"x-api-key": "k"}, 400, "anthropic-version"),
        ("/v1/messages", b"{}", {}, 401, "authentication_error"),
        (
            "/v1/messages",
            b'{"model":"c"}',
            {"x-api-key": "k", "anthropic-version": "2023-06-01"},
            400,
            "max_tokens: Field required",
        ),
        ("/google/v1beta/models/gemini-2.5-pro:generateContent", b"{}", {}, 403, "DENIED"),
        (
            "/google/v1beta/models/gemini-2.5-pro:generateContent",
            b"{}",
            {"x-goog-api-key": "invalid"},
            400,
            "API_KEY_INVALID",
        ),
        (
            "/google/v1beta/models/no-such:generateContent",
            b"{}",
            {"x-goog-api-key": "k"},
            404,
            "NOT_FOUND",
        ),
    ],
)
async def test_errors_have_the_providers_shape(
    http: aiohttp.ClientSession,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    said: str,
) -> None:
    async with http.post(path, data=body, headers=headers) as answer:
        text = await answer.text()

    assert answer.status == status
    assert said in text
    assert "error" in json.loads(text)


async def test_gemini_streams_events_or_one_array(http: aiohttp.ClientSession) -> None:
    path = "/google/v1beta/models/gemini-2.5-pro:streamGenerateContent"
    body = {"contents": [{"parts": [{"text": "one two"}]}]}
    key = {"x-goog-api-key": "k", "x-fake-words": "3"}
    async with http.post(f"{path}?alt=sse", json=body, headers=key) as answer:
        events = (await answer.text()).split("\r\n\r\n")
    async with http.post(path, json=body, headers=key) as answer:
        items = json.loads(await answer.read())

    documents = [json.loads(event.removeprefix("data: ")) for event in events if event]
    usage = {
        "promptTokenCount": 2,
        "candidatesTokenCount": 3,
        "totalTokenCount": 5,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2}],
    }
    assert documents[-1]["usageMetadata"] == items[-1]["usageMetadata"] == usage
    assert documents[-1]["candidates"][0]["finishReason"] == "STOP"
    assert len(documents) == len(items) == 3


async def test_usage_can_be_overlaid_or_left_out(http: aiohttp.ClientSession) -> None:
    overlay = '{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}'
    _, changed = await ask(http, usage=overlay)
    _, without = await ask(http, no_usage="1")

    usage = json.loads(changed)["usage"]
    assert usage["prompt_tokens"] == 9
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4, "audio_tokens": 0}
    assert "usage" not in json.loads(without)


async def test_a_stream_can_end_without_done(http: aiohttp.ClientSession) -> None:
    _, raw = await ask(http, STREAM, no_done="1")

    assert b"[DONE]" not in raw
    assert raw.endswith(b"\n\n")


async def test_gzip_and_bytewise_change_the_wire_and_not_the_words(
    http: aiohttp.ClientSession,
) -> None:
    for body in (CHAT, STREAM):
        _, plain = await ask(http, body)
        _, zipped = await ask(http, body, gzip="1")
        _, bytewise = await ask(http, body, bytewise="1")

        assert len(gzip.decompress(zipped)) == len(bytewise) == len(plain)


async def test_a_huge_answer_is_still_json(http: aiohttp.ClientSession) -> None:
    _, raw = await ask(http, huge_bytes="3000000")

    assert len(raw) > 3_000_000
    assert json.loads(raw)["usage"]["total_tokens"] == 14


async def test_a_status_and_its_body_come_as_asked(http: aiohttp.ClientSession) -> None:
    status, shaped = await ask(http, status="503")
    _, own = await ask(http, status="500", body="<html>")

    assert status == 503
    assert json.loads(shaped)["error"]["type"] == "server_error"
    assert own == b"<html>"


async def test_a_reset_gives_no_head(fake: FakeProvider, http: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(http, reset="1")

    assert fake.calls[-1].outcome is Outcome.CUT


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_a_cut_answer_breaks_where_it_was_told_to(
    fake: FakeProvider, http: aiohttp.ClientSession, body: object
) -> None:
    fake.fail_next(Fault(cut_after=3))
    async with http.post("/v1/chat/completions", json=body, headers=KEY) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()

    assert fake.calls[-1].events_sent == 3
    assert fake.calls[-1].outcome is Outcome.CUT


async def test_an_answer_pauses_until_it_is_resumed(
    fake: FakeProvider, http: aiohttp.ClientSession
) -> None:
    asking = asyncio.create_task(ask(http, STREAM, pause_after="2"))
    await fake.until(lambda: bool(fake.calls) and fake.calls[-1].events_sent == 2)
    assert fake.calls[-1].outcome is Outcome.OPEN

    fake.resume()
    _, raw = await asking

    assert raw.endswith(b"[DONE]\n\n")


async def test_an_endless_stream_ends_when_its_reader_goes(
    fake: FakeProvider, http: aiohttp.ClientSession
) -> None:
    headers = {**KEY, "x-fake-endless": "1"}
    answer = await http.post("/v1/chat/completions", json=STREAM, headers=headers)
    for _ in range(50):
        assert await answer.content.readany()
    answer.close()

    await fake.until(lambda: fake.calls[-1].outcome is Outcome.GONE)
    assert fake.calls[-1].events_sent > 20


async def test_delays_add_up(http: aiohttp.ClientSession) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await ask(http, STREAM, words="1", delay_ms="20", body_delay_ms="20", chunk_delay_ms="10")

    # Four events, so three pauses between them.
    assert loop.time() - start >= 0.07


async def test_calls_are_kept_as_they_came(fake: FakeProvider, http: aiohttp.ClientSession) -> None:
    await ask(http, path="/v1/chat/completions?x=1")

    (call,) = fake.calls
    assert (call.method, call.path) == ("POST", "/v1/chat/completions?x=1")
    assert call.header("authorization") == "Bearer sk-any"
    assert call.json() == CHAT
    assert (call.status, call.outcome) == (200, Outcome.ANSWERED)


async def test_a_recording_is_replayed_chunk_by_chunk(
    fake: FakeProvider, http: aiohttp.ClientSession
) -> None:
    headers = (("Content-Type", "text/plain"), ("X-Kept", "yes"), ("Content-Length", "9"))
    fake.script("GET", "/v1/recorded?a=b", Scripted(206, headers, (b"one", b"two", b"thr")))

    for path in ("/v1/recorded?a=b", "/openai/v1/recorded?a=b"):
        async with http.get(path) as answer:
            assert answer.status == 206
            assert answer.headers["x-kept"] == "yes"
            assert await answer.read() == b"onetwothr"
    async with http.get("/v1/recorded?a=c", headers=KEY) as other:
        assert other.status == 404


async def test_recordings_come_one_after_another_and_the_last_stays(
    fake: FakeProvider, http: aiohttp.ClientSession
) -> None:
    fake.script("POST", "/v1/chat/completions", *(Scripted(chunks=(c,)) for c in (b"1", b"2")))

    assert [(await ask(http))[1] for _ in range(3)] == [b"1", b"2", b"2"]
    with pytest.raises(ValueError, match="needs an answer"):
        fake.script("POST", "/v1/chat/completions")


async def test_an_answer_without_a_head_waits_until_it_is_resumed_and_after_a_reset_again(
    fake: FakeProvider, http: aiohttp.ClientSession
) -> None:
    for _ in range(2):
        fake.fail_next(Fault(pause_head=True))
        asked = asyncio.create_task(ask(http))
        await fake.until(lambda: len(fake.calls) == 1)
        assert (fake.calls[0].status, fake.calls[0].outcome) == (200, Outcome.OPEN)
        assert not asked.done()
        fake.resume()
        assert (await asked)[0] == 200
        fake.reset()


async def test_a_reset_forgets_scripts_faults_and_calls(
    fake: FakeProvider, http: aiohttp.ClientSession
) -> None:
    fake.script("POST", "/v1/chat/completions", Scripted(chunks=(b"1",)))
    fake.fault = Fault(gzip=True)
    fake.fail_next(Fault(status=500))
    await ask(http)
    fake.fail_next(Fault(status=500))

    fake.reset()

    assert (list(fake.calls), fake.calls_total) == ([], 0)
    status, raw = await ask(http)
    assert (status, json.loads(raw)["object"]) == (200, "chat.completion")


async def test_a_misspelt_fault_is_told(http: aiohttp.ClientSession) -> None:
    status, raw = await ask(http, deley_ms="1")

    assert status == 500
    assert b"no such header: x-fake-deley-ms" in raw


async def test_the_command_prints_where_it_listens_and_stops_when_told() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "lava_grpc.testing.fake_provider", "--port", "0", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        facts = json.loads(await process.stdout.readline())
        async with (
            aiohttp.ClientSession() as http,
            http.get(facts["base_url"] + "/v1/models", headers=KEY) as answer,
        ):
            status = answer.status
        process.terminate()
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()

    assert (status, code) == (200, 0)
