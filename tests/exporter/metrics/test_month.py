"""The month's figures are those of the entries, whatever the time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.metrics.dimensions import Dimensions, Places
from spanledger_exporter.metrics.month import Month, MonthMetrics, MonthReader
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import OTHER
from tests.exporter.calls import USAGE_PUSD, priced
from tests.exporter.ledgers import writer

NS = 10**9


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def kept(database: Database, book: PriceBook, times: Sequence[str], **changes: str) -> None:
    ledger = writer(database, book, now_ns=at("2026-12-01T00:00") * NS)
    ledger.append([priced(book, end_ns=at(text) * NS, **changes) for text in times])


MODEL = Dimensions(("model",))


def test_the_month_begins_at_midnight_utc(database: Database, book: PriceBook) -> None:
    kept(database, book, ["2026-10-31T23:59:59", "2026-11-01T00:00:00", "2026-11-03T12:00:00", "2026-11-28T10:00:00"])
    reader = MonthReader(database, Places(MODEL, sets_max=10))
    month = reader.read(at("2026-11-28T11:00:00"))
    assert list(month.spent.values()) == [3 * USAGE_PUSD]
    assert list(reader.read(at("2026-12-01T00:00:01")).spent.values()) == []


@pytest.mark.parametrize(("took_s", "seen_after_s"), [(0.0, 1), (1.0, 100), (60.0, 3600)])
def test_days_that_are_over_are_read_for_a_hundredth_of_the_time_and_once_an_hour(
    database: Database, book: PriceBook, monkeypatch: pytest.MonkeyPatch, took_s: float, seen_after_s: int
) -> None:
    clock = count(step=took_s)  # it goes on by as much whenever it is asked
    monkeypatch.setattr("spanledger_exporter.metrics.month.time.monotonic", lambda: next(clock))
    reader = MonthReader(database, Places(MODEL, sets_max=10))
    now_s = at("2026-11-28T11:00:00")
    kept(database, book, ["2026-11-28T10:00:00"])
    assert list(reader.read(now_s).spent.values()) == [USAGE_PUSD]
    kept(database, book, ["2026-11-27T10:00:00", "2026-11-05T10:00:00"])
    if seen_after_s > 1:
        assert list(reader.read(now_s + seen_after_s - 1).spent.values()) == [2 * USAGE_PUSD]
    assert list(reader.read(now_s + seen_after_s).spent.values()) == [3 * USAGE_PUSD]


def test_what_is_beyond_the_limit_of_series_is_folded(database: Database, book: PriceBook) -> None:
    for name in ("a", "b", "c"):
        kept(database, book, ["2026-11-28T10:00:00"], service=name)
    reader = MonthReader(database, Places(Dimensions(("service",)), sets_max=1))
    spent = reader.read(at("2026-11-28T11:00:00")).spent
    assert spent == {("a",): USAGE_PUSD, (OTHER,): 2 * USAGE_PUSD}


def test_the_forecast_holds_the_month_so_far(database: Database, book: PriceBook) -> None:
    kept(database, book, [f"2026-11-{day:02}T10:00:00" for day in range(1, 28)])
    month = MonthReader(database, Places(MODEL, sets_max=10)).read(at("2026-11-28T00:00:00"))
    assert month.outlook is not None
    assert month.outlook.middle == 30 * USAGE_PUSD
    assert 27 * USAGE_PUSD <= month.outlook.low <= month.outlook.middle <= month.outlook.high


def test_a_ledger_without_calls_has_no_month_and_no_forecast(database: Database) -> None:
    month = MonthReader(database, Places(MODEL, sets_max=10)).read(at("2026-11-28T11:00:00"))
    assert month.spent == {}
    assert month.outlook is None


def test_what_was_known_stays_while_the_database_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Month | None] = [Month(100, {("gpt-5",): 10**12}), None]

    def read(_now_s: int) -> Month:
        answer = answers.pop(0)
        if answer is None:
            raise UnavailableError("the ledger is locked")
        return answer

    registry = CollectorRegistry()
    metrics = MonthMetrics(registry, read, ("model",), clock_s=lambda: 200.0)
    assert metrics.look()
    assert not metrics.look()
    assert registry.get_sample_value("genai_month_to_date_cost_usd", {"model": "gpt-5"}) == 1
    assert registry.get_sample_value("spanledger_month_timestamp_seconds") == 100
    assert "the ledger is locked" in caplog.text
