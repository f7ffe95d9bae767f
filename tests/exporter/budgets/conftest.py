"""The exporter's side of leases, on both databases."""

import pytest

from spanledger_exporter.ledger.database import Database
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.asking import Desk


@pytest.fixture
def desk(database: Database, book: PriceBook) -> Desk:
    return Desk(database, book)
