"""Warnings that the check of a request gave, shown with its job."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", sa.Column("warnings", sa.Text(), nullable=False, server_default="[]"))
