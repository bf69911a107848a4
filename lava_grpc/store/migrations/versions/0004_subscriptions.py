"""Plans, credit bundles, subscriptions and payments; the cycle of an account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("cycle_start", "cycle_end"):
        op.add_column("accounts", sa.Column(name, sa.BigInteger(), nullable=True))
    op.create_table(
        "plans",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("period_amount", sa.BigInteger(), nullable=False),
        sa.Column("included_credit", sa.BigInteger(), nullable=False),
        sa.Column("billing_interval", sa.Text(), nullable=False),
        sa.Column("rollover_type", sa.Text(), nullable=False),
        sa.Column("bundle_rollover_type", sa.Text(), nullable=False),
        sa.Column("meter_ids", sa.Text(), nullable=True),
        sa.Column("default_bundle_id", sa.Text(), nullable=True),
        sa.Column("overage_limit", sa.BigInteger(), nullable=True),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "plan_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "plans_default",
        "plans",
        ["merchant_id"],
        unique=True,
        sqlite_where=sa.text("is_default"),
        postgresql_where=sa.text("is_default"),
    )
    op.create_table(
        "credit_bundles",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("credit_bundle_id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("credit_amount", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "credit_bundle_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "credit_bundles_by_plan", "credit_bundles", ["merchant_id", "plan_id", "credit_bundle_id"]
    )
    op.create_table(
        "subscriptions",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("auto_top_up_bundle_id", sa.Text(), nullable=True),
        sa.Column("anchor", sa.BigInteger(), nullable=False),
        sa.Column("anchor_cycle", sa.BigInteger(), nullable=False),
        sa.Column("cycle", sa.BigInteger(), nullable=False),
        sa.Column("cycle_start", sa.BigInteger(), nullable=False),
        sa.Column("cycle_end", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("cancelled_at", sa.BigInteger(), nullable=True),
        sa.Column("pending", sa.Text(), nullable=True),
        sa.Column("pending_plan_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "subscription_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "subscriptions_active",
        "subscriptions",
        ["merchant_id", "customer_id"],
        unique=True,
        sqlite_where=sa.text("status = 'active'"),
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_index(
        "subscriptions_by_customer",
        "subscriptions",
        ["merchant_id", "customer_id", "subscription_id"],
    )
    op.create_index(
        "subscriptions_due",
        "subscriptions",
        ["cycle_end"],
        sqlite_where=sa.text("status = 'active'"),
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_table(
        "payments",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("payment_method_id", sa.Text(), nullable=True),
        sa.Column("credit_bundle_id", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("credit_amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "payment_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("payments_by_account", "payments", ["merchant_id", "account_id", "payment_id"])
    op.create_index(
        "payments_due",
        "payments",
        ["due_at"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "payments_open",
        "payments",
        ["merchant_id", "account_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL AND kind = 'auto_top_up'"),
        postgresql_where=sa.text("ended_at IS NULL AND kind = 'auto_top_up'"),
    )
