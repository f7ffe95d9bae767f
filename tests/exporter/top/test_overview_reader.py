"""An overview's figures are the ledger's: those of its entries, of `report`, and of budgets."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from spanledger_exporter.ledger.database import Database, open_readonly
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Document, Reader
from spanledger_exporter.ledger.schema import rollup_hours
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import PricedRecord, Usage
from spanledger_exporter.top.overview import CALLS_MAX, LINES_MAX, TEXT_CHARS_MAX, Figures, Overview, Window, total
from spanledger_exporter.top.overview_reader import OverviewReader
from tests.exporter.budgets.budgets import declare, ledger_of, states_of
from tests.exporter.calls import USAGE_PUSD, priced
from tests.exporter.otlp_requests import END_NS

NOW_S = END_NS // 10**9  # 2026-11-18T11:06:40Z
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
UNREPORTED: dict[str, Any] = {"usage": Usage(), "usage_status": "unreported"}
FAILED: dict[str, Any] = {"outcome": "error", "error_type": "timeout", "usage": Usage(), "usage_status": "none"}
MYSTERY: dict[str, Any] = {"response_model": None, "request_model": "mystery"}


def at(book: PriceBook, age_s: int, **changes: Any) -> PricedRecord:
    return priced(book, end_ns=END_NS - age_s * 10**9, start_ns=END_NS - age_s * 10**9 - 1_234_000_000, **changes)


def look(database: Database, window: Window = "1h", *, now_s: int = NOW_S) -> Overview:
    return OverviewReader(database).read(window, now_s)


def figures(entries: Sequence[Document]) -> Figures:
    """What entries add up to, as `report` says it."""
    found = Figures()
    for entry in entries:
        reported = entry["usage_status"] in {"reported", "partial"}
        unpriced = entry["price_status"] == "unpriced"
        found = found.plus(
            Figures(
                calls=1,
                errors=int(entry["outcome"] == "error"),
                unpriced_calls=int(unpriced),
                unreported_calls=int(entry["usage_status"] in {"unreported", "partial"}),
                input_tokens=(entry["input_tokens"] or 0) if reported else None,
                output_tokens=(entry["output_tokens"] or 0) if reported else None,
                cost_pusd=entry["cost_pusd"] if entry["price_status"] in {"priced", "free"} else None,
            )
        )
    return found


def some_calls(book: PriceBook) -> list[PricedRecord]:
    ages_s = [*range(0, 2 * HOUR_S, 391), *range(2 * HOUR_S, 47 * HOUR_S, 5501), *range(2 * DAY_S, 40 * DAY_S, 100_003)]
    kinds: list[dict[str, Any]] = [{}, {"service": "search"}, UNREPORTED, FAILED, MYSTERY, {"provider": "azure"}]
    return [
        at(
            book,
            age_s,
            **kinds[number % len(kinds)] | ({"usage": Usage(10 + number, number)} if number % 6 < 2 else {}),
        )
        for number, age_s in enumerate(ages_s)
    ]


@pytest.mark.parametrize("now_s", [NOW_S, NOW_S // HOUR_S * HOUR_S, NOW_S // HOUR_S * HOUR_S - 1])
@pytest.mark.parametrize(("window", "minutes"), [("15m", 15), ("1h", 60), ("24h", 1440)])
def test_a_window_has_the_calls_that_ended_in_it(
    database: Database, book: PriceBook, ledger_url: str, window: Window, minutes: int, now_s: int
) -> None:
    ledger_of(database, book, some_calls(book), now_ns=END_NS)
    found = look(database, window, now_s=now_s)
    until = datetime.fromtimestamp(now_s // MINUTE_S * MINUTE_S + MINUTE_S, tz=UTC)
    since = until - timedelta(minutes=minutes)
    with Reader(ledger_url) as reader:
        entries = list(reader.entries(Filter(since=since, until=until)))
    assert found.since_s == since.timestamp()
    assert entries
    assert found.total == total(line.figures for line in found.lines) == figures(entries)
    for line in found.lines:
        same = [e for e in entries if (e["service"], e["provider"]) == (line.service, line.provider)]
        same = [e for e in same if (e["response_model"] or e["request_model"]) == line.model]
        assert line.figures == figures(same)


def test_today_and_the_month_are_those_of_the_report(database: Database, book: PriceBook, ledger_url: str) -> None:
    # A clock that runs ahead is no reason to hide a call from the day of which it is.
    ledger_of(database, book, [*some_calls(book), at(book, -3 * HOUR_S)], now_ns=END_NS)
    found = look(database, "month")
    month = datetime(2026, 11, 1, tzinfo=UTC)
    with Reader(ledger_url) as reader:
        entries = list(reader.entries(Filter(since=month)))
        reported = reader.report((), Filter(since=month))
        today = list(reader.entries(Filter(since=datetime(2026, 11, 18, tzinfo=UTC))))
    assert found.month == found.total == figures(entries)
    assert found.month.cost_pusd == reported[0].sums.cost_pusd
    assert found.today == figures(today)
    assert found.since_s == month.timestamp()


def test_the_month_is_likely_to_go_on_as_it_went(database: Database, book: PriceBook) -> None:
    assert look(database).outlook is None
    ledger_of(database, book, [at(book, day * DAY_S) for day in range(30)], now_ns=END_NS)
    found = look(database).outlook
    assert found is not None
    assert found.low_pusd <= found.middle_pusd <= found.high_pusd
    assert found.middle_pusd == pytest.approx(30 * USAGE_PUSD, rel=0.05)


def test_the_history_has_every_minute_of_the_last_hour(database: Database, book: PriceBook) -> None:
    ledger_of(
        database,
        book,
        [at(book, 0), at(book, 1), at(book, 60, **MYSTERY), at(book, 3580), at(book, 3581)],
        now_ns=END_NS,
    )
    minutes = look(database, "15m").minutes
    assert [minute.start_s for minute in minutes] == [NOW_S // 60 * 60 - 60 * age for age in range(59, -1, -1)]
    assert (minutes[-1].calls, minutes[-1].cost_pusd) == (2, 2 * USAGE_PUSD)
    assert (minutes[-2].calls, minutes[-2].cost_pusd, minutes[-2].unpriced_calls) == (1, None, 1)
    assert (minutes[0].calls, minutes[1].calls, minutes[1].cost_pusd) == (1, 0, None)


def test_the_newest_calls_come_first_with_their_cost_or_why_it_is_unknown(database: Database, book: PriceBook) -> None:
    calls = [at(book, 3), at(book, 2, **MYSTERY), at(book, 1, **FAILED)]
    ledger_of(database, book, [*(at(book, 100 + age) for age in range(CALLS_MAX)), *calls], now_ns=END_NS)
    found = look(database).calls
    assert len(found) == CALLS_MAX
    assert [call.end_s for call in found] == sorted((call.end_s for call in found), reverse=True)
    failed, mystery, first = found[:3]
    assert (first.cost_pusd, first.model, first.duration_ms) == (USAGE_PUSD, "gpt-4o-mini-2024-07-18", 1234)
    assert (mystery.cost_pusd, mystery.price_reason, mystery.model) == (None, "unknown_model", "mystery")
    assert (failed.cost_pusd, failed.error_type, failed.price_status) == (None, "timeout", "none")


def test_a_long_name_of_a_call_is_cut(database: Database, book: PriceBook) -> None:
    ledger_of(database, book, [at(book, 1, service="s" * 10_000, response_model="m" * 10_000)], now_ns=END_NS)
    (call,) = look(database).calls
    assert (call.service, call.model) == ("s" * TEXT_CHARS_MAX, "m" * TEXT_CHARS_MAX)


def test_lines_beyond_the_limit_are_one_sum(database: Database, book: PriceBook) -> None:
    ledger = Ledger(database, cells_max=LINES_MAX + 100, clock_ns=lambda: END_NS)
    ledger.keep_book(book)
    ledger.append([at(book, 1, service=f"service-{number}", usage=Usage(number, 0)) for number in range(LINES_MAX + 5)])
    found = look(database)
    assert len(found.lines) == LINES_MAX
    assert found.lines[0].service == f"service-{LINES_MAX + 4}"
    assert (found.lines_left_out, found.left_out.calls, found.left_out.input_tokens) == (5, 5, 10)
    assert found.total == total([found.left_out, *(line.figures for line in found.lines)])


def test_what_a_correction_took_away_is_no_line(database: Database, book: PriceBook) -> None:
    ledger_of(database, book, [at(book, 2 * HOUR_S)], now_ns=END_NS)
    with database.write() as connection:
        connection.execute(
            update(rollup_hours).values(
                calls=0, input_tokens=0, output_tokens=0, cost_micro_usd=0, cost_rest_pusd=0, cache_read_tokens=0
            )
        )
    assert look(database, "24h").lines == ()


def test_budgets_are_as_they_stand_the_most_used_first(database: Database, book: PriceBook) -> None:
    declare(
        database,
        {"name": "large", "limit_usd": "100"},
        {"name": "small", "limit_usd": "0.0001", "period": "day"},
        {"name": "tokens", "limit_tokens": 200, "scope": {"model": "mystery"}},
        {"name": "over-for-long", "limit_calls": 1, "period": "range", "since": "2026-01-01", "until": "2026-02-01"},
        now_ns=END_NS - 40 * DAY_S * 10**9,
    )
    ledger_of(database, book, some_calls(book), now_ns=END_NS)
    found = look(database).budgets
    assert [line.name for line in found] == ["tokens", "small", "large"]
    states = {state.stored.budget.name: state for state in states_of(database, END_NS)}
    for line in found:
        state = states[line.name]
        assert (line.spent, line.limit) == (state.spent, state.limit)
        assert (line.start_s, line.end_s) == state.bounds
        assert line.expected == (None if state.forecast is None else state.forecast.middle)
        assert line.thresholds == tuple(each for each in (75, 90, 100) if state.reached(each))
    assert [line.unit for line in found] == ["tokens", "micro_usd", "micro_usd"]


def test_whose_users_and_keys_are_over_a_budget_is_counted_and_not_told(database: Database, book: PriceBook) -> None:
    declare(
        database,
        {"name": "each-user", "limit_calls": 2, "per": ["user"]},
        {"name": "each-team", "limit_calls": 2, "per": ["team"]},
        now_ns=END_NS - DAY_S * 10**9,
    )
    calls = [at(book, 1, user_id=f"private-{number % 3}", team=f"team-{number % 9}") for number in range(7)]
    ledger_of(database, book, calls, now_ns=END_NS)
    found = look(database)
    assert {line.name for line in found.budgets} == {"each-team"}
    assert {line.group for line in found.budgets} <= {f"team=team-{number}" for number in range(7)}
    assert len(found.budgets) == 5
    groups = {each.name: (each.per, each.groups, each.over) for each in found.groups}
    assert groups == {"each-user": (("user",), 3, 3), "each-team": (("team",), 7, 0)}
    assert "private" not in repr(found)


def test_an_empty_ledger_has_nothing_and_nothing_is_unknown(ledger_url: str, database: Database) -> None:
    reading = open_readonly(ledger_url)
    found = OverviewReader(reading).read("24h", NOW_S)
    reading.close()
    assert (found.total, found.today, found.month) == (Figures(), Figures(), Figures())
    assert (found.lines, found.calls, found.budgets, found.outlook) == ((), (), (), None)


def test_a_writer_is_not_kept_waiting_by_somebody_who_looks(
    database: Database, book: PriceBook, ledger_url: str
) -> None:
    """A look is one transaction that only reads; one that is under way holds no commit up, and sees one moment."""
    ledger = ledger_of(database, book, [at(book, 10)], now_ns=END_NS)
    reading = open_readonly(ledger_url)
    with reading.view() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM entries").scalar() == 1
        ledger.append([at(book, 5)])
        assert connection.exec_driver_sql("SELECT count(*) FROM entries").scalar() == 1
    reading.close()
    assert look(database).total.calls == 2
