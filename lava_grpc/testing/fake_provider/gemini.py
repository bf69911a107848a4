"""Gemini's generateContent, whole and streamed, and its token counts."""

from __future__ import annotations

from typing import Any

from lava_grpc.testing.fake_provider.answer import (
    Answer,
    Ask,
    RefusedError,
    encode,
    json_answer,
    overlaid,
    sse_answer,
)
from lava_grpc.testing.fake_provider.openai_errors import UNKNOWN_MODEL
from lava_grpc.testing.fake_provider.words import Speech, speak, tokens_in

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def generate(ask: Ask) -> Answer:
    """POST /v1beta/models/{model}:generateContent."""
    prompt, speeches = _spoken(ask)
    candidates = [_candidate(i, speech.text, _reason(speech)) for i, speech in enumerate(speeches)]
    return json_answer(_response(ask, candidates, prompt, sum(s.tokens for s in speeches)))


def stream_generate(ask: Ask) -> Answer:
    """POST /v1beta/models/{model}:streamGenerateContent: events, or one JSON array."""
    prompt, speeches = _spoken(ask)
    documents: list[dict[str, Any]] = []
    said = 0
    for index, speech in enumerate(speeches):
        pieces = speech.pieces or ("",)
        for number, piece in enumerate(pieces, start=1):
            said += bool(piece)
            reason = _reason(speech) if number == len(pieces) else None
            candidate = _candidate(index, piece, reason)
            documents.append(_response(ask, [candidate], prompt, said))
    if ask.fault.no_done and len(documents) > 1:
        documents.pop()
    if "alt=sse" in ask.query.split("&"):
        return sse_answer([b"data: " + encode(document) + b"\r\n\r\n" for document in documents])
    joints = [b"[", *[b",\r\n"] * (len(documents) - 1)]
    items = [joint + encode(document) for joint, document in zip(joints, documents, strict=True)]
    return Answer(events=(*items, b"]"))


def count_tokens(ask: Ask) -> Answer:
    """POST /v1beta/models/{model}:countTokens."""
    prompt = _prompt(ask)
    return json_answer({"totalTokens": prompt, "promptTokensDetails": _details(prompt)})


def error(status: int, message: str, *, details: list[dict[str, Any]] | None = None) -> Answer:
    """An error in Google's shape."""
    body = {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}
    return json_answer({"error": body | ({"details": details} if details else {})}, status=status)


def no_key() -> Answer:
    """The answer to a call without a key."""
    return error(
        403,
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def wrong_key() -> Answer:
    """The answer to a key that is none: a 400, as Google has it."""
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }
    return error(400, "API key not valid. Please pass a valid API key.", details=[detail])


def _spoken(ask: Ask) -> tuple[int, list[Speech]]:
    prompt = _prompt(ask)
    config = ask.body.get("generationConfig") or {}
    limit, count = config.get("maxOutputTokens"), config.get("candidateCount") or 1
    words = ask.fault.words
    speeches = [speak(prompt, choice=i, words=words, limit=limit) for i in range(count)]
    return prompt, speeches


def _prompt(ask: Ask) -> int:
    if UNKNOWN_MODEL.search(ask.model):
        message = (
            f"models/{ask.model} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their "
            "supported methods."
        )
        raise RefusedError(error(404, message))
    contents = ask.body.get("contents")
    if not contents:
        raise RefusedError(
            error(400, "* GenerateContentRequest.contents: contents is not specified\n")
        )
    return tokens_in(contents) + tokens_in(ask.body.get("systemInstruction"))


def _reason(speech: Speech) -> str:
    return "MAX_TOKENS" if speech.truncated else "STOP"


def _candidate(index: int, text: str, reason: str | None) -> dict[str, Any]:
    content = {"parts": [{"text": text}], "role": "model"}
    ended = {} if reason is None else {"finishReason": reason}
    return {"content": content, **ended, "index": index}


def _response(ask: Ask, candidates: list[dict[str, Any]], prompt: int, said: int) -> dict[str, Any]:
    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": said,
        "totalTokenCount": prompt + said,
        "promptTokensDetails": _details(prompt),
    }
    stated = {} if ask.fault.no_usage else {"usageMetadata": overlaid(usage, ask.fault)}
    named = {"modelVersion": ask.model, "responseId": f"fake{ask.serial:018d}"}
    return {"candidates": candidates, **stated, **named}


def _details(tokens: int) -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": tokens}]
