"""Pending requests in the order of lists, so that a page of them reads no other active hold."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_ACTIVE = sa.text("state = 'active'")


def upgrade() -> None:
    op.create_index(
        "holds_active_by_time",
        "holds",
        ["merchant_id", "created_at", "request_id"],
        sqlite_where=_ACTIVE,
        postgresql_where=_ACTIVE,
    )


def downgrade() -> None:
    op.drop_index("holds_active_by_time", "holds")
