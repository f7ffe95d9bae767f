"""What becomes of what budgets counted long ago: it goes, and nothing that anybody sees becomes less or wrong."""

from contextlib import closing
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from spanledger_exporter.budgets.anomalies import HISTORY_DAYS
from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.keeping import KEEP_DAYS, KEEP_DAYS_MIN, begins_s, keep
from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.budgets.rebuilding import drift
from spanledger_exporter.budgets.shelf import BudgetShelf, load_budgets
from spanledger_exporter.config import load
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.checking import check
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Adjustment, Price
from spanledger_exporter.settings import SETTINGS
from tests.exporter.budgets.budgets import states_of
from tests.exporter.budgets.counted import counters, days, declared
from tests.exporter.ledgers import DAY_NS, NOW_NS, count, daily, writer

NOW_S = NOW_NS // 10**9
DAY_S = 86_400
BEFORE_NS = NOW_NS - 600 * DAY_NS


def kept(database: Database, keep_days: int = KEEP_DAYS_MIN, *, slice_rows: int = 7) -> int:
    """Delete what is old, in small slices."""
    return keep(database, NOW_NS, keep_days, slice_rows=slice_rows, between=lambda _took_s: None)


def right(database: Database) -> bool:
    """Whether the check and the look for drift find nothing."""
    with database.read() as connection:
        off = drift(connection, load_budgets(connection), NOW_NS)
    return check(database, NOW_NS) == [] and not any(any(sums) for sums in off.values())


def first_day(database: Database, name: str) -> int:
    """How many days ago the first period began that is kept."""
    return NOW_S // DAY_S - min(at_s for (budget, _, at_s) in counters(database) if budget == name) // DAY_S


@pytest.mark.parametrize("kind", ["hour", "day", "week", "month", "quarter", "year", "days"])
@pytest.mark.parametrize("rollover", [False, True])
@pytest.mark.parametrize("keep_days", [70, 400])
def test_a_budget_begins_with_a_period_and_a_day_and_has_all_that_is_needed(
    kind: str, rollover: bool, keep_days: int
) -> None:
    period = Period(kind=kind, timezone="Australia/Lord_Howe", days=45, weekday=3, day=7)  # type: ignore[arg-type]
    budget = Budget(name="all", limit=1, period=period, rollover=rollover)
    found = begins_s(budget, NOW_S, keep_days)
    assert found is not None
    assert found == period.day_of(found)
    bounds, current = period.bounds(found), period.bounds(NOW_S)
    assert bounds is not None
    assert current is not None
    before = period.before(current)
    assert before is not None
    assert bounds.start_s == found <= min(NOW_S - keep_days * DAY_S, before.start_s if rollover else current.start_s)
    if kind in {"hour", "day", "week"}:
        assert found > NOW_S - (keep_days + 15) * DAY_S


def test_where_a_budget_begins_moves_once_a_week() -> None:
    budget = Budget(name="all", limit=1, period=Period(kind="hour"))
    found = {begins_s(budget, NOW_S + hour * 3600, 70) for hour in range(24 * 28)}
    assert len(found) == 5


def test_a_fixed_range_stays_however_old_it_is() -> None:
    budget = Budget(name="all", limit=1, period=Period(kind="range", since=date(2020, 1, 1), until=date(2020, 2, 1)))
    for now_s in (NOW_S, 1_578_000_000):  # long after it, and within it
        assert begins_s(budget, now_s, 70) is None


@pytest.fixture
def counted(database: Database, book: PriceBook) -> Ledger:
    """A ledger with a call on each of nearly 600 days, and budgets of all of them."""
    shelf = BudgetShelf(database, clock_ns=lambda: BEFORE_NS)
    for name, said in BUDGETS.items():
        shelf.set(declared(name, **said), "ann")
    ledger = writer(database, book)
    ledger.append(daily(book, range(590), team="search", user_id="ann"))
    return ledger


BUDGETS: dict[str, dict[str, Any]] = {
    "hour": {"period": "hour"},
    "day": {"period": "day", "timezone": "Asia/Kathmandu"},
    "month": {"period": "month"},
    "range": {"period": "range", "since": "2025-01-01", "until": "2026-01-01"},
    "teams": {"period": "week", "per": ["team"]},
    "users": {"period": "day", "per": ["user"]},
}


@pytest.mark.usefixtures("counted")
def test_what_is_old_goes_and_what_is_shown_stays(database: Database) -> None:
    """All that was spent, too, but of groups that are no labels."""
    before, total = states_of(database, NOW_NS), sum(each.calls for each in counters(database).values())
    deleted = kept(database)
    assert {name: first_day(database, name) for name in BUDGETS} == {
        "hour": 70, "day": 71, "month": 79, "range": 687, "teams": 73, "users": 70,
    }  # fmt: skip
    assert deleted > total - sum(each.calls for each in counters(database).values())
    assert kept(database, slice_rows=10**6) == 0
    after = states_of(database, NOW_NS)
    for now, then in zip(after, before, strict=True):
        private = then.stored.budget.private
        assert (now.spent_total < then.spent_total) == private
        assert now._replace(stored=then.stored, spent_total=0) == then._replace(spent_total=0)
    assert right(database)


@pytest.mark.usefixtures("counted")
def test_an_interruption_loses_and_doubles_nothing(database: Database) -> None:
    """Beginnings were moved, and of one budget some rows have gone; the check passes over what is still there."""
    before = states_of(database, NOW_NS)

    def stop(_took_s: float) -> None:
        raise UnavailableError("on purpose")

    for _ in range(3):
        with pytest.raises(UnavailableError, match="on purpose"):
            keep(database, NOW_NS, KEEP_DAYS_MIN, slice_rows=50, between=stop)
        assert right(database)
    kept(database)
    assert right(database)
    totals = [state.spent_total for state in states_of(database, NOW_NS) if not state.stored.budget.private]
    assert totals == [state.spent_total for state in before if not state.stored.budget.private]


def test_what_comes_late_for_a_period_that_is_gone_counts_nowhere(
    counted: Ledger, database: Database, ledger_url: str, book: PriceBook
) -> None:
    """Neither a call nor a price, whoever writes them: the other writer learns of it with its next commit."""
    kept(database)
    sums, totals = counters(database), [state.spent_total for state in states_of(database, NOW_NS)]
    with closing(open_database(ledger_url)) as other_database:
        for ledger in (counted, writer(other_database, book)):
            ledger.append(daily(book, [100, 300], team="search"))
        counted.adjust([Adjustment(number, Price("priced", 10**12), book.book_id, "agreed") for number in (1, 2)])
    assert {key: each for key, each in counters(database).items() if key[0] != "range"} == {
        key: each for key, each in sums.items() if key[0] != "range"
    }
    ranged = next(place for place, state in enumerate(states_of(database, NOW_NS)) if state.bounds.end_s < NOW_S)
    for place, state in enumerate(states_of(database, NOW_NS)):
        assert (state.spent_total == totals[place]) == (place != ranged)
    assert right(database)


@pytest.mark.usefixtures("counted")
def test_a_group_of_which_no_day_is_kept_goes_as_a_whole(database: Database, book: PriceBook) -> None:
    writer(database, book).append(daily(book, [200], team="gone"))
    kept(database)
    found = {(group, at_s == 0) for name, group, at_s in days(database) if name == "teams"}
    assert found == {('["search"]', True), ('["search"]', False)}


@pytest.mark.usefixtures("counted")
def test_what_a_removed_budget_left_goes_and_one_that_cannot_be_read_stays(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DELETE FROM budgets WHERE name = 'users'"))
        connection.execute(text("UPDATE budgets SET document = '{}' WHERE name = 'teams'"))
    there = count(database, "budget_counters")
    kept(database)
    with database.read() as connection:
        rows = connection.execute(text("SELECT budget_id, count(*) FROM budget_counters GROUP BY budget_id"))
        found = {number: counted for number, counted in rows}  # noqa: C416 - a row is no pair for pyright
    assert 6 not in found
    assert found[5] == 85  # all its weeks
    assert there > sum(found.values())


def test_what_rolls_over_stays(database: Database, book: PriceBook) -> None:
    shelf = BudgetShelf(database, clock_ns=lambda: BEFORE_NS)
    for name, rollover in (("rolling", True), ("plain", False)):
        shelf.set(declared(name, period="year", rollover=rollover), "ann")
    writer(database, book).append(daily(book, range(590)))
    (rolling,) = (state for state in states_of(database, NOW_NS) if state.stored.budget.rollover)
    kept(database)
    assert [at_s for name, _, at_s in sorted(counters(database)) if name == "plain"] == [1767225600]
    assert [at_s for name, _, at_s in sorted(counters(database)) if name == "rolling"] == [1735689600, 1767225600]
    assert [state.limit for state in states_of(database, NOW_NS)] == [100 * 10**6, rolling.limit]
    assert right(database)
    # A budget that comes to roll over is counted further back again: each day once.
    BudgetShelf(database, clock_ns=lambda: NOW_NS).set(declared("plain", period="year", rollover=True), "ann")
    plain, rolling = states_of(database, NOW_NS)
    assert (plain.limit, plain.spent_total) == (rolling.limit, rolling.spent_total)
    assert sum(each.calls for (name, _, _), each in days(database).items() if name == "plain") == 590
    assert right(database)


def test_the_settings_bounds_are_those_of_the_rule() -> None:
    assert load(environ={}).budgets_keep_days == KEEP_DAYS
    read = next(setting.read for setting in SETTINGS if setting.field == "budgets_keep_days")
    assert read(str(KEEP_DAYS_MIN)) == KEEP_DAYS_MIN > HISTORY_DAYS
    with pytest.raises(ValueError, match="from 70 to"):
        read(str(KEEP_DAYS_MIN - 1))
