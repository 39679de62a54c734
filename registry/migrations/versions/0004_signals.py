"""What an answer was like, without its text: signals of exchanges, and a way to them by window."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = {
    "prefill_ms": sa.Double,
    "decode_ms": sa.Double,
    "cost": sa.Double,
    "answer_chars": sa.Integer,
    "valid": sa.Boolean,
    "refused": sa.Boolean,
    "repetition": sa.Double,
    "mean_logprob": sa.Double,
}


def upgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        for name, kind in _COLUMNS.items():
            table.add_column(sa.Column(name, kind(), nullable=True))
        table.create_index("ix_exchanges_window", ["tenant", "adapter", "created_at"])


def downgrade() -> None:
    with op.batch_alter_table("exchanges") as table:
        table.drop_index("ix_exchanges_window")
        for name in _COLUMNS:
            table.drop_column(name)
