"""What fine-tuning as a service needs to know: pausing, priorities, resuming, checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("request", sa.JSON(), nullable=False, server_default="{}"))
        table.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(
            sa.Column("pause_requested", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        table.add_column(sa.Column("state_digest", sa.String(), nullable=True))
        table.add_column(sa.Column("result_files", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("versions") as table:
        table.add_column(sa.Column("step", sa.Integer(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("versions") as table:
        table.drop_column("step")
    with op.batch_alter_table("jobs") as table:
        for name in ("request", "priority", "pause_requested", "state_digest", "result_files"):
            table.drop_column(name)
