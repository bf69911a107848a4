"""What a hold asks of each account, and whether the accounts can cover it.

Decided for all parts before anything changes; a part that shares its account
with an earlier one finds what that one will leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from lava_grpc.core import funds
from lava_grpc.core.account import Account, AccountKind
from lava_grpc.core.commands import HoldPart, PlaceHold
from lava_grpc.core.errors import Reason, Refusal
from lava_grpc.core.hold import Role
from lava_grpc.core.money import (
    AMOUNT_MAX,
    Amount,
    check_amount,
    check_not_negative,
    divide_up,
    format_amount,
    too_large,
)
from lava_grpc.core.pricing import RateType, display_units, price_upper_bound, units_affordable
from lava_grpc.core.time import SECOND, Instant

if TYPE_CHECKING:
    from lava_grpc.core.batch import Batch


class Claim(msgspec.Struct):
    """What one part asks of its account."""

    part: HoldPart
    account: Account
    amount: Amount
    available: Amount | None

    @property
    def covered(self) -> bool:
        """Whether the account can cover it; nothing is always covered."""
        return self.amount == 0 or self.available is None or self.amount <= self.available


def ask(
    batch: Batch,
    command: PlaceHold,
    accounts: list[Account],
    *,
    output_tokens: int | None = None,
    clamp: bool = False,
) -> list[Claim]:
    """What each part asks and finds; with `clamp`, no more than it finds."""
    claims: list[Claim] = []
    for part, account in zip(command.parts, accounts, strict=True):
        amount = _required(batch, command, part, account, output_tokens)
        left = as_left_by(claims, account, batch.now)
        claim = Claim(part, account, amount, left.available(part.meter_id, batch.now))
        if clamp and not claim.covered:
            claim.amount = max(claim.available or 0, 0)
        claims.append(claim)
    return claims


def as_left_by(earlier: list[Claim], account: Account, now: Instant) -> Account:
    """The account as earlier parts of the same command will leave it."""
    if not earlier:
        return account
    shared = [claim for claim in earlier if claim.account is account]
    if not shared:
        return account
    scratch = account.copy()
    for claim in shared:
        funds.take(scratch, claim.amount, claim.part.meter_id, now)
    return scratch


def _required(
    batch: Batch,
    command: PlaceHold,
    part: HoldPart,
    account: Account,
    output_tokens: int | None,
) -> Amount:
    if part.amount is not None:
        return check_not_negative(part.amount, "amount")
    usage, cost = part.usage, check_not_negative(part.cost, "cost")
    if output_tokens is not None and usage.output_tokens > output_tokens:
        fixed = cost - part.output_cost
        cost = fixed + divide_up(part.output_cost * output_tokens, usage.output_tokens)
        usage = structs.replace(usage, output_tokens=output_tokens)
    if part.meter is None:
        return check_amount(cost, "amount")
    counter = batch.counter(account, part.meter.meter_id)
    return price_upper_bound(
        part.meter,
        usage,
        cost=cost,
        counted=counter.units,
        cycle_may_end=batch.now + command.ttl_seconds * SECOND >= batch.cycle_end_of(account),
    )


def all_covered(claims: list[Claim]) -> bool:
    """Whether every account can cover what is asked of it."""
    for claim in claims:  # noqa: SIM110 - on the hot path, where `all` costs a generator
        if not claim.covered:
            return False
    return True


def short_of(claims: list[Claim]) -> Refusal:
    """The refusal INSUFFICIENT_CREDITS, with the facts of the first account that lacks room."""
    short = next(claim for claim in claims if not claim.covered)
    account = short.account
    available = max(short.available or 0, 0)
    whose = "merchant" if account.kind is AccountKind.MERCHANT else account.kind.value
    return Refusal(
        Reason.INSUFFICIENT_CREDITS,
        f"{whose} {account.account_id} has {format_amount(available)} available, "
        f"{format_amount(short.amount)} is required",
        facts={
            "account": whose,
            "account_id": account.account_id,
            "required": format_amount(short.amount),
            "available": format_amount(available),
        },
    )


def note_short(batch: Batch, claims: list[Claim]) -> None:
    """Less is to be had than asked for: overdue holds may be why."""
    for claim in claims:
        if not claim.covered and claim.account.held > 0:
            batch.short_accounts.add((claim.account.merchant_id, claim.account.account_id))


def shrink(
    batch: Batch, command: PlaceHold, accounts: list[Account], claims: list[Claim]
) -> tuple[list[Claim], int | None]:
    """Smaller claims that are covered, and how many output tokens they buy if that is known."""
    if command.scale_output:
        return _scale(batch, command, accounts, claims)
    smaller = ask(batch, command, accounts, clamp=True)
    for asked, had in zip(claims, smaller, strict=True):
        if asked.amount > 0 and had.amount == 0:
            raise short_of(claims)
    return smaller, None


def _scale(
    batch: Batch, command: PlaceHold, accounts: list[Account], claims: list[Claim]
) -> tuple[list[Claim], int]:
    """The most output tokens that every part covers, by bisection."""
    best: list[Claim] | None = None
    low, high = 0, max(part.usage.output_tokens for part in command.parts)
    while low < high:
        middle = (low + high + 1) // 2
        tried = ask(batch, command, accounts, output_tokens=middle)
        if all_covered(tried):
            low, best = middle, tried
        else:
            high = middle - 1
    if best is None or low < command.output_tokens_min:
        raise short_of(claims)
    return best, low


def check_room(claims: list[Claim]) -> None:
    """Refuse, before anything changes, what 64 bits could not hold afterwards."""
    for index, claim in enumerate(claims):
        account, asked = claim.account, claim.amount
        for earlier in claims[:index]:
            if earlier.account is account:
                asked += earlier.amount
        if account.held + asked > AMOUNT_MAX:
            raise too_large("amount")
        # A credit limit bounds what is taken past the grants; without one, 64 bits do.
        if account.credit_limit is None and account.credit_taken() + asked > AMOUNT_MAX:
            raise too_large("amount")


def units_bought(batch: Batch, claims: list[Claim]) -> int | None:
    """How many of a fixed meter's own units a partial hold pays for; None where it has none."""
    claim = next((c for c in claims if c.part.role is Role.CHARGE), None)
    if claim is None or claim.part.meter is None or claim.part.amount is not None:
        return None
    meter = claim.part.meter
    if meter.rate_type is not RateType.FIXED:
        return None
    counter = batch.counter(claim.account, meter.meter_id)
    units = units_affordable(
        meter,
        amount=claim.amount,
        counted=counter.units,
        units_max=meter.units(claim.part.usage),
    )
    return display_units(meter.tier_type, units)
