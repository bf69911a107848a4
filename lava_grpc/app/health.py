"""Whether to send calls here."""

from __future__ import annotations

import asyncio
from typing import Protocol


class TellHealth(Protocol):
    """Told whenever health changes."""

    def __call__(self, *, serving: bool) -> None:
        """Pass it on."""
        ...


class Health:
    """Whether to send calls here: the ledger's loop runs, and the database can be reached.

    An outage shorter than `patience_seconds` is sat out without saying so.
    """

    def __init__(self, patience_seconds: float, tell: TellHealth) -> None:
        self._patience_seconds = patience_seconds
        self._tell = tell
        self._broken = False
        self._stopping = False
        self._away: asyncio.TimerHandle | None = None
        self._reachable = True
        self._told: bool | None = None

    @property
    def serving(self) -> bool:
        """Whether calls are welcome."""
        return self._reachable and not self._broken and not self._stopping

    @property
    def is_broken(self) -> bool:
        """Whether a rule was broken."""
        return self._broken

    def started(self) -> None:
        """The process takes calls from now on."""
        self._changed()

    def broken(self) -> None:
        """A rule was broken: for good, until somebody has looked."""
        self._broken = True
        self._changed()

    def stopping(self) -> None:
        """The process ends: calls that run are finished, new ones are to go elsewhere."""
        self._stopping = True
        self._changed()

    def reachable(self, *, reachable: bool) -> None:
        """The last attempt did, or did not, reach the database."""
        if reachable:
            if self._away is not None:
                self._away.cancel()
                self._away = None
            self._reachable = True
            self._changed()
        elif self._away is None:
            loop = asyncio.get_running_loop()
            self._away = loop.call_later(self._patience_seconds, self._gone)

    def _gone(self) -> None:
        self._reachable = False
        self._changed()

    def _changed(self) -> None:
        if self.serving is not self._told:
            self._told = self.serving
            self._tell(serving=self.serving)
