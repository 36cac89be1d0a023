"""Duration of an epoch, for estimates of the remaining time."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", sa.Column("epoch_seconds", sa.Float(), nullable=True))
