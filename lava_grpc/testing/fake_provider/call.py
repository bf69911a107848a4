"""What the fake saw of a call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a call ended."""

    OPEN = "open"
    ANSWERED = "answered"
    # The fake broke it off, as it was told to.
    CUT = "cut"
    # The caller closed the connection before its answer was complete.
    GONE = "gone"


@dataclass(slots=True, eq=False)
class SeenCall:
    """One call as it arrived. `path` includes the query; header names are lower-case."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    keep_alive: bool = True
    # Counts the connections of this fake: calls with one number came over one connection.
    connection: int = 0
    status: int | None = None
    outcome: Outcome = Outcome.OPEN
    # Events (bytes, if no stream) that went out.
    events_sent: int = 0
    changed: Callable[[], None] = field(default=lambda: None, repr=False)

    def header(self, name: str) -> str | None:
        """The first header of this lower-case name."""
        return next((value for key, value in self.headers if key == name), None)

    def json(self) -> Any:  # noqa: ANN401 - whatever JSON holds
        """The body, parsed."""
        return json.loads(self.body)

    def ended(self, outcome: Outcome) -> None:
        """Note how it ended; the first end counts."""
        if self.outcome is Outcome.OPEN:
            self.outcome = outcome
        self.changed()
