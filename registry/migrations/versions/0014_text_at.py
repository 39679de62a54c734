"""From when the age of feedback's texts counts: from the request, not from the last word."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("feedback") as table:
        table.add_column(sa.Column("text_at", sa.Double(), nullable=True))
    op.execute(
        "UPDATE feedback SET text_at = COALESCE((SELECT exchanges.created_at FROM exchanges"
        " WHERE exchanges.id = feedback.exchange_id), created_at)"
    )


def downgrade() -> None:
    with op.batch_alter_table("feedback") as table:
        table.drop_column("text_at")
