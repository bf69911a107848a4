"""Who is calling, and for whom."""

from __future__ import annotations

from dataclasses import dataclass, field

from lava_grpc.core.hold_policy import HoldPolicy
from lava_grpc.core.spend_key import SpendKey


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: a merchant, and what a forward token said beside its key.

    `prefix` is `test_` where the merchant is in test mode: it goes into new ids.
    With a `spend_key` the caller is somebody else, whom the merchant allows a little.
    """

    merchant_id: str
    prefix: str = ""
    customer_id: str | None = None
    meter_slug: str | None = None
    provider_key: str | None = field(default=None, repr=False)
    disable_billing: bool = False
    spend_key: SpendKey | None = None
    # The forward token's, else the merchant's own; None leaves it to the service.
    hold_policy: HoldPolicy | None = None
    clamp_output: bool = False
