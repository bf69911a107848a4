"""Endpoints, methods and hosts of every kind: each passes, and is billed for what it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from lava_grpc.store import migrations
from lava_grpc.testing.fake_provider import Scripted
from tests.integration.forward.calls import over_grpc, path, request
from tests.support.service import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/json"
FORM = "multipart/form-data; boundary=b"
AUDIO = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n\x00\xff\r\n--b--\r\n"
)
USED = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
ANSWER = {"id": "x", "model": "m", "choices": [], "usage": USED}
CHAT = {"model": "gpt-4o-mini", "messages": [], "max_tokens": 9}

AZURE = "acme.openai.azure.com"
SNOWFLAKE = "acme-prod.snowflakecomputing.com"
VERTEX = "europe-west1-aiplatform.googleapis.com"
BEDROCK = "bedrock-runtime.eu-west-1.amazonaws.com"
OWN = "llm.internal.example"
HOSTS = (
    *("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"),
    *("api.cohere.com", "api.mistral.ai", "api.elevenlabs.io", "api.deepgram.com", "api.jina.ai"),
    *(AZURE, SNOWFLAKE, VERTEX, BEDROCK, OWN),
)
KEYS = {
    "openai": "k-openai",
    "anthropic": "k-anthropic",
    "google": "k-google",
    "cohere": "k-cohere",
    "mistral": "k-mistral",
    "elevenlabs": "k-eleven",
    "deepgram": "k-deepgram",
    "jina": "k-jina",
    # By host, by provider, by provider for its regions, by provider, by host.
    AZURE: "k-azure",
    "snowflake": "k-snowflake",
    "google-vertex": "k-vertex",
    "bedrock": "k-bedrock",
    OWN: "k-own",
}

# (method, url, content type, request, answer's type, answer, tokens in and out, key's header)
Case = tuple[str, str, str, bytes, str, bytes, tuple[int, int], tuple[str, str]]


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


BEARER = "authorization"
VERTEX_URL = (
    f"https://{VERTEX}/v1/projects/p/locations/europe-west1/publishers/google/models/"
    "gemini-2.5-flash:generateContent"
)
CASES: dict[str, Case] = {
    name: (method, url, kind, body, out_kind, out, tokens, key)
    for name, method, url, kind, body, out_kind, out, tokens, key in (
        *(
            (
                f"{method} {where}",
                method,
                f"https://api.openai.com/v1/{where}",
                JSON,
                b"",
                JSON,
                _json({"object": "list", "data": []}),
                (0, 0),
                (BEARER, "Bearer k-openai"),
            )
            for method, where in (
                ("GET", "files"),
                ("GET", "files?purpose=batch&limit=2"),
                ("DELETE", "files/file-1"),
                ("GET", "batches"),
                ("GET", "models"),
                ("GET", "models/gpt-4o"),
                ("GET", "fine_tuning/jobs"),
                ("DELETE", "responses/resp_1"),
                ("POST", "files/file-1/cancel"),
            )
        ),
        (
            "transcription",
            "POST",
            "https://api.openai.com/v1/audio/transcriptions",
            FORM,
            AUDIO,
            JSON,
            _json({"text": "hi", "usage": {"type": "duration", "seconds": 3}}),
            (0, 0),
            (BEARER, "Bearer k-openai"),
        ),
        (
            "speech",
            "POST",
            "https://api.openai.com/v1/audio/speech",
            JSON,
            _json({"model": "tts-1", "input": "hello", "voice": "alloy"}),
            "audio/mpeg",
            b"\xff\xfb\x00" * 5000,
            (0, 0),
            (BEARER, "Bearer k-openai"),
        ),
        (
            "images",
            "POST",
            "https://api.openai.com/v1/images/generations",
            JSON,
            _json({"model": "gpt-image-1", "prompt": "a cat"}),
            JSON,
            _json({"created": 1, "data": [], "usage": {"input_tokens": 4, "output_tokens": 9}}),
            (4, 9),
            (BEARER, "Bearer k-openai"),
        ),
        (
            "token count",
            "POST",
            "https://api.anthropic.com/v1/messages/count_tokens",
            JSON,
            _json({"model": "claude-sonnet-4-6", "messages": []}),
            JSON,
            _json({"input_tokens": 99}),
            (0, 0),
            ("x-api-key", "k-anthropic"),
        ),
        (
            "gemini count",
            "POST",
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:countTokens",
            JSON,
            _json({"contents": []}),
            JSON,
            _json({"totalTokens": 99}),
            (0, 0),
            ("x-goog-api-key", "k-google"),
        ),
        (
            "gemini in openai's shape",
            "POST",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            JSON,
            _json(CHAT | {"model": "gemini-2.5-flash"}),
            JSON,
            _json(ANSWER),
            (7, 5),
            (BEARER, "Bearer k-google"),
        ),
        (
            "rerank",
            "POST",
            "https://api.cohere.com/v2/rerank",
            JSON,
            _json({"model": "rerank-v3.5", "query": "q", "documents": ["a"]}),
            JSON,
            _json({"id": "x", "results": [], "meta": {"billed_units": {"search_units": 1}}}),
            (0, 0),
            (BEARER, "Bearer k-cohere"),
        ),
        (
            "jina embeddings",
            "POST",
            "https://api.jina.ai/v1/embeddings",
            JSON,
            _json({"model": "jina-embeddings-v3", "input": ["a"]}),
            JSON,
            _json({"model": "jina-embeddings-v3", "data": [], "usage": {"prompt_tokens": 7}}),
            (7, 0),
            (BEARER, "Bearer k-jina"),
        ),
        (
            "elevenlabs",
            "POST",
            "https://api.elevenlabs.io/v1/text-to-speech/voice?output_format=mp3",
            JSON,
            _json({"text": "hello", "model_id": "eleven_multilingual_v2"}),
            "audio/mpeg",
            b"\xff\xfb\x00" * 50,
            (0, 0),
            ("xi-api-key", "k-eleven"),
        ),
        (
            "deepgram",
            "POST",
            "https://api.deepgram.com/v1/listen?model=nova-3",
            "audio/wav",
            b"RIFF\x00\xff",
            JSON,
            _json({"metadata": {"duration": 2.5}, "results": {}}),
            (0, 0),
            (BEARER, "Token k-deepgram"),
        ),
        (
            "azure",
            "POST",
            f"https://{AZURE}/openai/deployments/d/chat/completions?api-version=2025-01-01",
            JSON,
            _json(CHAT),
            JSON,
            _json(ANSWER),
            (7, 5),
            ("api-key", "k-azure"),
        ),
        (
            "snowflake",
            "POST",
            f"https://{SNOWFLAKE}/api/v2/cortex/v1/chat/completions",
            JSON,
            _json(CHAT),
            JSON,
            _json(ANSWER),
            (7, 5),
            (BEARER, "Bearer k-snowflake"),
        ),
        (
            "vertex",
            "POST",
            VERTEX_URL,
            JSON,
            _json({"contents": []}),
            JSON,
            _json({"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 5}}),
            (7, 5),
            (BEARER, "Bearer k-vertex"),
        ),
        (
            "bedrock",
            "POST",
            f"https://{BEDROCK}/model/us.amazon.nova-lite-v1%3A0/converse",
            JSON,
            _json({"messages": []}),
            JSON,
            _json({"output": {}, "usage": {"inputTokens": 7, "outputTokens": 5}}),
            (7, 5),
            (BEARER, "Bearer k-bedrock"),
        ),
        (
            "a host of the operator's",
            "POST",
            f"https://{OWN}/v1/chat/completions",
            JSON,
            _json(CHAT),
            JSON,
            _json(ANSWER),
            (7, 5),
            (BEARER, "Bearer k-own"),
        ),
        (
            "any API",
            "GET",
            f"https://{OWN}/weather?city=Paris&key=theirs",
            JSON,
            b"",
            "text/plain",
            b"rain",
            (0, 0),
            (BEARER, "Bearer k-own"),
        ),
    )
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def on(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    url = f"sqlite:///{tmp_path_factory.mktemp('endpoints') / 'lava.db'}"
    migrations.upgrade(url)
    async with running(url, hosts=HOSTS, provider_keys=KEYS) as service:
        # All at the root, as other tests of the fake's prefixes have no part here.
        yield service
        await service.verified()


def _scripted(on: Running, case: Case) -> None:
    method, url, _, _, kind, answer, _, _ = case
    parts = urlsplit(url)
    where = parts.path + (f"?{parts.query}" if parts.query else "")
    scripted = Scripted(200, (("content-type", kind),), (answer[:3], answer[3:]))
    prefixes = {
        "api.openai.com": "/openai",
        "api.anthropic.com": "/anthropic",
        "generativelanguage.googleapis.com": "/google",
    }
    on.provider.script(method, prefixes.get(parts.netloc, "") + where, scripted)


def _tokens(record: dict[str, Any]) -> tuple[int, int]:
    usage = record["model_usage"]
    return usage["input_tokens"], usage["output_tokens"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("own", [False, True], ids=["managed", "own key"])
async def test_it_passes_and_is_billed_for_what_it_is(
    on: Running,
    name: str,
    own: bool,  # noqa: FBT001
) -> None:
    case = CASES[name]
    method, url, kind, body, out_kind, answer, tokens, (header, value) = case
    _scripted(on, case)
    token = on.token(provider_key="theirs") if own else on.secret_key
    got = await on.http.request(
        method,
        path(url),
        content=body,
        headers={"authorization": f"Bearer {token}", "content-type": kind},
    )
    assert (got.status_code, got.content) == (200, answer)
    assert got.headers["content-type"] == out_kind
    seen = on.provider.calls[-1]
    assert (seen.method, seen.body) == (method, body)
    key = value.split(" ")[-1]
    assert seen.header(header) == (value.replace(key, "theirs") if own else value)
    record = await on.record(got.headers["x-lava-request-id"])
    assert record["status"] == "completed"
    assert _tokens(record) == tokens
    assert record["endpoint"].startswith(f"{method} https://{urlsplit(url).netloc}/")
    assert "theirs" not in record["endpoint"]
    assert record["provider_key_type"] == ("unmanaged" if own else "managed")


async def test_forward_over_grpc_takes_methods_too(on: Running) -> None:
    case = CASES["GET models"]
    _scripted(on, case)
    asked = request(case[1], b"")
    asked.method = "get"
    got = await over_grpc(on, asked)
    assert (got.head.status, got.body) == (200, case[5])


async def test_a_key_for_a_provider_goes_to_no_account_that_nobody_named(on: Running) -> None:
    url = "https://other.snowflakecomputing.com/api/v2/cortex/v1/chat/completions"
    got = await on.http.post(path(url), content=_json(CHAT))
    assert got.status_code == 400
    assert got.json()["error"]["field"] == "provider_key"
