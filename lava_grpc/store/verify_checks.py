"""What must hold, as queries for the rows that break it.

Every query gives the merchant, the row's id, and the figures that its sentence
shows. The views that they read are the tables (their first letters), cut down to
one merchant where one is asked for, and `legs`: one row for each leg of a hold.
CROSS JOIN is a join like any other, but that SQLite, which knows of no sizes, reads the
first table first: what an entry belongs to has an index by its id, and entries have none.

What cannot be seen afterwards: a credit limit is not kept when it changes. So an
account is past its limit by right if a request that touched it is marked
OVERDRAWN, by wrong otherwise, and one whose limit was lowered below what it had
taken is named until it has paid.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """The rule, the kind of row, the sentence, and the query for the rows that break it."""

    rule: str
    kind: str
    says: str
    query: str


COUNTS = """SELECT
    (SELECT count(*) FROM a), (SELECT count(*) FROM e), (SELECT count(*) FROM h)"""
"""How many accounts, entries and holds there are."""

_TABLES = {
    "a": "accounts",
    "b": "budgets",
    "g": "grants",
    "h": "holds",
    "r": "requests",
    "e": "entries",
    "p": "payments",
    "s": "subscriptions",
    "k": "retention",
}
_LEGS_FROM = {
    "sqlite": "json_each(h.legs) AS leg",
    "postgresql": "jsonb_array_elements(CAST(h.legs AS jsonb)) AS leg(value)",
}
_LEGS = """legs AS NOT MATERIALIZED (
    SELECT merchant_id, hold_id, state, role, grant_id, amount,
        CASE role
            WHEN 'charge' THEN charge_account_id
            WHEN 'cost' THEN cost_account_id
            WHEN 'budget' THEN budget_account_id
        END AS account_id
    FROM (
        SELECT h.*, leg.value ->> 0 AS role, leg.value ->> 1 AS grant_id,
            CAST(leg.value ->> 2 AS BIGINT) AS amount
        FROM h, {legs_from}
    ) AS split
)
"""


def views(dialect: str, *, one_merchant: bool) -> str:
    """The WITH clause that the queries are put behind; `:merchant_id` is bound to one."""
    scope = " WHERE merchant_id = :merchant_id" if one_merchant else ""
    tables = [
        f"{name} AS NOT MATERIALIZED (SELECT * FROM {table}{scope})"  # noqa: S608 - our own names
        for name, table in _TABLES.items()
    ]
    return "WITH " + ",\n".join([*tables, _LEGS.format(legs_from=_LEGS_FROM[dialect])])


_ACCOUNT_CHECKS = (
    Check(
        "balance",
        "account",
        "its balance is {0}, its entries come to {1}",
        """SELECT a.merchant_id, a.account_id, a.balance, COALESCE(s.amount, 0)
        FROM a LEFT JOIN (
            SELECT merchant_id, account_id, SUM(
                CASE WHEN credit = account_id THEN amount ELSE 0 END
                - CASE WHEN debit = account_id THEN amount ELSE 0 END
            ) AS amount
            FROM e GROUP BY merchant_id, account_id
        ) AS s ON s.merchant_id = a.merchant_id AND s.account_id = a.account_id
        WHERE a.balance <> COALESCE(s.amount, 0)""",
    ),
    Check(
        "balance",
        "account",
        "its balance is {0}, its grants have only {1} left",
        """SELECT a.merchant_id, a.account_id, a.balance, COALESCE(s.amount, 0)
        FROM a LEFT JOIN (
            SELECT merchant_id, account_id, SUM(remaining + held) AS amount
            FROM g GROUP BY merchant_id, account_id
        ) AS s ON s.merchant_id = a.merchant_id AND s.account_id = a.account_id
        WHERE a.balance > COALESCE(s.amount, 0)""",
    ),
    Check(
        "held",
        "account",
        "{0} is held on it, its active holds come to {1}",
        """SELECT a.merchant_id, a.account_id, a.held, COALESCE(s.amount, 0)
        FROM a LEFT JOIN (
            SELECT merchant_id, account_id, SUM(amount) AS amount
            FROM legs WHERE state = 'active' GROUP BY merchant_id, account_id
        ) AS s ON s.merchant_id = a.merchant_id AND s.account_id = a.account_id
        WHERE a.held <> COALESCE(s.amount, 0)""",
    ),
    # Past the limit is all that holds and usage took beyond the grants: held credit and
    # overage, which is held - balance + what its grants have free. Holds must stay within
    # the limit; only usage that is marked may pass it, or a limit that was lowered since.
    # CASE has the entries looked through for no other account.
    Check(
        "overspend",
        "account",
        "{0} was taken past its grants, its credit limit is {1}, no usage is marked OVERDRAWN",
        """SELECT a.merchant_id, a.account_id,
            a.held - a.balance + COALESCE(s.amount, 0), a.credit_limit
        FROM a LEFT JOIN (
            SELECT merchant_id, account_id, SUM(remaining) AS amount
            FROM g GROUP BY merchant_id, account_id
        ) AS s ON s.merchant_id = a.merchant_id AND s.account_id = a.account_id
        WHERE CASE
            WHEN a.limit_lowered THEN false
            WHEN a.held - a.balance + COALESCE(s.amount, 0) > a.credit_limit THEN NOT EXISTS (
                SELECT 1 FROM e CROSS JOIN r
                WHERE r.merchant_id = e.merchant_id AND r.request_id = e.request_id
                    AND e.merchant_id = a.merchant_id AND e.account_id = a.account_id
                    AND r.flags LIKE '%overdrawn%'
            )
            ELSE false
        END""",
    ),
)

_GRANT_CHECKS = (
    Check(
        "grant",
        "grant",
        "its amount is {0}, its parts come to {1}",
        """SELECT merchant_id, grant_id, amount, remaining + held + burned + expired
        FROM g WHERE amount <> remaining + held + burned + expired""",
    ),
    Check(
        "grant",
        "grant",
        "a part is below zero: {0} remaining, {1} held, {2} burned, {3} expired",
        """SELECT merchant_id, grant_id, remaining, held, burned, expired
        FROM g WHERE remaining < 0 OR held < 0 OR burned < 0 OR expired < 0""",
    ),
    Check(
        "grant",
        "grant",
        "it is marked as {0}, but has {1} remaining and {2} held",
        """SELECT merchant_id, grant_id,
            CASE WHEN live THEN 'live' ELSE 'spent' END, remaining, held
        FROM g WHERE live <> (remaining > 0 OR held > 0)""",
    ),
    Check(
        "grant",
        "grant",
        "its account {0} does not exist",
        """SELECT g.merchant_id, g.grant_id, g.account_id
        FROM g LEFT JOIN a ON a.merchant_id = g.merchant_id AND a.account_id = g.account_id
        WHERE a.account_id IS NULL""",
    ),
    Check(
        "grant",
        "grant",
        "{0} of it is held, its account's active holds took {1}",
        """SELECT g.merchant_id, g.grant_id, g.held, COALESCE(s.amount, 0)
        FROM g LEFT JOIN (
            SELECT merchant_id, account_id, grant_id, SUM(amount) AS amount
            FROM legs WHERE state = 'active' AND grant_id IS NOT NULL
            GROUP BY merchant_id, account_id, grant_id
        ) AS s ON s.merchant_id = g.merchant_id AND s.grant_id = g.grant_id
            AND s.account_id = g.account_id
        WHERE g.held <> COALESCE(s.amount, 0)""",
    ),
    Check(
        "grant",
        "grant",
        "{0} granted, {1} burned, {2} expired; its entries come to {3}, {4} and {5}",
        """SELECT g.merchant_id, g.grant_id, g.amount, g.burned, g.expired,
            COALESCE(s.granted, 0), COALESCE(s.burned, 0), COALESCE(s.expired, 0)
        FROM g LEFT JOIN (
            SELECT merchant_id, account_id, grant_id,
                SUM(CASE WHEN kind = 'grant' THEN amount ELSE 0 END) AS granted,
                SUM(CASE WHEN kind IN ('charge', 'cost', 'budget', 'cover')
                    THEN amount ELSE 0 END) AS burned,
                SUM(CASE WHEN kind = 'expiry' THEN amount ELSE 0 END) AS expired
            FROM e WHERE grant_id IS NOT NULL GROUP BY merchant_id, account_id, grant_id
        ) AS s ON s.merchant_id = g.merchant_id AND s.grant_id = g.grant_id
            AND s.account_id = g.account_id
        WHERE g.amount <> COALESCE(s.granted, 0) OR g.burned <> COALESCE(s.burned, 0)
            OR g.expired <> COALESCE(s.expired, 0)""",
    ),
)

_HOLD_CHECKS = (
    Check(
        "held",
        "hold",
        "a leg takes {0} from grant {1} of account {2}, which do not belong together",
        """SELECT l.merchant_id, l.hold_id, l.amount, l.grant_id, l.account_id
        FROM legs AS l
        LEFT JOIN a ON a.merchant_id = l.merchant_id AND a.account_id = l.account_id
        LEFT JOIN g ON g.merchant_id = l.merchant_id AND g.grant_id = l.grant_id
        WHERE a.account_id IS NULL OR l.amount <= 0
            OR (l.grant_id IS NOT NULL AND (g.grant_id IS NULL OR g.account_id <> l.account_id))""",
    ),
    Check(
        "once",
        "hold",
        "it is {0}, and ended at {1}",
        """SELECT merchant_id, hold_id, state, CAST(ended_at AS TEXT)
        FROM h WHERE (state = 'active') <> (ended_at IS NULL)""",
    ),
    # A record belongs to a settled hold, or to an expired one if it is marked so.
    Check(
        "once",
        "hold",
        "it is {0}, the record of its request is {1}, marked '{2}'",
        """SELECT h.merchant_id, h.hold_id, h.state, r.status, r.flags
        FROM h LEFT JOIN r ON r.merchant_id = h.merchant_id AND r.request_id = h.request_id
        WHERE CASE h.state
            WHEN 'settled' THEN r.request_id IS NULL
            WHEN 'expired' THEN r.flags NOT LIKE '%late%' AND r.flags NOT LIKE '%abandoned%'
            ELSE r.request_id IS NOT NULL
        END""",
    ),
    Check(
        "once",
        "hold",
        "it is {0}, yet {1} was charged for it",
        """SELECT h.merchant_id, h.hold_id, h.state, SUM(e.amount)
        FROM e CROSS JOIN h
        WHERE h.merchant_id = e.merchant_id AND h.hold_id = e.hold_id
            AND h.state IN ('active', 'released')
        GROUP BY h.merchant_id, h.hold_id, h.state""",
    ),
)

_REQUEST_CHECKS = (
    Check(
        "overspend",
        "request",
        "its {0} of {1} is above its hold of {2}, and not marked OVERRUN or LATE",
        """SELECT r.merchant_id, r.request_id, p.kind, p.amount, COALESCE(l.amount, 0)
        FROM (
            SELECT merchant_id, request_id, hold_id, kind, SUM(amount) AS amount
            FROM e WHERE hold_id IS NOT NULL AND kind IN ('charge', 'cost', 'budget')
            GROUP BY merchant_id, request_id, hold_id, kind
        ) AS p
        JOIN r ON r.merchant_id = p.merchant_id AND r.request_id = p.request_id
        LEFT JOIN (
            SELECT merchant_id, hold_id, role, SUM(amount) AS amount
            FROM legs GROUP BY merchant_id, hold_id, role
        ) AS l ON l.merchant_id = p.merchant_id AND l.hold_id = p.hold_id AND l.role = p.kind
        LEFT JOIN k ON k.merchant_id = r.merchant_id
        WHERE p.amount > COALESCE(l.amount, 0)
            AND NOT (l.amount IS NULL AND r.created_at < COALESCE(k.holds_before, 0))
            AND r.flags NOT LIKE '%overrun%' AND r.flags NOT LIKE '%late%'""",
    ),
    Check(
        "once",
        "request",
        "it names hold {0}, its request's hold is {1}",
        """SELECT r.merchant_id, r.request_id, r.hold_id, h.hold_id
        FROM r LEFT JOIN h ON h.merchant_id = r.merchant_id AND h.request_id = r.request_id
        LEFT JOIN k ON k.merchant_id = r.merchant_id
        WHERE COALESCE(r.hold_id, '') <> COALESCE(h.hold_id, '')
            AND NOT (h.hold_id IS NULL AND r.created_at < COALESCE(k.holds_before, 0))""",
    ),
    # What a meter charged to the merchant itself is booked as cost. A call at nobody's cost
    # (the merchant's own provider key) has a cost and no entries of it.
    Check(
        "once",
        "request",
        "its charge is {0} and its cost {1}, its entries come to {2} and {3}",
        """SELECT r.merchant_id, r.request_id, r.charge, r.cost,
            COALESCE(s.charge, 0), COALESCE(s.cost, 0)
        FROM r LEFT JOIN (
            SELECT merchant_id, request_id,
                SUM(CASE WHEN kind = 'charge' THEN amount ELSE 0 END) AS charge,
                SUM(CASE WHEN kind = 'cost' THEN amount ELSE 0 END) AS cost
            FROM e WHERE kind IN ('charge', 'cost') GROUP BY merchant_id, request_id
        ) AS s ON s.merchant_id = r.merchant_id AND s.request_id = r.request_id
        WHERE (r.charge <> COALESCE(s.charge, 0)
                AND (r.customer_id IS NOT NULL OR COALESCE(s.charge, 0) <> 0))
            OR (COALESCE(s.cost, 0) <> 0 AND s.cost <> r.cost
                AND (r.customer_id IS NOT NULL OR s.cost <> r.charge))""",
    ),
)

_CYCLE_CHECKS = (
    Check(
        "cycle",
        "account",
        "its cycle is {0} to {1}, its active subscription's is {2} to {3}",
        """SELECT a.merchant_id, a.account_id,
            CAST(a.cycle_start AS TEXT), CAST(a.cycle_end AS TEXT),
            CAST(t.cycle_start AS TEXT), CAST(t.cycle_end AS TEXT)
        FROM a LEFT JOIN s AS t ON t.merchant_id = a.merchant_id
            AND t.customer_id = a.account_id AND t.status = 'active'
        WHERE COALESCE(a.cycle_start, -1) <> COALESCE(t.cycle_start, -1)
            OR COALESCE(a.cycle_end, -1) <> COALESCE(t.cycle_end, -1)""",
    ),
)

_ENTRY_CHECKS = (
    Check(
        "entry",
        "entry",
        "a {0} of {1} from {2} to {3} is no {0} of account {4}",
        """SELECT merchant_id, entry_id, kind, amount, debit, credit, account_id
        FROM e WHERE amount <= 0 OR NOT CASE kind
            WHEN 'grant' THEN debit = 'issuance' AND credit = account_id
            WHEN 'charge' THEN debit = account_id AND credit = 'revenue'
            WHEN 'cost' THEN debit = account_id AND credit = 'providers'
            WHEN 'budget' THEN debit = account_id AND credit = 'budgets'
            WHEN 'expiry' THEN debit = account_id AND credit = 'breakage'
            WHEN 'cover' THEN debit = account_id AND credit = account_id
            ELSE false
        END""",
    ),
    Check(
        "entry",
        "entry",
        "its account {0} does not exist",
        """SELECT e.merchant_id, e.entry_id, e.account_id
        FROM e LEFT JOIN a ON a.merchant_id = e.merchant_id AND a.account_id = e.account_id
        WHERE a.account_id IS NULL""",
    ),
    Check(
        "entry",
        "entry",
        "its {0} of {1} names grant {2}, which the account does not have",
        """SELECT e.merchant_id, e.entry_id, e.kind, e.amount, e.grant_id
        FROM e LEFT JOIN g ON g.merchant_id = e.merchant_id AND g.grant_id = e.grant_id
            AND g.account_id = e.account_id
        WHERE g.grant_id IS NULL
            AND (e.grant_id IS NOT NULL OR e.kind IN ('grant', 'expiry', 'cover'))""",
    ),
    Check(
        "entry",
        "entry",
        "its {0} of {1} names request {2} and hold {3}, which has no such record",
        """SELECT e.merchant_id, e.entry_id, e.kind, e.amount, e.request_id, e.hold_id
        FROM e LEFT JOIN r ON r.merchant_id = e.merchant_id AND r.request_id = e.request_id
        WHERE e.kind IN ('charge', 'cost', 'budget')
            AND (r.request_id IS NULL OR COALESCE(r.hold_id, '') <> COALESCE(e.hold_id, ''))""",
    ),
)

_BUDGET_CHECKS = (
    # A spend key's account has no grants: what it spent is its balance, below zero. Its limit
    # was another one before it was changed, and may have been passed by right.
    Check(
        "overspend",
        "spend key",
        "{0} of its {1} limit of {2} is spent or held, no usage is marked OVERDRAWN",
        """SELECT u.merchant_id, u.account_id, u.used, u.spend_cycle, u.spend_amount
        FROM (
            SELECT b.*, a.held - a.balance - CASE b.spend_cycle
                WHEN 'daily' THEN b.spent_day
                WHEN 'weekly' THEN b.spent_week
                WHEN 'monthly' THEN b.spent_month
                ELSE 0
            END AS used
            FROM b JOIN a ON a.merchant_id = b.merchant_id AND a.account_id = b.account_id
        ) AS u
        WHERE u.used > u.spend_amount AND NOT u.limit_changed AND NOT EXISTS (
            SELECT 1 FROM e JOIN r
                ON r.merchant_id = e.merchant_id AND r.request_id = e.request_id
            WHERE e.merchant_id = u.merchant_id AND e.account_id = u.account_id
                AND r.flags LIKE '%overdrawn%'
        )""",
    ),
    # Every call that was let in has a hold; how many were removed for their age is counted.
    Check(
        "once",
        "spend key",
        "{0} calls were counted against it, it has {1} holds",
        """SELECT b.merchant_id, b.account_id,
            CAST(b.requests AS TEXT), CAST(COALESCE(s.calls, 0) + b.holds_pruned AS TEXT)
        FROM b LEFT JOIN (
            SELECT merchant_id, budget_account_id, COUNT(*) AS calls
            FROM h WHERE budget_account_id IS NOT NULL GROUP BY merchant_id, budget_account_id
        ) AS s ON s.merchant_id = b.merchant_id AND s.budget_account_id = b.account_id
        WHERE b.requests <> COALESCE(s.calls, 0) + b.holds_pruned""",
    ),
)

_PAYMENT_CHECKS = (
    Check(
        "once",
        "payment",
        "it is {0}, ended at {1}, and is to be asked for again at {2}",
        """SELECT merchant_id, payment_id, state, CAST(ended_at AS TEXT), CAST(due_at AS TEXT)
        FROM p WHERE (state IN ('open', 'paid')) <> (ended_at IS NULL)
            OR (ended_at IS NULL) <> (due_at IS NOT NULL)""",
    ),
    # What is granted for a payment was paid, once, to whom it was for. A plan's payment is
    # credit for the overage in it, or for the whole where the plan was not to be had.
    Check(
        "once",
        "grant",
        "it gives {0} for payment {1}, which is {2}, of {3} for {4}",
        """SELECT g.merchant_id, g.grant_id, g.amount, g.request_id, p.state, p.amount,
            p.credit_amount
        FROM g LEFT JOIN p ON p.merchant_id = g.merchant_id AND p.payment_id = g.request_id
        WHERE g.fingerprint = 'payment' AND (p.payment_id IS NULL
            OR p.state NOT IN ('paid', 'succeeded') OR p.account_id <> g.account_id
            OR (g.amount <> p.credit_amount
                AND NOT (p.plan_id IS NOT NULL AND g.amount = p.amount)))""",
    ),
    Check(
        "once",
        "payment",
        "it is paid, and {0} of credit was not granted for it",
        """SELECT p.merchant_id, p.payment_id, p.credit_amount
        FROM p LEFT JOIN g ON g.merchant_id = p.merchant_id AND g.request_id = p.payment_id
            AND g.fingerprint = 'payment'
        WHERE p.state = 'succeeded' AND p.reason IS NULL AND p.credit_amount > 0
            AND g.grant_id IS NULL""",
    ),
    # One that could not be handed out has a reason, and so has one of a deleted customer.
    Check(
        "cycle",
        "subscription",
        "its cycle waits for payment {0}, which is {1}",
        """SELECT t.merchant_id, t.subscription_id, t.payment_id, p.state
        FROM s AS t LEFT JOIN p ON p.merchant_id = t.merchant_id AND p.payment_id = t.payment_id
        WHERE t.status = 'active' AND t.unpaid
            AND (p.payment_id IS NULL OR p.account_id <> t.customer_id
                OR (p.ended_at IS NOT NULL AND p.reason IS NULL))""",
    ),
)

CHECKS = (
    *_ACCOUNT_CHECKS,
    *_GRANT_CHECKS,
    *_HOLD_CHECKS,
    *_REQUEST_CHECKS,
    *_ENTRY_CHECKS,
    *_CYCLE_CHECKS,
    *_BUDGET_CHECKS,
    *_PAYMENT_CHECKS,
)
