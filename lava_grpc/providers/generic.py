"""Usage where the endpoint has no reader of its own: any shape that says what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.providers import counts
from lava_grpc.providers.base import JobSeen, JobState
from lava_grpc.providers.job_states import state_of
from lava_grpc.providers.openai import OpenAIReader
from lava_grpc.providers.reader import Reader, text_pattern


class NoUsageReader(Reader):
    """Calls that use nothing billable: lists, counts of tokens, files."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # That nothing was used is known, not guessed.
        self.stated = True

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.failed = bool(document.get("error"))

    @override
    def ended(self) -> None:
        self.complete = True


class GenericReader(OpenAIReader):
    """An unknown JSON answer.

    Reads a `usage` object of tokens in the common shapes, or of Lava's own:
    `tokens`, `characters`, `duration_seconds`.
    """

    @override
    def usage(self, usage: object) -> None:
        """Take over a `usage` object."""
        super().usage(usage)
        seconds = counts.micros(counts.at(usage, "duration_seconds"))
        characters = counts.count(usage, "characters")
        tokens = counts.count(usage, "tokens")
        if seconds is None and characters is None and tokens is None:
            return
        self.stated = True
        self.state(input_micros=seconds, input_characters=characters, input_tokens=tokens)

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        del name
        self.add_text(data)
        if b'"usage"' in data:
            event = counts.parse_json(data)
            if isinstance(event, Mapping):
                self.document(event)
        return False

    @override
    def ended(self) -> None:
        self.complete = True


class OcrReader(OpenAIReader):
    """Mistral's OCR: pages, dearer where they were annotated."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        super().document(document)
        pages = counts.count(document, "usage_info", "pages_processed")
        if pages is None:
            return
        self.stated = True
        annotated = isinstance(document.get("document_annotation"), str) or any(
            counts.at(image, "image_annotation") is not None for image in _images(document)
        )
        self.state(pages=pages, annotated_pages=pages if annotated else None)


class ConversationReader(OpenAIReader):
    """Mistral's conversations, whose stream closes with `conversation.response.done`."""

    text = text_pattern("content", "arguments")

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        self.add_text(data)
        if name == b"conversation.response.done" or b'"usage"' in data:
            self.usage(counts.at(counts.parse_json(data), "usage"))
            self.complete = True
        if name == b"conversation.response.error":
            self.failed = True
        return False

    @override
    def usage(self, usage: object) -> None:
        """Take over a `usage` object, with what connectors read and how often they were called."""
        super().usage(usage)
        read = counts.count(usage, "connector_tokens")
        if read:
            # Beside `prompt_tokens`, and billed as input.
            self.state(input_tokens=self.counts.get("input_tokens", 0) + read)
        called = counts.at(usage, "connectors")
        searches = counts.total_of(called, ("web_search",), ("web_search_premium",))
        self.state(web_searches=searches or None, images=counts.count(called, "image_generation"))


class OllamaReader(Reader):
    """Ollama's own chat, generate and embed, which stream a document a line."""

    text = text_pattern("content", "response", "thinking")

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        self.name(document)
        prompt = counts.count(document, "prompt_eval_count")
        output = counts.count(document, "eval_count")
        if prompt is not None or output is not None:
            self.stated = True
            self.state(input_tokens=prompt or 0, output_tokens=output)
        if document.get("error"):
            self.failed = True

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        del name
        self.add_text(data)
        if b'_count"' in data or b'"error"' in data or self.model is None:
            event = counts.parse_json(data)
            if isinstance(event, Mapping):
                self.document(event)
                self.complete = self.complete or event.get("done") is True
        return False


class DurationReader(Reader):
    """Transcription billed by the length of the sound: ElevenLabs, Deepgram, AssemblyAI."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        ident = document.get("transcription_id") or document.get("id")
        self.response_id = counts.text(ident or counts.at(document, "metadata", "request_id"))
        status = document.get("status")
        self.remember("job_status", status)
        self.model = counts.text(document.get("speech_model"))
        if self.response_id is not None and isinstance(status, str):
            # AssemblyAI writes it down meanwhile.
            self.job = JobSeen(self.response_id, state_of(status))
            self.failed = self.job.state is JobState.FAILED
        for stated in (
            counts.at(document, "metadata", "duration"),
            document.get("audio_duration"),
            document.get("audio_duration_secs"),
        ):
            seconds = counts.micros(stated)
            if seconds is not None:
                self.stated = True
                # Deepgram bills each channel that it writes down.
                channels = counts.count(document, "metadata", "channels") or 1
                self.state(input_micros=seconds * channels)
                return


def _images(document: Mapping[str, Any]) -> list[object]:
    pages = document.get("pages")
    found: list[object] = []
    for page in pages if isinstance(pages, list) else []:
        images = counts.at(page, "images")
        found += images if isinstance(images, list) else []
    return found
