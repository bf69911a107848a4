"""Rows to core objects and back, in the order of the column lists in `sql.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from typing import Any

import msgspec

from lava_grpc.core.account import Account, AccountKind, Grant, GrantSource, OwnLimit
from lava_grpc.core.budget import Budget, Cycle, Limits, Marks, RateLimit, RequestLimit, SpendLimit
from lava_grpc.core.cycles import Interval
from lava_grpc.core.errors import InvariantBroken
from lava_grpc.core.events import Happening
from lava_grpc.core.hold import Bought, CallFacts, Hold, HoldKind, HoldState, Leg, Role
from lava_grpc.core.money import Amount
from lava_grpc.core.payments import Payment, PaymentKind, PaymentState
from lava_grpc.core.plans import (
    Enrolment,
    PendingKind,
    Plan,
    Rollover,
    Subscription,
    SubscriptionStatus,
)
from lava_grpc.core.pricing import Charge, ChargeLine, RateType, TierType
from lava_grpc.core.request_record import Flag, RequestRecord, RequestStatus
from lava_grpc.core.state import ISSUANCE, AccountCycle, Entry, EntryKind, TierCounter
from lava_grpc.core.time import Instant
from lava_grpc.core.usage import Usage
from lava_grpc.store.sql import PAYMENT_COLUMNS, PLAN_COLUMNS, SUBSCRIPTION_COLUMNS, Row

DELIVERY_ID_PREFIX = "msg_"

to_json = msgspec.json.Encoder().encode
"""Plain values as JSON in UTF-8; a sixth of the time of the standard library's encoder."""


def dumps(value: object) -> str:
    """Plain values as JSON."""
    return to_json(value).decode()


# Enum look-ups by value, without the enum machinery: these run for every row of a batch.
_KINDS = {kind.value: kind for kind in AccountKind}
_SOURCES = {source.value: source for source in GrantSource}
_HOLD_KINDS = {kind.value: kind for kind in HoldKind}
_STATES = {state.value: state for state in HoldState}
_ROLES = {role.value: role for role in Role}
_FLAGS = {flag.value: flag for flag in Flag}


def account_of(row: Row) -> Account:
    """An account, its grants not yet in it."""
    merchant_id, account_id, kind, balance, held, limit, closed, start, end, *_ = _any(row)
    return Account(
        merchant_id, account_id, _KINDS[kind], balance, held, limit, bool(closed), [], start, end
    )


def cycle_row(cycle: AccountCycle) -> list[object]:
    """What a new cycle changes of an account: CYCLE_UPDATE."""
    account, own = cycle.account, cycle.account.own_limit
    return [
        account.merchant_id,
        account.account_id,
        account.cycle_start,
        account.cycle_end,
        account.credit_limit,
        own is not None,
        None if own is None else own.amount,
        cycle.low_mark,
    ]


def plan_of(row: Row) -> Plan:
    """A plan: PLAN_COLUMNS."""
    values = list(_any(row))
    values[5] = Interval(values[5])
    values[6], values[7] = Rollover(values[6]), Rollover(values[7])
    if values[8] is not None:
        values[8] = tuple(json.loads(values[8]))
    values[11] = bool(values[11])
    return Plan(*values)


def plan_row(plan: Plan) -> dict[str, object]:
    """The row of a plan."""
    return {
        "merchant_id": plan.merchant_id,
        "plan_id": plan.plan_id,
        "name": plan.name,
        "period_amount": plan.period_amount,
        "included_credit": plan.included_credit,
        "billing_interval": plan.interval.value,
        "rollover_type": plan.rollover.value,
        "bundle_rollover_type": plan.bundle_rollover.value,
        "meter_ids": None if plan.meter_ids is None else dumps(list(plan.meter_ids)),
        "default_bundle_id": plan.default_bundle_id,
        "overage_limit": plan.overage_limit,
        "is_default": plan.is_default,
        "created_at": plan.created_at,
        "deleted_at": plan.deleted_at,
        "auto_top_up_threshold": plan.auto_top_up_threshold,
    }


def subscription_of(row: Row) -> Subscription:
    """A subscription: SUBSCRIPTION_COLUMNS."""
    values = list(_any(row))
    values[4] = SubscriptionStatus(values[4])
    if values[13] is not None:
        values[13] = PendingKind(values[13])
    values[19] = bool(values[19])
    return Subscription(*values)


def subscription_row(subscription: Subscription) -> list[object]:
    """The row of a subscription, new or changed: SUBSCRIPTION_COLUMNS."""
    pending = subscription.pending
    return [
        subscription.merchant_id,
        subscription.subscription_id,
        subscription.customer_id,
        subscription.plan_id,
        subscription.status.value,
        subscription.auto_top_up_bundle_id,
        subscription.anchor,
        subscription.anchor_cycle,
        subscription.cycle,
        subscription.cycle_start,
        subscription.cycle_end,
        subscription.started_at,
        subscription.cancelled_at,
        None if pending is None else pending.value,
        subscription.pending_plan_id,
        subscription.auto_top_up_threshold,
        subscription.payment_provider,
        subscription.payment_method_id,
        subscription.payment_id,
        subscription.unpaid,
    ]


def payment_of(row: Row) -> Payment:
    """A payment: PAYMENT_COLUMNS."""
    values = list(_any(row))
    values[3], values[9] = PaymentKind(values[3]), PaymentState(values[9])
    return Payment(*values)


def payment_row(payment: Payment) -> list[object]:
    """The row of a new payment: PAYMENT_COLUMNS."""
    values: list[object] = [getattr(payment, name) for name in PAYMENT_COLUMNS]
    values[3], values[9] = payment.kind.value, payment.state.value
    return values


def payment_end(payment: Payment) -> list[object]:
    """What the end of a payment changes: PAYMENT_END."""
    return [
        payment.merchant_id,
        payment.payment_id,
        payment.state.value,
        payment.reason,
        payment.due_at,
        payment.ended_at,
    ]


def own_limit_of(row: Row) -> OwnLimit | None:
    """The customer's own limit where its plan sets another one: of a row of `enrolments`."""
    *_, own, limited = _any(row)
    return OwnLimit(own) if limited else None


def low_marks_of(rows: Iterable[Row]) -> dict[tuple[str, str], Amount]:
    """The low marks in rows of `lock_accounts`, by the account's key."""
    found: Iterable[Any] = rows
    return {(row[0], row[1]): row[9] for row in found if row[9] is not None}


def enrolment_of(row: Row) -> Enrolment:
    """An active subscription with its three plans, the last two of which may be missing."""
    *values, _own, _limited = _any(row)
    first, count = len(SUBSCRIPTION_COLUMNS), len(PLAN_COLUMNS)
    plan, pending, default = [
        None if values[at] is None else plan_of(values[at : at + count])
        for at in range(first, len(values), count)
    ]
    if plan is None:
        raise InvariantBroken(f"subscription {values[1]} has no plan")
    return Enrolment(subscription_of(values[:first]), plan, pending, default)


def is_watched(row: Row) -> bool:
    """Whether the merchant of a row of `lock_accounts` has webhooks."""
    return bool(_any(row)[-1])


def delivery_row(happening: Happening, delivery_id: str, now: Instant) -> list[object]:
    """See `sql.Statements.insert_deliveries`."""
    details = json.dumps(happening.details, separators=(",", ":"))
    return [
        happening.merchant_id,
        f"{DELIVERY_ID_PREFIX}{delivery_id}",
        happening.customer_id,
        happening.event.value,
        details,
        now,
        now,
        happening.before,
        happening.after,
    ]


def grant_of(row: Row) -> Grant:
    """A grant."""
    values = list(_any(row))
    values[3] = _SOURCES[values[3]]
    if values[10] is not None:
        values[10] = tuple(json.loads(values[10]))
    # merchant_id, grant_id, account_id in the table; the account comes second in the class.
    values[1], values[2] = values[2], values[1]
    return Grant(*values)


def grant_row(grant: Grant) -> list[object]:
    """The row of a new grant: GRANT_INSERT."""
    meters = None if grant.meter_ids is None else dumps(list(grant.meter_ids))
    return [
        grant.merchant_id,
        grant.grant_id,
        grant.account_id,
        grant.source.value,
        grant.priority,
        grant.amount,
        grant.remaining,
        grant.held,
        grant.burned,
        grant.expired,
        meters,
        grant.expires_at,
        grant.created_at,
        grant.request_id,
        grant.fingerprint,
        grant.live,
    ]


def grant_update(grant: Grant) -> list[object]:
    """What changes of a grant: GRANT_UPDATE."""
    return [
        grant.merchant_id,
        grant.grant_id,
        grant.remaining,
        grant.held,
        grant.burned,
        grant.expired,
    ]


def hold_of(row: Row) -> Hold:
    """A hold with its legs."""
    (
        merchant_id,
        hold_id,
        request_id,
        kind,
        state,
        charge_id,
        cost_id,
        budget_id,
        legs,
        facts,
        created_at,
        expires_at,
        ended_at,
        fingerprint,
    ) = _any(row)
    call = json.loads(facts)
    bought = call.pop("bought", None)
    by_role = {"charge": charge_id, "cost": cost_id, "budget": budget_id}
    roles = [(_ROLES[name], ident) for name, ident in by_role.items() if ident is not None]
    return Hold(
        merchant_id=merchant_id,
        hold_id=hold_id,
        request_id=request_id,
        kind=_HOLD_KINDS[kind],
        state=_STATES[state],
        account_ids=tuple([ident for _, ident in roles]),
        roles=tuple([role for role, _ in roles]),
        legs=tuple(
            [
                Leg(by_role[role], _ROLES[role], grant_id, amount)
                for role, grant_id, amount in json.loads(legs)
            ]
        ),
        facts=_facts_of(call),
        created_at=created_at,
        expires_at=expires_at,
        ended_at=ended_at,
        fingerprint=fingerprint,
        bought=Bought(*bought) if bought else None,
    )


def hold_row(hold: Hold) -> list[object]:
    """The row of a new hold: HOLD_COLUMNS."""
    by_role = dict(zip(hold.roles, hold.account_ids, strict=True))
    return [
        hold.merchant_id,
        hold.hold_id,
        hold.request_id,
        hold.kind.value,
        hold.state.value,
        by_role.get(Role.CHARGE),
        by_role.get(Role.COST),
        by_role.get(Role.BUDGET),
        _legs_text(hold.legs),
        _call_text(hold.facts, hold.bought),
        hold.created_at,
        hold.expires_at,
        hold.ended_at,
        hold.fingerprint,
    ]


def hold_update(hold: Hold) -> list[object]:
    """What changes of a hold: HOLD_UPDATE."""
    return [hold.merchant_id, hold.hold_id, hold.state.value, hold.expires_at, hold.ended_at]


def record_of(row: Row) -> RequestRecord:
    """A record."""
    (
        merchant_id,
        request_id,
        status,
        customer_id,
        meter_id,
        provider,
        key_type,
        model,
        endpoint,
        response_id,
        usage,
        _total_tokens,
        input_cost,
        output_cost,
        cost,
        charge,
        charge_lines,
        flags,
        hold_id,
        held,
        metadata,
        created_at,
        ended_at,
        fingerprint,
        service_tier,
    ) = _any(row)
    # PostgreSQL's driver hands JSON out parsed, SQLite's as text.
    labels = metadata if isinstance(metadata, dict) else json.loads(metadata)
    return RequestRecord(
        merchant_id=merchant_id,
        request_id=request_id,
        status=RequestStatus(status),
        facts=CallFacts(
            customer_id,
            meter_id,
            provider,
            key_type,
            model,
            endpoint,
            tuple(labels.items()),
        ),
        response_id=response_id,
        usage=Usage.from_dict(json.loads(usage)),
        input_cost=input_cost,
        output_cost=output_cost,
        cost=cost,
        charge=_charge_of(charge, charge_lines),
        flags=tuple([_FLAGS[flag] for flag in flags.split()]),
        hold_id=hold_id,
        held=held,
        created_at=created_at,
        ended_at=ended_at,
        fingerprint=fingerprint,
        service_tier=service_tier,
    )


def record_row(record: RequestRecord) -> list[object]:
    """The row of a record, new or replaced: REQUEST_COLUMNS."""
    facts = record.facts
    return [
        record.merchant_id,
        record.request_id,
        record.status.value,
        facts.customer_id,
        facts.meter_id,
        facts.provider,
        facts.key_type,
        facts.model,
        facts.endpoint,
        record.response_id,
        dumps(record.usage.as_dict()),
        record.usage.total_tokens,
        record.input_cost,
        record.output_cost,
        record.cost,
        record.charge.amount,
        _charge_lines(record.charge),
        " ".join([flag.value for flag in record.flags]),
        record.hold_id,
        record.held,
        dumps(dict(facts.metadata)),
        record.created_at,
        record.ended_at,
        record.fingerprint,
        record.service_tier,
    ]


def label_rows(record: RequestRecord) -> list[list[object]]:
    """The rows of a record's labels: LABEL_COLUMNS."""
    return [
        [record.merchant_id, label_text(name, value), record.created_at, record.request_id]
        for name, value in record.facts.metadata
    ]


def label_text(name: str, value: str) -> str:
    """A label as it is looked for; a name has no equals sign."""
    return f"{name}={value}"


def entry_row(entry: Entry, entry_id: str) -> list[object]:
    """The row of an entry: ENTRY_COLUMNS."""
    return [
        entry.merchant_id,
        entry_id,
        entry.credit if entry.debit == ISSUANCE else entry.debit,
        entry.debit,
        entry.credit,
        entry.amount,
        entry.kind.value,
        entry.request_id,
        entry.hold_id,
        entry.grant_id,
        entry.created_at,
    ]


def entry_of(row: Row) -> tuple[str, Entry]:
    """An entry with its id."""
    values = _any(row)
    merchant_id, entry_id, _account_id, debit, credit, amount, kind, *rest = values
    request_id, hold_id, grant_id, created_at = rest
    return entry_id, Entry(
        merchant_id,
        debit,
        credit,
        amount,
        EntryKind(kind),
        request_id,
        hold_id,
        grant_id,
        created_at,
    )


def counter_of(row: Row) -> TierCounter:
    """A tier counter."""
    return TierCounter(*_any(row))


def budget_of(row: Row) -> Budget:
    """A spend key's budget: BUDGET_COLUMNS."""
    values = _any(row)
    merchant_id, account_id, *marks = values[:8]
    requests, rolled_at, paced_until, last_used_at = values[8:12]
    return Budget(
        merchant_id,
        account_id,
        limits_of(values[12:]),
        Marks(*marks[:3]),
        Marks(*marks[3:]),
        requests,
        rolled_at,
        paced_until,
        last_used_at,
    )


def limits_of(row: Row) -> Limits:
    """A spend key's limits: the last six of BUDGET_COLUMNS."""
    amount, spend_cycle, count, request_cycle, rpm, burst = _any(row)
    return Limits(
        None if amount is None else SpendLimit(amount, Cycle(spend_cycle)),
        None if count is None else RequestLimit(count, Cycle(request_cycle)),
        None if rpm is None else RateLimit(rpm, burst),
    )


def budget_update(budget: Budget) -> list[object]:
    """What the ledger changes of a budget: BUDGET_UPDATE."""
    spent, counted = budget.spent, budget.counted
    return [
        budget.merchant_id,
        budget.account_id,
        spent.day,
        spent.week,
        spent.month,
        counted.day,
        counted.week,
        counted.month,
        budget.requests,
        budget.rolled_at,
        budget.paced_until,
        budget.last_used_at,
    ]


def counter_row(counter: TierCounter) -> list[object]:
    """The row of a counter, new or changed: COUNTER_COLUMNS."""
    return [
        counter.merchant_id,
        counter.customer_id,
        counter.meter_id,
        counter.cycle_start,
        counter.units,
    ]


def _legs_text(legs: Sequence[Leg]) -> str:
    """As JSON, put together by hand: an encoder for each hold costs more than the rest of it."""
    texts = [
        f'["{leg.role.value}",{_quoted(leg.grant_id) if leg.grant_id else "null"},{leg.amount}]'
        for leg in legs
    ]
    return f"[{','.join(texts)}]"


def _call_text(facts: CallFacts, bought: Bought | None) -> str:
    """What a hold's call is, as a JSON object; what is None is left out."""
    # The holds of a batch are mostly alike, but for those with labels of their own.
    return (_new_text if facts.metadata else _known_text)(facts, bought)


def _new_text(facts: CallFacts, bought: Bought | None) -> str:
    kept: dict[str, object] = {
        "provider": facts.provider,
        "key_type": facts.key_type,
        "endpoint": facts.endpoint,
    }
    if facts.customer_id is not None:
        kept["customer_id"] = facts.customer_id
    if facts.meter_id is not None:
        kept["meter_id"] = facts.meter_id
    if facts.model is not None:
        kept["model"] = facts.model
    if facts.metadata:
        kept["metadata"] = dict(facts.metadata)
    if bought is not None:
        kept["bought"] = (bought.units, bought.output_tokens)
    return dumps(kept)


_known_text = lru_cache(maxsize=1024)(_new_text)


def _facts_of(call: dict[str, Any]) -> CallFacts:
    call["metadata"] = tuple(call.get("metadata", {}).items())
    return CallFacts(**call)


def _charge_of(amount: int, lines: str | None) -> Charge:
    if lines is None:
        return Charge(amount)
    rate_type, kept = json.loads(lines)
    return Charge(
        amount,
        RateType(rate_type),
        tuple(
            [
                ChargeLine(start, rate, TierType(tier_type), units, cost)
                for start, rate, tier_type, units, cost in kept
            ]
        ),
    )


def _charge_lines(charge: Charge) -> str | None:
    if charge.rate_type is None:
        return None
    lines = [
        (line.start, line.rate, line.tier_type.value, line.units, line.amount)
        for line in charge.lines
    ]
    return dumps([charge.rate_type.value, lines])


def _any(row: Row) -> Any:  # noqa: ANN401 - what a driver hands out has no types
    return row
