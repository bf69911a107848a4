"""The ledger under random batches, beside a plain reference of the same rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lava_grpc.core.account import Account, AccountKind, GrantSource
from lava_grpc.core.commands import (
    AddGrant,
    Command,
    Expire,
    ExpireGrants,
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
    Touched,
)
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.time import SECOND
from lava_grpc.core.usage import NOTHING
from tests.property.reference import Answer, Credit, Hold, Part, Reference
from tests.support.ledger_rows import LedgerRows

M = "mer"
START = 1_790_000_000
NEVER = float("inf")
LIMITS: dict[str, int | None] = {"con_a": 0, "con_b": 15, "con_c": None, M: 0}

accounts = st.sampled_from(sorted(LIMITS))
amounts = st.integers(0, 12) | st.integers(0, 40)
meters = st.sampled_from(["prd_1", "prd_2", None])
fingerprints = st.sampled_from("ffffg")
request_ids = st.sampled_from([f"r{n:02}" for n in range(30)])
picks = st.integers(0, 29)


@dataclass(frozen=True)
class AskGrant:
    name: str
    account: str
    amount: int
    priority: int
    expires_in: int | None
    meters: tuple[str, ...] | None
    fingerprint: str


@dataclass(frozen=True)
class AskHold:
    request_id: str
    parts: tuple[Part, ...]
    meter: str | None
    ttl: int
    forward: bool
    partial: bool
    dry_run: bool
    fingerprint: str


@dataclass(frozen=True)
class AskSettle:
    pick: int
    parts: tuple[Part, ...]
    meter: str | None
    follow_hold: bool
    name_hold: bool
    fingerprint: str


@dataclass(frozen=True)
class AskEnd:
    pick: int
    how: str
    ttl: int


@dataclass(frozen=True)
class AskTouch:
    account: str


parts = st.lists(
    st.tuples(st.sampled_from([role.value for role in Role]), accounts, amounts),
    min_size=1,
    max_size=3,
    unique_by=lambda part: part[0],
).map(tuple)

grants = st.builds(
    AskGrant,
    st.sampled_from([f"g{n}" for n in range(12)]),
    accounts,
    st.integers(0, 40) | st.integers(1, 40),
    st.integers(1, 3),
    st.none() | st.integers(0, 60),
    st.sampled_from([None, None, ("prd_1",), ("prd_1", "prd_2")]),
    fingerprints,
)
holds = st.builds(
    AskHold,
    request_ids,
    parts,
    meters,
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
    fingerprints,
)
settles = st.builds(
    AskSettle,
    picks,
    parts,
    meters,
    st.sampled_from([True, True, True, False]),
    st.booleans(),
    fingerprints,
)
ends = st.builds(
    AskEnd,
    picks,
    st.sampled_from(["release", "extend", "expire", "charge"]),
    st.integers(1, 40),
)
Ask = AskGrant | AskHold | AskSettle | AskEnd | AskTouch
asks = grants | holds | holds | settles | settles | ends | st.builds(AskTouch, accounts)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.rows = LedgerRows()
        for name, limit in LIMITS.items():
            self.rows.add_account(Account(M, name, AccountKind.CUSTOMER, 0, 0, limit, closed=False))
        self.reference = Reference(LIMITS, START)

    @initialize(some=st.lists(grants, max_size=6))
    def there_is_credit(self, some: list[AskGrant]) -> None:
        self._run(some)

    @rule(batch=st.lists(asks, min_size=1, max_size=6))
    def run_a_batch(self, batch: list[Ask]) -> None:
        self._run(batch)

    def _run(self, batch: Sequence[Ask]) -> None:
        commands, answers = [], []
        for ask in batch:
            command, answer = self._both(ask)
            commands.append(command)
            answers.append(answer())
        outcomes = self.rows.run(commands, self.now * SECOND).outcomes
        assert [_answer(outcome) for outcome in outcomes] == answers
        for given in answers:
            event(" ".join(str(word) for word in given[:2]))

    @rule(seconds=st.integers(1, 20) | st.integers(1, 2_000))
    def time_passes(self, seconds: int) -> None:
        self._tick(self.now + seconds)

    @rule(which=st.integers(0, 3))
    def a_deadline_comes(self, which: int) -> None:
        """To the second: what expires then has expired."""
        ends = [hold.expires for hold in self.reference.holds.values() if hold.state == "active"]
        ends += [int(g.expires) for g in self.reference.grants.values() if g.expires < NEVER]
        ahead = sorted({end for end in ends if end > self.now})
        if ahead:
            self._tick(ahead[which % len(ahead)])

    def _tick(self, now: int) -> None:
        self.now = now
        self.reference.tick(now)

    @invariant()
    def the_books_balance(self) -> None:
        assert self.rows.broken_rules() == []

    @invariant()
    def no_row_differs_from_the_reference(self) -> None:
        overdue = dict.fromkeys(LIMITS, 0)
        for (_, name), grant in self.rows.grants.items():
            if grant.overdue(self.now * SECOND):
                # Nobody has touched the account since: it expires when somebody does.
                overdue[grant.account_id] += grant.remaining
            else:
                assert grant.remaining == self.reference.grants[name].free
            assert grant.held == self.reference.legs(grant=name)
        for name in LIMITS:
            row = self.rows.accounts[M, name]
            assert row.balance - overdue[name] == self.reference.balance(name)
            assert row.held == self.reference.legs(name)

    @invariant()
    def no_record_differs_from_the_reference(self) -> None:
        found = {
            row.request_id: (row.charge.amount, row.cost, {flag.value for flag in row.flags})
            for row in self.rows.records.values()
        }
        assert found == {
            name: (row.charge, row.cost, row.flags) for name, row in self.reference.records.items()
        }

    def _both(self, ask: Ask) -> tuple[Command, Callable[[], Answer]]:
        """The command, and what the reference says to it."""
        match ask:
            case AskGrant():
                return self._grant(ask)
            case AskHold():
                return self._hold(ask)
            case AskSettle():
                return self._settle(ask)
            case AskEnd():
                return self._end(ask)
            case AskTouch():
                return ExpireGrants(M, ask.account), lambda: ("touched",)

    def _pick(self, pick: int) -> str:
        """Mostly a request that has a hold, else one that may have none."""
        known = list(self.reference.holds)
        index = pick % (len(known) + 1)
        return known[index] if index < len(known) else f"r{pick:02}"

    def _grant(self, ask: AskGrant) -> tuple[Command, Callable[[], Answer]]:
        expires = None if ask.expires_in is None else self.now + ask.expires_in
        command = AddGrant(
            M,
            ask.account,
            ask.name,
            f"for {ask.name}",
            ask.fingerprint,
            GrantSource.TOP_UP,
            ask.priority,
            ask.amount,
            ask.meters,
            None if expires is None else expires * SECOND,
        )
        end = NEVER if expires is None else expires
        order = (ask.priority, end, self.now, ask.name)
        credit = Credit(ask.account, order, end, ask.meters, ask.fingerprint, ask.amount)
        return command, lambda: self.reference.grant(ask.name, credit)

    def _hold(self, ask: AskHold) -> tuple[Command, Callable[[], Answer]]:
        command = PlaceHold(
            M,
            ask.request_id,
            f"res_{ask.request_id}",
            ask.fingerprint,
            HoldKind.FORWARD if ask.forward else HoldKind.AUTHORIZE,
            tuple(
                HoldPart(account, Role(role), amount, meter_id=ask.meter)
                for role, account, amount in ask.parts
            ),
            CallFacts(),
            ask.ttl,
            allow_partial=ask.partial,
            dry_run=ask.dry_run,
        )
        by_role = {role: account for role, account, _ in ask.parts}
        state = "dry" if ask.dry_run else "active"
        hold = Hold(state, self.now + ask.ttl, by_role, [], ask.forward, ask.fingerprint)
        parts = list(ask.parts)
        return command, lambda: self.reference.hold(
            ask.request_id, hold, parts, ask.meter, partial=ask.partial
        )

    def _settle(self, ask: AskSettle) -> tuple[Command, Callable[[], Answer]]:
        name = self._pick(ask.pick)
        held = self.reference.holds.get(name)
        parts = {role: (account, amount) for role, account, amount in ask.parts}
        if held and ask.follow_hold:
            parts = {
                role: (account, parts.get(role, (account, 0))[1])
                for role, account in held.parts.items()
            }
        command = Settle(
            M,
            name,
            ask.fingerprint,
            tuple(
                SettlePart(
                    account,
                    Role(role),
                    None,
                    ask.meter,
                    None if role == "cost" else amount,
                )
                for role, (account, amount) in parts.items()
            ),
            CallFacts(),
            NOTHING,
            cost=parts.get("cost", ("", 0))[1],
            hold_id=f"res_{name}" if held and ask.name_hold else None,
        )
        plain = [(role, account, amount) for role, (account, amount) in parts.items()]
        return command, lambda: self.reference.settle(name, ask.fingerprint, plain, ask.meter)

    def _end(self, ask: AskEnd) -> tuple[Command, Callable[[], Answer]]:
        name = self._pick(ask.pick)
        held = self.reference.holds.get(name)
        accounts = tuple(held.parts.values()) if held else ()
        hold_id = f"res_{name}"
        match ask.how:
            case "release":
                return Release(M, hold_id, accounts), lambda: self.reference.release(name)
            case "extend":
                return Extend(M, hold_id, accounts, ask.ttl), lambda: self.reference.extend(
                    name, self.now + ask.ttl
                )
            case _:
                charge = ask.how == "charge"
                return Expire(M, hold_id, accounts, charge), lambda: self.reference.expire(
                    name, charge=charge
                )


def _answer(outcome: Outcome) -> Answer:
    """An outcome in the reference's words."""
    match outcome:
        case Held():
            total = sum(leg.amount for leg in outcome.hold.legs)
            return ("held", outcome.replayed, outcome.partial, total)
        case Settled():
            return ("settled", outcome.replayed)
        case HoldIs():
            return ("hold", outcome.hold.state.value)
        case Granted():
            return ("granted", outcome.replayed)
        case Touched():
            return ("touched",)
        case Refusal():
            return ("refused", outcome.reason.value)
        case _:
            raise TypeError(outcome)


TestLedger = LedgerMachine.TestCase
# Rare turns of events need more tries than a law of arithmetic.
TestLedger.settings = settings(max_examples=3 * settings().max_examples)
