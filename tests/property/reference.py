"""The ledger once more, as plainly as it can be said; the state machine compares.

One command at a time, one dict per thing, sums taken over everything each
time. Written from the design's section 3, and slow.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

Part: TypeAlias = tuple[str, str, int]
"""Role, account, amount."""
Leg: TypeAlias = tuple[str, str, str | None, int]
"""Role, account, grant or None for the credit limit, amount."""
Answer: TypeAlias = tuple[object, ...]

REUSED: Answer = ("refused", "REQUEST_ID_REUSED")
SHORT: Answer = ("refused", "INSUFFICIENT_CREDITS")
LIMITED: Answer = ("refused", "RATE_LIMITED")
ENDED: Answer = ("refused", "RESERVATION_ENDED")
INVALID: Answer = ("refused", "INVALID_FIELD")
NOT_FOUND: Answer = ("refused", "NOT_FOUND")

DAY = 86_400
CYCLE_PRIORITY = 10


@dataclass
class Credit:
    account: str
    order: tuple[int, float, int, str]
    expires: float
    meters: tuple[str, ...] | None
    fingerprint: str
    free: int


@dataclass
class Hold:
    state: str
    expires: int
    parts: dict[str, str]
    legs: list[Leg]
    forward: bool
    fingerprint: str
    shrunk: bool = False


@dataclass
class Record:
    fingerprint: str
    charge: int
    cost: int
    flags: set[str]


@dataclass
class Key:
    """A spend key: what it may spend, and how many calls it may make, in a day."""

    amount: int
    calls_max: int
    spent: list[tuple[int, int]] = field(default_factory=list)  # day, amount
    calls: list[int] = field(default_factory=list)  # the day of each


@dataclass
class Cycle:
    """A plan whose credit comes every day, and goes with it."""

    credit: int
    ends: int
    meters: tuple[str, ...] | None
    number: int = 1


@dataclass
class Reference:
    limits: dict[str, int | None]
    now: int = 0
    today: int = 0  # never goes back, where a clock does
    keys: dict[str, Key] = field(default_factory=dict)
    cycles: dict[str, Cycle] = field(default_factory=dict)
    short: set[str] = field(default_factory=set)  # lacked room while something was held there
    grants: dict[str, Credit] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    overage: dict[str, int] = field(default_factory=dict)

    # What there is.

    def legs(self, account: str | None = None, grant: str | None = None) -> int:
        """What active holds have taken of an account, or of a grant."""
        return sum(
            leg[3]
            for hold in self.holds.values()
            if hold.state == "active"
            for leg in hold.legs
            if (grant is None or leg[2] == grant) and (account is None or leg[1] == account)
        )

    def credit_legs(self, account: str) -> int:
        of_grants = sum(
            self.legs(account, name) for name, g in self.grants.items() if g.account == account
        )
        return self.legs(account) - of_grants

    def balance(self, account: str) -> int:
        mine = [(name, g) for name, g in self.grants.items() if g.account == account]
        return sum(g.free + self.legs(grant=name) for name, g in mine) - self.overage.get(
            account, 0
        )

    def spendable(self, account: str, meter: str | None) -> list[str]:
        """Grants in burn order."""
        names = [
            name
            for name, g in self.grants.items()
            if g.account == account
            and g.expires > self.now
            and (g.meters is None or meter in g.meters)
        ]
        return sorted(names, key=lambda name: self.grants[name].order)

    def limit(self, account: str) -> int | None:
        """A key's is what it had spent when the day began, and the day's amount."""
        if account not in self.keys:
            return self.limits[account]
        key = self.keys[account]
        return key.amount + sum(amount for day, amount in key.spent if day < self.today)

    def available(self, account: str, meter: str | None) -> float:
        limit = self.limit(account)
        if limit is None:
            return float("inf")
        free = sum(self.grants[name].free for name in self.spendable(account, meter))
        return limit - self.overage.get(account, 0) - self.credit_legs(account) + free

    # What can happen.

    def tick(self, now: int) -> None:
        """Go on to `now`, by way of every cycle's end."""
        due = [cycle.ends for cycle in self.cycles.values() if cycle.ends <= now]
        while due:
            self._be(min(due))
            for account, cycle in self.cycles.items():
                if cycle.ends == self.now:
                    cycle.ends, cycle.number = self.now + DAY, cycle.number + 1
                    self._credit(account, cycle)
            due = [cycle.ends for cycle in self.cycles.values() if cycle.ends <= now]
        self._be(now)

    def _be(self, now: int) -> None:
        self.now, self.today = now, max(self.today, now // DAY)
        for grant in self.grants.values():
            if grant.expires <= now:
                grant.free = 0

    def subscribe(self, account: str, credit: int, meters: tuple[str, ...] | None) -> None:
        """Begin cycles, with their credit."""
        self.cycles[account] = Cycle(credit, self.now + DAY, meters)
        self._credit(account, self.cycles[account])

    def _credit(self, account: str, cycle: Cycle) -> None:
        name = f"{account}/{cycle.number}"
        order = (CYCLE_PRIORITY, cycle.ends, self.now, name)
        self.grants[name] = Credit(account, order, cycle.ends, cycle.meters, "", cycle.credit)
        self.cover(account)

    def end_overdue(self, accounts: set[str], *, charge: bool) -> None:
        """Expire each hold on these accounts whose time is up."""
        for account in sorted(accounts):
            overdue = [
                (hold.expires, name)
                for name, hold in self.holds.items()
                if hold.state == "active"
                and hold.expires <= self.now
                and account in hold.parts.values()
            ]
            for _, name in sorted(overdue):
                self.expire(name, charge=charge)

    def grant(self, name: str, credit: Credit) -> Answer:
        if name in self.grants:
            same = self.grants[name].fingerprint == credit.fingerprint
            return ("granted", True) if same else REUSED
        if credit.free <= 0 or credit.expires <= self.now:
            return INVALID
        self.grants[name] = credit
        self.cover(credit.account)
        return ("granted", False)

    def hold(
        self, name: str, hold: Hold, parts: list[Part], meter: str | None, *, partial: bool
    ) -> Answer:
        """Place `hold`; its state "dry" stands for a dry run."""
        dry = hold.state == "dry"
        if not dry and name in self.holds:
            seen = self.holds[name]
            # A request's hold has but one id here, so a forwarded call's is the same command.
            if seen.fingerprint != hold.fingerprint:
                return REUSED
            return ("held", True, seen.shrunk, sum(leg[3] for leg in seen.legs))
        if not dry and name in self.records:
            return REUSED
        keys = [self.keys[account] for _, account, _ in parts if account in self.keys]
        if any(key.calls.count(self.today) >= key.calls_max for key in keys):
            return LIMITED
        self.holds["trial"] = replace(hold, state="active", legs=[])
        shrunk, refused = self.ask(parts, meter, partial=partial)
        trial = self.holds.pop("trial")
        if dry or refused:
            self.give_back(trial.legs)
        if refused:
            return SHORT
        if not dry:
            hold.legs, hold.shrunk = trial.legs, shrunk
            self.holds[name] = hold
            for key in keys:
                key.calls.append(self.today)
        return ("held", False, shrunk, sum(leg[3] for leg in trial.legs))

    def ask(self, parts: list[Part], meter: str | None, *, partial: bool) -> tuple[bool, bool]:
        """Take each part, or what there is of it, for the hold on trial; shrunk, refused."""
        held = {account for _, account, _ in parts if self.legs(account)}
        shrunk = refused = False
        for role, account, amount in parts:
            there = self.available(account, meter)
            taken = amount
            if amount > max(there, 0):
                self.short |= held & {account}
                taken, shrunk = max(int(there), 0), True
                refused = refused or not partial or taken == 0
            self.take("trial", role, account, taken, meter)
        return shrunk, refused

    def release(self, name: str) -> Answer:
        if name not in self.holds:
            return NOT_FOUND
        hold = self.holds[name]
        if hold.state != "released":
            if hold.state != "active" or hold.expires <= self.now:
                return ENDED
            self.end(hold, "released")
        return ("hold", hold.state)

    def extend(self, name: str, expires: int) -> Answer:
        if name not in self.holds:
            return NOT_FOUND
        hold = self.holds[name]
        if hold.state != "active" or hold.expires <= self.now:
            return ENDED
        hold.expires = expires
        return ("hold", "active")

    def expire(self, name: str, *, charge: bool) -> Answer:
        if name not in self.holds:
            return NOT_FOUND
        hold = self.holds[name]
        if hold.state == "active" and hold.expires <= self.now:
            charged = charge and hold.forward and bool(hold.legs)
            if hold.forward:
                paid = dict.fromkeys(("charge", "cost", "budget"), 0)
                for role, _, _, amount in hold.legs if charged else []:
                    paid[role] += amount
                mark = "abandoned, charged" if charged else "abandoned"
                self.records[name] = Record(mark, paid["charge"], paid["cost"], {"abandoned"})
            if charged:
                hold.state = "expired"
                for _, account, grant, amount in hold.legs:
                    if grant is None:
                        self.owe(account, amount)
                for account in hold.parts.values():
                    self.cover(account)
            else:
                self.end(hold, "expired")
        return ("hold", hold.state)

    def settle(self, name: str, fingerprint: str, parts: list[Part], meter: str | None) -> Answer:
        hold, seen = self.holds.get(name), self.records.get(name)
        if hold and not set(hold.parts.values()) <= {account for _, account, _ in parts}:
            return REUSED
        if seen and seen.fingerprint == "abandoned, charged":
            return ENDED
        if seen and seen.fingerprint != "abandoned":
            return ("settled", True) if seen.fingerprint == fingerprint else REUSED
        if hold and hold.state in {"settled", "released"}:
            return ENDED
        flags = self.pay(hold, {role: (account, amount) for role, account, amount in parts}, meter)
        by_role = {role: amount for role, _, amount in parts}
        charge, cost = by_role.get("charge", 0), by_role.get("cost", 0)
        self.records[name] = Record(fingerprint, charge, cost, flags)
        return ("settled", False)

    def pay(
        self, hold: Hold | None, unpaid: dict[str, tuple[str, int]], meter: str | None
    ) -> set[str]:
        flags: set[str] = set()
        if hold and (hold.state == "expired" or hold.expires <= self.now):
            flags.add("late")
            if hold.state == "active":
                self.end(hold, "expired")
        elif hold:
            self.spend_legs(hold, unpaid)
            if any(amount > 0 for _, amount in unpaid.values()):
                flags.add("overrun")
        for account, amount in unpaid.values():
            if amount > 0:
                self.spend(account, amount, meter)
                if self.available(account, meter) < 0:
                    flags.add("overdrawn")
        for account, _ in unpaid.values():
            self.cover(account)
        return flags

    # How credit moves.

    def take(self, hold: str, role: str, account: str, amount: int, meter: str | None) -> None:
        for name in self.spendable(account, meter):
            piece = min(amount, self.grants[name].free)
            if piece:
                self.grants[name].free -= piece
                self.holds[hold].legs.append((role, account, name, piece))
            amount -= piece
        if amount:
            self.holds[hold].legs.append((role, account, None, amount))

    def give_back(self, legs: list[Leg]) -> None:
        for _, _, grant, amount in legs:
            if grant is not None and self.grants[grant].expires > self.now:
                self.grants[grant].free += amount

    def end(self, hold: Hold, state: str) -> None:
        hold.state = state
        self.give_back(hold.legs)
        for account in hold.parts.values():
            self.cover(account)

    def spend_legs(self, hold: Hold, unpaid: dict[str, tuple[str, int]]) -> None:
        hold.state = "settled"
        for role, account, grant, amount in hold.legs:
            spent = 0
            if role in unpaid and unpaid[role][0] == account:
                spent = min(amount, unpaid[role][1])
                unpaid[role] = (account, unpaid[role][1] - spent)
            if grant is None:
                self.owe(account, spent)
            self.give_back([(role, account, grant, amount - spent)])

    def spend(self, account: str, amount: int, meter: str | None) -> None:
        for name in self.spendable(account, meter):
            piece = min(amount, self.grants[name].free)
            self.grants[name].free -= piece
            amount -= piece
        self.owe(account, amount)

    def owe(self, account: str, amount: int) -> None:
        self.overage[account] = self.overage.get(account, 0) + amount
        if account in self.keys:
            self.keys[account].spent.append((self.today, amount))

    def cover(self, account: str) -> None:
        for name in self.spendable(account, None):
            paid = min(self.overage.get(account, 0), self.grants[name].free)
            self.grants[name].free -= paid
            self.owe(account, -paid)
