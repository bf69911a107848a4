"""How many calls an edge answers at once."""

from __future__ import annotations

import asyncio

from lava_grpc.core.errors import Reason, Refusal

CALLS_MAX = 4096
"""The most calls in flight on one edge, unless said."""


class Gate:
    """Counts the calls in flight on the edge `name`, and turns away those past the bound."""

    def __init__(self, calls_max: int = CALLS_MAX, *, name: str = "grpc") -> None:
        self.calls_max = calls_max
        self.in_flight = 0
        self._name = name
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """Count a call in; refuses OVERLOADED."""
        if self.in_flight >= self.calls_max:
            raise Refusal(
                Reason.OVERLOADED,
                f"{self.calls_max} calls are in flight already",
                facts={"queue": self._name},
                retry_after_seconds=1.0,
            )
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """Count a call out."""
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()

    async def until_idle(self) -> None:
        """Wait until no call is in flight."""
        await self._idle.wait()
