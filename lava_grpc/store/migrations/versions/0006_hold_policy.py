"""A merchant's own hold policy; NULL leaves it to the service."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("merchants", sa.Column("hold_policy", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("merchants", "hold_policy")
