"""Which times of spans the ledger takes: late ones, early ones, and those of clocks that are wrong."""

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.metrics.metrics import LedgerMetrics
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.calls import priced
from tests.exporter.ledgers import DAY_NS, HOUR_NS, NOW_NS, count, rows, total, writer

YEAR_2020_NS = 1_577_836_800 * 10**9
LATEST_NS = NOW_NS + DAY_NS


@pytest.fixture
def kept(database: Database, book: PriceBook) -> Ledger:
    return writer(database, book)


@pytest.mark.parametrize(
    ("end_ns", "reason"),
    [
        (NOW_NS - 400 * DAY_NS, None),
        (YEAR_2020_NS, None),
        (YEAR_2020_NS - 1, "too_old"),
        (0, "too_old"),
        (NOW_NS + HOUR_NS, None),
        (LATEST_NS, None),
        (LATEST_NS + 1, "future"),
        (2**63 - 1, "future"),
    ],
    ids=["late", "2020", "before 2020", "no time", "soon", "in 24 hours", "later than that", "the last of all"],
)
def test_a_span_is_taken_by_its_end(
    kept: Ledger, database: Database, book: PriceBook, end_ns: int, reason: str | None
) -> None:
    good = priced(book, end_ns=NOW_NS)
    odd = priced(book, end_ns=end_ns)
    appended = kept.append([good, odd])
    assert [(refused.priced, refused.reason) for refused in appended.refused] == ([(odd, reason)] if reason else [])
    assert (len(appended.new), total(kept).calls) == ((1, 1) if reason else (2, 2))  # the others of its batch are kept
    assert len(kept.append([good, odd]).new) == 0


def test_a_late_span_moves_the_sums_of_its_own_hour(kept: Ledger, database: Database, book: PriceBook) -> None:
    past_ns = NOW_NS // DAY_NS * DAY_NS - 40 * DAY_NS + 5 * HOUR_NS
    kept.append([priced(book, end_ns=NOW_NS), priced(book, end_ns=past_ns)])
    found = rows(database, "SELECT hour_s, calls FROM spend_hours ORDER BY hour_s")
    assert found == [(past_ns // 10**9, 1), (NOW_NS // HOUR_NS * 3600, 1)]
    assert count(database, "rollup_minutes") == 1  # minutes are kept for two days alone
    days = rows(database, "SELECT day_s, calls FROM spend_days ORDER BY day_s")
    assert days == [((past_ns - 5 * HOUR_NS) // 10**9, 1), (NOW_NS // DAY_NS * 86_400, 1)]


def test_a_span_that_ends_before_it_began_is_kept_without_a_duration(
    kept: Ledger, ledger_url: str, book: PriceBook
) -> None:
    registry = CollectorRegistry()
    metrics = LedgerMetrics(registry, kept.totals(), lambda: 0)
    backwards = priced(book, end_ns=NOW_NS, start_ns=NOW_NS + 10**9)
    metrics.committed(kept.append([backwards, priced(book, end_ns=NOW_NS, start_ns=NOW_NS - 10**9)]), 0.01)
    counted = [
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "genai_call_duration_seconds_count"
    ]
    assert (total(kept).calls, counted) == (2, [1])
    with Reader(ledger_url) as reader:
        _, record, _ = reader.entry(backwards.record.span_id.hex())
    assert (record.start_ns, record.end_ns) == (NOW_NS + 10**9, NOW_NS)
