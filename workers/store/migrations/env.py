"""Run by Alembic: applies the revisions on the connection, and within the transaction, that `open_database` holds."""

from alembic import context

from workers.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
