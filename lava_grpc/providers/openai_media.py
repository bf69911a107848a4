"""Usage of OpenAI-shaped image and audio endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.providers import counts
from lava_grpc.providers.openai import OpenAIReader


class ImagesReader(OpenAIReader):
    """Image generations, edits and variations; streams end with a `completed` event."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        super().document(document)
        pictures = document.get("data")
        if isinstance(pictures, list):
            self._pictures(len(pictures))

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        del name
        # Partial pictures are large and say nothing of usage.
        if b'"usage"' in data:
            event = counts.parse_json(data)
            if isinstance(event, Mapping):
                self.name(event)
                self.usage(event.get("usage"))
                self._pictures(self.counts.get("images", 0) + 1)
                self.complete = True
        elif b'"error"' in data:
            self.failed = True
        return False

    def _pictures(self, pictures: int) -> None:
        # Models priced by the piece state no usage; the pictures themselves are the count.
        self.state(images=pictures)
        self.stated = True

    @override
    def usage(self, usage: object) -> None:
        """Take over a `usage` object, whose output is pictures unless it says otherwise."""
        super().usage(usage)
        if not isinstance(usage, Mapping):
            return
        pictures = counts.count(usage, "output_tokens_details", "image_tokens")
        cached = counts.at(usage, "input_tokens_details", "cached_tokens_details")
        self.state(
            input_image_tokens=counts.count(usage, "input_tokens_details", "image_tokens"),
            cache_image_read_tokens=counts.count(cached, "image_tokens"),
            # genai-prices leaves this empty without details, which prices pictures as text.
            output_image_tokens=self.counts.get("output_tokens") if pictures is None else pictures,
        )


class TranscriptionReader(OpenAIReader):
    """Transcriptions and translations: billed by tokens, or by the length of the sound."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        super().document(document)
        usage = document.get("usage")
        # What is billed by tokens may say how long it is all the same (diarized_json).
        by_tokens = counts.count(usage, "input_tokens") is not None
        seconds = next(
            (
                found
                for stated in (
                    counts.at(usage, "seconds"),
                    counts.at(usage, "prompt_audio_seconds"),  # Mistral
                    None if by_tokens else document.get("duration"),  # verbose_json
                )
                if (found := counts.micros(stated)) is not None
            ),
            None,
        )
        if seconds is not None:
            self.stated = True
            self.state(input_micros=seconds)

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        del name
        self.add_text(data)
        if data == b"[DONE]" or b".done" in data:
            self.complete = True
        if b'"usage"' in data:
            event = counts.parse_json(data)
            if isinstance(event, Mapping):
                self.document(event)
        elif b'"error"' in data:
            self.failed = True
        return False


class SpeechReader(OpenAIReader):
    """Speech: characters in, known from the request; token models say more in SSE form."""

    @override
    def headers(self, headers: Mapping[str, str]) -> None:
        # ElevenLabs and Deepgram state what they will bill.
        stated = headers.get("character-cost") or headers.get("dg-char-count")
        characters = counts.whole(stated)
        self.state(input_characters=characters)
        # OpenAI's gpt models are billed by tokens, which a bare sound does not state.
        by_tokens = (self.call.model or "").startswith("gpt-")
        if characters is not None:
            self.stated = True
        elif self.call.request_usage.input_characters and not by_tokens:
            self.stated = True
            self.note = "characters counted from the request"
        self.remember("request_id", headers.get("request-id"))

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        del name
        if b'"usage"' in data:
            event = counts.parse_json(data)
            self.usage(counts.at(event, "usage"))
            # All that it says is sound.
            self.state(output_audio_tokens=self.counts.get("output_tokens"))
            self.complete = True
        return False
