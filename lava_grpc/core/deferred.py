"""A command that is made only when its batch is."""

from __future__ import annotations

from typing import Protocol

from lava_grpc.core.commands import Command
from lava_grpc.core.ledger import Outcome


class DeferredCommand(Protocol):
    """What is asked of the ledger, before it is known to the last detail.

    Many that are made, and concluded, one right after the other find the processor's
    caches warm: in between other work each takes five times as long.
    """

    def make(self) -> Command | None:
        """The command; None where there is none after all. Must not block, wait or raise."""
        ...

    def conclude(self, outcome: Outcome) -> None:
        """Take the outcome, a Refusal among the possible ones. Must not block, wait or raise.

        It may be a refusal though no command was made, where the ledger ends before.
        """
        ...
