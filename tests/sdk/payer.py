"""Who pays in a test with an official client, and what the books say of it afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.corpus import Pair
from tests.support.service import Running

CREDIT = "1000"
METER = "at-cost"
WAIT_SECONDS_MAX = 20.0

# Counts by the names of a usage; the others are sums and derived from it.
_DERIVED = ("_cost", "_seconds")


@dataclass(frozen=True, slots=True)
class Payer:
    """A customer of a test's own, and the token that its calls carry."""

    on: Running
    customer: str

    @property
    def token(self) -> str:
        """The API key of a client."""
        return self.on.token(customer_id=self.customer, meter_slug=METER)

    async def records(self) -> list[dict[str, Any]]:
        """What it was charged for, oldest first, once nothing is held for it any more."""
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while await self.holds("active"):
                pass
        path = f"/v1/requests?customer_id={self.customer}&limit=100"
        found: list[dict[str, Any]] = (await self.on.rest("GET", path))["data"]
        return found[::-1]

    async def holds(self, state: str) -> int:
        """How many of its reservations are in a state."""
        path = f"/v1/reservations?customer_id={self.customer}&state={state}&limit=100"
        return len((await self.on.rest("GET", path))["data"])

    async def charged(self, expected: Iterable[Pair]) -> list[dict[str, Any]]:
        """Fail unless it has paid for what these answers state, in their order, and no more."""
        found, answers = await self.records(), list(expected)
        assert len(found) == len(answers)
        for record, pair in zip(found, answers, strict=True):
            recorded(record, pair)
        spent = sum(Decimal(record["charge"]["amount"]) for record in found)
        assert Decimal((await self.on.balance(self.customer))["balance"]) == int(CREDIT) - spent
        return found


def recorded(record: dict[str, Any], pair: Pair) -> None:
    """Fail unless a record says what a pair's answer states."""
    counted = record["model_usage"]
    assert record["provider"] == pair.provider.id
    assert ("estimated" in record["flags"]) is pair.estimated
    if pair.estimated:
        assert counted["output_tokens"] >= pair.expected.usage.get("output_tokens", 0)
        return
    for name, value in counted.items():
        if not (name.startswith("total_") or name.endswith(_DERIVED)):
            assert value == pair.expected.usage.get(name, 0), name
    # The meter takes what the call costs.
    money = record["cost"], record["charge"]["amount"]
    assert money == (pair.expected.cost, pair.expected.cost), money


def is_free(pair: Pair) -> bool:
    """Whether the provider did nothing for it: then the hold is released, without a record."""
    reading = pair.replay([pair.answer])[1]
    return not pair.ok or (reading.failed and not reading.stated and not reading.output_bytes_seen)
