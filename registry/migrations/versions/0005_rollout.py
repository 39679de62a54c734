"""How a version that the loop trained gets to traffic, and how messages are built."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tenants") as table:
        table.add_column(sa.Column("rollout", sa.String(), nullable=False, server_default="staged"))
    with op.batch_alter_table("exchanges") as table:
        table.add_column(sa.Column("layout", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        table.drop_column("layout")
    with op.batch_alter_table("tenants") as table:
        table.drop_column("rollout")
