"""A call that is refused: a row of the tables."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from lava_grpc.core.errors import Reason

BAD = Reason.INVALID_FIELD
MISSING = Reason.NOT_FOUND
LONG = "x" * 256


@dataclass(frozen=True, slots=True)
class Case:
    """A call with a good credential that is refused."""

    rpc: str
    request: Message
    reason: Reason
    field: str | None = None

    @property
    def name(self) -> str:
        """What pytest calls it."""
        return f"{self.rpc.partition('/')[2]}-{self.field}-{self.reason}"
