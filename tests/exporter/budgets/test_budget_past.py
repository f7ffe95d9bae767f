"""Asked again and again, only the last days are read; what changed before is known an hour or two later."""

from datetime import UTC, datetime

from sqlalchemy import text

from spanledger_exporter.budgets.past import Past
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.budgets import DAY_NS, HOUR_NS, call, declare, ledger_of, states_of

NOW_NS = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9
MILLION = 10**6


def total(database: Database, past: Past, now_ns: int = NOW_NS, *, group: str = "") -> int:
    (state,) = (each for each in states_of(database, now_ns, past=past) if each.group_key == group)
    return state.spent_total


def spend(database: Database, budget_id: int, day: datetime, tokens: int) -> None:
    """Let a day have another sum, as a correction would."""
    with database.write() as connection:
        day_s = int(day.timestamp())
        connection.execute(
            text(f"UPDATE budget_days SET tokens = {tokens} WHERE day_s = {day_s} AND budget_id = {budget_id}")
        )


def test_new_calls_are_known_at_once_and_old_corrections_within_two_hours(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "b", "limit_tokens": 10**9, "period": "year"}, now_ns=NOW_NS)
    calls = [call(book, NOW_NS - days * DAY_NS, tokens=MILLION) for days in (0, 1, 2, 3, 10, 100, 300)]
    ledger = ledger_of(database, book, calls, now_ns=NOW_NS)
    past = Past()
    assert total(database, past) == 7 * MILLION
    ledger.append([call(book, NOW_NS - HOUR_NS, tokens=MILLION)])
    assert total(database, past) == 8 * MILLION
    spend(database, 1, datetime(2026, 11, 8, tzinfo=UTC), 5 * MILLION)
    spend(database, 1, datetime(2026, 11, 17, tzinfo=UTC), 2 * MILLION)
    assert total(database, past) == 9 * MILLION
    assert total(database, past, NOW_NS + 2 * HOUR_NS) == 13 * MILLION
    assert total(database, Past()) == 13 * MILLION


def test_what_is_kept_grows_older_with_the_days(database: Database, book: PriceBook) -> None:
    declare(
        database, {"name": "b", "limit_tokens": 10**9, "period": "year", "timezone": "Pacific/Auckland"}, now_ns=NOW_NS
    )
    ledger = ledger_of(database, book, [call(book, NOW_NS - DAY_NS, tokens=MILLION)], now_ns=NOW_NS)
    past = Past()
    for quarters in range(0, 60, 7):  # over midnight in UTC and in Auckland, with and without reading anew
        now_ns = NOW_NS + quarters * HOUR_NS // 4
        ledger.append([call(book, now_ns, tokens=MILLION)])
        assert total(database, past, now_ns) == total(database, Past(), now_ns)
    assert total(database, past, NOW_NS + 80 * DAY_NS) == 10 * MILLION


def test_groups_and_budgets_that_come_and_go_are_told_apart(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "teams", "limit_tokens": 10**9, "per": ["team"]}, now_ns=NOW_NS)
    ledger = ledger_of(database, book, [call(book, NOW_NS - 5 * DAY_NS, tokens=MILLION, team="a")], now_ns=NOW_NS)
    past = Past()
    assert total(database, past, group='["a"]') == MILLION
    ledger.append([call(book, NOW_NS - 5 * DAY_NS, tokens=3 * MILLION, team="b")])
    assert total(database, past, group='["b"]') == 3 * MILLION
    declare(
        database, {"name": "teams", "limit_tokens": 10**9, "per": ["team"], "scope": {"team": ["b"]}}, now_ns=NOW_NS
    )
    assert total(database, past, group='["b"]') == 3 * MILLION
    assert [state.group_key for state in states_of(database, NOW_NS, past=past)] == ['["b"]']
