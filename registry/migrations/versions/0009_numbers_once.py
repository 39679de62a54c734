"""Numbers of exchanges and of feedback are given once: who follows them would else miss some."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_SEEN = {
    "exchanges": "SELECT max(cursor) FROM drift_states",
    "feedback": "SELECT max(json_extract(state, '$.memory.said')) FROM drift_states",
}
"""The highest number that was followed: rows with it may be gone."""


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return  # a sequence gives no number twice
    _remake(once=True)
    for table, seen in _SEEN.items():
        last = op.get_bind().scalar(
            sa.text(
                f"SELECT max(coalesce((SELECT max(number) FROM {table}), 0), coalesce(({seen}), 0))"
            )
        )
        op.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :t").bindparams(t=table))
        op.execute(
            sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:t, :last)").bindparams(
                t=table, last=last
            )
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _remake(once=False)


def _remake(*, once: bool) -> None:
    for table in _SEEN:
        kept = {"sqlite_autoincrement": once}
        with op.batch_alter_table(table, recreate="always", table_kwargs=kept):
            pass
