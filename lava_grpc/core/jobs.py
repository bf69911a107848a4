"""Work at a provider that goes on after the answer of the call that started it."""

from __future__ import annotations

from dataclasses import dataclass

from lava_grpc.core.pricing import Meter
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import NOTHING, Usage


@dataclass(frozen=True, slots=True)
class Job:
    """Which request pays for such work, and by what, once a later answer tells what it used.

    `usage` is what the request itself says of it (seconds of video to make), and
    counts where no answer states any. `meter` is the customer's as it was. One that
    a spend key started is kept after it has `ended`: whose it is still counts then.
    """

    merchant_id: str
    provider: str
    job_id: str
    request_id: str
    hold_id: str
    created_at: Instant
    flavor: str
    endpoint: str
    model: str | None = None
    price_provider: str | None = None
    usage: Usage = NOTHING
    meter: Meter | None = None
    # The key that started it; None where the merchant itself did.
    spend_key_id: str | None = None
    ended: bool = False
