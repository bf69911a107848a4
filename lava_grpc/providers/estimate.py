"""Bounds for holds: what a call can cost at most, before it is made.

Input is never more tokens than the body has bytes, beside what the provider
itself puts around it, and never more than the model's context window. Where the
body points at more than it holds, a documented bound below stands in, or the
context window does. Output is bounded by the request's own limit, else by the
model's, times the number of choices. Both are priced at the dearest rate that
could apply to them, at the time `at`: settle a call at the prices of the time
its hold was made, or a price that rises in between is beyond the bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from msgspec import structs

from lava_grpc.core.money import AMOUNT_MAX, Amount, divide_up
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import COUNT_MAX, NOTHING, Usage
from lava_grpc.providers import bounds, counts
from lava_grpc.providers.base import Call, UsageReading
from lava_grpc.providers.limits import CONTEXT_TOKENS_DEFAULT, OUTPUT_TOKENS_DEFAULT
from lava_grpc.providers.prices import PriceBook
from lava_grpc.providers.provider import Provider, Quirk
from lava_grpc.providers.rates import MILLION, Rate, Rates, round_up
from lava_grpc.providers.request_content import Content, content_of
from lava_grpc.providers.routes import NO_USAGE

_ROUTERS = frozenset(("openrouter", "vercel-gateway"))
# Shapes in which writing to the cache has to be asked for.
_ASKED_CACHE = frozenset(("messages", "converse", "invoke"))
_REQUEST_FACTS = ("speed", "inference_geo")
_BATCHED = frozenset(("embeddings", "embed", "predict", "ollama_embed", "rerank", "moderations"))
_BATCHED_PATHS = frozenset(("embed", "rerank", "classify"))
_SOUND_IN = frozenset(("transcription", "duration"))
# A form that names its sound by an address or an id, in place of holding it.
_SOUND_ELSEWHERE = re.compile(
    rb'name="?(?:url|file_url|file_id|audio_url|source_url|cloud_storage_url)"?\r?\n'
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An upper bound on a call.

    `output_cost` is the part of `cost` that shrinks in proportion with fewer
    output tokens than `usage.output_tokens`; so are `input_cost` and
    `search_cost` for input tokens and web searches. `priced` is False where
    nobody knows the model's price; `cost` is then zero. `input_guess` is not a
    bound: it is how many input tokens such a body most likely has.
    """

    usage: Usage
    cost: Amount
    output_cost: Amount
    priced: bool
    input_guess: int = 0
    input_cost: Amount = 0
    search_cost: Amount = 0


def estimate(
    provider: Provider, call: Call, body: bytes, prices: PriceBook, at: Instant
) -> Estimate:
    """The most that `call` with this body can use and cost."""
    if call.flavor == NO_USAGE or not call.billable:
        return Estimate(NOTHING, 0, 0, priced=True)
    content = content_of(call.body, call.model)
    limits = prices.model_limits(provider, call.model)
    window = limits.context_window or CONTEXT_TOKENS_DEFAULT
    into = _input(call, body, content, window)
    out = _output(provider, call, limits.max_output or min(window, OUTPUT_TOKENS_DEFAULT))
    usage = _pieces(call, body, content, structs.replace(into, output_tokens=out))
    guess = (
        divide_up(content.text_bytes, bounds.BYTES_PER_TOKEN)
        + content.images * bounds.IMAGE_TOKENS_GUESS
    )
    guess = min(guess, usage.input_tokens)
    found = _rates(provider, call, prices, at)
    if not found:
        return Estimate(usage, 0, 0, priced=False, input_guess=guess)
    factor = bounds.ROUTER_FACTOR if provider.id in _ROUTERS else 1
    dearest = max([_input_prices(rates, call, body, content, usage) for rates in found], key=sum)
    dearest_out = max(_output_rate(rates, call, usage) for rates in found)
    output_cost = round_up(usage.output_tokens * dearest_out * factor)
    cost = round_up(sum(dearest) * factor) + output_cost
    tokens, searches, _ = dearest
    return Estimate(
        usage,
        min(cost, AMOUNT_MAX),
        output_cost,
        priced=True,
        input_guess=guess,
        input_cost=round_up(tokens * factor),
        search_cost=round_up(searches * factor),
    )


def narrowed(
    bound: Estimate, *, input_tokens: int, output_tokens: int, web_searches: int
) -> Estimate:
    """`bound` with no more than these tokens and searches, at the rates that it was made with."""
    most = bound.usage
    usage = structs.replace(
        most,
        input_tokens=min(input_tokens, most.input_tokens),
        output_tokens=min(output_tokens, most.output_tokens),
        web_searches=min(web_searches, most.web_searches),
    )
    parts = (
        (bound.input_cost, usage.input_tokens, most.input_tokens),
        (bound.output_cost, usage.output_tokens, most.output_tokens),
        (bound.search_cost, usage.web_searches, most.web_searches),
    )
    scaled = [divide_up(cost * some, whole) if whole else cost for cost, some, whole in parts]
    saved = sum([cost - less for (cost, _, _), less in zip(parts, scaled, strict=True)])
    return replace(
        bound,
        usage=usage,
        cost=max(bound.cost - saved, 0),
        input_cost=scaled[0],
        output_cost=scaled[1],
        search_cost=scaled[2],
    )


def settle_estimate(call: Call, reading: UsageReading, estimate: Estimate) -> Usage:
    """The likely usage of an answer that stated none, or was cut off before it did.

    What the provider did state stays (Anthropic states the input first). Input
    is otherwise guessed from the body, output from the text seen so far; a guess
    is never above the hold's bound.
    """
    bound = estimate.usage
    known = reading.usage if reading.usage != NOTHING else call.request_usage
    seen = divide_up(reading.output_bytes_seen, bounds.BYTES_PER_TOKEN)
    if call.flavor == "speech":
        # Plain sound states no tokens and shows no text.
        spoken = call.request_usage.input_characters
        seen = max(seen, divide_up(spoken * bounds.SPEECH_TENTHS_PER_CHARACTER_GUESS, 10))
    output = max(known.output_tokens, min(seen, bound.output_tokens))
    return structs.replace(
        known, input_tokens=known.input_tokens or estimate.input_guess, output_tokens=output
    )


def _input(call: Call, body: bytes, content: Content, window: int) -> Usage:
    if call.flavor in _SOUND_IN:
        return _sound(call, body)
    if call.flavor == "batch":
        # Each of its calls has a window of its own.
        calls = _batch(call)
        tokens = len(body) + len(calls) * bounds.PROMPT_TOKENS
        tokens += content.images * bounds.IMAGE_TOKENS_MAX + content.tools * len(calls) * (
            bounds.TOOL_PROMPT_TOKENS
        )
        return Usage(
            input_tokens=min(len(calls) * window if content.unbounded else tokens, COUNT_MAX)
        )
    tokens = len(body) + bounds.PROMPT_TOKENS + content.tools * bounds.TOOL_PROMPT_TOKENS
    tokens += content.images * _image_tokens(call.model)
    if content.tool_search:
        tokens *= bounds.TOOL_SEARCHES_MAX
    if _batched(call):
        # A batch's items have a window each, and all its documents are read with the query.
        return Usage(input_tokens=_paired(call.body, tokens))
    if call.flavor == "images" and call.body is None:
        tokens += bounds.FORM_IMAGES_MAX * bounds.IMAGE_TOKENS_MAX
    return Usage(input_tokens=window if content.unbounded else min(tokens, window))


def _batched(call: Call) -> bool:
    """Whether a call embeds or ranks: no text comes out, and each item has a window of its own."""
    if call.flavor in {"cohere", "invoke", "other"}:
        operation = urlsplit(call.url).path.rstrip("/").rpartition("/")[2]
        return operation in _BATCHED_PATHS or "embed" in (call.model or "")
    return call.flavor in _BATCHED


def _image_tokens(model: str | None) -> int:
    for name, tokens in bounds.IMAGE_TOKENS_MAX_BY_MODEL.items():
        if name in (model or ""):
            return tokens
    return bounds.IMAGE_TOKENS_MAX


def _paired(body: Mapping[str, Any] | None, tokens: int) -> int:
    documents = (body or {}).get("documents")
    query = (body or {}).get("query")
    if isinstance(documents, list) and isinstance(query, str):
        tokens += len(documents) * len(query.encode())
    return min(tokens, COUNT_MAX)


def _sound(call: Call, body: bytes) -> Usage:
    """Sound that the body holds is bounded by its bytes, what it points at by its length."""
    if call.body is None and _SOUND_ELSEWHERE.search(body) is None:
        seconds = divide_up(len(body), bounds.AUDIO_BYTES_PER_SECOND_MIN)
        return Usage(input_tokens=len(body), input_micros=seconds * MILLION)
    seconds = bounds.AUDIO_SECONDS_MAX
    tokens = len(body) + seconds * bounds.AUDIO_TOKENS_PER_SECOND_MAX
    return Usage(input_tokens=tokens, input_micros=seconds * MILLION)


def _batch(call: Call) -> Sequence[object]:
    """The calls that a batch lists; one where it names a file, which nobody can see into."""
    listed = (call.body or {}).get("requests")
    return listed if isinstance(listed, list) and listed else [None]


def _batch_output(call: Call, longest: int) -> int:
    limits = [counts.count(item, "params", "max_tokens") or longest for item in _batch(call)]
    return min(sum(limits), COUNT_MAX)


def _output(provider: Provider, call: Call, longest: int) -> int:
    match call.flavor:
        case "speech":
            return call.request_usage.input_characters * bounds.SPEECH_TOKENS_PER_CHARACTER
        case "images":
            return call.choices * bounds.PICTURE_TOKENS_MAX
        case "transcription":
            return bounds.TRANSCRIPT_TOKENS_MAX
        case "ocr" | "duration" | "batch_results" | "video":
            return 0
        case "batch":
            return _batch_output(call, longest)
        case _:
            pass
    if _batched(call):
        return 0
    limit = call.output_tokens_max or longest
    if Quirk.SEARCH_PARTS_APART in provider.quirks:
        # Reasoning and citations are beside the limit.
        limit = max(limit, longest)
    return min(limit * call.choices, COUNT_MAX)


def _pieces(call: Call, body: bytes, content: Content, usage: Usage) -> Usage:
    known = call.request_usage
    usage = structs.replace(
        usage, input_characters=known.input_characters, output_micros=known.output_micros
    )
    if content.server_tools:
        calls = bounds.TOOL_CALLS_MAX
        usage = structs.replace(usage, web_searches=calls, file_searches=calls)
    match call.flavor:
        case "images":
            return structs.replace(usage, images=call.choices)
        case "predict":
            return structs.replace(usage, images=_pictures(call))
        case "ocr":
            listed = (call.body or {}).get("pages")
            pages = len(listed) if isinstance(listed, list) and listed else bounds.PAGES_MAX
            return structs.replace(
                usage, pages=pages, annotated_pages=pages * (b"annotation" in body)
            )
        case "rerank" | "cohere":
            documents = (call.body or {}).get("documents")
            count = len(documents) if isinstance(documents, list) else 0
            return structs.replace(usage, search_units=max(1, count))
        case _:
            return usage


def _pictures(call: Call) -> int:
    """How many pictures Imagen makes: of each of its instances."""
    listed = (call.body or {}).get("instances")
    instances = len(listed) if isinstance(listed, list) else 1
    each = counts.count(call.body, "parameters", "sampleCount") or bounds.PICTURES_DEFAULT
    return min(max(instances, 1) * each, COUNT_MAX)


def _rates(provider: Provider, call: Call, prices: PriceBook, at: Instant) -> list[Rates]:
    """The rates of the call as it asks to be served, and as it may be served instead."""
    body = call.body or {}
    asked = {key: body[key] for key in _REQUEST_FACTS if isinstance(body.get(key), str)}
    tiers = [{}, *({"service_tier": tier} for tier in prices.possible_tiers(provider, call))]
    found = [
        prices.rates(provider, call, (call.model,), facts | tier, at)
        for facts in ([asked, {}] if asked else [{}])
        for tier in tiers
    ]
    return [priced.rates for priced in found if priced is not None]


def _input_prices(
    rates: Rates, call: Call, body: bytes, content: Content, usage: Usage
) -> tuple[int, int, int]:
    """What the input tokens come to, the searches, and all else that is no output."""
    parts = [rates.input, rates.cache_read]
    if call.flavor not in _ASKED_CACHE or b"cache" in body:
        parts.append(rates.cache_write)
        if b"1h" in body:
            parts.append(rates.cache_write_1h)
    if content.audio or content.unbounded or call.flavor in _SOUND_IN:
        parts += [rates.input_audio, rates.cache_audio_read]
    if content.images or content.unbounded or call.flavor == "images":
        parts += [rates.input_image, rates.cache_image_read]
    if content.unbounded:
        parts.append(rates.input_video)
    dearest = max(part.highest(usage.input_tokens) for part in parts)
    # A call is one or the other: fifty of the dearer kind.
    tool_call = bounds.TOOL_CALL_PRICE.base if content.server_tools else 0
    search = max(rates.web_search.base, rates.file_search.base, tool_call)
    page = max(rates.page.base, rates.annotated_page.base if usage.annotated_pages else 0)
    rest = (
        rates.request.base
        + usage.input_characters * rates.input_character.base
        + max(usage.input_micros, rates.input_micros_min * bool(usage.input_micros))
        * rates.input_micro.base
        + usage.search_units * rates.search_unit.base
        + usage.pages * page
        + usage.images * rates.image.base
        + usage.output_micros * rates.output_micro.base
    )
    return usage.input_tokens * dearest, usage.web_searches * search, rest


def _output_rate(rates: Rates, call: Call, usage: Usage) -> int:
    parts: list[Rate] = [rates.output, rates.reasoning, rates.citation]
    made = _modalities(call)
    if call.flavor == "speech" or any(word in made for word in ("audio", "tts", "live")):
        parts.append(rates.output_audio)
    if call.flavor == "images" or any(word in made for word in ("image", "banana")):
        parts.append(rates.output_image)
    return max(part.highest(usage.input_tokens) for part in parts)


def _modalities(call: Call) -> str:
    """What the request says that its answer is made of, and the model's name, in lower case."""
    body = call.body or {}
    config = body.get("generationConfig")
    asked = config.get("responseModalities") if isinstance(config, Mapping) else None
    audio = "audio" if body.get("audio") else ""
    return f"{call.model} {body.get('modalities')} {asked} {audio}".lower()
