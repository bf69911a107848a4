"""Endpoints of work that goes on after the answer: a later call tells what became of it.

A call that starts such work is billable and names no job; one that asks after
it has the job's id and is free itself.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote

from lava_grpc.providers.route import FREE, OTHER, Route

JOB_FLAVORS = frozenset(("batch", "video", "job"))
"""The flavors of calls whose answer is a job, and of those that ask after it."""

_RESPONSE = re.compile(r"/responses/([^/]+)(?:/cancel|/input_items)?$")
_BATCH_RESULTS = re.compile(r"/messages/batches/([^/]+)/results$")
_BATCH = re.compile(r"/(?:batches|batch/jobs)/([^/]+)(?:/cancel)?$")
_FILE_CONTENT = re.compile(r"/files/([^/]+)/content$")
_REMIX = re.compile(r"/videos/[^/]+/remix$")
_VIDEO = re.compile(r"/videos/([^/]+)$")
_VIDEO_CONTENT = re.compile(r"/videos/([^/]+)/content$")
_MINIMAX = "/query/video_generation"


def job_route(path: str, query: str) -> Route | None:
    """An endpoint in the shapes of OpenAI and Anthropic that belongs to a job."""
    if (found := _BATCH_RESULTS.search(path)) is not None:
        return _after(found.group(1), "batch_results", stream=True)
    if (found := _RESPONSE.search(path)) is not None:
        # A background answer is fetched, perhaps often, perhaps again as a stream.
        return _after(found.group(1), "responses", stream=None)
    if (found := _BATCH.search(path)) is not None:
        return _after(found.group(1), "batch")
    if (found := _FILE_CONTENT.search(path)) is not None:
        return _after(found.group(1), "batch_results", stream=True)
    return _video(path, query)


def _video(path: str, query: str) -> Route | None:
    if _REMIX.search(path) is not None:
        return Route("video", stream=False)
    if (found := _VIDEO_CONTENT.search(path)) is not None:
        return _after(found.group(1), "job_content")
    if (found := _VIDEO.search(path)) is not None:
        return _after(found.group(1), "video")
    if path.endswith(_MINIMAX):
        tasks = parse_qs(query).get("task_id", [])
        # Which of several the host would answer for is not known here.
        return _after(tasks[0], "video") if len(tasks) == 1 else FREE
    return None


_PREDICTIONS = re.compile(r"/v1(?:/(?:models|deployments)/(?P<model>[^/]+/[^/]+))?/predictions$")
_PREDICTION = re.compile(r"/v1/predictions/([^/]+)(?:/cancel)?$")
_TASK = re.compile(r"/v1/tasks/([^/]+)$")
_STABILITY_RESULT = re.compile(r"/v2beta/(?:results|.+/result)/([^/]+)$")
_MEDIA_STARTS = re.compile(
    r"/(?:image_to_video|text_to_video|video_to_video|video_upscale|character_performance"
    r"|image-to-video|creative|replace-background-and-relight)$"
)


def media_route(path: str, query: str) -> Route | None:
    """An endpoint of a host whose answers are jobs: Replicate, Runway, Stability."""
    del query
    if (found := _PREDICTIONS.search(path)) is not None:
        named = found.group("model")
        return Route("job", model=unquote(named) if named else None, stream=False)
    for pattern in (_PREDICTION, _TASK):
        if (found := pattern.search(path)) is not None:
            return _after(found.group(1), "job")
    if (found := _STABILITY_RESULT.search(path)) is not None:
        return _after(found.group(1), "job_content")
    if _MEDIA_STARTS.search(path) is not None:
        return Route("video", stream=False)
    return Route(OTHER, stream=False)


_OPERATION = re.compile(r"/operations/([^/:]+)(?::cancel)?$")
_TRANSCRIPT = re.compile(r"/transcript/([^/]+)$")


def operation_route(path: str) -> Route | None:
    """A long-running operation of Google's, by the end of its name."""
    found = _OPERATION.search(path)
    return None if found is None else _after(found.group(1), "video")


def transcript_route(path: str) -> Route | None:
    """A transcript that AssemblyAI makes meanwhile."""
    found = _TRANSCRIPT.search(path)
    return None if found is None else _after(found.group(1), "duration")


def _after(ident: str, flavor: str, *, stream: bool | None = False) -> Route:
    return Route(flavor, stream=stream, billable=False, job_id=unquote(ident))
