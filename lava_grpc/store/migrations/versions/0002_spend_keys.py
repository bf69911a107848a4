"""Spend keys with their budgets, and answers kept by idempotency key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COUNTERS = (
    "spent_day",
    "spent_week",
    "spent_month",
    "counted_day",
    "counted_week",
    "counted_month",
    "requests",
    "rolled_at",
    "paced_until",
)


def upgrade() -> None:
    op.create_table(
        "spend_keys",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("spend_key_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("preview", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("request_shape", sa.Text(), nullable=False),
        sa.Column("allowed_models", sa.Text(), nullable=True),
        sa.Column("allowed_providers", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "spend_key_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("spend_keys_by_hash", "spend_keys", ["key_hash"], unique=True)
    op.create_table(
        "budgets",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("spend_amount", sa.BigInteger(), nullable=True),
        sa.Column("spend_cycle", sa.Text(), nullable=True),
        sa.Column("request_count", sa.BigInteger(), nullable=True),
        sa.Column("request_cycle", sa.Text(), nullable=True),
        sa.Column("rate_rpm", sa.BigInteger(), nullable=True),
        sa.Column("rate_burst", sa.BigInteger(), nullable=True),
        sa.Column("limit_changed", sa.Boolean(), server_default=sa.false(), nullable=False),
        *[
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            for name in _COUNTERS
        ],
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("merchant_id", "account_id"),
        postgresql_with={"fillfactor": "50"},
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "idempotency_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotency_by_time", "idempotency", ["created_at"])


def downgrade() -> None:
    op.drop_table("idempotency")
    op.drop_table("budgets")
    op.drop_table("spend_keys")
