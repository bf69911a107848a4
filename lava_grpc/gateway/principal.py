"""Who is calling, and for whom."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: a merchant, and what a forward token said beside its key.

    `prefix` is `test_` where the merchant is in test mode: it goes into new ids.
    """

    merchant_id: str
    prefix: str = ""
    customer_id: str | None = None
    meter_slug: str | None = None
    provider_key: str | None = field(default=None, repr=False)
    disable_billing: bool = False
