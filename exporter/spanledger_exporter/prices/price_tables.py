"""What a price book says -> JSON, and what a person reads in a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from rich.table import Table

from spanledger_exporter.ledger.tables import Document, console
from spanledger_exporter.money import usd_text
from spanledger_exporter.prices.book_difference import Difference, price_text
from spanledger_exporter.prices.book_shelf import KeptBook
from spanledger_exporter.prices.names import BOOK_PROVIDERS
from spanledger_exporter.prices.price_book import NoQuote, PriceBook, Quote
from spanledger_exporter.prices.provider_costs import Comparison
from spanledger_exporter.prices.rates import usd_per_unit_text
from spanledger_exporter.prices.repricing import ModelChange

_COMMON_KEYS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
_CHANGES_SHOWN_MAX = 50
_TIMES_NS = (0, 2**62)


def list_document(book: PriceBook, provider: str | None) -> Document:
    """Return the models of a book with all that it says of their prices.

    Shape: `{"price_book": {"id", "source"}, "models": [{"provider", "model", "prices": [...], "tiers": [...]}]}`
    """
    wanted = None if provider is None else BOOK_PROVIDERS.get(provider, provider)
    models = [
        {"provider": provider_id, "model": model["id"], "prices": model["prices"], "tiers": model["variants"]}
        for provider_id, model in book.models()
        if wanted is None or fnmatchcase(provider_id, wanted)
    ]
    layers = {name: book.document[name] for name in ("overrides", "deployments") if name in book.document}
    return {"price_book": book_document(book), "models": models, **layers}


def print_list(document: Document) -> None:
    """Print the models of a book, with the standard prices of the newest date."""
    table = _table("provider", "model", *(f"{key}" for key in _COMMON_KEYS), "tiers")
    for model in document["models"]:
        prices = _newest(model["prices"])
        tiers = {"=".join(pair) for tier in model["tiers"] for pair in tier["context"].items()}
        cells = (price_text(prices[key]) if key in prices else "-" for key in _COMMON_KEYS)
        table.add_row(model["provider"], model["model"], *cells, " ".join(sorted(tiers)))
    console().print(table)
    for override in document.get("overrides", ()):
        console().print(f"override {override['name']}")
    _print_book(document["price_book"])


def quote_document(book: PriceBook, found: Quote | NoQuote, at: datetime) -> Document:
    """Return what a model costs at a time.

    Shape: `{"at", "model", "match", "context", "free", "rates": {key: {"usd_per_unit", "above": {tokens: usd}}},
    "reason", "detail", "from", "until", "price_book"}`
    """
    rates: Document = {}
    if isinstance(found, Quote):
        for key, rate in found.rates.items():
            above = {str(start): usd_per_unit_text(step) for start, step in rate.steps}
            rates[key] = {"usd_per_unit": usd_per_unit_text(rate.base), "above": above}
    priced = isinstance(found, Quote)
    return {
        "at": at.isoformat(),
        "model": found.model,
        "match": found.match,
        "context": found.context if isinstance(found, Quote) else None,
        "free": found.free if isinstance(found, Quote) else False,
        "rates": rates,
        "reason": None if priced else found.reason,
        "detail": None if priced else found.detail,
        "from": _moment(found.span.from_ns),
        "until": _moment(found.span.until_ns),
        "price_book": book_document(book),
    }


def print_quote(document: Document) -> None:
    """Print what a model costs at a time."""
    out = console()
    if document["reason"] is not None:
        out.print(f"no price: {document['reason']}, {document['detail']}")
    else:
        table = _table("price key", "USD per unit", "above tokens")
        for key, rate in document["rates"].items():
            above = ", ".join(f"{start}: {usd}" for start, usd in rate["above"].items())
            table.add_row(key, rate["usd_per_unit"], above)
        out.print(table)
        tier = document["context"] or "standard"
        out.print(f"price of {document['model']}, found by {document['match']}, tier {tier}")
        out.print(f"from {document['from'] or 'ever'} until {document['until'] or 'further notice'}")
    _print_book(document["price_book"])


def print_books(books: Iterable[KeptBook]) -> None:
    """Print the price books of a ledger."""
    table = _table("book", "learnt (UTC)", "active", "source")
    for book in books:
        table.add_row(book.book_id[:12], _moment(book.learnt_ns) or "", "yes" if book.active else "", book.source)
    console().print(table)


def kept_document(book: KeptBook) -> Document:
    """Return one price book of a ledger as JSON."""
    return {"book_id": book.book_id, "source": book.source, "learnt": _moment(book.learnt_ns), "active": book.active}


def print_difference(found: Difference) -> None:
    """Print how one price book differs from another."""
    out = console()
    if found.changed:
        table = _table("model", "price", "before", "after")
        for change in found.changed[:_CHANGES_SHOWN_MAX]:
            table.add_row(change.model, change.where, change.before or "-", change.after or "-")
        out.print(table)
    if len(found.changed) > _CHANGES_SHOWN_MAX:
        out.print(f"and {len(found.changed) - _CHANGES_SHOWN_MAX} more prices; --json has them all")
    for what, names in (("new", found.added), ("gone", found.removed)):
        if names:
            shown = ", ".join(names[:_CHANGES_SHOWN_MAX])
            out.print(f"{len(names)} models are {what}: {shown}{', ...' if len(names) > _CHANGES_SHOWN_MAX else ''}")
    if not (found.changed or found.added or found.removed):
        out.print("no difference")


def print_changes(changes: Sequence[ModelChange], *, dry_run: bool) -> None:
    """Print what pricing entries again does, by model."""
    table = _table("model", "entries", "now priced", "still unpriced", "before USD", "after USD")
    for each in changes:
        amounts = (usd_text(each.before_pusd), usd_text(each.after_pusd))
        table.add_row(each.model, f"{each.entries:,}", f"{each.changed:,}", f"{each.unpriced:,}", *amounts)
    if changes:
        console().print(table)
    if dry_run or not any(each.changed for each in changes):
        console().print(f"nothing was written: {'--dry-run' if changes and dry_run else 'no entry gets another price'}")
    else:
        console().print("written, each with a row in adjustments")


def change_document(each: ModelChange) -> Document:
    """Return what pricing the entries of one model again does, as JSON."""
    counts = {"entries": each.entries, "now_priced": each.changed, "still_unpriced": each.unpriced}
    amounts = {"before_usd": usd_text(each.before_pusd), "after_usd": usd_text(each.after_pusd)}
    return {"model": each.model, **counts, **amounts}


def print_comparisons(found: Sequence[Comparison], over_percent: str) -> None:
    """Print where the provider's own figures differ from ours, by model."""
    table = _table("model", "calls", f"over {over_percent} %", "ours USD", "provider's USD", "difference USD")
    for each in found:
        amounts = (usd_text(pusd) for pusd in (each.ours_pusd, each.theirs_pusd, each.theirs_pusd - each.ours_pusd))
        table.add_row(each.model, f"{each.calls:,}", f"{each.differing:,}", *amounts)
    console().print(table if found else f"no call's price is more than {over_percent} % from its provider's own figure")


def book_document(book: PriceBook) -> Document:
    """Return what identifies a price book."""
    return {"id": book.book_id, "source": book.source}


def _print_book(book: Mapping[str, Any]) -> None:
    console().print(f"price book {book['source']}, sha256 {book['id']}")


def _newest(conditions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    today = datetime.now(tz=UTC).date().isoformat()
    for condition in reversed(conditions):
        when: Mapping[str, Any] = condition.get("when") or {}
        if set(when) <= {"from"} and when.get("from", "") <= today:
            return condition["prices"]
    return conditions[0]["prices"] if conditions else {}


def _moment(unix_ns: int) -> str | None:
    if not _TIMES_NS[0] <= unix_ns < _TIMES_NS[1]:
        return None  # it has always been so, or it will be until further notice
    return f"{datetime.fromtimestamp(unix_ns // 10**9, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"


def _table(*names: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        left = name in {"provider", "model", "tiers", "price key", "book", "source", "price", "active"}
        table.add_column(name, justify="left" if left else "right")
    return table
