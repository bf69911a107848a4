"""Usage in the shapes of OpenAI: chat, completions, embeddings and responses.

Source of the shapes: the published types of the official SDKs of OpenAI and
of the compatible hosts named below, and recorded traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.providers import counts, job_states
from lava_grpc.providers.provider import Quirk
from lava_grpc.providers.reader import Reader, text_pattern

# A usage object, not the `"usage":null` of every other chunk. On a stream this
# decides whether an event is parsed at all.
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
# Hosts that open with chunks that name no model (Azure) name it soon after.
_OPENING_EVENTS = 5

_CACHED = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cache_read_input_tokens"),  # Perplexity
    ("cached_tokens",),  # Moonshot, Together, Anthropic's compatible endpoint
    ("prompt_cache_hit_tokens",),  # DeepSeek before it took over OpenAI's details
    ("cache_read_input_tokens",),  # Databricks
    ("cached_prompt_text_tokens",),  # xAI, older answers
)
_REASONING = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),
)
_SEARCHING = re.compile(r"-search-(?:preview|api)\b")
# One US dollar in the ticks that xAI states its price in.
_XAI_TICKS_EXPONENT = 10


class OpenAIReader(Reader):
    """What every answer in OpenAI's shapes has in common: its `usage` object."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.name(document)
        self.remember("service_tier", document.get("service_tier"))
        if document.get("error"):
            self.failed = True
        self.usage(document.get("usage"))

    def usage(self, usage: object) -> None:
        """Take over a `usage` object; anything else says nothing."""
        if not isinstance(usage, Mapping):
            return
        prompt = counts.first_count(usage, ("prompt_tokens",), ("input_tokens",))
        completion = counts.first_count(usage, ("completion_tokens",), ("output_tokens",))
        total = counts.count(usage, "total_tokens")
        self._cost(usage)
        if prompt is None and completion is None and total is None:
            return
        self.stated = True
        if prompt is None:
            # Embeddings of hosts that state a total alone (Voyage AI, Jina).
            prompt = max(0, (total or 0) - (completion or 0))
        reasoning = counts.first_count(usage, *_REASONING)
        self.state(
            input_tokens=prompt,
            output_tokens=self._output(usage, prompt, completion or 0, total, reasoning or 0),
            reasoning_tokens=reasoning,
            cache_read_tokens=counts.first_count(usage, *_CACHED),
            cache_write_tokens=counts.first_count(
                usage,
                ("prompt_tokens_details", "cache_write_tokens"),
                ("input_tokens_details", "cache_write_tokens"),
            ),
            web_searches=counts.first_count(
                usage,
                ("num_search_queries",),
                ("tool_calls_details", "search_web", "invocation"),
            ),
        )
        self._modalities(usage)

    def _output(
        self,
        usage: Mapping[str, Any],
        prompt: int,
        completion: int,
        total: int | None,
        reasoning: int,
    ) -> int:
        quirks = self.provider.quirks
        if Quirk.SEARCH_PARTS_APART in quirks:
            apart = counts.count(usage, "reasoning_tokens") or 0
            citations = counts.count(usage, "citation_tokens")
            self.state(citation_tokens=citations)
            return completion + apart + (citations or 0)
        if Quirk.THINKING_IN_TOTAL in quirks and total and not reasoning:
            # Gemini's compatible endpoint leaves thinking out of completion_tokens, though
            # it bills it as output. genai-prices reads completion_tokens alone here, and
            # so bills a thinking model too little.
            thinking = max(0, total - prompt - completion)
            self.state(reasoning_tokens=thinking or None)
            return completion + thinking
        if Quirk.REASONING_APART in quirks or Quirk.THINKING_IN_TOTAL in quirks:
            # xAI counts reasoning beside completion_tokens. Where the total shows that an
            # answer already includes it, it is not added twice; genai-prices always adds.
            return completion if total == prompt + completion else completion + reasoning
        return completion

    def _modalities(self, usage: Mapping[str, Any]) -> None:
        self.state(
            input_audio_tokens=counts.first_count(
                usage,
                ("prompt_tokens_details", "audio_tokens"),
                ("input_token_details", "audio_tokens"),
                ("input_tokens_details", "audio_tokens"),
            ),
            output_audio_tokens=counts.first_count(
                usage,
                ("completion_tokens_details", "audio_tokens"),
                ("output_token_details", "audio_tokens"),
            ),
            input_image_tokens=counts.count(usage, "prompt_tokens_details", "image_tokens"),
            output_image_tokens=counts.count(usage, "completion_tokens_details", "image_tokens"),
            # Mistral bills sound by its length beside the tokens; genai-prices' extractor
            # leaves the seconds out, though it lists their price.
            input_micros=counts.micros(usage.get("prompt_audio_seconds")),
        )

    def _cost(self, usage: Mapping[str, Any]) -> None:
        # The host's own price: OpenRouter and some gateways state a number, Perplexity an
        # object with its total, DeepInfra an "estimate" that is its price, xAI ticks.
        ticks = counts.whole(usage.get("cost_in_usd_ticks"))
        if ticks is not None:
            whole, part = divmod(ticks, 10**_XAI_TICKS_EXPONENT)
            self.stated_cost = f"{whole}.{part:0{_XAI_TICKS_EXPONENT}d}"
            return
        for price in (
            usage.get("cost"),
            counts.at(usage, "cost", "total_cost"),
            usage.get("estimated_cost"),
        ):
            self.stated_cost = counts.amount_text(price) or self.stated_cost
        for price in (
            counts.at(usage, "cost", "output_tokens_cost"),
            counts.at(usage, "cost_details", "upstream_inference_completions_cost"),
        ):
            self.remember("stated_output_cost", counts.amount_text(price))
        if usage.get("is_byok") is True:
            self.extra["byok"] = "true"


class ChatReader(OpenAIReader):
    """Chat completions and completions, and their streams.

    A stream states usage in a last chunk with no choices (OpenAI, when asked),
    in the last chunk with choices (Mistral, Z.ai), within that choice (Moonshot),
    or under `x_groq`; some repeat a running count in every chunk. The last wins.
    """

    text = text_pattern("content", "reasoning_content", "reasoning", "arguments", "refusal", "text")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._events = 0

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        super().document(document)
        self._searched()
        if not self.stated:
            self.usage(counts.at(document, "result", "usage"))  # Cloudflare's own envelope
            self.model = self.model or counts.text(counts.at(document, "result", "model"))

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        if data == b"[DONE]":
            self.complete = True
            return False
        self.add_text(data)
        self._events += 1
        opening = self.model is None and self._events <= _OPENING_EVENTS
        finished = _FINISHED.search(data) is not None
        has_usage = _USAGE.search(data) is not None
        if finished or opening or has_usage or name == b"error" or b'"error"' in data:
            return self._chunk(counts.parse_json(data), name, finished=finished)
        return False

    def _chunk(self, chunk: object, name: bytes, *, finished: bool) -> bool:
        if not isinstance(chunk, Mapping):
            # Cut off, it finishes nothing, whatever it began to say.
            return False
        self.complete = self.complete or finished
        self.name(chunk)
        self.remember("service_tier", chunk.get("service_tier"))
        # Groq says under `x_groq` why it stopped a stream early.
        if chunk.get("error") or name == b"error" or counts.at(chunk, "x_groq", "error"):
            self.failed = True
        self.usage(counts.at(chunk, "x_groq", "usage"))
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                self.usage(counts.at(choice, "usage"))
        usage = chunk.get("usage")
        self.usage(usage)
        self._searched()
        return choices == [] and isinstance(usage, Mapping)

    def _searched(self) -> None:
        # OpenAI's search models search once in every call, and count nothing.
        model = self.model or self.call.model or ""
        if self.stated and _SEARCHING.search(model) and "web_searches" not in self.counts:
            self.state(web_searches=1)


class ResponsesReader(OpenAIReader):
    """Responses, their compaction, and their typed streams."""

    text = text_pattern("delta")

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        super().document(document)
        self.remember("job_status", document.get("status"))
        self.job = job_states.background(self.call, self.response_id, document.get("status"))
        if document.get("status") == "failed":
            self.failed = True
        # Pictures made on the way are another model's tokens, at that model's price.
        for kind in ("input_tokens", "output_tokens"):
            if made := counts.count(document, "tool_usage", "image_gen", kind):
                self.extra[f"image_gen_{kind}"] = str(made)
        self._tool_calls(document)

    def _tool_calls(self, document: Mapping[str, Any]) -> None:
        """Count the tool calls that are billed by the piece, as stated, else as they show.

        Of a web search's calls only those that search are billed, not those that open
        a page that was found.
        """
        output = document.get("output")
        items = [item for item in output if _happened(item)] if isinstance(output, list) else []
        searches = [item for item in items if item.get("type") == "web_search_call"]
        actions = [counts.text(counts.at(item, "action", "type")) for item in searches]
        billed = sum(action in {None, "search"} for action in actions)
        stated = counts.count(document, "tool_usage", "web_search", "num_requests")
        self.state(
            web_searches=stated if stated is not None else billed or None,
            file_searches=sum(item.get("type") == "file_search_call" for item in items) or None,
        )
        if searches:
            self.extra["web_search_calls"] = str(len(searches))

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        if data == b"[DONE]":
            return False
        kind = name or _kind_of(data)
        if kind.endswith(b".delta"):
            self.add_text(data)
        elif kind in _RESPONSE_ENDS or (kind == b"response.created" and self.model is None):
            self._response(counts.at(counts.parse_json(data), "response"))
            self.complete = self.complete or kind in _RESPONSE_ENDS
        elif kind == b"error":
            self.failed = True
        return False

    def _response(self, response: object) -> None:
        if isinstance(response, Mapping):
            self.document(response)


def _happened(item: object) -> bool:
    """Whether an output item is of a call that was not broken off."""
    return isinstance(item, Mapping) and item.get("status") != "failed"


_RESPONSE_ENDS = frozenset(
    (b"response.completed", b"response.incomplete", b"response.failed", b"response.cancelled")
)
_KIND = re.compile(rb'"type"\s*:\s*"([a-z_.]+)"')


def _kind_of(data: bytes) -> bytes:
    """The event's type where the stream has no `event:` lines."""
    found = _KIND.search(data)
    if found is None:
        return b"error" if b'"error"' in data else b""
    if not found.group(1).startswith(b"response."):
        # A nested type came first: read the event properly.
        kind = counts.at(counts.parse_json(data), "type")
        return kind.encode() if isinstance(kind, str) else b""
    return found.group(1)
