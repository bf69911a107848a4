"""Batches: many calls in a file or a list, whose answers are fetched later, at half the price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.core.usage import FIELDS, NOTHING, Usage
from lava_grpc.providers import counts
from lava_grpc.providers.anthropic import MessagesReader
from lava_grpc.providers.base import JobSeen, JobState, UsageReading
from lava_grpc.providers.job_states import state_of
from lava_grpc.providers.openai import ChatReader, OpenAIReader, ResponsesReader
from lava_grpc.providers.reader import Reader

PART_TOKENS_MAX = 100_000
"""Answers are priced together up to so much input: no price depends on less of it."""

PARTS_MAX = 10_000
"""Into how many parts a total is cut at most, to be priced as the calls it is made of."""

_BATCH = "batch"


class BatchReader(OpenAIReader):
    """A batch as it was made, or as it is by now: of OpenAI, Anthropic, Mistral and the like."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        inner = document.get("job")
        if isinstance(inner, Mapping):
            # Together's envelope.
            document = inner
        super().document(document)
        self.extra["processing"] = _BATCH
        if self.response_id is None:
            self.failed = True
            return
        status = document.get("processing_status") or document.get("status")
        self.remember("job_status", status)
        self.job = self._seen(document, self.response_id, status)
        self.failed = self.failed or self.job.state is JobState.FAILED

    @override
    def reading(self) -> UsageReading:
        found = super().reading()
        if not self.stated:
            return found
        return UsageReading(
            usage=found.usage,
            stated=True,
            model=found.model,
            response_id=found.response_id,
            complete=found.complete,
            failed=found.failed,
            extra=found.extra,
            job=found.job,
            parts=tuple((found.model, part) for part in cut(found.usage)),
        )

    def _seen(self, document: Mapping[str, Any], ident: str, status: object) -> JobSeen:
        state = state_of(status)
        if state is JobState.RUNNING:
            # Counts of a batch that goes on are no totals.
            self.stated, self.counts = False, {}
            return JobSeen(ident, state)
        if self.stated and any(self.counts.values()):
            return JobSeen(ident, JobState.ENDED)
        self.stated, self.counts = False, {}
        results = counts.text(document.get("output_file_id") or document.get("output_file"))
        # What was answered before a batch expired or was cancelled is billed.
        if results or (document.get("results_url") and _succeeded(document)):
            return JobSeen(ident, JobState.RESULTS_ELSEWHERE, results)
        return JobSeen(ident, JobState.FAILED)


class BatchResultsReader(Reader):
    """A batch's answers: one JSON document a line, each with an answer of its own."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lines = 0
        self._parts: list[tuple[str | None, Usage]] = []
        self._open: dict[str | None, dict[str, int]] = {}

    @override
    def event(self, name: bytes, data: bytes) -> bool:
        del name
        if b'"custom_id"' not in data and b'"result"' not in data:
            # Any file may be fetched the same way.
            return False
        document = counts.parse_json(data)
        self._lines += 1
        for path, shape in _ANSWERS:
            answer = counts.at(document, *path)
            if isinstance(answer, Mapping):
                self._answer(answer, shape or _reader_of(answer))
        return False

    @override
    def ended(self) -> None:
        self.complete = True
        if self._lines and self.call.job_id is not None:
            # Without a single answer there is nothing to pay for.
            self.stated = True
            self.job = JobSeen(self.call.job_id, JobState.ENDED)

    @override
    def reading(self) -> UsageReading:
        parts = [*self._parts, *((m, Usage(**found)) for m, found in self._open.items())]
        return UsageReading(
            usage=total(part for _, part in parts),
            stated=self.stated,
            model=self.model,
            response_id=self.call.job_id,
            complete=self.complete,
            note=self.note,
            extra={**self.extra, "processing": _BATCH},
            job=self.job,
            parts=tuple(parts),
        )

    def _answer(self, answer: Mapping[str, Any], shape: type[Reader]) -> None:
        reader = shape(self.provider, self.call)
        reader.document(answer)
        if not reader.stated:
            return
        self.stated = True
        self.model = reader.model or self.model
        self.extra |= reader.extra
        kept = self._open.setdefault(reader.model, {})
        tokens = kept.get("input_tokens", 0) + reader.counts.get("input_tokens", 0)
        if kept and tokens > PART_TOKENS_MAX:
            self._parts.append((reader.model, Usage(**kept)))
            kept = self._open[reader.model] = {}
        for field, value in reader.counts.items():
            kept[field] = kept.get(field, 0) + value


# Where Anthropic and OpenAI put an answer into its line.
_ANSWERS: tuple[tuple[tuple[str, ...], type[Reader] | None], ...] = (
    (("result", "message"), MessagesReader),
    (("response", "body"), None),
)


def _reader_of(answer: Mapping[str, Any]) -> type[Reader]:
    return ResponsesReader if answer.get("object") == "response" else ChatReader


def _succeeded(document: Mapping[str, Any]) -> bool:
    return counts.count(document, "request_counts", "succeeded") != 0


def total(parts: Any) -> Usage:  # noqa: ANN401 - any iterable of Usage
    """The sum of some usages."""
    sums: dict[str, int] = {}
    for part in parts:
        for field, value in part.as_dict().items():
            sums[field] = sums.get(field, 0) + value
    return Usage(**sums) if sums else NOTHING


def cut(usage: Usage) -> list[Usage]:
    """Parts of at most PART_TOKENS_MAX input tokens each whose sum is `usage`.

    A total of many calls is far beyond where prices for long contexts begin,
    which its calls are not.
    """
    pieces = min(-(-usage.input_tokens // PART_TOKENS_MAX), PARTS_MAX)
    if pieces <= 1:
        return [usage]
    stated = {field: getattr(usage, field) for field in FIELDS if getattr(usage, field)}
    return [
        Usage(**{f: v * (n + 1) // pieces - v * n // pieces for f, v in stated.items()})
        for n in range(pieces)
    ]
