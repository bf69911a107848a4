"""Paths in OpenAI's and Anthropic's shapes that name no provider: the body's model decides.

From there on their calls are forwarded calls like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from lava_grpc.core.spend_key import RequestShape
from lava_grpc.rest.target import FORWARD_PATH, Target, read_target

SHAPES: Mapping[str, RequestShape] = MappingProxyType(
    {
        "/v1/chat/completions": RequestShape.OPENAI,
        "/v1/messages": RequestShape.ANTHROPIC,
        "/v1/messages/count_tokens": RequestShape.ANTHROPIC,
    }
)
"""The shape of calls to each path."""

# What a path has beyond its shape's own endpoint.
_BEYOND = MappingProxyType({"/v1/messages/count_tokens": "/count_tokens"})

_ANYWHERE = "https://model.invalid/"

LARGE_BODY_BYTES = 128 * 1024
"""Bodies from this size on are read in a thread, so that the event loop stays free."""


class Shaped(Protocol):
    """Where a call goes, and the body to send."""

    @property
    def url(self) -> str:
        """An absolute URL."""
        ...

    @property
    def body(self) -> bytes:
        """The body that is sent there."""
        ...


Choose = Callable[[RequestShape, bytes], Shaped]
"""Finds the provider of a call; refuses INVALID_FIELD for `body` and `model`."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A call's target, and the body to send there."""

    target: Target
    body: bytes


def ours_in(query: str) -> Mapping[str, str]:
    """The parameters that are ours, whatever the target will be."""
    return read_target(f"{FORWARD_PATH}/{_ANYWHERE}", query, {}).ours


async def placed(choose: Choose, path: str, query: str, body: bytes) -> Placed:
    """The target of a call to `path`, one of SHAPES: the body's model stands for its host.

    The query that is not ours goes with it.
    """
    shape = SHAPES[path]
    if len(body) < LARGE_BODY_BYTES:
        shaped = choose(shape, body)
    else:
        shaped = await asyncio.to_thread(choose, shape, body)
    url = shaped.url + _BEYOND.get(path, "")
    target = read_target(f"{FORWARD_PATH}/{url}", query, {})
    return Placed(target, shaped.body)
