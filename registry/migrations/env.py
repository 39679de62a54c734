"""Alembic's entry: runs the migrations on the connection that `Database.migrate` hands over."""

from alembic import context

import registry.registry  # noqa: F401  (imports every noun, so that Base.metadata is whole)
from registry.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
