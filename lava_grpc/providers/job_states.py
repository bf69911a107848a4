"""Providers' words for how far work has come.

What is none of the words below is taken for work that goes on.
"""

from __future__ import annotations

from lava_grpc.providers.base import Call, JobSeen, JobState

_ENDED = frozenset(
    (
        *("completed", "complete", "succeeded", "success", "ended", "done", "finished"),
        *("incomplete", "requires_action"),
    )
)
_FAILED = frozenset(
    (
        *("failed", "fail", "error", "errored", "aborted", "expired", "timeout_exceeded"),
        *("cancelled", "canceled", "rejected", "deleted"),
    )
)


def state_of(status: object) -> JobState:
    """What a provider's word for a state comes to."""
    word = status.lower() if isinstance(status, str) else ""
    if word in _ENDED:
        return JobState.ENDED
    return JobState.FAILED if word in _FAILED else JobState.RUNNING


def background(call: Call, ident: str | None, status: object) -> JobSeen | None:
    """The job of an endpoint that answers at once unless it is asked to go on meanwhile."""
    asked = call.job_id is not None or call.background
    if not asked or ident is None or not isinstance(status, str):
        return None
    return JobSeen(ident, state_of(status))
