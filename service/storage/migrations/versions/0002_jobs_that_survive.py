"""Checkpoints within an epoch, training time over all attempts, time of the last change."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; existing jobs changed at creation, existing checkpoints lie between epochs."""
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.add_column(sa.Column("step", sa.BigInteger(), server_default="0", nullable=False))
        checkpoints.drop_constraint(op.f("pk_checkpoints"), type_="primary")
        checkpoints.create_primary_key(op.f("pk_checkpoints"), ["job_id", "epoch", "step"])
    op.drop_column("jobs", "checkpoint_epoch")
    op.add_column("jobs", sa.Column("training_seconds", sa.Float(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("changed_at", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE jobs SET changed_at = created_at")
    op.create_index(op.f("ix_jobs_changed_at"), "jobs", ["changed_at"])
