"""Alembic's entry: run the migrations on the connection that the ledger hands over."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True)
# The ledger holds the transaction and its lock; Alembic joins it.
context.run_migrations()
