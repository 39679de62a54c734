"""Of which requests nothing is learned: their messages were built in another way than usual."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        table.add_column(sa.Column("doubtful", sa.Boolean(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        table.drop_column("doubtful")
