"""An entry and its price book -> why it costs what it costs: every factor, and where each comes from."""

from typing import Any

from spanledger_exporter.ledger.reader import Document, History
from spanledger_exporter.money import usd_text
from spanledger_exporter.prices.lines import Line
from spanledger_exporter.prices.price_book import NoQuote, PriceBook
from spanledger_exporter.prices.pricing import lines, price, quote
from spanledger_exporter.prices.rates import usd_per_unit_text
from spanledger_exporter.records import UsageRecord


def explain(entry: Document, record: UsageRecord, book: PriceBook, history: History | None = None) -> Document:
    """Price an entry again from the book that the ledger kept, and say whether the result is what the ledger holds.

    Shape: `{"entry", "price": {"status", "cost_usd", "reason", "detail", "model", "match", "context",
    "provider_cost_usd"}, "lines": [{"unit", "quantity", "price_key", "usd_per_unit", "usd"}], "price_book": {"id",
    "source"}, "replayed_usd", "agrees", "reports": [{"scope", "dialect", "service", "trace_id", "span_id", "end_ns",
    "response_id", "usage_status", "usage": {only what was reported}}], "adjustments": [...]}`, `reports` and
    `adjustments` as `history` has them
    """
    replayed = price(record, book)
    stored_pusd = entry["cost_pusd"]
    return {
        "entry": entry,
        "price": {name: entry[f"price_{name}"] for name in ("status", "reason", "detail", "model", "match", "context")}
        | {"cost_usd": entry["cost_usd"], "provider_cost_usd": entry["provider_cost_usd"]},
        "lines": [_line(line) for line in _lines(record, book)] if replayed.cost_pusd is not None else [],
        "price_book": {"id": book.book_id, "source": book.source},
        "replayed_usd": None if replayed.cost_pusd is None else usd_text(replayed.cost_pusd),
        "agrees": replayed.cost_pusd == stored_pusd and replayed.status == entry["price_status"],
        "reports": [] if history is None else [_report(report) for report in history.reports],
        "adjustments": [] if history is None else history.adjustments,
    }


def _report(report: UsageRecord) -> Document:
    profile = report.profile
    return {
        "scope": profile.scope,
        "dialect": profile.dialect,
        "service": profile.service,
        "trace_id": report.trace_id.hex(),
        "span_id": report.span_id.hex(),
        "end_ns": report.end_ns,
        "response_id": report.response_id,
        "usage_status": report.usage_status,
        "usage": {name: figure for name, figure in report.usage._asdict().items() if figure is not None},
    }


def _lines(record: UsageRecord, book: PriceBook) -> list[Line]:
    if record.usage_status == "none":
        return []
    found = quote(record, book)
    charged = found if isinstance(found, NoQuote) else lines(found, record.usage)
    return [] if isinstance(charged, NoQuote) else charged


def _line(line: Line) -> dict[str, Any]:
    return {
        "unit": line.unit,
        "quantity": line.quantity,
        "price_key": line.price_key,
        "usd_per_unit": usd_per_unit_text(line.rate_pusd),
        "usd": usd_text(line.cost_pusd),
    }
