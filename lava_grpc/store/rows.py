"""Rows to core objects and back, in the order of the column lists in `sql.py`."""

from __future__ import annotations

import json
from typing import Any

from lava_grpc.core.account import Account, AccountKind, Grant, GrantSource
from lava_grpc.core.budget import Budget, Cycle, Limits, Marks, RateLimit, RequestLimit, SpendLimit
from lava_grpc.core.hold import Bought, CallFacts, Hold, HoldKind, HoldState, Leg, Role
from lava_grpc.core.pricing import Charge, ChargeLine, RateType, TierType
from lava_grpc.core.request_record import Flag, RequestRecord, RequestStatus
from lava_grpc.core.state import ISSUANCE, Entry, EntryKind, TierCounter
from lava_grpc.core.usage import Usage
from lava_grpc.store.sql import Row

dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode

# Enum look-ups by value, without the enum machinery: these run for every row of a batch.
_KINDS = {kind.value: kind for kind in AccountKind}
_SOURCES = {source.value: source for source in GrantSource}
_HOLD_KINDS = {kind.value: kind for kind in HoldKind}
_STATES = {state.value: state for state in HoldState}
_ROLES = {role.value: role for role in Role}
_FLAGS = {flag.value: flag for flag in Flag}


def account_of(row: Row) -> Account:
    """An account, its grants not yet in it."""
    merchant_id, account_id, kind, balance, held, credit_limit, closed = _any(row)
    return Account(
        merchant_id, account_id, _KINDS[kind], balance, held, credit_limit, bool(closed), []
    )


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
        grant.live,
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
        dumps([(leg.role.value, leg.grant_id, leg.amount) for leg in hold.legs]),
        _call_text(hold),
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
    ]


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


def _call_text(hold: Hold) -> str:
    """What a hold's call is, as a JSON object; what is None is left out."""
    facts = hold.facts
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
    if hold.bought is not None:
        kept["bought"] = (hold.bought.units, hold.bought.output_tokens)
    return dumps(kept)


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
