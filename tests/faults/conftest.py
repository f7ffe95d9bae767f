"""The price book and the ledgers of the exporter's tests."""

from tests.exporter.conftest import book, database, ledger, ledger_url, sqlite_url

__all__ = ["book", "database", "ledger", "ledger_url", "sqlite_url"]
