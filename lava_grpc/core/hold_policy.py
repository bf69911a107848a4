"""How much is held for a call whose usage nobody knows yet."""

from __future__ import annotations

from enum import StrEnum


class HoldPolicy(StrEnum):
    """A guarantee, or a small hold."""

    UPPER_BOUND = "upper_bound"  # the most that the call can use
    EXPECTED = "expected"  # what recent calls let expect; usage beyond it is an overrun
