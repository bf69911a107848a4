"""The working set of one `apply`: look-ups that refuse, and what was touched."""

from __future__ import annotations

from dataclasses import dataclass, field

from lava_grpc.core import funds
from lava_grpc.core.account import Account, AccountKind, Grant
from lava_grpc.core.budget import Budget
from lava_grpc.core.errors import InvariantBroken, Reason, Refusal, invalid, not_found
from lava_grpc.core.hold import Hold, Role
from lava_grpc.core.money import Amount
from lava_grpc.core.payments import Payment
from lava_grpc.core.plans import Enrolment, Subscription
from lava_grpc.core.request_record import RequestRecord
from lava_grpc.core.state import AccountCycle, Changes, Key, LedgerState, TierCounter
from lava_grpc.core.time import Instant, cycle_of


@dataclass(slots=True)
class Batch:
    """State, changes so far, and the batch's one instant."""

    state: LedgerState
    changes: Changes
    now: Instant
    short_accounts: set[Key] = field(default_factory=set)
    current_accounts: set[Key] = field(default_factory=set)  # nothing overdue left on them
    due_accounts: set[Key] = field(default_factory=set)  # their cycle is over
    cycle_start: Instant = field(init=False)
    cycle_end: Instant = field(init=False)

    def __post_init__(self) -> None:
        self.cycle_start, self.cycle_end = cycle_of(self.now)

    def account(self, merchant_id: str, account_id: str) -> Account:
        """The account, its overdue grants expired and its budget rolled; refuses NOT_FOUND."""
        key = (merchant_id, account_id)
        account = self.state.accounts.get(key)
        if account is None:
            field_name = "customer_id" if account_id.startswith("con_") else "account_id"
            raise not_found("customer", account_id, field=field_name)
        if key not in self.current_accounts:
            self.current_accounts.add(key)
            self.note_due(account)
            funds.expire_overdue_grants(self, account)
            if account.budget is not None and account.budget.roll(account, self.now):
                self.touch_budget(account.budget)
        return account

    def note_due(self, account: Account) -> None:
        """Note whether the account's cycle is over: it should be renewed first."""
        if account.cycle_end is not None and account.cycle_end <= self.now:
            self.due_accounts.add((account.merchant_id, account.account_id))
        elif self.due_accounts:
            self.due_accounts.discard((account.merchant_id, account.account_id))

    def open_account(self, merchant_id: str, account_id: str) -> Account:
        """As `account`, but a deleted customer's is not found either, nor a revoked spend key's."""
        account = self.account(merchant_id, account_id)
        if account.closed and account.kind is AccountKind.SPEND_KEY:
            raise Refusal(Reason.INVALID_CREDENTIALS, "the spend key is unknown or revoked")
        if account.closed:
            raise not_found("customer", account_id, field="customer_id")
        return account

    def hold(self, merchant_id: str, hold_id: str) -> Hold:
        """The hold; refuses NOT_FOUND."""
        hold = self.state.holds.get((merchant_id, hold_id))
        if hold is None:
            raise not_found("reservation", hold_id, field="reservation_id")
        return hold

    def grant(self, merchant_id: str, grant_id: str) -> Grant:
        """A grant that a leg names; it must have been loaded."""
        grant = self.state.grants.get((merchant_id, grant_id))
        if grant is None:
            raise InvariantBroken(f"a leg names grant {grant_id}, which was not loaded")
        return grant

    def add_grant(self, grant: Grant) -> None:
        """Note a new grant."""
        key = (grant.merchant_id, grant.grant_id)
        self.state.grants[key] = grant
        self.state.grants_by_request[(grant.merchant_id, grant.request_id)] = grant
        self.changes.new_grants[key] = grant

    def touch(self, account: Account) -> None:
        """Note that an account is to be written."""
        self.changes.accounts[(account.merchant_id, account.account_id)] = account

    def touch_budget(self, budget: Budget) -> None:
        """Note that a budget is to be written."""
        self.changes.budgets[(budget.merchant_id, budget.account_id)] = budget

    def touch_grant(self, grant: Grant) -> None:
        """Note that a grant is to be written."""
        key = (grant.merchant_id, grant.grant_id)
        if key not in self.changes.new_grants:
            self.changes.grants[key] = grant

    def grow_grant(self, grant: Grant) -> None:
        """Note that a grant is to be written, its amount too."""
        key = (grant.merchant_id, grant.grant_id)
        if key not in self.changes.new_grants:
            self.changes.grants[key] = self.changes.grown[key] = grant

    def add_hold(self, hold: Hold) -> None:
        """Note a new hold."""
        self.state.holds[(hold.merchant_id, hold.hold_id)] = hold
        self.state.holds_by_request[(hold.merchant_id, hold.request_id)] = hold
        self.changes.new_holds[(hold.merchant_id, hold.hold_id)] = hold

    def touch_hold(self, hold: Hold) -> None:
        """Note that a hold is to be written."""
        key = (hold.merchant_id, hold.hold_id)
        if key not in self.changes.new_holds:
            self.changes.holds[key] = hold

    def put_record(self, record: RequestRecord) -> None:
        """Note a new record, or one that replaces what was there."""
        key = (record.merchant_id, record.request_id)
        fresh = key not in self.state.records or key in self.changes.new_records
        self.state.records[key] = record
        target = self.changes.new_records if fresh else self.changes.records
        target[key] = record

    def counter(self, account: Account, meter_id: str) -> TierCounter:
        """The customer's counter for this meter in the current cycle; zero if new."""
        start = account.cycle_start
        if start is None:
            start = self.cycle_start
        key = (account.merchant_id, account.account_id, meter_id, start)
        counter = self.state.counters.get(key)
        if counter is None:
            counter = TierCounter(*key, units=0)
            self.state.counters[key] = counter
        return counter

    def cycle_end_of(self, account: Account) -> Instant:
        """When the account's tier counters start again: its own cycle's end, else the month's."""
        return self.cycle_end if account.cycle_end is None else account.cycle_end

    def enrolment(self, account: Account) -> Enrolment | None:
        """The customer's active subscription with its plans."""
        return self.state.enrolments.get((account.merchant_id, account.account_id))

    def put_enrolment(self, account: Account, enrolled: Enrolment) -> None:
        """Note a subscription that is new or changed, and active."""
        subscription = enrolled.subscription
        self.state.enrolments[account.merchant_id, account.account_id] = enrolled
        key = (subscription.merchant_id, subscription.subscription_id)
        self.changes.subscriptions[key] = subscription

    def end_enrolment(self, account: Account, over: Subscription) -> None:
        """Note a subscription that is active no more."""
        self.state.enrolments.pop((account.merchant_id, account.account_id), None)
        self.changes.subscriptions[over.merchant_id, over.subscription_id] = over

    def put_cycle(self, account: Account, low_mark: Amount | None) -> None:
        """Note that an account's cycle, credit limit or low mark is to be written."""
        cycle = AccountCycle(account, low_mark)
        self.changes.cycles[account.merchant_id, account.account_id] = cycle

    def payment(self, merchant_id: str, payment_id: str) -> Payment:
        """A payment that a command names; it must have been loaded."""
        payment = self.state.payments.get((merchant_id, payment_id))
        if payment is None:
            raise InvariantBroken(f"payment {payment_id} was not loaded")
        return payment

    def add_payment(self, payment: Payment) -> None:
        """Note a payment that is to be asked for."""
        key = (payment.merchant_id, payment.payment_id)
        self.state.payments[key] = self.changes.new_payments[key] = payment

    def end_payment(self, payment: Payment) -> None:
        """Note that a payment ended."""
        key = (payment.merchant_id, payment.payment_id)
        self.state.payments[key] = self.changes.payments[key] = payment

    def touch_counter(self, counter: TierCounter) -> None:
        """Note that a counter is to be written."""
        key = (counter.merchant_id, counter.customer_id, counter.meter_id, counter.cycle_start)
        self.changes.counters[key] = counter

    @staticmethod
    def require_roles(roles: tuple[Role, ...]) -> None:
        """Refuse parts that share a role: legs are told apart by it."""
        if len(roles) > 1 and len(set(roles)) < len(roles):
            raise invalid("parts", "must have each role once")

    @staticmethod
    def require_same(seen: str, given: str, request_id: str) -> None:
        """Refuse a request id that was used with other content."""
        if seen != given:
            raise Refusal(
                Reason.REQUEST_ID_REUSED,
                f"request_id '{request_id[:80]}' was used before with other content",
                field="request_id",
                facts={"request_id": request_id},
            )
