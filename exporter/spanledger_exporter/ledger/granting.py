"""A role of PostgreSQL -> one that may read the ledger's views, and nothing beneath them."""

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from spanledger_exporter.errors import LedgerError
from spanledger_exporter.ledger.database import Database

VIEWS = ("entries", "spend_hours", "spend_days", "budget_spend")
"""What readers may rely on: their columns stay from version to version."""


def grant(database: Database, role: str) -> None:
    """Let a role that exists read the views; to do it again changes nothing.

    Raises: `LedgerError` on SQLite, which has no roles, where there is no such role, and without the right to grant.
    """
    if database.is_sqlite:
        raise LedgerError("SQLite has no roles: whoever may read the file may read the ledger")
    try:
        with database.write() as connection:
            quote = connection.dialect.identifier_preparer.quote_identifier
            if (
                connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar()
                is None
            ):
                raise LedgerError(f"there is no role {role!r}; CREATE ROLE makes one")
            schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
            connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(role)}")
            connection.exec_driver_sql(f"GRANT SELECT ON {', '.join(VIEWS)} TO {quote(role)}")
    except ProgrammingError as exc:
        raise LedgerError(f"{database.name}: {str(exc.orig).strip()}") from exc
