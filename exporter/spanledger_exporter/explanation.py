"""An entry and its price book -> why it costs what it costs: every factor, and where each comes from."""

from decimal import Decimal
from typing import Any

from spanledger_exporter.money import usd_text
from spanledger_exporter.prices import NoQuote, PriceBook
from spanledger_exporter.pricing import Line, lines, price, quote
from spanledger_exporter.reader import Document
from spanledger_exporter.records import UsageRecord


def explain(entry: Document, record: UsageRecord, book: PriceBook) -> Document:
    """Price an entry again from the book that the ledger kept, and say whether the result is what the ledger holds.

    Shape: `{"entry", "price": {"status", "cost_usd", "reason", "detail", "model", "match", "context",
    "provider_cost_usd"}, "lines": [{"unit", "quantity", "price_key", "usd_per_unit", "usd"}], "price_book": {"id",
    "source"}, "replayed_usd", "agrees"}`
    """
    replayed = price(record, book)
    stored_pusd = entry["cost_pusd"]
    return {
        "entry": entry,
        "price": {name: entry[f"price_{name}"] for name in ("status", "reason", "detail", "model", "match", "context")}
        | {"cost_usd": entry["cost_usd"], "provider_cost_usd": entry["provider_cost_usd"]},
        "lines": [_line(line) for line in _lines(record, book)],
        "price_book": {"id": book.book_id, "source": book.source},
        "replayed_usd": None if replayed.cost_pusd is None else usd_text(replayed.cost_pusd),
        "agrees": replayed.cost_pusd == stored_pusd and replayed.status == entry["price_status"],
    }


def _lines(record: UsageRecord, book: PriceBook) -> list[Line]:
    if record.usage_status == "none":
        return []
    found = quote(record, book)
    charged = found if isinstance(found, NoQuote) else lines(found, record.usage)
    return [] if isinstance(charged, NoQuote) else charged


def _line(line: Line) -> dict[str, Any]:
    # A rate is a fraction of pico-USD; its decimals end for every price of a real book, but for a few rates by the
    # hour.
    rate_usd = Decimal(line.rate_pusd.numerator) / line.rate_pusd.denominator / 10**12
    return {
        "unit": line.unit,
        "quantity": line.quantity,
        "price_key": line.price_key,
        "usd_per_unit": f"{rate_usd:f}",
        "usd": usd_text(line.cost_pusd),
    }
