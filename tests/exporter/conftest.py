"""What the exporter's tests share: the price book, and ledgers on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.prices.price_book import PriceBook


@pytest.fixture(scope="session")
def book() -> PriceBook:
    """The price book of the installed genai-prices; making it takes most of a second."""
    return packaged_book()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind that a ledger lives in."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def database(ledger_url: str) -> Iterator[Database]:
    opened = open_database(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def ledger(database: Database, book: PriceBook) -> Ledger:
    made = Ledger(database, cells_max=100)
    made.keep_book(book)
    return made
