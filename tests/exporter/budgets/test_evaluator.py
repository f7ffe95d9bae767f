"""Budgets are evaluated again and again, whatever happens to the database and to those who listen."""

import threading
from datetime import UTC, datetime

from sqlalchemy import text

from spanledger_exporter.budgets.evaluator import Evaluation, Evaluator
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.budgets import DAY_NS, HOUR_NS, call, declare, ledger_of
from tests.servers.process import poll

NOW_NS = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9
MONTH_NS = 30 * DAY_NS


def evaluator(database: Database, now_ns: int = NOW_NS, *, interval_s: float = 0.01) -> Evaluator:
    return Evaluator(database, interval_s=interval_s, clock_ns=lambda: now_ns)


def test_an_evaluation_says_how_budgets_stand_and_when(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 1}, {"name": "users", "limit_usd": 1, "per": ["user"]})
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, user_id="ann")], now_ns=NOW_NS)
    made = evaluator(database)
    assert made.evaluation == Evaluation()
    assert made.run_once()
    assert [(state.stored.budget.name, state.group_key, state.spent) for state in made.states] == [
        ("company", "", 600_000),
        ("users", '["ann"]', 600_000),
    ]
    assert made.evaluation.at_s == NOW_NS / 1e9
    assert made.evaluation.duration_s > 0
    assert made.names == {"company", "users"}
    (users,) = (each.budget_id for each in made.evaluation.stored if each.budget.per)
    assert made.evaluation.groups[users] == {0: 1, 75: 0, 90: 0, 100: 0}


def test_a_new_period_begins_without_anybody_doing_anything(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 1})
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS)], now_ns=NOW_NS)
    now, later = evaluator(database), evaluator(database, NOW_NS + MONTH_NS)
    assert now.run_once()
    assert later.run_once()
    assert [state.spent for state in (*now.states, *later.states)] == [600_000, 0]
    assert later.states[0].spent_total == 600_000


def test_a_listener_that_fails_keeps_no_other_from_being_told(database: Database) -> None:
    declare(database, {"name": "company", "limit_usd": 1})
    told: list[list[BudgetState]] = []

    def fail(_states: list[BudgetState]) -> None:
        raise OSError("the mail server is gone")

    made = evaluator(database)
    made.listen(fail)
    made.listen(told.append)
    assert made.run_once()
    assert told == [made.states]
    assert made.failures == 0


def test_an_evaluation_that_fails_is_counted_and_what_was_known_stays(database: Database) -> None:
    declare(database, {"name": "company", "limit_usd": 1})
    made = evaluator(database)
    assert made.run_once()
    before = made.evaluation
    with database.write() as connection:
        connection.execute(text("ALTER TABLE budget_days RENAME TO gone"))
    assert not made.run_once()
    assert not made.look_for_drift()
    assert (made.evaluation, made.failures) == (before, 2)
    with database.write() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO budget_days"))
    assert made.run_once()


def test_its_thread_goes_on_after_a_failure_until_it_is_closed(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    declare(database, {"name": "company", "limit_usd": 1})
    told = threading.Semaphore(0)
    made = evaluator(database)
    made.listen(lambda _states: told.release())
    made.start()
    assert told.acquire(timeout=30)
    with database.write() as connection:
        connection.execute(text("ALTER TABLE budget_days RENAME TO gone"))
    poll(lambda: made.failures > 0, what="a failure")
    with database.write() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO budget_days"))
    BudgetShelf(database).remove("company", "test")
    poll(lambda: not made.states, what="an evaluation without budgets")
    made.close(30)
    database.close()


def test_an_interval_of_0_never_looks(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    made = evaluator(database, interval_s=0)
    made.start()
    made.close(30)
    assert made.evaluation == Evaluation()
    database.close()


def test_counters_that_differ_from_the_entries_are_found(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 1}, {"name": "other", "limit_usd": 1}, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS)], now_ns=NOW_NS)
    made = evaluator(database)
    assert made.run_once()
    assert made.look_for_drift()
    assert made.evaluation.drift == {"company": 0, "other": 0}
    with database.write() as connection:
        wrong = "UPDATE budget_counters SET cost_micro_usd = cost_micro_usd - 7 WHERE budget_id = 1"
        connection.execute(text(wrong))
    assert made.look_for_drift()
    assert made.evaluation.drift == {"company": 7 * 10**6, "other": 0}
    assert made.run_once()
    assert made.evaluation.drift == {"company": 7 * 10**6, "other": 0}
