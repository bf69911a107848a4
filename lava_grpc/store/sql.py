"""The ledger's statements, made from the schema once per engine.

A batch goes to the database in sets: each statement reads or writes all of its
rows, however many there are, so that a batch costs the same few statements whether
it holds one command or five hundred. What reads takes its keys as one JSON array on
every engine; what writes does so where each statement is a message to a server, and
runs for one row after the other where it is a call in this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Table

from lava_grpc.core.webhooks import Event
from lava_grpc.store import schema

Row: TypeAlias = Sequence[object]
Pair: TypeAlias = tuple[str, str]

ACCOUNT_COLUMNS = (
    "merchant_id",
    "account_id",
    "kind",
    "balance",
    "held",
    "credit_limit",
    "closed",
    "cycle_start",
    "cycle_end",
    "low_mark",
)
GRANT_COLUMNS = tuple(c.name for c in schema.grants.columns if c.name != "live")
HOLD_COLUMNS = tuple(c.name for c in schema.holds.columns)
REQUEST_COLUMNS = tuple(c.name for c in schema.requests.columns)
LABEL_COLUMNS = tuple(c.name for c in schema.request_labels.columns)
ENTRY_COLUMNS = tuple(c.name for c in schema.entries.columns)
COUNTER_COLUMNS = tuple(c.name for c in schema.counters.columns)
SUBSCRIPTION_COLUMNS = tuple(c.name for c in schema.subscriptions.columns)
PLAN_COLUMNS = tuple(c.name for c in schema.plans.columns)
PAYMENT_COLUMNS = tuple(c.name for c in schema.payments.columns)
BUDGET_UPDATE = (
    "merchant_id",
    "account_id",
    "spent_day",
    "spent_week",
    "spent_month",
    "counted_day",
    "counted_week",
    "counted_month",
    "requests",
    "rolled_at",
    "paced_until",
    "last_used_at",
)
BUDGET_COLUMNS = (
    *BUDGET_UPDATE,
    "spend_amount",
    "spend_cycle",
    "request_count",
    "request_cycle",
    "rate_rpm",
    "rate_burst",
)


@dataclass(slots=True)
class Wanted:
    """The keys of all rows that a batch touches: merchant first, then the row's own."""

    accounts: set[Pair] = field(default_factory=set)
    hold_requests: set[Pair] = field(default_factory=set)
    holds: set[Pair] = field(default_factory=set)
    records: set[Pair] = field(default_factory=set)
    grant_requests: set[Pair] = field(default_factory=set)
    counters: set[tuple[str, str, str, int]] = field(default_factory=set)
    enrolments: set[Pair] = field(default_factory=set)
    payments: set[Pair] = field(default_factory=set)


@dataclass(slots=True)
class Loaded:
    """Rows as the statements give them, in the order of the column lists above."""

    accounts: list[Row] = field(default_factory=list)
    grants: list[Row] = field(default_factory=list)
    holds: list[Row] = field(default_factory=list)
    records: list[Row] = field(default_factory=list)
    granted: list[Row] = field(default_factory=list)
    counters: list[Row] = field(default_factory=list)
    enrolments: list[Row] = field(default_factory=list)
    budgets: list[Row] = field(default_factory=list)
    payments: list[Row] = field(default_factory=list)


class Statement(msgspec.Struct, frozen=True):
    """One of `Statements` by name, with the rows that it takes: keys, or what is written.

    Their values are texts, whole numbers, flags and None.
    """

    name: str
    rows: Sequence[Row]


class Flavor(Protocol):
    """How an engine spells the rows that a statement takes."""

    for_update: str

    def rows(self, alias: str) -> str:
        """A table expression `alias` with a row for each one of the JSON array of arrays."""
        ...

    def written(self, *tables: str) -> str:
        """The FROM clause of what writes: its rows, and other tables; empty where it has none."""
        ...

    def value(self, position: int, column: Column[object]) -> str:
        """The expression for one column of what is written."""
        ...

    def by_index(self, index: str) -> str:
        """What follows a table to make the planner use this index, where it has to be told."""
        ...

    def field(self, alias: str, position: int, column: Column[object]) -> str:
        """The expression for one column of a row of `rows`: its element at `position`."""
        ...


def _columns(table: Table, names: Sequence[str]) -> list[Column[object]]:
    return [table.columns[name] for name in names]


@dataclass(frozen=True, slots=True)
class Statements:
    """One engine's statements."""

    lock_accounts: str
    live_grants: str
    holds_by_request: str
    holds_by_id: str
    records: str
    granted: str
    counters: str
    enrolments: str
    budgets: str
    lock_payments: str
    insert_deliveries: str
    insert_grants: str
    insert_holds: str
    insert_records: str
    insert_labels: str
    insert_entries: str
    put_counters: str
    update_accounts: str
    update_grants: str
    end_grants: str
    update_holds: str
    update_records: str
    put_subscriptions: str
    update_cycles: str
    update_budgets: str
    grow_grants: str
    insert_payments: str
    end_payments: str


ACCOUNT_UPDATE = ("merchant_id", "account_id", "balance", "held")
GRANT_UPDATE = ("merchant_id", "grant_id", "remaining", "held", "burned", "expired")
HOLD_UPDATE = ("merchant_id", "hold_id", "state", "expires_at", "ended_at")
GRANT_INSERT = (*GRANT_COLUMNS, "live")
GRANT_GROWTH = ("merchant_id", "grant_id", "amount")
PAYMENT_END = ("merchant_id", "payment_id", "state", "reason", "due_at", "ended_at")


def statements(flavor: Flavor) -> Statements:
    """Spell every statement for one engine."""
    ids = ("merchant_id", "account_id")
    return Statements(
        lock_accounts=_select(flavor, schema.accounts, ACCOUNT_COLUMNS, ids, also=_WATCHED)
        + f" ORDER BY t.merchant_id, t.account_id{flavor.for_update}",
        live_grants=_select(flavor, schema.grants, GRANT_COLUMNS, ids, index="grants_live")
        + " WHERE t.live",
        holds_by_request=_select(flavor, schema.holds, HOLD_COLUMNS, ("merchant_id", "request_id")),
        holds_by_id=_select(flavor, schema.holds, HOLD_COLUMNS, ("merchant_id", "hold_id")),
        records=_select(flavor, schema.requests, REQUEST_COLUMNS, ("merchant_id", "request_id")),
        granted=_select(flavor, schema.grants, GRANT_COLUMNS, ("merchant_id", "request_id")),
        counters=_counters(flavor),
        enrolments=_enrolments(flavor),
        budgets=_select(flavor, schema.budgets, BUDGET_COLUMNS, ids),
        lock_payments=_select(
            flavor, schema.payments, PAYMENT_COLUMNS, ("merchant_id", "payment_id")
        )
        + f" ORDER BY t.merchant_id, t.payment_id{flavor.for_update}",
        insert_deliveries=_insert_deliveries(flavor),
        insert_grants=_insert(flavor, schema.grants, GRANT_INSERT),
        insert_holds=_insert(flavor, schema.holds, HOLD_COLUMNS),
        insert_records=_insert(flavor, schema.requests, REQUEST_COLUMNS),
        insert_labels=_insert(flavor, schema.request_labels, LABEL_COLUMNS)
        + " ON CONFLICT DO NOTHING",
        insert_entries=_insert(flavor, schema.entries, ENTRY_COLUMNS),
        put_counters=_insert(flavor, schema.counters, COUNTER_COLUMNS)
        + " ON CONFLICT (merchant_id, customer_id, meter_id, cycle_start)"
        " DO UPDATE SET units = excluded.units",
        update_accounts=_update(flavor, schema.accounts, ACCOUNT_UPDATE, 2),
        update_grants=_update(flavor, schema.grants, GRANT_UPDATE, 2),
        end_grants=_end_grants(flavor),
        update_holds=_update(flavor, schema.holds, HOLD_UPDATE, 2),
        update_records=_update(flavor, schema.requests, REQUEST_COLUMNS, 2),
        put_subscriptions=_put(flavor, schema.subscriptions, SUBSCRIPTION_COLUMNS, 2),
        update_cycles=_update_cycles(flavor),
        update_budgets=_update(flavor, schema.budgets, BUDGET_UPDATE, 2),
        grow_grants=_update(flavor, schema.grants, GRANT_GROWTH, 2),
        insert_payments=_insert(flavor, schema.payments, PAYMENT_COLUMNS),
        end_payments=_update(flavor, schema.payments, PAYMENT_END, 2),
    )


def _select(
    flavor: Flavor,
    table: Table,
    names: Sequence[str],
    keys: Sequence[str],
    *,
    index: str | None = None,
    also: str = "",
) -> str:
    columns = _columns(table, keys)
    match = " AND ".join(f"t.{c.name} = {flavor.field('k', i, c)}" for i, c in enumerate(columns))
    listed = ", ".join(f"t.{name}" for name in names)
    hint = flavor.by_index(index) if index else ""
    return f"SELECT {listed}{also} FROM {flavor.rows('k')} JOIN {table.name} AS t{hint} ON {match}"


# The last column of `lock_accounts`: whether the merchant has webhooks. A merchant without any
# costs a batch one look into an index for each account, and no statement.
_WATCHED = ", EXISTS (SELECT 1 FROM webhooks AS w WHERE w.merchant_id = t.merchant_id) AS watched"

_DELIVERY = (
    "merchant_id",
    "delivery_id",
    "customer_id",
    "event",
    "details",
    "due_at",
    "created_at",
)


def _insert_deliveries(flavor: Flavor) -> str:
    """Each event for each webhook of its merchant; rows go on with the balance before and after.

    A low balance is told to the webhooks whose own threshold it fell below.
    """
    columns = _columns(schema.webhook_deliveries, _DELIVERY)
    fields = [flavor.value(i, c) for i, c in enumerate(columns)]
    number = schema.webhook_deliveries.columns["due_at"]
    before, after = [flavor.value(len(fields) + i, number) for i in range(2)]
    return (
        f"INSERT INTO webhook_deliveries ({', '.join(_DELIVERY)}, webhook_id, state, attempts)"
        f" SELECT {', '.join(fields)}, w.webhook_id, 'pending', 0"
        f"{flavor.written('webhooks AS w')} WHERE w.merchant_id = {fields[0]}"
        f" AND ({fields[3]} <> '{Event.BALANCE_LOW.value}'"
        f" OR ({before} >= w.low_balance AND {after} < w.low_balance))"
    )


def _insert(flavor: Flavor, table: Table, names: Sequence[str]) -> str:
    columns = _columns(table, names)
    listed = ", ".join(names)
    values = ", ".join(flavor.value(i, c) for i, c in enumerate(columns))
    # `WHERE true` keeps SQLite from reading ON CONFLICT as a join's condition.
    return f"INSERT INTO {table.name} ({listed}) SELECT {values}{flavor.written()} WHERE true"


def _counters(flavor: Flavor) -> str:
    """Counters of the subscription's cycle, else of the one that is asked for."""
    keys = [flavor.field("k", i, c) for i, c in enumerate(schema.counters.primary_key.columns)]
    merchant_id, customer_id, meter_id, cycle_start = keys
    listed = ", ".join(f"t.{name}" for name in COUNTER_COLUMNS)
    return (
        f"SELECT {listed} FROM {flavor.rows('k')}"
        f" JOIN accounts AS a ON a.merchant_id = {merchant_id} AND a.account_id = {customer_id}"
        f" JOIN {schema.counters.name} AS t ON t.merchant_id = {merchant_id}"
        f" AND t.customer_id = {customer_id} AND t.meter_id = {meter_id}"
        f" AND t.cycle_start = COALESCE(a.cycle_start, {cycle_start})"
    )


def _enrolments(flavor: Flavor) -> str:
    """Active subscriptions by customer, each with its plan, the pending and the default one.

    Last come the account's own limit, and whether the plan's counts in its place.
    """
    named = [("t", name) for name in SUBSCRIPTION_COLUMNS]
    named += [(alias, name) for alias in ("p", "n", "d") for name in PLAN_COLUMNS]
    named += [("a", "own_limit"), ("a", "plan_limited")]
    listed = ", ".join(f"{alias}.{name}" for alias, name in named)
    columns = _columns(schema.subscriptions, ("merchant_id", "customer_id"))
    match = " AND ".join(f"t.{c.name} = {flavor.field('k', i, c)}" for i, c in enumerate(columns))
    return (
        f"SELECT {listed} FROM {flavor.rows('k')} JOIN subscriptions AS t"
        f"{flavor.by_index('subscriptions_active')} ON {match} AND t.status = 'active'"
        " JOIN accounts AS a ON a.merchant_id = t.merchant_id AND a.account_id = t.customer_id"
        " JOIN plans AS p ON p.merchant_id = t.merchant_id AND p.plan_id = t.plan_id"
        " LEFT JOIN plans AS n ON n.merchant_id = t.merchant_id AND n.plan_id = t.pending_plan_id"
        " LEFT JOIN plans AS d ON d.merchant_id = t.merchant_id AND d.is_default"
    )


def _put(flavor: Flavor, table: Table, names: Sequence[str], key_count: int) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in names[key_count:])
    keys = ", ".join(names[:key_count])
    return _insert(flavor, table, names) + f" ON CONFLICT ({keys}) DO UPDATE SET {changed}"


CYCLE_UPDATE = (
    "merchant_id",
    "account_id",
    "cycle_start",
    "cycle_end",
    "credit_limit",
    "plan_limited",
    "own_limit",
    "low_mark",
)


def _update_cycles(flavor: Flavor) -> str:
    columns = _columns(schema.accounts, CYCLE_UPDATE)
    merchant_id, account_id, start, end, limit, limited, own, mark = [
        flavor.value(i, c) for i, c in enumerate(columns)
    ]
    lower = f"{limit} IS NOT NULL AND (t.credit_limit IS NULL OR {limit} < t.credit_limit)"
    return (
        f"UPDATE accounts AS t SET cycle_start = {start}, cycle_end = {end},"
        f" credit_limit = {limit}, limit_lowered = t.limit_lowered OR ({lower}),"
        f" plan_limited = {limited}, own_limit = {own}, low_mark = {mark}"
        f"{flavor.written()}"
        f" WHERE t.merchant_id = {merchant_id} AND t.account_id = {account_id}"
    )


def _update(flavor: Flavor, table: Table, names: Sequence[str], key_count: int) -> str:
    columns = _columns(table, names)
    fields = [flavor.value(i, c) for i, c in enumerate(columns)]
    pairs = list(zip(names, fields, strict=True))
    changed = ", ".join(f"{name} = {value}" for name, value in pairs[key_count:])
    match = " AND ".join(f"t.{name} = {value}" for name, value in pairs[:key_count])
    return f"UPDATE {table.name} AS t SET {changed}{flavor.written()} WHERE {match}"


def _end_grants(flavor: Flavor) -> str:
    """Take grants out of the live ones.

    Not a column of `update_grants`: SQLite writes the entries of an index anew where a
    column of its condition is set, be it to the same value.
    """
    columns = _columns(schema.grants, ("merchant_id", "grant_id"))
    match = " AND ".join(f"t.{c.name} = {flavor.value(i, c)}" for i, c in enumerate(columns))
    return f"UPDATE grants AS t SET live = false{flavor.written()} WHERE {match}"


def is_number(column: Column[object]) -> bool:
    """Whether the column holds whole numbers."""
    return isinstance(column.type, BigInteger)


def is_flag(column: Column[object]) -> bool:
    """Whether the column holds true or false."""
    return isinstance(column.type, Boolean)
