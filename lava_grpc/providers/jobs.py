"""Work that goes on after the answer: what an answer says of how far it has come.

Source of the shapes: the providers' published API references.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from lava_grpc.providers import counts
from lava_grpc.providers.base import JobSeen, JobState
from lava_grpc.providers.job_states import state_of
from lava_grpc.providers.openai import OpenAIReader
from lava_grpc.providers.reader import Reader

_IDENTS = ("id", "request_id", "task_id", "generation_id", "name")
# How the numbers of Replicate's `metrics` are counted.
_SECONDS_MADE = ("video_output_duration_seconds", "audio_output_duration_seconds", "predict_time")


class JobReader(OpenAIReader):
    """A prediction or a video that is being made, or was."""

    @override
    def document(self, document: Mapping[str, Any]) -> None:
        super().document(document)
        self._metrics(document.get("metrics"))
        ident = next((found for key in _IDENTS if (found := counts.text(document.get(key)))), None)
        if self.call.job_id is not None:
            ident = self.call.job_id
        if ident is None or self._refused(document):
            self.failed = True
            return
        status = _status(document)
        self.remember("job_status", status)
        self.response_id = ident.rpartition("/")[2]
        state = state_of(status)
        self.job = JobSeen(self.response_id, JobState.FAILED if self.failed else state)
        self.failed = self.failed or state is JobState.FAILED
        if state is JobState.ENDED and not self.failed:
            self._made(document)

    @staticmethod
    def _refused(document: Mapping[str, Any]) -> bool:
        # MiniMax says so in a 200.
        return bool(counts.count(document, "base_resp", "status_code"))

    def _metrics(self, metrics: object) -> None:
        if not isinstance(metrics, Mapping):
            return
        seconds = next((m for key in _SECONDS_MADE if (m := counts.micros(metrics.get(key)))), None)
        stated = {
            "input_tokens": counts.count(metrics, "input_token_count"),
            "output_tokens": counts.count(metrics, "output_token_count"),
            "images": counts.count(metrics, "image_count"),
            "output_micros": seconds,
        }
        self.stated = self.stated or any(value is not None for value in stated.values())
        self.state(**stated)

    def _made(self, document: Mapping[str, Any]) -> None:
        """The length of what was made, where the answer says it."""
        for seconds in (
            document.get("seconds"),
            counts.at(document, "video", "duration"),
            document.get("duration"),
        ):
            micros = counts.micros(seconds)
            if micros and not self.counts.get("output_micros"):
                self.stated = True
                self.state(output_micros=micros)


class JobContentReader(Reader):
    """What was made, itself: that it can be fetched shows that the work has ended."""

    @override
    def headers(self, headers: Mapping[str, str]) -> None:
        # Stability answers 202 with JSON while the work goes on; that is no content yet.
        self._made = "json" not in headers.get("content-type", "")

    @override
    def ended(self) -> None:
        if self._made and self.call.job_id is not None:
            self.job = JobSeen(self.call.job_id, JobState.ENDED)
        self.complete = True


def _status(document: Mapping[str, Any]) -> str | None:
    done = document.get("done")
    if isinstance(done, bool) or "operations/" in str(document.get("name", "")):
        # A long-running operation of Google's.
        return "done" if done else "running"
    return counts.text(document.get("status"))
