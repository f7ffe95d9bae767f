"""Several reports of one call are one entry, whatever order they come in; different calls stay apart."""

import itertools
import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

import pytest

from spanledger_exporter.cli import main
from spanledger_exporter.ledger.checking import check
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.ledger.rows import document_of, record_of_document
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Adjustment, Price, PricedRecord, Usage
from tests.exporter.calls import USAGE, USAGE_PUSD, priced, record
from tests.exporter.otlp_requests import END_NS

ID = "chatcmpl-B1x2y3z4w5v6u7"
TRACE = b"t" * 16
RANKS = {"otel": 90, "openinference": 50}


@pytest.fixture
def ranked(database: Database, book: PriceBook) -> Ledger:
    return ledger_of(database, book)


def ledger_of(database: Database, book: PriceBook) -> Ledger:
    made = Ledger(database, cells_max=100, rank=lambda dialect: RANKS.get(dialect, 0))
    made.keep_book(book)
    return made


@pytest.mark.parametrize("limits", [(), (b"\x0a\x01x\x12\x02\x18\x01",)])
def test_a_report_is_kept_without_what_its_answer_told_of_rate_limits(limits: tuple[bytes, ...]) -> None:
    made = record(rate_limits=limits)
    assert record_of_document(document_of(made)) == made._replace(rate_limits=())


def report(book: PriceBook, number: int, **changes: Any) -> PricedRecord:
    """The report of one of several instrumentations: its scope and its span are its own."""
    own = {"scope": f"scope-{number}", "span_id": bytes([number]) * 8, "trace_id": TRACE, "response_id": ID}
    return priced(book, **(own | changes))


def entries(url: str) -> list[dict[str, Any]]:
    with Reader(url) as reader:
        return list(reader.entries(Filter()))


def sums(ledger: Ledger) -> tuple[int, int]:
    totals = ledger.totals().values()
    return sum(each.calls for each in totals), sum(each.cost_pusd for each in totals)


# Three reports of one call: the SDK's own knows the id and the totals, ours the cache as well, the framework's no id.
def three(book: PriceBook) -> list[PricedRecord]:
    return [
        report(book, 1, usage=Usage(100, 20), trace_id=b"o" * 16, dialect="openinference"),
        report(book, 2, usage=USAGE, parent_span_id=b"\3" * 8),
        report(book, 3, usage=Usage(100, 20), response_id=None, dialect="openinference"),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("batches", [1, 3])
def test_reports_of_one_call_are_one_entry_in_any_order(
    ranked: Ledger, ledger_url: str, book: PriceBook, order: Sequence[int], batches: int
) -> None:
    sent = [three(book)[place] for place in order]
    for batch in [sent] if batches == 1 else [[each] for each in sent]:
        ranked.append(batch)
    (entry,) = entries(ledger_url)
    assert (entry["input_tokens"], entry["output_tokens"], entry["cache_read_tokens"]) == (100, 20, 40)
    assert (entry["response_id"], entry["cost_pusd"], entry["reports"]) == (ID, USAGE_PUSD, 3)
    assert sums(ranked) == (1, USAGE_PUSD)
    for batch in (sent, sent[:2], sent[2:]):  # delivered again, in other batches
        assert ranked.append(batch).new == []
    assert sums(ranked) == (1, USAGE_PUSD)


def test_explain_names_every_report_of_an_entry(
    ranked: Ledger, ledger_url: str, book: PriceBook, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in three(book):
        ranked.append([each])
    assert main(["explain", "0303030303030303", "--ledger", ledger_url, "--json"]) == 0
    explained = json.loads(capsys.readouterr().out)
    assert explained["agrees"]
    assert [(each["scope"], each["usage"].get("cache_read_tokens")) for each in explained["reports"]] == [
        ("scope-1", None), ("scope-2", 40), ("scope-3", None)
    ]  # fmt: skip
    assert main(["explain", ID, "--ledger", ledger_url]) == 0
    said = capsys.readouterr().out
    assert "reported 3 times:\n  scope-1 of shop, span 0101010101010101: input_tokens 100, output_tokens 20" in said


def test_a_report_that_comes_after_a_restart_finds_its_call(
    ranked: Ledger, database: Database, ledger_url: str, book: PriceBook
) -> None:
    first, second, third = three(book)
    ranked.append([first, second])
    again = ledger_of(database, book)
    assert again.append([third]).folded == 1
    assert (len(entries(ledger_url)), sums(again)) == (1, (1, USAGE_PUSD))


def test_a_report_that_another_writer_has_committed_is_found(ledger_url: str, ranked: Ledger, book: PriceBook) -> None:
    other = ledger_of(open_database(ledger_url), book)
    first, second, third = three(book)
    ranked.append([first])
    other.append([third])
    ranked.append([second])
    assert other.append([first, second, third]).new == []
    assert (len(entries(ledger_url)), sums(ranked)) == (1, (1, USAGE_PUSD))
    other.close()


LATER: dict[str, Any] = {"end_ns": END_NS + 60 * 10**9, "start_ns": END_NS + 59 * 10**9}
NO_ID: dict[str, Any] = {"response_id": None}
CHILD: dict[str, Any] = {**NO_ID, "parent_span_id": b"\1" * 8}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"response_id": "chatcmpl-1"}, {"response_id": "chatcmpl-1"}),
        ({"response_id": ""}, {"response_id": ""}),
        (NO_ID, NO_ID),
        ({}, {"scope": "scope-1"}),
        ({}, LATER),
        ({}, {"usage": Usage(7, 7)}),
        ({}, {"operation": "embeddings"}),
        ({}, {"response_id": ID[::-1], "parent_span_id": b"\1" * 8}),
        (NO_ID, {**CHILD, "usage": Usage(100, 21)}),
        (NO_ID, {**CHILD, "trace_id": b"o" * 16}),
        (NO_ID, {**CHILD, "outcome": "error", "usage": Usage(), "usage_status": "none"}),
        ({"tenant": "acme"}, {"tenant": "umbrella"}),
    ],
    ids=[
        "a constant id", "an empty id", "no id", "the same instrumentation", "one after the other",
        "other figures", "another operation", "other ids", "a child with other figures", "no child in that trace",
        "an attempt that failed", "two tenants",
    ],
)  # fmt: skip
@pytest.mark.parametrize("swapped", [False, True])
def test_different_calls_are_never_one(
    ranked: Ledger, book: PriceBook, first: dict[str, Any], second: dict[str, Any], swapped: bool
) -> None:
    both = [report(book, 1, **first), report(book, 2, **second)]
    appended = [ranked.append([each]) for each in (reversed(both) if swapped else both)]
    assert (sum(len(each.new) for each in appended), sum(each.folded for each in appended)) == (2, 0)
    assert sums(ranked)[0] == 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize(
    "reports",
    [
        (NO_ID, {**CHILD}, {**CHILD, "usage": Usage(7, 7)}),
        ({}, {}, {"usage": Usage(7, 7)}),
    ],
    ids=["two children of one parent", "an id that another call has, too"],
)
def test_a_report_finds_its_call_among_others_with_the_same_key(
    ranked: Ledger, book: PriceBook, reports: Sequence[dict[str, Any]], order: Sequence[int]
) -> None:
    made = [report(book, number, **changes) for number, changes in enumerate(reports, start=1)]
    for place in order:
        ranked.append([made[place]])
    assert sums(ranked)[0] == 2


def test_a_report_of_no_tenant_is_folded_into_a_tenant_s_call(ranked: Ledger, ledger_url: str, book: PriceBook) -> None:
    ranked.append([report(book, 1, tenant="acme")])
    ranked.append([report(book, 2)])
    (entry,) = entries(ledger_url)
    assert (entry["tenant"], entry["reports"]) == ("acme", 2)


def test_an_outer_span_that_ended_too_early_is_completed_by_its_child(
    ranked: Ledger, ledger_url: str, book: PriceBook
) -> None:
    outer = report(book, 1, response_id=None, usage=Usage(), usage_status="unreported")
    ranked.append([outer])
    ranked.append([report(book, 2, parent_span_id=outer.record.span_id)])
    (entry,) = entries(ledger_url)
    assert (entry["usage_status"], entry["cost_pusd"], entry["price_status"]) == ("reported", USAGE_PUSD, "priced")
    assert {cell.usage_status for cell in ranked.totals()} == {"reported"}


@pytest.mark.parametrize("outer_usage", [Usage(), Usage(output_tokens=20)], ids=["nothing", "a part"])
def test_figures_that_can_be_read_in_two_ways_stay_so_beside_a_report_without_them(
    ranked: Ledger, ledger_url: str, book: PriceBook, outer_usage: Usage
) -> None:
    status = "partial" if outer_usage.known else "unreported"
    ranked.append([report(book, 1, usage=outer_usage, usage_status=status)])
    ranked.append([report(book, 2, usage=USAGE, ambiguity="cache_in_input")])
    (entry,) = entries(ledger_url)
    assert (entry["price_reason"], entry["cost_pusd"], entry["reports"]) == ("ambiguous_usage", None, 2)
    assert entry["usage_status"] == ("partial" if outer_usage.known else "reported")


def test_calls_that_nobody_else_reports_are_forgotten_within_the_limit(database: Database, book: PriceBook) -> None:
    ledger = Ledger(database, cells_max=100, window_calls_max=10)
    ledger.keep_book(book)
    for number in range(40):
        ledger.append([priced(book, response_id=secrets.token_hex(16), end_ns=END_NS + number)])
    assert ledger.window_forgotten > 0
    assert sums(ledger)[0] == 40


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("outer_usage", [Usage(), USAGE], ids=["without figures", "with the figures of both"])
def test_two_calls_below_one_span_are_never_one(
    ranked: Ledger, book: PriceBook, outer_usage: Usage, batches: int, order: Sequence[int]
) -> None:
    status = "reported" if outer_usage.known else "unreported"
    reports = [
        report(book, 1, **NO_ID, usage=outer_usage, usage_status=status),
        report(book, 2, **CHILD),
        report(book, 3, **CHILD, scope="scope-2"),
    ]
    sent = [reports[place] for place in order]
    for batch in [sent] if batches == 1 else [[each] for each in sent]:
        ranked.append(batch)
    assert sums(ranked) == (2, 2 * USAGE_PUSD)


@pytest.mark.parametrize("first", ["before", "in the same batch"])
def test_a_report_that_a_later_one_of_its_batch_joins_to_a_call_is_folded(
    ranked: Ledger, book: PriceBook, first: str
) -> None:
    by_id, child, _ = three(book)
    outer = report(book, 3, usage=Usage(100, 20), response_id=None, end_ns=END_NS - 1)  # in a batch it comes first
    batches = [[by_id], [outer, child]] if first == "before" else [[by_id, outer, child]]
    appended = [ranked.append(batch) for batch in batches]
    reports = [each.record.key for each in (by_id, child, outer)]
    assert sum(len(each.new) for each in appended) == 1
    assert [became for each in appended for key in reports if (became := each.other.get(key))] == ["folded"] * 2


def test_an_adjustment_goes_with_the_entry_that_turns_out_to_be_of_another_call(
    ranked: Ledger, database: Database, book: PriceBook
) -> None:
    by_id, child, outer = three(book)
    ranked.append([by_id])
    ranked.append([outer])
    cheaper = Price("priced", 1)
    ranked.adjust([Adjustment(number, cheaper, book.book_id, "test") for number in (1, 2)])
    ranked.append([child])
    assert sums(ranked) == (1, USAGE_PUSD)
    assert check(database, time.time_ns()) == []
