"""Usage of Amazon Bedrock: converse, invoke, and their event streams.

Source of the shapes: the service's published API models, the inference
parameter pages of each model family, and recorded traffic.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.providers import counts
from lava_grpc.providers.anthropic import MessagesReader
from lava_grpc.providers.reader import Reader, text_pattern

_CACHED_IN = (("cacheReadInputTokens",), ("cacheReadInputTokenCount",))
_CACHED_OUT = (("cacheWriteInputTokens",), ("cacheWriteInputTokenCount",))
_METRICS = "amazon-bedrock-invocationMetrics"
_HEADER = "x-amzn-bedrock-"


class ConverseReader(Reader):
    """converse and converse-stream, whose last event is `metadata` with the usage."""

    text = text_pattern("text", "input")

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.remember("service_tier", counts.at(document, "serviceTier", "type"))
        self.usage(document.get("usage"))

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        if name == b"contentBlockDelta":
            self.add_text(data)
        elif name == b"metadata":
            event = counts.parse_json(data)
            if isinstance(event, Mapping):
                self.document(event)
            self.complete = True
        elif name == b"messageStop":
            self.complete = True
        elif name.endswith((b"Exception", b"error")):
            self.failed = True
        return False

    def usage(self, usage: object) -> None:
        """Take over a `usage` object, whose input leaves out what the cache served or took."""
        fresh = counts.count(usage, "inputTokens")
        if fresh is None:
            return
        read = counts.first_count(usage, *_CACHED_IN)
        write = counts.first_count(usage, *_CACHED_OUT)
        self.stated = True
        self.state(
            input_tokens=fresh + (read or 0) + (write or 0),
            output_tokens=counts.count(usage, "outputTokens"),
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_1h_tokens=_one_hour(counts.at(usage, "cacheDetails")),
        )


class InvokeReader(MessagesReader, ConverseReader):
    """invoke: each model family answers in its own shape, so the shape is looked at.

    Families that state nothing in the body (Cohere, Mistral, Titan images) are
    read from the token headers that Bedrock sets on every answer.
    """

    text = text_pattern("text", "generation", "outputText", "content", "thinking", "partial_json")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # The model stated all of its usage by itself.
        self._totals = False

    @override
    def headers(self, headers: Mapping[str, str]) -> None:
        self._metrics(
            fresh=counts.whole(headers.get(_HEADER + "input-token-count")),
            output=counts.whole(headers.get(_HEADER + "output-token-count")),
            read=counts.whole(headers.get(_HEADER + "cache-read-input-token-count")),
            write=counts.whole(headers.get(_HEADER + "cache-write-input-token-count")),
        )

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.name(document)
        self.usage(document.get("usage"))
        self._own_counts(document)

    @override
    def usage(self, usage: object) -> None:
        """Take over a `usage` object in the shape of Anthropic, converse or OpenAI."""
        self._totals = self._totals or isinstance(usage, Mapping)
        if counts.count(usage, "inputTokens") is not None:
            ConverseReader.usage(self, usage)
        elif counts.count(usage, "prompt_tokens") is not None:
            self.stated = True
            self.state(
                input_tokens=counts.count(usage, "prompt_tokens"),
                output_tokens=counts.count(usage, "completion_tokens"),
                cache_read_tokens=counts.count(usage, "prompt_tokens_details", "cached_tokens"),
                reasoning_tokens=counts.count(
                    usage, "completion_tokens_details", "reasoning_tokens"
                ),
            )
        else:
            MessagesReader.usage(self, usage)

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        if name.endswith((b"Exception", b"error")):
            self.failed = True
            return False
        inner = _unwrapped(data)
        self.add_text(inner)
        event = counts.parse_json(inner)
        if not isinstance(event, Mapping):
            return False
        self.message_event(event)
        if isinstance(event.get("metadata"), Mapping):  # Nova streams as converse does
            self.usage(counts.at(event, "metadata", "usage"))
        elif event.get("type") is None:
            self.document(event)
        metrics = event.get(_METRICS)
        if isinstance(metrics, Mapping):
            self.complete = True
            # AWS's own totals: of models that count in every event, or not at all.
            if not self._totals:
                self._metrics(
                    fresh=counts.count(metrics, "inputTokenCount"),
                    output=counts.count(metrics, "outputTokenCount"),
                    read=counts.count(metrics, "cacheReadInputTokenCount"),
                    write=counts.count(metrics, "cacheWriteInputTokenCount"),
                )
        return False

    def _own_counts(self, document: Mapping[str, Any]) -> None:
        """Llama's and Titan's counts, which stand beside the answer's text."""
        prompt = counts.first_count(document, ("prompt_token_count",), ("inputTextTokenCount",))
        output = counts.first_count(
            document, ("generation_token_count",), ("totalOutputTextTokenCount",)
        )
        if prompt is None and output is None:
            return
        results = document.get("results")
        if output is None and isinstance(results, list):
            output = sum(counts.count(result, "tokenCount") or 0 for result in results)
        self.stated = True
        self.state(input_tokens=prompt, output_tokens=output)

    def _metrics(
        self, *, fresh: int | None, output: int | None, read: int | None, write: int | None
    ) -> None:
        if fresh is None:
            return
        self.stated = True
        self.state(
            input_tokens=fresh + (read or 0) + (write or 0),
            output_tokens=output,
            cache_read_tokens=read,
            cache_write_tokens=write,
        )


def _one_hour(details: object) -> int | None:
    for entry in details if isinstance(details, list) else []:
        if counts.at(entry, "ttl") == "1h":
            return counts.count(entry, "inputTokens")
    return None


def _unwrapped(data: bytes) -> bytes:
    """The model's own event, which an invoke stream carries in base64."""
    inner = counts.at(counts.parse_json(data), "bytes")
    if not isinstance(inner, str):
        return data
    try:
        return base64.b64decode(inner)
    except (binascii.Error, ValueError):
        return b""
