"""The ledger under random batches, beside a plain reference of the same rules.

What runs the batches is left to subclasses: the core alone, or a store on a database.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lava_grpc.core.account import Account, AccountKind, GrantSource
from lava_grpc.core.budget import Budget, Cycle, Limits, RequestLimit, SpendLimit
from lava_grpc.core.commands import (
    AddGrant,
    Command,
    Enrolled,
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
    Subscribe,
    Touched,
)
from lava_grpc.core.cycles import Interval
from lava_grpc.core.errors import Refusal
from lava_grpc.core.hold import CallFacts, HoldKind, Role
from lava_grpc.core.ledger import Outcome
from lava_grpc.core.plans import Plan, Rollover
from lava_grpc.core.time import SECOND
from lava_grpc.core.usage import NOTHING
from tests.property.reference import DAY, Answer, Credit, Hold, Key, Part, Reference
from tests.support.invariants import Books, broken_rules

START = 1_790_000_000
NEVER = float("inf")
WALLET = "mer"
LIMITS: dict[str, int | None] = {"con_a": 0, "con_b": 15, "con_c": None, "con_d": 5, WALLET: 0}
SUBSCRIBER, CREDIT, METERS = "con_d", 30, ("prd_1",)
KEY, KEY_AMOUNT, KEY_CALLS = "spk_k", 40, 5
KEY_LIMITS = Limits(SpendLimit(KEY_AMOUNT, Cycle.DAILY), RequestLimit(KEY_CALLS, Cycle.DAILY))

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
    st.tuples(st.sampled_from([Role.CHARGE.value, Role.COST.value]), accounts, amounts)
    | st.tuples(st.just(Role.BUDGET.value), st.just(KEY) | st.just(KEY) | accounts, amounts),
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
    st.none() | st.none() | st.integers(0, 60),
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
touches = st.builds(AskTouch, accounts | st.just(KEY))
asks = grants | holds | holds | settles | settles | ends | touches
batches = st.lists(asks, min_size=1, max_size=6)
large_batches = st.lists(asks, min_size=6, max_size=16)

Move = tuple[str, int]
moves = st.one_of(
    st.tuples(st.just("seconds"), st.integers(1, 20) | st.integers(1, 2_000)),
    st.tuples(st.just("deadline"), st.integers(0, 3)),
    st.tuples(st.just("days"), st.sampled_from([1, 1, 2, 31])),
    st.tuples(st.just("back"), st.integers(1, 60)),
)

Answering = Callable[[], Answer]
"""What the reference says, asked when it is its turn."""


class LedgerMachine(RuleBasedStateMachine):
    """The rules. `merchant` owns the rows of one run."""

    # A store expires overdue holds on accounts that lack room, and decides a batch again.
    makes_room: ClassVar[bool] = False
    charge_abandoned = False

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.merchant = WALLET
        self.reference = Reference(LIMITS, START, START // DAY)
        self.reference.keys[KEY] = Key(KEY_AMOUNT, KEY_CALLS)

    @abstractmethod
    def open(self, accounts: Sequence[Account], plan: Plan) -> None:
        """Put these into the books."""

    @abstractmethod
    def apply(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        """Run a batch at `now`."""

    @abstractmethod
    def books(self) -> Books:
        """All rows of the merchant."""

    @initialize(some=st.lists(grants, min_size=2, max_size=6), abandoned=st.booleans())
    def there_is_credit(self, some: list[AskGrant], abandoned: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        self.charge_abandoned = abandoned
        plan = self._plan()
        self.open([*self._accounts()], plan)
        subscribe = Subscribe(self.merchant, SUBSCRIBER, "sub_1", plan)
        (outcome,) = self.apply([subscribe])
        assert isinstance(outcome, Enrolled)
        self.reference.subscribe(SUBSCRIBER, CREDIT, METERS)
        self._run(some)

    @rule(batch=batches)
    def run_a_batch(self, batch: list[Ask]) -> None:
        self._run(batch)

    @rule(batch=large_batches)
    def run_a_large_batch(self, batch: list[Ask]) -> None:
        self._run(batch)

    def _run(self, batch: Sequence[Ask]) -> None:
        before = copy.deepcopy(self.reference)
        begun, given = [], []
        for ask in batch:
            # What it picks may be what the one before it made.
            begun.append(self._both(ask))
            given.append(begun[-1][1]())
        if self.makes_room and self.reference.short:
            self.reference = before
            given = self._answers([answer for _, answer in begun])
        outcomes = self.apply([command for command, _ in begun])
        assert [answer_of(outcome) for outcome in outcomes] == given
        self._note(given)

    def _answers(self, answers: Sequence[Answering]) -> list[Answer]:
        """What the reference says to a batch, overdue holds ended first where room lacked."""
        before = copy.deepcopy(self.reference)
        given = [answer() for answer in answers]
        if self.makes_room and self.reference.short:
            short, self.reference = self.reference.short, before
            self.reference.end_overdue(short, charge=self.charge_abandoned)
            given = [answer() for answer in answers]
        self.reference.short = set()
        return given

    def _note(self, given: Sequence[Answer]) -> None:
        self.reference.short = set()
        for answer in given:
            event(" ".join(str(word) for word in answer[:2]))

    def _accounts(self) -> Sequence[Account]:
        kinds = {WALLET: AccountKind.MERCHANT}
        found = [
            Account(
                self.merchant,
                name,
                kinds.get(name, AccountKind.CUSTOMER),
                0,
                0,
                limit,
                closed=False,
            )
            for name, limit in LIMITS.items()
        ]
        budget = Budget(self.merchant, KEY, KEY_LIMITS)
        kind = AccountKind.SPEND_KEY
        key = Account(self.merchant, KEY, kind, 0, 0, None, closed=False, budget=budget)
        return [*found, key]

    def _plan(self) -> Plan:
        return Plan(
            merchant_id=self.merchant,
            plan_id="pln_daily",
            name="daily",
            period_amount=0,
            included_credit=CREDIT,
            interval=Interval.DAY,
            rollover=Rollover.NONE,
            bundle_rollover=Rollover.NONE,
            meter_ids=METERS,
            default_bundle_id=None,
            overage_limit=None,
            is_default=False,
            created_at=0,
        )

    @rule(move=moves)
    def time_passes(self, move: Move) -> None:
        how, amount = move
        match how:
            case "seconds":
                self._tick(self.now + amount)
            case "days":
                self._tick(self.now + amount * DAY)
            case "back":
                # After everything was touched: what has expired by then stays so.
                self._run([AskTouch(name) for name in (*LIMITS, KEY)])
                self._tick(self.now - amount)
            case _:
                self._to_a_deadline(amount)

    def _to_a_deadline(self, which: int) -> None:
        """To the second: what expires then has expired."""
        ends = [hold.expires for hold in self.reference.holds.values() if hold.state == "active"]
        ends += [int(g.expires) for g in self.reference.grants.values() if g.expires < NEVER]
        ends += [cycle.ends for cycle in self.reference.cycles.values()]
        ahead = sorted({end for end in ends if end > self.now})
        if ahead:
            self._tick(ahead[which % len(ahead)])

    def _tick(self, now: int) -> None:
        self.now = now
        self.reference.tick(now)

    @invariant()
    def the_books_are_right(self) -> None:
        if not self.reference.cycles:
            return
        books = self.books()
        assert broken_rules(books) == []
        assert self._differences(books) == []

    def _differences(self, books: Books) -> list[str]:
        """Where the rows are not what the reference has."""
        found: list[str] = []

        def same(what: str, row: object, told: object) -> None:
            if row != told:
                found.append(f"{what}: {row}, the reference says {told}")

        now = self.now * SECOND
        accounts = {row.account_id: row for row in books.accounts}
        # Nobody has touched it since its cycle ended: it is renewed when somebody does.
        due = {name for name, row in accounts.items() if (row.cycle_end or now + 1) <= now}
        overdue = dict.fromkeys(accounts, 0)
        for grant in books.grants:
            name = grant.request_id.removeprefix("for ").replace("sub_1", SUBSCRIBER)
            if grant.overdue(now):
                # Nor since this was overdue: it expires when somebody does.
                overdue[grant.account_id] += grant.remaining
            elif grant.account_id not in due:
                same(f"{name} free", grant.remaining, self.reference.grants[name].free)
            same(f"{name} held", grant.held, self.reference.legs(grant=name))
        for name, row in accounts.items():
            if name not in due:
                same(f"{name} has", row.balance - overdue[name], self.reference.balance(name))
            same(f"{name} held", row.held, self.reference.legs(name))
        records = {
            row.request_id: (row.charge.amount, row.cost, {flag.value for flag in row.flags})
            for row in books.records
        }
        told = {
            name: (row.charge, row.cost, row.flags) for name, row in self.reference.records.items()
        }
        same("records", records, told)
        return found

    def _both(self, ask: Ask) -> tuple[Command, Answering]:
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
                return ExpireGrants(self.merchant, ask.account), lambda: ("touched",)

    def _pick(self, pick: int) -> str:
        """Mostly a request that has a hold, else one that may have none."""
        known = list(self.reference.holds)
        index = pick % (len(known) + 1)
        return known[index] if index < len(known) else f"r{pick:02}"

    def _grant(self, ask: AskGrant) -> tuple[Command, Answering]:
        expires = None if ask.expires_in is None else self.now + ask.expires_in
        command = AddGrant(
            self.merchant,
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
        return command, lambda: self.reference.grant(
            ask.name, Credit(ask.account, order, end, ask.meters, ask.fingerprint, ask.amount)
        )

    def _hold(self, ask: AskHold) -> tuple[Command, Answering]:
        command = PlaceHold(
            self.merchant,
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
        end = self.now + ask.ttl
        parts = list(ask.parts)
        return command, lambda: self.reference.hold(
            ask.request_id,
            Hold(state, end, by_role, [], ask.forward, ask.fingerprint),
            parts,
            ask.meter,
            partial=ask.partial,
        )

    def _settle(self, ask: AskSettle) -> tuple[Command, Answering]:
        name = self._pick(ask.pick)
        held = self.reference.holds.get(name)
        parts = {role: (account, amount) for role, account, amount in ask.parts}
        if held and ask.follow_hold:
            parts = {
                role: (account, parts.get(role, (account, 0))[1])
                for role, account in held.parts.items()
            }
        command = Settle(
            self.merchant,
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

    def _end(self, ask: AskEnd) -> tuple[Command, Answering]:
        name = self._pick(ask.pick)
        held = self.reference.holds.get(name)
        accounts = tuple(held.parts.values()) if held else ()
        hold_id = f"res_{name}"
        match ask.how:
            case "release":
                return Release(self.merchant, hold_id, accounts), lambda: self.reference.release(
                    name
                )
            case "extend":
                return Extend(
                    self.merchant, hold_id, accounts, ask.ttl
                ), lambda: self.reference.extend(name, self.now + ask.ttl)
            case _:
                charge = ask.how == "charge"
                return Expire(
                    self.merchant, hold_id, accounts, charge
                ), lambda: self.reference.expire(name, charge=charge)


def answer_of(outcome: Outcome) -> Answer:
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
