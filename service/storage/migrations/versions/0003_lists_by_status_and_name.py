"""Indexes for lists of jobs by status and by name; without them, a rare status needs a full scan."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes."""
    for column in ("status", "name"):
        names = ["owner", column, "created_at", "id"]
        op.create_index(op.f(f"ix_jobs_{'_'.join(names)}"), "jobs", names)
