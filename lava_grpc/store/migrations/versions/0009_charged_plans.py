"""Plans whose price and overage a payment provider is asked for; auto top-up at a low mark.

A customer on a plan with an overage limit has had no limit of its own kept: it is 0.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_LIMITED = """UPDATE accounts SET plan_limited = true, own_limit = 0 WHERE EXISTS (
    SELECT 1 FROM subscriptions AS s
    JOIN plans AS p ON p.merchant_id = s.merchant_id AND p.plan_id = s.plan_id
    WHERE s.merchant_id = accounts.merchant_id AND s.customer_id = accounts.account_id
        AND s.status = 'active' AND p.overage_limit IS NOT NULL
)"""
_LOW_MARKS = """UPDATE accounts SET low_mark = 1 WHERE EXISTS (
    SELECT 1 FROM subscriptions AS s
    WHERE s.merchant_id = accounts.merchant_id AND s.customer_id = accounts.account_id
        AND s.status = 'active' AND s.auto_top_up_bundle_id IS NOT NULL
)"""


def upgrade() -> None:
    op.add_column("accounts", _flag("plan_limited"))
    for name in ("own_limit", "low_mark"):
        op.add_column("accounts", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("plans", sa.Column("auto_top_up_threshold", sa.BigInteger(), nullable=True))
    op.add_column(
        "subscriptions", sa.Column("auto_top_up_threshold", sa.BigInteger(), nullable=True)
    )
    for name in ("payment_provider", "payment_method_id", "payment_id"):
        op.add_column("subscriptions", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("subscriptions", _flag("unpaid"))
    for name in ("plan_id", "request_id", "fingerprint"):
        op.add_column("payments", sa.Column(name, sa.Text(), nullable=True))
    op.add_column(
        "payments", sa.Column("declines", sa.BigInteger(), server_default="0", nullable=False)
    )
    _unique("payments_by_request", "request_id", "request_id IS NOT NULL")
    _unique("payments_beginning", "account_id", "ended_at IS NULL AND kind = 'subscription'")
    op.execute(_LIMITED)
    op.execute(_LOW_MARKS)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)


def _unique(name: str, column: str, where: str) -> None:
    op.create_index(
        name,
        "payments",
        ["merchant_id", column],
        unique=True,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
