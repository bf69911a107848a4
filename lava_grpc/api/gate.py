"""Which calls are let in: while there is room, and while their callers wait."""

from __future__ import annotations

import asyncio
from collections import deque

from lava_grpc.core.errors import Reason, Refusal

CALLS_MAX = 4096
"""The most calls in flight on one edge, unless said."""


def require_time(seconds_left: float | None) -> None:
    """Refuse DEADLINE_EXCEEDED for a call whose caller waits no longer; None: for ever."""
    if seconds_left is not None and seconds_left <= 0:
        raise Refusal(Reason.DEADLINE_EXCEEDED, "the deadline passed before the call began")


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


class Room:
    """How many items are worked on at once. Who finds no room waits for it, in turn."""

    def __init__(self, items_max: int) -> None:
        self.items_max = items_max
        self.taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, items: int) -> None:
        """Take room for items; an empty room has it for any one message."""
        if not self._waiting and self._fits(items):
            self.taken += items
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(items)
            raise

    def give(self, items: int) -> None:
        """Give it back."""
        self.taken -= items
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            items, turn = self._waiting.popleft()
            if not turn.done():
                self.taken += items
                turn.set_result(None)

    def _fits(self, items: int) -> bool:
        return not self.taken or self.taken + items <= self.items_max
