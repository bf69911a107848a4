"""Records by label and by meter, so that rare ones are found at any size; holds that go."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_EACH = {
    "sqlite": "json_each(r.metadata) AS l",
    "postgresql": "jsonb_each_text(r.metadata) AS l(key, value)",
}
_METERED = sa.text("meter_id IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "request_labels",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "label", "created_at", "request_id"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO request_labels (merchant_id, label, created_at, request_id)"  # noqa: S608
        " SELECT r.merchant_id, l.key || '=' || l.value, r.created_at, r.request_id"
        f" FROM requests AS r, {_EACH[op.get_bind().dialect.name]}"
    )
    op.create_index(
        "requests_by_meter",
        "requests",
        ["merchant_id", "meter_id", "created_at", "request_id"],
        sqlite_where=_METERED,
        postgresql_where=_METERED,
    )
    # One merchant's: no look at the hot tables' neighbours goes over all merchants.
    op.drop_index("idempotency_by_time", "idempotency")
    op.create_index("idempotency_by_time", "idempotency", ["merchant_id", "created_at"])
    op.create_table(
        "retention",
        sa.Column("merchant_id", sa.Text(), nullable=False),
        sa.Column("holds_before", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id"),
    )
    op.add_column(
        "budgets",
        sa.Column("holds_pruned", sa.BigInteger(), nullable=False, server_default="0"),
    )


def downgrade() -> None:
    op.drop_index("idempotency_by_time", "idempotency")
    op.create_index("idempotency_by_time", "idempotency", ["created_at"])
    op.drop_column("budgets", "holds_pruned")
    op.drop_table("retention")
    op.drop_index("requests_by_meter", "requests")
    op.drop_table("request_labels")
