"""`spanledger prices ...` and `spanledger reprice`: what each takes, and the function that it calls."""

import argparse
import contextlib
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from spanledger_exporter.command_line import (
    Commands,
    add_filters,
    config_of,
    filter_of,
    moment,
    print_json,
    reading,
    sentence,
)  # fmt: skip
from spanledger_exporter.errors import LedgerError, RejectedError

if TYPE_CHECKING:
    from spanledger_exporter.prices.book_shelf import BookShelf
    from spanledger_exporter.prices.price_book import PriceBook

_SHRINKS_SHOWN_MAX = 20


def add_price_commands(commands: Commands) -> None:
    """Add the commands that show, compare, import and apply prices."""
    text = "what models cost, by which price book, and how books differ"
    prices = commands.add_parser("prices", help=text, description=sentence(text))
    subcommands = prices.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(subcommands)
    _add_show(subcommands)
    _add_books(subcommands)
    _add_diff(subcommands)
    _add_import(subcommands)
    _add_update(subcommands)
    _add_check(subcommands)
    _add_reprice(commands)


def _add_list(commands: Commands) -> None:
    listing = reading(commands, "list", "every model of the active price book, with its standard prices")
    listing.add_argument("--provider", metavar="NAME", help="only of this provider; * stands for any characters")
    listing.add_argument("--json", action="store_true", help="one JSON object with every price, condition and tier")
    listing.set_defaults(run=_list)


def _add_show(commands: Commands) -> None:
    show = reading(commands, "show", "what a model costs at a time, and how its name was found")
    show.add_argument("model", metavar="MODEL", help="a model's name as spans have it")
    show.add_argument("--provider", metavar="NAME", help="the provider's name as spans have it")
    show.add_argument("--tier", metavar="NAME", help="a service tier, such as batch, flex or priority")
    show.add_argument("--at", type=moment, metavar="TIME", help="2026-11-22T08:00Z, or an age (default now)")
    show.add_argument("--json", action="store_true", help="one JSON object")
    show.set_defaults(run=_show)


def _add_books(commands: Commands) -> None:
    books = reading(commands, "books", "the price books that the ledger keeps, the newest first")
    books.add_argument("--json", action="store_true", help="one JSON object a line")
    books.set_defaults(run=_books)


def _add_diff(commands: Commands) -> None:
    diff = reading(commands, "diff", "how one price book differs from another")
    for name in ("before", "after"):
        diff.add_argument(name, metavar=name.upper(), help="a file, the beginning of a book's id, packaged, or active")
    diff.add_argument("--json", action="store_true", help="one JSON object")
    diff.set_defaults(run=_diff)


def _add_import(commands: Commands) -> None:
    text = "make a price list the active one: ours, genai-prices' data.json or LiteLLM's model prices"
    importing = reading(commands, "import", text)
    importing.add_argument("origin", metavar="FILE", help="the file, or packaged: what comes with Spanledger")
    _add_changing(importing)
    importing.set_defaults(run=_import)


def _add_update(commands: Commands) -> None:
    update = reading(commands, "update", "fetch genai-prices' newest data, and make it the active price list")
    update.add_argument("--from", dest="origin", metavar="URL", help="a URL or a file instead")
    _add_changing(update)
    update.set_defaults(run=_import)


def _add_changing(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow-shrink", action="store_true", help="also where models or priced classes of usage disappear"
    )
    command.add_argument("--dry-run", action="store_true", help="show the difference, and change nothing")
    command.add_argument("--json", action="store_true", help="one JSON object")


def _add_check(commands: Commands) -> None:
    check = reading(commands, "check", "where a provider's own figure for a call is not our price, by model")
    add_filters(check)
    check.add_argument(
        "--over", type=_percent, default="5%", metavar="N%", help="differences of more than so much (default 5%%)"
    )
    check.add_argument("--json", action="store_true", help="one JSON object")
    check.set_defaults(run=_check)


def _add_reprice(commands: Commands) -> None:
    reprice = reading(commands, "reprice", "price entries that have no price with the active price book")
    add_filters(reprice)
    reprice.add_argument("--reason", default="reprice", metavar="TEXT", help="why (default reprice)")
    reprice.add_argument("--all", action="store_true", help="also entries that have a price")
    reprice.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    reprice.add_argument("--json", action="store_true", help="one JSON object")
    reprice.set_defaults(run=_reprice)


def _percent(text: str) -> Fraction:
    try:
        percent = Fraction(text.removesuffix("%"))
    except (ValueError, ZeroDivisionError) as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage; write such as 5%") from exc
    if percent < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 0 %")
    return percent


def _list(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.prices import price_tables

    document = price_tables.list_document(_current_book(arguments), arguments.provider)
    if arguments.json:
        print_json(document)
    else:
        price_tables.print_list(document)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.prices import price_tables
    from spanledger_exporter.prices.names import provider_of
    from spanledger_exporter.prices.price_book import NoQuote
    from spanledger_exporter.prices.pricing import context_of

    book = _current_book(arguments)
    at = arguments.at or datetime.now(tz=UTC)
    names = (("request", arguments.model),)
    provider = arguments.provider or provider_of(arguments.model, [name for name, _ in book.models()])
    found = book.quote(provider, names, context_of(arguments.tier, None), at)
    document = price_tables.quote_document(book, found, at)
    if arguments.json:
        print_json(document)
    else:
        price_tables.print_quote(document)
    if provider is None:
        name = arguments.model
        sys.stderr.write(f"spanledger: say whose model {name} is: --provider NAME, or a prefix such as openai/{name}\n")
    return 1 if isinstance(found, NoQuote) else 0


def _books(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.prices import price_tables

    with _shelf(arguments) as shelf:
        books = shelf.books()
    if arguments.json:
        for book in books:
            print_json(price_tables.kept_document(book))
    else:
        price_tables.print_books(books)
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.prices import price_tables
    from spanledger_exporter.prices.book_difference import difference

    found = difference(_named_book(arguments, arguments.before), _named_book(arguments, arguments.after))
    if arguments.json:
        print_json(found.document)
    else:
        price_tables.print_difference(found)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.ledger.database import open_database
    from spanledger_exporter.prices import price_tables
    from spanledger_exporter.prices.book_difference import difference
    from spanledger_exporter.prices.book_import import UPDATE_URL, book_from, packaged_book
    from spanledger_exporter.prices.book_shelf import BookShelf

    book = book_from(arguments.origin or UPDATE_URL)
    database = open_database(config_of(arguments).ledger_url)
    with contextlib.closing(database):
        shelf = BookShelf(database)
        found = difference(shelf.active() or packaged_book(), book)
        if arguments.json:
            print_json({"price_book": price_tables.book_document(book), "difference": found.document})
        else:
            price_tables.print_difference(found)
        if arguments.dry_run:
            return 0
        if found.lost and not arguments.allow_shrink:
            raise RejectedError(_shrinking(found.lost))
        shelf.activate(book)
    if not arguments.json:
        sys.stdout.write(f"active: {book.source}, sha256 {book.book_id}\n")
    return 0


def _shrinking(lost: list[str]) -> str:
    shown = [*lost[:_SHRINKS_SHOWN_MAX], *(["..."] if len(lost) > _SHRINKS_SHOWN_MAX else [])]
    return (
        f"{len(lost)} models or priced classes of usage would have no price any more; nothing was changed, "
        f"--allow-shrink lets them go: {', '.join(shown)}"
    )


def _check(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.ledger.reader import Reader
    from spanledger_exporter.money import usd_text
    from spanledger_exporter.prices import price_tables
    from spanledger_exporter.prices.provider_costs import compared

    with Reader(config_of(arguments).ledger_url) as reader:
        found = compared(reader.entries(filter_of(arguments)), arguments.over)
    over = f"{float(arguments.over):g}"
    if arguments.json:
        rows = [
            {"model": each.model, "calls": each.calls, "differing_calls": each.differing,
             "cost_usd": usd_text(each.ours_pusd), "provider_cost_usd": usd_text(each.theirs_pusd)}
            for each in found
        ]  # fmt: skip
        print_json({"over_percent": over, "models": rows})
    else:
        price_tables.print_comparisons(found, over)
    return 0


def _reprice(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.ledger.database import open_database
    from spanledger_exporter.ledger.ledger import Ledger
    from spanledger_exporter.ledger.reader import Reader
    from spanledger_exporter.prices import price_tables
    from spanledger_exporter.prices.pricer import Pricer
    from spanledger_exporter.prices.repricing import Repricing

    config = config_of(arguments)
    repricing = Repricing(Pricer(_current_book(arguments)), arguments.reason, all_entries=arguments.all)
    with Reader(config.ledger_url) as reader, contextlib.ExitStack() as stack:
        adjust = None
        if not arguments.dry_run:
            ledger = Ledger(open_database(config.ledger_url), cells_max=config.cells_max)
            stack.callback(ledger.close)
            ledger.keep_book(repricing.book)
            adjust = ledger.adjust
        changes = repricing.run(reader.priced(filter_of(arguments), unpriced=not arguments.all), adjust)
    if arguments.json:
        print_json({"dry_run": arguments.dry_run, "models": [price_tables.change_document(each) for each in changes]})
    else:
        price_tables.print_changes(changes, dry_run=arguments.dry_run)
    return 0


@contextlib.contextmanager
def _shelf(arguments: argparse.Namespace) -> "Generator[BookShelf]":
    from spanledger_exporter.ledger.database import open_readonly
    from spanledger_exporter.prices.book_shelf import BookShelf

    with contextlib.closing(open_readonly(config_of(arguments).ledger_url)) as database:
        yield BookShelf(database)


def _current_book(arguments: argparse.Namespace) -> "PriceBook":
    """Return the book that prices calls now; without a ledger, the packaged one under the user's own prices."""
    from spanledger_exporter.prices.current_prices import CurrentPrices
    from spanledger_exporter.prices.genai_prices_book import packaged_book

    file = config_of(arguments).prices_file
    try:
        with _shelf(arguments) as shelf:
            found = CurrentPrices(shelf, file, packaged_book).changed()
    except LedgerError as exc:
        sys.stderr.write(f"spanledger: {exc}; the packaged price book is taken\n")
        found = CurrentPrices(None, file, packaged_book).changed()
    assert found is not None, "the first question always has an answer"
    return found


def _named_book(arguments: argparse.Namespace, name: str) -> "PriceBook":
    from spanledger_exporter.prices.book_import import PACKAGED, book_from

    if name == "active":
        return _current_book(arguments)
    if name == PACKAGED or Path(name).exists() or "/" in name:
        return book_from(name)
    with _shelf(arguments) as shelf:
        return shelf.book(name)
