"""The number of processes that train a job."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for name in ("processes", "min_processes"):
        op.add_column("jobs", sa.Column(name, sa.Integer(), nullable=False, server_default="1"))
