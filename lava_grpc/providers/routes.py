"""Which endpoint a URL names: its flavor, and what the path itself says of the call."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs, unquote, urlsplit

from lava_grpc.providers.job_routes import (
    JOB_FLAVORS,
    job_route,
    media_route,
    operation_route,
    transcript_route,
)
from lava_grpc.providers.provider import Family, Provider, Quirk
from lava_grpc.providers.route import FREE, NO_USAGE, OTHER, Route

__all__ = ["NO_USAGE", "OTHER", "Route", "route_of"]

_READ_METHODS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))
_STOPS = ("/cancel", ":cancel")

# Endpoints in the shapes of OpenAI and Anthropic, by the end of their path; the first match
# counts. They are looked for on every host, since most providers offer some of them.
_ENDS: tuple[tuple[str, str], ...] = (
    ("/chat/completions", "chat"),
    ("/fim/completions", "chat"),
    ("/agents/completions", "chat"),
    ("/completions", "completions"),
    ("/responses/input_tokens", NO_USAGE),
    ("/responses/compact", "responses"),
    ("/responses", "responses"),
    ("/messages/count_tokens", NO_USAGE),
    ("/messages/batches", "batch"),
    ("/messages", "messages"),
    ("/multimodalembeddings", "embeddings"),
    ("/contextualizedembeddings", "embeddings"),
    ("/embeddings", "embeddings"),
    ("/moderations", "moderations"),
    ("/images/generations", "images"),
    ("/images/edits", "images"),
    ("/images/variations", "images"),
    ("/audio/speech", "speech"),
    ("/audio/transcriptions", "transcription"),
    ("/audio/translations", "transcription"),
    ("/rerank", "rerank"),
    ("/ocr", "ocr"),
    ("/batches", "batch"),
    ("/batch/jobs", "batch"),
    ("/videos/generations", "video"),
    ("/videos", "video"),
    ("/v1/video_generation", "video"),
    ("/tokenize", NO_USAGE),
    ("/detokenize", NO_USAGE),
)
# Resources that are kept, not metered, on hosts in OpenAI's and Anthropic's shapes.
_KEPT = re.compile(
    r"/(?:files|uploads|batches|vector_stores|containers|evals|fine_tuning|skills|assistants|models)"
    r"(?:/|$)"
)
# Work that begins beside what is kept, and that a provider charges for in ways of its own.
_BEGUN = re.compile(r"/(?:fine_tuning/jobs|graders/run|evals/[^/]+/runs)$")
_CONVERSATION = re.compile(r"/v1/conversations(?:/[^/]+)?(?:/restart)?$")
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/")
_OLLAMA = {"/api/chat": "ollama", "/api/generate": "ollama", "/api/embed": "ollama_embed"}


def route_of(provider: Provider, method: str, url: str) -> Route:
    """The endpoint that `method` and `url` name at `provider`."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    native = _NATIVE.get(provider.family)
    found = _own(provider, path) if provider.endpoints else None
    if found is None and native is not None:
        found = native(path, parts.query)
    if found is None:
        found = _compatible(provider, method, path, parts.query)
    if method.upper() in _READ_METHODS and found.billable:
        return Route(NO_USAGE, model=found.model, stream=False, billable=False)
    if found.job_id is not None and not _asks_after(method, path):
        # A word in an id's place may begin work of its own: `/videos/edits`.
        if _KEPT.search(path) is not None:
            return FREE
        return Route("video" if found.flavor == "video" else OTHER, stream=False)
    return found


def _asks_after(method: str, path: str) -> bool:
    """Whether a call can be one that only asks after work, or stops it."""
    return method.upper() in _READ_METHODS or path.endswith(_STOPS)


def _own(provider: Provider, path: str) -> Route | None:
    for endpoint in provider.endpoints:
        if (found := re.fullmatch(endpoint.path, path)) is not None:
            named = found.groupdict().get("model")
            return Route(endpoint.flavor, model=unquote(named) if named else None)
    return None


def _compatible(provider: Provider, method: str, path: str, query: str) -> Route:
    found = _by_end(provider, path)
    if found is None and provider.family is not Family.GENERIC:
        found = job_route(path, query)
    if found is not None:
        return found
    if provider.id == "mistral" and _CONVERSATION.search(path) is not None:
        return Route("conversations")
    if provider.id == "ollama" and path in _OLLAMA:
        return Route(_OLLAMA[path])
    if method.upper() in _READ_METHODS:
        return FREE
    return FREE if _KEPT.search(path) and not _BEGUN.search(path) else Route(OTHER)


def _by_end(provider: Provider, path: str) -> Route | None:
    for end, flavor in _ENDS:
        if path.endswith(end):
            if flavor in JOB_FLAVORS and provider.family is Family.GENERIC:
                # An unknown host means something of its own by such a word.
                return None
            deployment = _DEPLOYMENT.search(path)
            free = flavor == NO_USAGE or (
                flavor == "moderations" and Quirk.FREE_MODERATION in provider.quirks
            )
            model = unquote(deployment.group(1)) if deployment else None
            return Route(NO_USAGE if free else flavor, model=model, billable=not free)
    return None


_GEMINI = re.compile(r"(?:/publishers/([^/]+))?/(?:models|tunedModels|endpoints)/([^/]+):(\w+)$")
_GEMINI_ENDS = {
    "generateContent": Route("generate", stream=False),
    "streamGenerateContent": Route("generate", stream=True),
    "embedContent": Route("embed", stream=False),
    "batchEmbedContents": Route("embed", stream=False),
    "predict": Route("predict", stream=False),
    "predictLongRunning": Route("video", stream=False),
    # Names the operation in its body.
    "fetchPredictOperation": Route("video", stream=False, billable=False),
    "countTokens": Route(NO_USAGE, stream=False, billable=False),
    "computeTokens": Route(NO_USAGE, stream=False, billable=False),
}
_INTERACTION = re.compile(r"/interactions(?:/([^/]+))?(?:/cancel)?$")
_COMPATIBLE_PARTS = ("/openai/", "/endpoints/openapi/")


def _gemini(path: str, query: str) -> Route | None:
    del query
    found = _GEMINI.search(unquote(path))
    if found is not None:
        publisher, model, operation = found.groups()
        if operation in ("rawPredict", "streamRawPredict"):
            flavor = "messages" if publisher == "anthropic" else "chat"
            counting = model == "count-tokens"
            return Route(
                NO_USAGE if counting else flavor,
                model=model.partition("@")[0],
                stream=operation == "streamRawPredict",
                billable=not counting,
            )
        known = _GEMINI_ENDS.get(operation, Route(OTHER, stream=False))
        return Route(known.flavor, model=model, stream=known.stream, billable=known.billable)
    if (interaction := _INTERACTION.search(path)) is not None:
        ident = interaction.group(1)
        return Route("interactions", billable=ident is None, job_id=ident)
    if any(part in path for part in _COMPATIBLE_PARTS):
        return None
    # Files, caches, stores: kept, not metered.
    return operation_route(path) or FREE


_BEDROCK = re.compile(r"/model/(.+)/([a-z-]+)$")
_BEDROCK_ENDS = {
    "converse": ("converse", False),
    "converse-stream": ("converse", True),
    "invoke": ("invoke", False),
    "invoke-with-response-stream": ("invoke", True),
}


def _bedrock(path: str, query: str) -> Route | None:
    del query
    found = _BEDROCK.search(path)
    if found is None:
        return None
    model, operation = unquote(found.group(1)), found.group(2)
    if operation == "count-tokens":
        return Route(NO_USAGE, model=model, stream=False, billable=False)
    flavor, stream = _BEDROCK_ENDS.get(operation, (OTHER, False))
    return Route(flavor, model=model, stream=stream)


_COHERE = re.compile(r"^/v[12]/(chat|generate|summarize|embed|rerank|classify)$")


def _cohere(path: str, query: str) -> Route | None:
    del query
    found = _COHERE.search(path)
    if found is None:
        return None
    streams = found.group(1) in ("chat", "generate")
    return Route("cohere", stream=None if streams else False)


def _speech(path: str, query: str) -> Route | None:
    model = parse_qs(query).get("model", [None])[0]
    if "/text-to-speech/" in path or path.endswith("/speak"):
        return Route("speech", model=model, stream=False)
    if path.endswith(("/speech-to-text", "/listen", "/transcript")):
        return Route("duration", model=model, stream=False)
    return transcript_route(path)


_NATIVE: dict[Family, Callable[[str, str], Route | None]] = {
    Family.GEMINI: _gemini,
    Family.BEDROCK: _bedrock,
    Family.COHERE: _cohere,
    Family.SPEECH: _speech,
    Family.MEDIA: media_route,
}
