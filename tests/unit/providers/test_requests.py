"""What a request asks for: endpoint, model, stream, limits; and what is refused."""

from __future__ import annotations

import pytest

from lava_grpc.core.errors import Refusal
from lava_grpc.providers.request import CHOICES_MAX
from tests.unit.providers.calls import Json, call

GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"


@pytest.mark.parametrize(
    ("ident", "path", "flavor"),
    [
        ("openai", "/v1/chat/completions", "chat"),
        ("openai", "/v1/chat/completions?x=1", "chat"),
        ("openai", "/v1/completions", "completions"),
        ("openai", "/v1/responses", "responses"),
        ("openai", "/v1/responses/compact", "responses"),
        ("openai", "/v1/embeddings", "embeddings"),
        ("openai", "/v1/images/generations", "images"),
        ("openai", "/v1/audio/speech", "speech"),
        ("openai", "/v1/audio/transcriptions", "transcription"),
        ("openai", "/v1/responses/input_tokens", "no_usage"),
        ("openai", "/v1/moderations", "no_usage"),
        ("openai", "/v1/files", "no_usage"),
        ("openai", "/v1/something/new", "other"),
        ("openai", "/v1/fine_tuning/jobs", "other"),
        ("openai", "/v1/fine_tuning/jobs/ftjob_1/cancel", "no_usage"),
        ("openai", "/v1/evals", "no_usage"),
        ("openai", "/v1/evals/eval_1/runs", "other"),
        ("anthropic", "/v1/messages?beta=true", "messages"),
        ("anthropic", "/v1/messages/count_tokens", "no_usage"),
        ("anthropic", "/v1/chat/completions", "chat"),
        ("google", "/v1beta/models/m:generateContent", "generate"),
        ("google", "/v1beta/models/m:batchEmbedContents", "embed"),
        ("google", "/v1beta/models/m:countTokens", "no_usage"),
        ("google", "/v1beta/cachedContents", "no_usage"),
        ("google", "/v1beta/openai/chat/completions", "chat"),
        (
            "google-vertex",
            "/v1/projects/p/locations/l/publishers/google/models/m:predict",
            "predict",
        ),
        (
            "google-vertex",
            "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:streamRawPredict",
            "messages",
        ),
        ("bedrock", "/model/us.amazon.nova-pro-v1%3A0/converse", "converse"),
        ("bedrock", "/model/arn%3Aaws%3Abedrock%3Ax%2Fy/invoke", "invoke"),
        ("bedrock", "/model/m/count-tokens", "no_usage"),
        ("azure", "/openai/deployments/d/chat/completions?api-version=1", "chat"),
        ("cohere", "/v2/chat", "cohere"),
        ("cohere", "/v2/rerank", "cohere"),
        ("voyageai", "/v1/rerank", "rerank"),
        ("mistral", "/v1/ocr", "ocr"),
        ("mistral", "/v1/fim/completions", "chat"),
        ("mistral", "/v1/conversations", "conversations"),
        ("ollama", "/api/chat", "ollama"),
        ("elevenlabs", "/v1/text-to-speech/voice", "speech"),
        ("deepgram", "/v1/listen?model=nova-3", "duration"),
    ],
)
def test_an_endpoint_is_known_by_its_path(ident: str, path: str, flavor: str) -> None:
    made = call(ident, path)
    assert made.flavor == flavor
    assert made.billable is (flavor != "no_usage")


@pytest.mark.parametrize(
    ("ident", "path", "model", "stream"),
    [
        (
            "google",
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
            "gemini-2.5-pro",
            True,
        ),
        ("google", "/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        (
            "google-vertex",
            "/v1/publishers/anthropic/models/claude-x@2025:rawPredict",
            "claude-x",
            False,
        ),
        (
            "bedrock",
            "/model/us.amazon.nova-pro-v1%3A0/converse-stream",
            "us.amazon.nova-pro-v1:0",
            True,
        ),
        ("bedrock", "/model/m/invoke", "m", False),
        ("azure", "/openai/deployments/my%20d/chat/completions", "my d", False),
        ("deepgram", "/v1/listen?model=nova-3", "nova-3", False),
    ],
)
def test_a_path_may_name_the_model_and_the_stream(
    ident: str,
    path: str,
    model: str,
    stream: bool,  # noqa: FBT001 - a column of the table
) -> None:
    made = call(ident, path)
    assert (made.model, made.stream) == (model, stream)


def test_a_job_that_is_fetched_again_is_charged_once() -> None:
    fetched = call("openai", "/v1/responses/resp_1?stream=true", method="GET")
    assert (fetched.billable, fetched.job_id) == (False, "resp_1")
    results = call("anthropic", "/v1/messages/batches/b_1/results", method="GET")
    assert (results.flavor, results.job_id) == ("batch_results", "b_1")


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        # A host that knows one of them alone goes by that one.
        ({"max_tokens": 9999, "max_completion_tokens": 1}, 9999),
        ({"max_tokens": 9999.0, "max_completion_tokens": 1}, None),
        ({"max_tokens": None, "max_completion_tokens": 1}, 1),
        ({"max_tokens": 0}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": 10**30}, None),
        # Fields of other families, which this one passes over.
        ({"max_output_tokens": 9}, None),
        ({"max_tokens": 5, "max_output_tokens": 9}, 5),
        ({"generationConfig": {"maxOutputTokens": 3}}, None),
        ({}, None),
    ],
)
def test_the_requests_own_limit_is_read(body: Json, limit: int | None) -> None:
    assert call("openai", "/v1/chat/completions", body).output_tokens_max == limit


@pytest.mark.parametrize(
    ("ident", "path", "body", "limit"),
    [
        ("openai", "/v1/responses", {"max_output_tokens": 9, "max_tokens": 1}, 9),
        ("anthropic", "/v1/messages", {"max_tokens": 9, "max_completion_tokens": 1}, 9),
        ("google", GENERATE, {"generationConfig": {"maxOutputTokens": 3}}, 3),
        ("google", GENERATE, {"generation_config": {"maxOutputTokens": 3}}, 3),
        ("google", GENERATE, {"max_tokens": 1}, None),
        ("bedrock", "/model/m/converse", {"inferenceConfig": {"maxTokens": 4}}, 4),
        ("bedrock", "/model/meta.llama3/invoke", {"max_gen_len": 4, "max_tokens": 1}, 4),
        ("ollama", "/api/chat", {"options": {"num_predict": -1}}, None),
        ("mistral", "/v1/conversations", {"max_tokens": 1}, None),
    ],
)
def test_each_family_is_limited_by_its_own_field(
    ident: str, path: str, body: Json, limit: int | None
) -> None:
    assert call(ident, path, body).output_tokens_max == limit


@pytest.mark.parametrize(
    ("ident", "path", "flavor"),
    [
        ("openai", "/v1/videos/edits", "video"),
        ("openai", "/v1/responses/resp_1", "other"),
        ("replicate", "/v1/predictions/p1", "other"),
    ],
)
def test_a_call_that_may_begin_work_is_not_taken_for_one_that_asks_after_it(
    ident: str, path: str, flavor: str
) -> None:
    made = call(ident, path, {"model": "m"})
    assert (made.flavor, made.billable, made.job_id) == (flavor, True, None)
    asked = call(ident, path, method="GET")
    assert (asked.billable, asked.job_id) == (False, path.rpartition("/")[2])


@pytest.mark.parametrize(
    ("asked", "background"),
    [(True, True), (1, True), ("true", True), (False, False), (None, False), (0, False)],
)
def test_what_a_host_may_take_for_background_work_is_taken_for_it(
    asked: object,
    background: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert call("openai", "/v1/responses", {"background": asked}).background is background


def test_work_is_stopped_for_free() -> None:
    stopped = call("openai", "/v1/responses/resp_1/cancel")
    assert (stopped.billable, stopped.job_id) == (False, "resp_1")


def test_only_google_is_asked_after_an_operation_by_the_body() -> None:
    body: Json = {"operationName": "projects/p/operations/op1"}
    vertex = "/v1/projects/p/locations/l/publishers/google/models/veo-3:fetchPredictOperation"
    assert call("google-vertex", vertex, body).job_id == "op1"
    for path in (GENERATE, "/v1/projects/p/publishers/google/models/veo-3:predictLongRunning"):
        assert call("google", path, body).job_id is None
    chat = call("openai", "/v1/chat/completions", body)
    assert (chat.billable, chat.job_id) == (True, None)


@pytest.mark.parametrize(
    ("body", "choices"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": 2, "best_of": 5}, 5),
        ({"n": 10**9}, CHOICES_MAX),
        ({"n": None}, 1),
        ({"n": 0}, 1),
        ({"n": 100.0}, 100),
        (b'{"n": 1e400}', CHOICES_MAX),
        ({"n": -2.5}, 1),
        ({"n": "7"}, 7),
        ({"generation_config": {"candidate_count": 8}}, 8),
    ],
)
def test_choices_are_counted_within_bounds(body: Json | bytes, choices: int) -> None:
    assert call("openai", "/v1/completions", body).choices == choices


@pytest.mark.parametrize("body", [b"{", b"\xff", b"NaN", b'{"a": Infinity}', b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused_by_name(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        call("openai", "/v1/chat/completions", body)
    assert refused.value.field == "body"


@pytest.mark.parametrize("body", [b"", b"  ", b"[]", b'"x"', b"null", b'{"model": 5}'])
def test_a_body_of_another_shape_is_the_providers_to_refuse(body: bytes) -> None:
    assert call("openai", "/v1/chat/completions", body).model is None


def test_a_form_names_its_model() -> None:
    form = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\n\x00\x01\r\n"
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    )
    made = call(
        "openai", "/v1/audio/transcriptions", form, content_type="multipart/form-data; boundary=b"
    )
    assert (made.model, made.body) == ("whisper-1", None)


def test_the_characters_to_speak_are_known_from_the_request() -> None:
    made = call("openai", "/v1/audio/speech", {"model": "tts-1", "input": "Grüße!"})
    assert made.request_usage.input_characters == 6


def test_only_a_stream_that_needs_asking_is_asked() -> None:
    def asked(ident: str, path: str, **body: object) -> bool:
        return call(ident, path, body).usage_injected

    assert asked("openai", "/v1/chat/completions", stream=True)
    assert not asked("openai", "/v1/chat/completions", stream=False)
    assert not asked("openai", "/v1/responses", stream=True)
    assert not asked("mistral", "/v1/chat/completions", stream=True)
    assert not asked(
        "openai", "/v1/chat/completions", stream=True, stream_options={"include_usage": True}
    )
    assert asked("openai", "/v1/chat/completions", stream=True, stream_options=None)
