"""What is kept of a call that carried an idempotency key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lava_grpc.core.time import Instant


class KeptState(StrEnum):
    """How far the call came, as far as is known."""

    RUNNING = "running"
    DONE = "done"
    SECRET = "secret"  # noqa: S105 - done; the answer held a secret, and is not kept


@dataclass(frozen=True, slots=True)
class Kept:
    """The content of the key's call, and what that answered."""

    fingerprint: str
    state: KeptState
    answer: bytes | None
    created_at: Instant
