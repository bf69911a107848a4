"""What Forward is asked for, and the parts of its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from lava_grpc.core.hold import Hold
from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.request_record import RequestRecord

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ForwardCall:
    """A call to be proxied, and who pays for it."""

    url: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)
    customer_id: str | None = None
    meter: str | None = None
    provider_key: str | None = field(default=None, repr=False)
    disable_billing: bool = False
    request_id: str | None = None
    metadata: Labels = ()
    hold_policy: HoldPolicy | None = None
    # Send it with a lower limit on its output where the credit covers it only in part.
    clamp_output: bool = False


@dataclass(frozen=True, slots=True)
class ForwardHead:
    """What is known before the body: the provider's status and headers, and our ids.

    `clamped_output_tokens` is the limit that was sent in place of the caller's, if any.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    request_id: str
    reservation_id: str
    clamped_output_tokens: int | None = None


class Measurement(StrEnum):
    """How usage came to be known."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ForwardSummary:
    """What the call came to; `record` is None where the hold was released, or had expired."""

    record: RequestRecord | None
    measurement: Measurement
    hold: Hold | None
    clamped_output_tokens: int | None = None
