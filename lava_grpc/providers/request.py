"""Reading a request: just enough of it to know what it asks for."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from lava_grpc.core.errors import invalid
from lava_grpc.core.usage import COUNT_MAX, MICROS_PER_SECOND, NOTHING, Usage
from lava_grpc.providers import counts, routes
from lava_grpc.providers.base import Call
from lava_grpc.providers.flavors import Flavor, flavor_at
from lava_grpc.providers.output_limits import output_limit
from lava_grpc.providers.provider import Provider, Quirk

CHOICES_MAX = 1024

TIER_CHARS_MAX = 64

VIDEO_SECONDS_DEFAULT = 8
"""How long a video is taken to be whose length nobody states."""

# Where the shapes say how long a video is to be.
_SECONDS = (
    ("seconds",),
    ("duration",),
    ("duration_seconds",),
    ("parameters", "durationSeconds"),
)
# Where the tier is asked for beside the body.
_TIER_HEADERS = {
    "bedrock": "x-amzn-bedrock-service-tier",
    "google-vertex": "x-vertex-ai-llm-shared-request-type",
}
# ElevenLabs' name for it, and AssemblyAI's.
_MODEL_KEYS = ("model", "model_id", "speech_model")
_CHOICES = (
    ("n",),
    ("best_of",),
    ("num_generations",),
    ("generationConfig", "candidateCount"),
    ("generationConfig", "candidate_count"),
    ("generation_config", "candidate_count"),
    ("generation_config", "candidateCount"),
)
_FORM_FIELD = re.compile(
    rb'name="?(model|model_id|stream|seconds|n)"?\r?\n(?:[^\r\n]+\r?\n)*\r?\n([^\r\n]{0,256})\r?\n'
)


def read_call(
    provider: Provider, method: str, url: str, headers: Mapping[str, str], body: bytes
) -> Call:
    """What a call asks for, as far as billing cares. Header names in any case.

    Refuses (INVALID_FIELD, field `body`) what is not JSON at an endpoint that
    takes nothing else. Whatever else is wrong with a body is the provider's to
    say, so a body that is missing or of another shape passes.
    """
    route = routes.route_of(provider, method, url)
    flavor = flavor_at(provider, route.flavor)
    form = _is_form(headers)
    document = None if form else _parse(body, must=flavor.json_request)
    fields = document if isinstance(document, Mapping) else {}
    form_fields = _form(body) if form else {}
    model = _model(fields) or form_fields.get("model") or form_fields.get("model_id")
    model = model or route.model
    return Call(
        provider=provider.id,
        flavor=route.flavor,
        method=method.upper(),
        url=url,
        model=model,
        stream=_stream(route, flavor, fields, form_fields),
        output_tokens_max=output_limit(route.flavor, model, fields) if flavor.generates else None,
        choices=_choices(fields or form_fields) if flavor.generates else 1,
        billable=route.billable,
        price_provider=_price_provider(provider, url, model),
        job_id=route.job_id or _job_in(route, fields),
        # Some hosts read 1 or "true" so; an answer that is whole at once is settled all the same.
        background=bool(fields.get("background")),
        request_usage=_request_usage(route.flavor, fields or form_fields),
        body=fields or None,
        service_tier=_service_tier(provider, fields, headers),
    )


def _service_tier(
    provider: Provider, fields: Mapping[str, Any], headers: Mapping[str, str]
) -> str | None:
    asked = fields.get("service_tier") or fields.get("serviceTier")
    if isinstance(asked, Mapping):
        asked = asked.get("type")  # Bedrock's converse
    header = _TIER_HEADERS.get(provider.id)
    if asked is None and header is not None:
        asked = next((value for name, value in headers.items() if name.lower() == header), None)
    return asked[:TIER_CHARS_MAX].lower() if isinstance(asked, str) and asked else None


def _is_form(headers: Mapping[str, str]) -> bool:
    return any(
        # Not x-www-form-urlencoded: that is what curl's -d says of any body, JSON too.
        name.lower() == "content-type" and "multipart/" in value.lower()
        for name, value in headers.items()
    )


def _parse(body: bytes, *, must: bool) -> object:
    if not body or body.isspace():
        return None
    if not must:
        return counts.parse_json(body) if body.lstrip()[:1] == b"{" else None
    try:
        return json.loads(body.decode(), parse_constant=_no_constant)
    except RecursionError:
        raise invalid("body", "is nested too deeply") from None
    except ValueError:
        raise invalid("body", "must be JSON") from None


def _no_constant(name: str) -> NoReturn:
    # NaN and Infinity are Python's, not JSON's.
    raise ValueError(name)


def _form(body: bytes) -> dict[str, str]:
    return {
        key.decode(): value.decode("utf-8", "replace") for key, value in _FORM_FIELD.findall(body)
    }


def _model(fields: Mapping[str, Any]) -> str | None:
    names = (fields.get(key) for key in _MODEL_KEYS)
    return next((name for found in names if (name := counts.text(found))), None)


def _stream(
    route: routes.Route, flavor: Flavor, fields: Mapping[str, Any], form: Mapping[str, str]
) -> bool:
    if route.stream is not None:
        return route.stream
    asked = fields.get("stream")
    if asked is None:
        return flavor.streams_unasked or form.get("stream") == "true"
    return asked is True


def _choices(fields: Mapping[str, Any]) -> int:
    return max([_choice(counts.at(fields, *path)) for path in _CHOICES])


def _choice(value: object) -> int:
    if isinstance(value, float):
        # Some hosts read 3.0 as three; 1e400 is infinite.
        return math.ceil(min(max(value, 1.0), float(CHOICES_MAX)))
    return min(counts.whole(value) or 1, CHOICES_MAX)


def _price_provider(provider: Provider, url: str, model: str | None) -> str | None:
    if Quirk.ROUTED_BY_PATH not in provider.quirks:
        return None
    # router.huggingface.co/<host behind>/v1/..., or /v1/... with a model "org/name:host".
    behind = urlsplit(url).path.split("/")[1]
    if behind == "v1":
        behind = (model or "").partition(":")[2]
    return f"{provider.id}_{behind}" if behind else None


def _job_in(route: routes.Route, fields: Mapping[str, Any]) -> str | None:
    # Vertex AI is asked after an operation by a body that names it. Anywhere else the word
    # means nothing: who wrote it into a chat would have that for free.
    if route.billable or route.flavor != "video":
        return None
    operation = counts.text(fields.get("operationName"))
    return operation.rpartition("/")[2] or None if operation else None


def _request_usage(flavor: str, fields: Mapping[str, Any]) -> Usage:
    if flavor == "video":
        return _seconds_to_make(fields)
    if flavor != "speech":
        return NOTHING
    spoken = fields.get("input", fields.get("text"))
    return Usage(input_characters=len(spoken)) if isinstance(spoken, str) else NOTHING


def _seconds_to_make(fields: Mapping[str, Any]) -> Usage:
    """How long a video is to be; the longest default of any provider where nobody says."""
    stated = (counts.micros(counts.at(fields, *path)) for path in _SECONDS)
    seconds = next(filter(None, stated), VIDEO_SECONDS_DEFAULT * MICROS_PER_SECOND)
    videos = counts.first_count(fields, ("parameters", "sampleCount"), ("n",)) or 1
    return Usage(output_micros=min(seconds * min(videos, CHOICES_MAX), COUNT_MAX))
