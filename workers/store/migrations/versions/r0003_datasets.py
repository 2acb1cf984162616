"""Data sets that users bring, and which comparison uses which."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("place", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("about", sa.JSON(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dataset"),
    )
    op.create_index("ix_dataset_created_at_id", "dataset", ["created_at", "id"])
    op.add_column("comparison", sa.Column("dataset_id", sa.String(length=64), nullable=True))
    op.create_index("ix_comparison_dataset_id", "comparison", ["dataset_id"])


def downgrade() -> None:
    op.drop_index("ix_comparison_dataset_id", table_name="comparison")
    op.drop_column("comparison", "dataset_id")
    op.drop_index("ix_dataset_created_at_id", table_name="dataset")
    op.drop_table("dataset")
