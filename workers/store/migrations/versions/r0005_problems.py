"""On which of a comparison's problems a shard and its trials are trained."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("problem", sa.Text(), nullable=True))
    # those that are there stand on the only problem of their comparison, whose name is its kind
    op.add_column("trial", sa.Column("problem", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("trial", "problem")
    op.drop_column("job", "problem")
