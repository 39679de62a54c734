"""What routing by slots, fairness, canaries, shadows and daily budgets needs to know."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tenants") as table:
        table.add_column(sa.Column("tokens_per_day", sa.Integer(), nullable=True))
    with op.batch_alter_table("engines") as table:
        for name in ("max_cpu_loras", "max_num_seqs"):
            table.add_column(sa.Column(name, sa.Integer(), nullable=False, server_default="64"))
    with op.batch_alter_table("aliases") as table:
        table.add_column(
            sa.Column("sticky", sa.String(), nullable=False, server_default="conversation")
        )
    with op.batch_alter_table("exchanges") as table:
        table.add_column(sa.Column("role", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("shadow_of", sa.String(), nullable=True))
        table.add_column(sa.Column("queue_ms", sa.Double(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        for name in ("role", "shadow_of", "queue_ms"):
            table.drop_column(name)
    with op.batch_alter_table("aliases") as table:
        table.drop_column("sticky")
    with op.batch_alter_table("engines") as table:
        for name in ("max_cpu_loras", "max_num_seqs"):
            table.drop_column(name)
    with op.batch_alter_table("tenants") as table:
        table.drop_column("tokens_per_day")
