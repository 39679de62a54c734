"""Which client sent a request: its library and version."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        table.add_column(sa.Column("client", sa.String(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        table.drop_column("client")
