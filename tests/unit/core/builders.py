"""Small builders for ledger tests: one merchant, amounts in whole units of money."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TypeVar

from lava_grpc.core.account import Account, AccountKind, GrantSource
from lava_grpc.core.commands import (
    AddGrant,
    Command,
    Expire,
    Extend,
    Granted,
    Held,
    HoldIs,
    HoldPart,
    PlaceHold,
    Release,
    Settle,
    Settled,
    SettlePart,
)
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.money import SCALE, Amount
from lava_grpc.core.pricing import Basis, Meter, RateType, Tier, TierType
from lava_grpc.core.time import SECOND, Instant
from lava_grpc.core.usage import NOTHING, Usage
from tests.support.ledger_rows import LedgerRows

M = "mer_1"
ANN = "con_ann"
BOB = "con_bob"
WALLET = M
NOW: Instant = 1_790_000_000 * SECOND  # 2026-09-21T14:13:20Z
TTL = 120

_T = TypeVar("_T")
_serial: Iterator[int] = count(1)


def units(whole: float) -> Amount:
    """So much money, to four decimals."""
    return round(whole * 10_000) * (SCALE // 10_000)


def meter(
    *tiers: tuple[int, float],
    tier_type: TierType = TierType.TOKENS_1M,
    rate_type: RateType = RateType.FIXED,
    basis: Basis = Basis.BOTH,
    meter_id: str = "prd_1",
) -> Meter:
    """A meter with these (start, rate) tiers."""
    rows = tuple(Tier(start, units(rate)) for start, rate in tiers)
    return Meter(M, meter_id, "chat", rate_type, tier_type, basis, rows)


def account(
    account_id: str = ANN,
    *,
    credit_limit: Amount | None = 0,
    kind: AccountKind = AccountKind.CUSTOMER,
    closed: bool = False,
) -> Account:
    """An account without credit."""
    return Account(M, account_id, kind, 0, 0, credit_limit, closed)


def grant(
    amount: float,
    account_id: str = ANN,
    *,
    grant_id: str | None = None,
    priority: int = 20,
    expires_at: Instant | None = None,
    meter_ids: tuple[str, ...] | None = None,
    fingerprint: str = "grant",
) -> AddGrant:
    """Credit for an account."""
    name = grant_id or f"grt_{next(_serial):03}"
    return AddGrant(
        M,
        account_id,
        name,
        f"req_{name}",
        fingerprint,
        GrantSource.TOP_UP,
        priority,
        units(amount),
        meter_ids,
        expires_at,
    )


def part(
    amount: float | None,
    account_id: str = ANN,
    role: Role = Role.CHARGE,
    *,
    meter_id: str | None = None,
) -> HoldPart:
    """One account's part of a hold, as an amount."""
    return HoldPart(account_id, role, None if amount is None else units(amount), meter_id=meter_id)


def hold(
    *parts: HoldPart,
    request_id: str = "r1",
    fingerprint: str = "hold",
    kind: HoldKind = HoldKind.AUTHORIZE,
    facts: CallFacts | None = None,
    ttl: int = TTL,
    allow_partial: bool = False,
    scale_output: bool = False,
    dry_run: bool = False,
) -> PlaceHold:
    """A hold; its id is the request's, as `hold_id` says."""
    return PlaceHold(
        M,
        request_id,
        hold_id(request_id),
        fingerprint,
        kind,
        parts,
        facts or CallFacts(),
        ttl,
        allow_partial,
        scale_output,
        dry_run,
    )


def hold_id(request_id: str) -> str:
    """The id of a request's hold in these tests."""
    return f"res_{request_id}"


def pay(
    amount: float | None,
    account_id: str = ANN,
    role: Role = Role.CHARGE,
    *,
    meter_id: str | None = None,
) -> SettlePart:
    """One account's part of a settlement, as an amount; None: the cost."""
    return SettlePart(account_id, role, None, meter_id, None if amount is None else units(amount))


def settle(
    *parts: SettlePart,
    request_id: str = "r1",
    fingerprint: str = "report",
    facts: CallFacts | None = None,
    usage: Usage = NOTHING,
    cost: float = 0,
    with_hold: bool = False,
) -> Settle:
    """A report of usage; `with_hold` names the hold by its id."""
    return Settle(
        M,
        request_id,
        fingerprint,
        parts,
        facts or CallFacts(),
        usage,
        cost=units(cost),
        hold_id=hold_id(request_id) if with_hold else None,
    )


def release(request_id: str = "r1", *accounts: str) -> Release:
    """Give a request's hold back."""
    return Release(M, hold_id(request_id), accounts or (ANN,))


def extend(request_id: str = "r1", *, ttl: int = TTL) -> Extend:
    """Let a request's hold live longer."""
    return Extend(M, hold_id(request_id), (ANN,), ttl)


def expire(request_id: str = "r1", *accounts: str, charge: bool = False) -> Expire:
    """End a request's overdue hold."""
    return Expire(M, hold_id(request_id), accounts or (ANN,), charge)


class Ledger:
    """Rows with a clock: runs commands and insists on the outcome's type.

    After each batch no rule may be broken.
    """

    def __init__(self, *accounts: Account) -> None:
        self.rows = LedgerRows()
        self.now = NOW
        self.short: frozenset[tuple[str, str]] = frozenset()
        for row in accounts or (account(),):
            self.rows.add_account(row)

    def batch(self, *commands: Command) -> list[Outcome]:
        """All of them in one transaction."""
        decision = self.rows.run(commands, self.now)
        assert self.rows.broken_rules() == []
        self.short = decision.short_accounts
        return decision.outcomes

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.now += seconds * SECOND

    def held(self, command: PlaceHold) -> Held:
        """Place a hold that must be accepted."""
        return self._one(Held, command)

    def settled(self, command: Settle) -> Settled:
        """Settle, which must be accepted."""
        return self._one(Settled, command)

    def hold_is(self, command: Release | Extend | Expire) -> HoldIs:
        """Release, extend or expire, which must be accepted."""
        return self._one(HoldIs, command)

    def granted(self, command: AddGrant) -> Granted:
        """Add credit, which must be accepted."""
        return self._one(Granted, command)

    def refused(self, command: Command) -> Refusal:
        """The refusal, which must come and change nothing."""
        before = self._picture()
        refusal = self._one(Refusal, command)
        assert self._picture() == before
        return refusal

    def balance(self, account_id: str = ANN) -> Amount:
        """The account's balance."""
        return self.rows.accounts[M, account_id].balance

    def held_on(self, account_id: str = ANN) -> Amount:
        """What holds have taken from the account."""
        return self.rows.accounts[M, account_id].held

    def remaining(self, grant_id: str) -> Amount:
        """What is free of a grant."""
        return self.rows.grants[M, grant_id].remaining

    def _one(self, kind: type[_T], command: Command) -> _T:
        (outcome,) = self.batch(command)
        assert isinstance(outcome, kind), outcome
        return outcome

    def _picture(self) -> str:
        rows = self.rows
        return repr((rows.accounts, rows.grants, rows.holds, rows.records, rows.entries))
