"""The service tier that a request was served in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("service_tier", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("requests", "service_tier")
