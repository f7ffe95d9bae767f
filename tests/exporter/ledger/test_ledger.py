"""The ledger on SQLite and PostgreSQL: each call once, sums exact, on disk when it says so."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.ledger.rollups import Sums
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import OTHER, Adjustment, Price, PricedRecord, Split, Usage
from tests.exporter.calls import USAGE_PUSD, priced
from tests.exporter.ledgers import count, total
from tests.exporter.otlp_requests import END_NS

HOUR_NS = 3600 * 10**9
CELL = Cell(
    *("shop", "test", "", "", "", "", "openai", "gpt-4o-mini-2024-07-18", "chat", "ok", "reported", "priced", ""),
    *("", "first"),
)
SPLIT = Split(60 * 150_000, 40 * 75_000, 0, 20 * 600_000, 0, 40 * 75_000, 0)


def test_an_appended_call_is_an_entry_and_part_of_its_sums(ledger: Ledger, ledger_url: str, book: PriceBook) -> None:
    sent = priced(book)
    appended = ledger.append([sent])
    assert (appended.new, appended.cells) == ([sent], [CELL])
    assert appended.sums == ledger.totals() == {CELL: Sums(1, 100, 20, 40, 0, 0, USAGE_PUSD, *SPLIT)}
    with Reader(ledger_url) as reader:
        (entry,) = reader.entries(Filter())
    assert entry["span_id"] == sent.record.span_id.hex()
    assert (entry["cost_usd"], entry["cost_pusd"], entry["input_tokens"]) == ("0.000024", USAGE_PUSD, 100)
    assert (entry["reasoning_tokens"], entry["price_model"], entry["stream"]) == (None, "openai/gpt-4o-mini", False)
    assert (entry["start"], entry["end"]) == ("2026-11-18T11:06:39.000000000Z", "2026-11-18T11:06:40.000000000Z")


@pytest.mark.parametrize(
    "usage",
    [
        Usage(*range(1, len(Usage._fields) + 1)),
        Usage(*[0] * len(Usage._fields)),
        Usage(),
        Usage(pages=3),
        Usage(100, 20, input_text_tokens=100),
    ],
    ids=["every class", "all reported as zero", "none", "no tokens", "a class without a column"],
)
def test_an_entry_gives_back_the_record_that_made_it(
    ledger: Ledger, ledger_url: str, book: PriceBook, usage: Usage
) -> None:
    sent = priced(book, usage=usage, provider_cost_pusd=123)
    ledger.append([sent])
    with Reader(ledger_url) as reader:
        document, record, kept = reader.entry(sent.record.span_id.hex())
    assert record == sent.record
    assert kept.book_id == book.book_id
    figures = {name: figure for name, figure in usage._asdict().items() if figure is not None}
    assert {name: figure for name, figure in document.items() if name in figures} | document["other_usage"] == figures
    assert document["provider_cost_usd"] == "0.000000000123"


def test_calls_that_say_different_things_keep_them_in_one_batch(
    ledger: Ledger, ledger_url: str, book: PriceBook
) -> None:
    """Nothing, zeros and figures of every class, in one statement."""
    said = [Usage(), Usage(*[0] * len(Usage._fields)), Usage(*range(1, len(Usage._fields) + 1)), Usage(5, 0)]
    sent = [priced(book, end_ns=END_NS + number, usage=usage) for number, usage in enumerate(said)]
    ledger.append(sent)
    with Reader(ledger_url) as reader:
        kept = [(record, price) for _, record, price in reader.priced(Filter(), unpriced=False)]
    assert kept == [(each.record, each.price) for each in sent]


def test_an_entry_says_what_its_cost_is_made_of(ledger: Ledger, ledger_url: str, book: PriceBook) -> None:
    """Also where a part is nothing; of one that was agreed upon nobody knows."""
    ledger.append([priced(book), priced(book, end_ns=END_NS + 1, usage=Usage(), usage_status="unreported")])
    with Reader(ledger_url) as reader:
        unpriced, entry = reader.entries(Filter())
    assert [entry[name] for name in Split._fields] == [*SPLIT]
    assert [unpriced[name] for name in Split._fields] == [None] * 7
    assert (entry["cost_cache_read_usd"], entry["cache_saved_usd"]) == ("0.000003", "0.000003")
    assert (entry["cost_other_usd"], unpriced["cost_other_usd"]) == ("0", None)
    ledger.adjust([Adjustment(entry["entry_id"], Price("priced", 7), book.book_id, "agreed")])
    with Reader(ledger_url) as reader:
        agreed = list(reader.entries(Filter()))[1]
    assert (agreed["cost_pusd"], [agreed[name] for name in Split._fields]) == (7, [None] * 7)
    assert total(ledger)[6:] == (7, 0, 0, 0, 0, 0, 0, 0)


def test_totals_are_one_row_for_a_cell_however_many_hours_it_has(
    ledger: Ledger, database: Database, book: PriceBook
) -> None:
    ledger.append([priced(book, end_ns=END_NS - number * HOUR_NS) for number in range(5)])
    assert (count(database, "rollup_hours"), count(database, "rollup_totals")) == (5, 1)
    assert ledger.totals()[CELL].calls == 5


def test_errors_and_retries_are_summed_apart(ledger: Ledger, book: PriceBook) -> None:
    failed = {"outcome": "error", "usage": Usage(), "usage_status": "none"}
    ledger.append(
        [
            priced(book, error_type="left over"),  # of a call that went well in the end
            priced(book, resend_count=0),
            priced(book, resend_count=2),
            priced(book, **failed, error_type="rate_limit_exceeded"),
            priced(book, **failed, error_type="rate_limit_exceeded", resend_count=1),
            priced(book, **failed, error_type="名" * 100),
            priced(book, **failed),
        ]
    )
    assert {(cell.outcome, cell.error_type, cell.attempt): sums.calls for cell, sums in ledger.totals().items()} == {
        ("ok", "", "first"): 2,
        ("ok", "", "retry"): 1,
        ("error", "rate_limit_exceeded", "first"): 1,
        ("error", "rate_limit_exceeded", "retry"): 1,
        ("error", "名" * 66, "first"): 1,
        ("error", "", "first"): 1,
    }


def test_a_type_of_error_is_folded_and_no_error_stays_none(database: Database, book: PriceBook) -> None:
    ledger = Ledger(database, cells_max=1)
    ledger.keep_book(book)
    failed = {"outcome": "error", "usage": Usage(), "usage_status": "none"}
    ledger.append([priced(book)])
    ledger.append([priced(book, service="other"), priced(book, **failed, error_type="a", resend_count=1)])
    assert {(cell.service, cell.error_type, cell.attempt) for cell in ledger.totals()} == {
        ("shop", "", "first"), (OTHER, "", "first"), (OTHER, OTHER, "retry"),
    }  # fmt: skip


def test_the_same_batch_twice_gives_one_entry_each(ledger: Ledger, book: PriceBook) -> None:
    batch = [priced(book) for _ in range(3)]
    assert len(ledger.append(batch).new) == 3
    again = ledger.append(batch)
    assert (again.new, again.sums) == ([], {})
    assert ledger.totals()[CELL].calls == 3


def test_a_call_twice_in_one_batch_is_one_entry(ledger: Ledger, book: PriceBook) -> None:
    sent = priced(book)
    assert ledger.append([sent, sent]).new == [sent]
    assert ledger.totals()[CELL].calls == 1


def test_overlapping_batches_of_several_writers_count_once(ledger_url: str, ledger: Ledger, book: PriceBook) -> None:
    batch = [priced(book, end_ns=END_NS + number * HOUR_NS // 4) for number in range(40)]
    start = threading.Barrier(4)

    def write(part: list[PricedRecord]) -> int:
        database = open_database(ledger_url)
        try:
            writer = Ledger(database, cells_max=100)
            writer.keep_book(book)
            start.wait()
            return len(writer.append(part).new)
        finally:
            database.close()

    with ThreadPoolExecutor(4) as pool:
        new = sum(pool.map(write, [batch, batch[::-1], batch[:30], batch[10:]]))
    assert new == 40
    assert sum(sums.calls for sums in ledger.totals().values()) == 40


def test_sums_beyond_64_bits_of_pico_usd_are_exact(ledger: Ledger, ledger_url: str, book: PriceBook) -> None:
    """Each call costs 6 million USD; 64 bits of pico-USD end at 9.2 million."""
    dear = Usage(40 * 10**12 + 1, 0)  # and one more token, which a float would lose
    batch = [priced(book, usage=dear, end_ns=END_NS + number) for number in range(5)]
    cost = batch[0].price.cost_pusd
    assert cost == 6 * 10**18 + 150_000
    ledger.append(batch)
    assert ledger.totals()[CELL].cost_pusd == 5 * cost
    with Reader(ledger_url) as reader:
        assert reader.report(["model"], Filter())[0].sums.cost_pusd == 5 * cost


def test_nothing_is_written_when_a_commit_fails(ledger: Ledger, database: Database, book: PriceBook) -> None:
    with database.write() as connection:
        connection.execute(text("ALTER TABLE rollup_hours RENAME TO gone"))
    with pytest.raises((UnavailableError, DBAPIError), match="rollup_hours"):
        ledger.append([priced(book)])
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM entries")).scalar() == 0


def test_cells_beyond_the_limit_are_folded_and_counted(database: Database, book: PriceBook) -> None:
    ledger = Ledger(database, cells_max=3)
    ledger.keep_book(book)
    ledger.append([priced(book, response_model=f"model-{number}") for number in range(10)])
    kept = {cell.model for cell in ledger.totals()} - {OTHER}
    ledger.append([priced(book, response_model="model-11"), priced(book, response_model=min(kept))])
    totals = ledger.totals()
    assert len(totals) == 4
    assert sum(sums.calls for sums in totals.values()) == 12
    assert sum(sums.calls for cell, sums in totals.items() if cell.model == OTHER) == 8 == ledger.folded


def test_of_several_prices_for_one_entry_in_one_go_the_last_counts(
    ledger: Ledger, ledger_url: str, book: PriceBook
) -> None:
    ledger.append([priced(book)])
    with Reader(ledger_url) as reader:
        number = reader.last_entry_id()
    changes = [Adjustment(number, Price("priced", cost), book.book_id, "agreed") for cost in (5, 7)]
    assert ledger.adjust(changes).changed == 1
    assert sum(sums.cost_pusd for sums in ledger.totals().values()) == 7


def test_reading_does_not_wait_for_a_writer(ledger: Ledger, database: Database) -> None:
    with database.write():
        ledger.ping()
        assert ledger.totals() == {}


def test_the_longest_names_fit_into_every_index(ledger: Ledger, book: PriceBook) -> None:
    """512 characters of three bytes each: more than a row of PostgreSQL's indexes can hold."""
    names = dict.fromkeys(("service", "environment", "provider", "response_model", "response_id"), "名" * 512)
    assert len(ledger.append([priced(book, **names)]).new) == 1


def test_contradicting_figures_never_make_a_class_negative(ledger: Ledger, book: PriceBook) -> None:
    usage = Usage(10, 5, cache_read_tokens=50, cache_write_tokens=7, reasoning_tokens=9)
    (sums,) = ledger.append([priced(book, usage=usage)]).sums.values()
    assert sums == Sums(1, 10, 5, 10, 0, 5, 0)


def test_a_closed_ledger_reopens_with_all_that_was_acknowledged(
    ledger_url: str, ledger: Ledger, book: PriceBook
) -> None:
    ledger.append([priced(book) for _ in range(5)])
    ledger.close()
    again = open_database(ledger_url)
    assert Ledger(again, cells_max=100).totals()[CELL].calls == 5
    again.close()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=8))
def test_any_deliveries_of_the_same_calls_sum_to_each_once(
    ledger: Ledger, book: PriceBook, deliveries: list[list[int]]
) -> None:
    calls = [priced(book, end_ns=END_NS + number, usage=Usage(number, 1)) for number in range(31)]
    before = sum(sums.calls for sums in ledger.totals().values())
    for delivery in deliveries:
        ledger.append([calls[number] for number in delivery])
    after = ledger.totals()
    assert sum(sums.calls for sums in after.values()) - before == len({n for delivery in deliveries for n in delivery})
