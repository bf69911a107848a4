"""Usage of Google's own endpoints: generateContent, embeddings, predictions, interactions.

The same shapes serve generativelanguage.googleapis.com and Vertex AI. Source:
the published REST reference, the official SDK's types, and recorded traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.providers import counts, job_states
from lava_grpc.providers.reader import Reader, text_pattern

# Vertex AI names the way a call was served; the words of its price list differ.
_TRAFFIC_TIERS = {
    "ON_DEMAND": "standard",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "PROVISIONED_THROUGHPUT": "provisioned",
}
# A document is read as pictures of its pages and billed so.
_PICTURES = frozenset(("IMAGE", "DOCUMENT"))
_AUDIO = frozenset(("AUDIO",))
_VIDEO = frozenset(("VIDEO",))
# The generation from which each search is billed; before it, each answer that searched is.
_BY_SEARCH = re.compile(r"gemini-(?:[3-9]|\d\d)")


class GenerateReader(Reader):
    """generateContent and its streams, in which each chunk restates the running usage."""

    text = text_pattern("text")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._fields: dict[str, object] = {}
        self._blocked = False

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.name(document, model="modelVersion", ident="responseId")
        if document.get("error"):
            self.failed = True
        if counts.at(document, "promptFeedback", "blockReason"):
            self._blocked = True
        metadata = document.get("usageMetadata")
        if isinstance(metadata, Mapping):
            self._usage(metadata)
        self._searches(document)

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        del name
        self.add_text(data)
        # Every chunk ends in usage, so every chunk is read.
        chunk = counts.parse_json(data)
        if isinstance(chunk, Mapping):
            self.document(chunk)
            self.complete = self.complete or b'"finishReason"' in data
        return False

    @override
    def ended(self) -> None:
        # A prompt that was blocked ends without a finish reason, and states usage.
        self.complete = self.complete or self._blocked

    def _usage(self, metadata: Mapping[str, Any]) -> None:
        self._fields.update({key: value for key, value in metadata.items() if value is not None})
        fields = self._fields
        # Zeros are left out of the metadata, so any of it is a statement.
        self.stated = self.stated or bool(fields)
        prompt = counts.count(fields, "promptTokenCount") or 0
        thoughts = counts.count(fields, "thoughtsTokenCount") or 0
        candidates = counts.first_count(fields, ("candidatesTokenCount",), ("responseTokenCount",))
        inputs = ("promptTokensDetails", "toolUsePromptTokensDetails")
        outputs = ("candidatesTokensDetails", "responseTokensDetails")
        cached = ("cacheTokensDetails",)
        self.state(
            # What tools put into the prompt is counted apart, and billed as input.
            input_tokens=prompt + (counts.count(fields, "toolUsePromptTokenCount") or 0),
            output_tokens=(candidates or 0) + thoughts,
            reasoning_tokens=thoughts,
            cache_read_tokens=counts.count(fields, "cachedContentTokenCount"),
            input_audio_tokens=_modality(fields, inputs, _AUDIO),
            input_image_tokens=_modality(fields, inputs, _PICTURES),
            input_video_tokens=_modality(fields, inputs, _VIDEO),
            output_audio_tokens=_modality(fields, outputs, _AUDIO),
            output_image_tokens=_modality(fields, outputs, _PICTURES),
            cache_audio_read_tokens=_modality(fields, cached, _AUDIO),
            cache_image_read_tokens=_modality(fields, cached, _PICTURES),
        )
        tier = fields.get("serviceTier") or _TRAFFIC_TIERS.get(str(fields.get("trafficType")))
        self.remember("service_tier", tier.lower() if isinstance(tier, str) else None)

    def _searches(self, document: Mapping[str, Any]) -> None:
        # Each is billed at the list price. What Google gives an account free in a day is the
        # account's, as any discount: it is nobody's call in particular.
        candidates = document.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else []:
            queries = counts.at(candidate, "groundingMetadata", "webSearchQueries")
            if isinstance(queries, list) and queries:
                self.extra["web_search_calls"] = str(len(queries))
                by_search = _BY_SEARCH.search(self.model or self.call.model or "") is not None
                self.state(web_searches=len(queries) if by_search else 1)


class EmbedReader(GenerateReader):
    """embedContent and batchEmbedContents; most answers state no usage at all."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        super().document(document)
        tokens = counts.count(document, "statistics", "tokenCount")
        if tokens is not None:
            self.stated = True
            self.state(input_tokens=tokens)


class PredictReader(Reader):
    """Vertex AI's `:predict`: embeddings with their token counts, or pictures."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        found = document.get("predictions")
        predictions = found if isinstance(found, list) else []
        tokens = [
            counted
            for prediction in predictions
            if (counted := counts.count(prediction, "embeddings", "statistics", "token_count"))
            is not None
        ]
        pictures = sum(counts.at(p, "bytesBase64Encoded") is not None for p in predictions)
        if tokens:
            self.state(input_tokens=sum(tokens))
        if pictures:
            self.state(images=pictures)
        self.stated = bool(tokens or pictures)


class InteractionsReader(Reader):
    """Interactions: a call whose history Google keeps. Totals are named as totals."""

    text = text_pattern("text", "arguments")

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.name(document)
        self.remember("job_status", document.get("status"))
        self.job = job_states.background(self.call, self.response_id, document.get("status"))
        self.failed = self.failed or bool(document.get("error"))
        usage = document.get("usage")
        if not isinstance(usage, Mapping):
            return
        self.stated = True
        thoughts = counts.count(usage, "total_thought_tokens")
        self.state(
            input_tokens=counts.total_of(
                usage, ("total_input_tokens",), ("total_tool_use_tokens",)
            ),
            output_tokens=(counts.count(usage, "total_output_tokens") or 0) + (thoughts or 0),
            reasoning_tokens=thoughts,
            cache_read_tokens=counts.count(usage, "total_cached_tokens"),
            input_audio_tokens=_modality(usage, ("input_tokens_by_modality",), _AUDIO),
            input_image_tokens=_modality(usage, ("input_tokens_by_modality",), _PICTURES),
            input_video_tokens=_modality(usage, ("input_tokens_by_modality",), _VIDEO),
            output_audio_tokens=_modality(usage, ("output_tokens_by_modality",), _AUDIO),
            output_image_tokens=_modality(usage, ("output_tokens_by_modality",), _PICTURES),
        )

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        self.add_text(data)
        if b'"usage"' in data or b'"interaction"' in data:
            interaction = counts.at(counts.parse_json(data), "interaction")
            if isinstance(interaction, Mapping):
                self.document(interaction)
        if b"interaction.complete" in name + data[:200]:
            self.complete = True
        if name == b"error":
            self.failed = True
        return False


def _modality(
    fields: Mapping[str, object], lists: tuple[str, ...], kinds: frozenset[str]
) -> int | None:
    """The tokens of some kinds over lists of counts by modality; None where none is listed."""
    found: list[int] = []
    for key in lists:
        entries = fields.get(key)
        for entry in entries if isinstance(entries, list) else []:
            kind = counts.at(entry, "modality")
            tokens = counts.first_count(entry, ("tokenCount",), ("tokens",))
            if isinstance(kind, str) and kind.upper() in kinds and tokens is not None:
                found.append(tokens)
    return sum(found) if found else None
