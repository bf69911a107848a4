"""The seam to whoever takes the money, and the two providers that need nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from lava_grpc.core.money import SCALE
from lava_grpc.core.payments import Payment, PaymentMethod


class Taken(StrEnum):
    """What a provider says of a payment."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    PENDING = "pending"  # not known yet: it will be asked again


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What became of a payment, and why it was declined."""

    taken: Taken
    reason: str | None = None


class PaymentProvider(Protocol):
    """Takes money."""

    name: str

    async def charge(self, payment: Payment) -> ProviderAnswer:
        """Take the money of a payment, once for each `charge_key` however often it is asked.

        May raise, or never answer: what became of the payment is then not known, and it
        is asked for again with the same key. Declined is final for a key; a payment that
        is insisted on comes again with another one.
        """
        ...

    async def knows(self, merchant_id: str, method_id: str) -> bool:
        """Whether this names a way to pay."""
        ...

    async def methods(self, merchant_id: str) -> Sequence[PaymentMethod]:
        """The merchant's ways to pay."""
        ...


class ManualProvider:
    """Waits for an operator's word, who collects the money in whatever way."""

    name = "manual"

    async def charge(self, payment: Payment) -> ProviderAnswer:
        """Not known until somebody confirms it."""
        del payment
        return ProviderAnswer(Taken.PENDING)

    async def knows(self, merchant_id: str, method_id: str) -> bool:
        """It does: whatever the operator will make of it."""
        del merchant_id, method_id
        return True

    async def methods(self, merchant_id: str) -> Sequence[PaymentMethod]:
        """None: nothing is charged here."""
        del merchant_id
        return ()


_CENT = SCALE // 100


class TestProvider:
    """For demos and tests: the amount's cents decide.

    `.02` is declined; `.03` is not answered at all the first time and succeeds when
    it is asked for again; `.04` is declined the first time and succeeds then; all else
    succeeds.
    """

    name = "test"
    __test__ = False

    async def charge(self, payment: Payment) -> ProviderAnswer:
        """By the rule above."""
        match payment.amount // _CENT % 100:
            case 2:
                return ProviderAnswer(Taken.DECLINED, "the card was declined")
            case 3 if payment.attempts <= 1:
                await asyncio.Event().wait()
            case 4 if payment.declines == 0:
                return ProviderAnswer(Taken.DECLINED, "the card was declined")
        return ProviderAnswer(Taken.SUCCEEDED)

    async def knows(self, merchant_id: str, method_id: str) -> bool:
        """Its one card."""
        return any(one.payment_method_id == method_id for one in await self.methods(merchant_id))

    async def methods(self, merchant_id: str) -> Sequence[PaymentMethod]:
        """One card."""
        del merchant_id
        return (PaymentMethod("pm_test_card", "4242", 12, 2099, "visa", is_default=True),)
