"""Whether a person put an answer right, which stays when the text of it goes."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("feedback") as table:
        table.add_column(sa.Column("corrected", sa.Boolean(), nullable=True))
    op.execute("UPDATE feedback SET corrected = true WHERE correction IS NOT NULL")


def downgrade() -> None:
    with op.batch_alter_table("feedback") as table:
        table.drop_column("corrected")
