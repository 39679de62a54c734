"""Which blob holds what the words of an engine's base mean."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("engines") as table:
        table.add_column(sa.Column("meaning", sa.String(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("engines") as table:
        table.drop_column("meaning")
