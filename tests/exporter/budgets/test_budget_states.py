"""What a state says is what the ledger has counted, for any budget, period and group."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert

from spanledger_exporter.budgets.anomalies import Growth
from spanledger_exporter.budgets.calls_left import CallsLeft
from spanledger_exporter.budgets.forecast import Forecast
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.budgets.states import BudgetState, read_group_counts
from spanledger_exporter.ledger.budget_schema import budget_leases
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Usage
from tests.exporter.budgets.budgets import DAY_NS, HOUR_NS, call, daily, declare, ledger_of, states_of
from tests.exporter.calls import priced

# A Wednesday, at noon.
NOW_NS = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9
NOW_S = NOW_NS // 10**9
MILLION = 10**6
USD = 10**6
TEN_USD = 16_666_667  # tokens of an answer that cost 10.0000002 USD


def one(database: Database, **options: Any) -> BudgetState:
    (state,) = states_of(database, NOW_NS, **options)
    return state


def test_a_budget_without_calls_has_a_state_that_expects_nothing(database: Database) -> None:
    declare(database, {"name": "company", "limit_usd": 100}, now_ns=NOW_NS)
    state = one(database)
    assert (state.limit, state.spent, state.remaining, state.calls) == (100 * USD, 0, 100 * USD, 0)
    assert (state.daily_average, state.forecast, state.run_out_s, state.calls_left, state.anomaly) == (None,) * 5
    assert state.used_ratio == 0
    assert not state.reached(1)
    assert state.running


def test_what_was_spent_in_the_period_is_exact_to_the_pico_usd(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 100}, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, tokens=TEN_USD) for _ in range(3)], now_ns=NOW_NS)
    state = one(database)
    assert state.cost_pusd == 3 * TEN_USD * 600_000
    assert (state.spent, state.remaining) == (30 * USD, 70 * USD)
    assert (state.calls, state.tokens) == (3, 3 * TEN_USD)
    assert state.used_ratio == 0.3
    assert state.reached(30)
    assert not state.reached(31)


def test_calls_of_unknown_price_are_counted_apart(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 100}, now_ns=NOW_NS)
    unknown = call(book, NOW_NS - HOUR_NS, request_model="mystery", response_model="mystery")
    ledger_of(database, book, [unknown], now_ns=NOW_NS)
    state = one(database)
    assert (state.spent, state.calls, state.unpriced_calls, state.calls_left) == (0, 1, 1, None)


def test_calls_that_cost_nothing_are_among_those_that_others_are_expected_to_be_like(
    database: Database, book: PriceBook
) -> None:
    """But for those of which nothing is known, and those that a budget refused."""
    usd, tokens = {"name": "a", "limit_usd": 100}, {"name": "b", "limit_tokens": 4 * TEN_USD}
    declare(database, usd, tokens, now_ns=NOW_NS)
    nothing = {"usage_status": "none", "outcome": "error"}
    calls = [
        call(book, NOW_NS - HOUR_NS, tokens=TEN_USD),
        *(call(book, NOW_NS - HOUR_NS, tokens=0) for _ in range(3)),
        priced(book, end_ns=NOW_NS, usage=Usage(), **nothing),
        priced(book, end_ns=NOW_NS, usage=Usage(0, 0), error_type="budget_exceeded", **nothing),
    ]
    ledger_of(database, book, calls, now_ns=NOW_NS)
    left = [state.calls_left for state in states_of(database, NOW_NS)]
    assert left == [CallsLeft(35, 35, None, "low", 4), CallsLeft(12, 12, None, "low", 4)]


def test_the_end_of_the_month_is_as_the_last_days_were(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 250}, now_ns=NOW_NS)
    ledger_of(database, book, daily(book, NOW_NS, [TEN_USD] * 12), now_ns=NOW_NS)
    state = one(database)
    # 12 days of 10 USD, of which the first is not a whole one; half of today and twelve more days are to come.
    assert state.daily_average == 10 * USD
    assert state.forecast == Forecast(245 * USD + 2, 245 * USD + 2, 245 * USD + 2, "days", 11)
    assert state.run_out_s is None
    assert state.days_left == 12.5
    assert state.calls_left == CallsLeft(12, 12, 12, "low", 12)


def test_a_limit_that_will_be_reached_says_when(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 145}, now_ns=NOW_NS)
    ledger_of(database, book, daily(book, NOW_NS, [TEN_USD] * 12), now_ns=NOW_NS)
    state = one(database)
    assert state.run_out_s == pytest.approx(NOW_S + 2.5 * 86_400, abs=1)
    assert state.forecast is not None
    assert state.forecast.middle > state.limit


@pytest.mark.parametrize(("kind", "earlier_ns"), [("month", DAY_NS), ("day", DAY_NS), ("hour", HOUR_NS)])
def test_nothing_is_expected_before_a_first_day_or_hour_is_over(
    database: Database, book: PriceBook, kind: str, earlier_ns: int
) -> None:
    """The pace of the first minutes would be a multiple of what anybody spends; what has run out has, though."""
    now_ns = NOW_NS + HOUR_NS // 2
    documents = ({"name": name, "limit_usd": limit, "period": kind} for name, limit in (("a", 1000), ("b", 10)))
    declare(database, *documents, now_ns=now_ns)
    ledger = ledger_of(database, book, [call(book, now_ns - 60 * 10**9, tokens=TEN_USD)], now_ns=now_ns)
    wide, tight = states_of(database, now_ns)
    assert wide.too_early
    assert (wide.forecast, wide.run_out_s, wide.daily_average) == (None, None, None)
    assert (tight.forecast, tight.run_out_s) == (None, now_ns // 10**9)
    ledger.append([call(book, now_ns - earlier_ns, tokens=1_666_667)])
    assert not states_of(database, now_ns)[0].too_early


def test_a_limit_that_was_reached_has_run_out(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 5}, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, tokens=TEN_USD)], now_ns=NOW_NS)
    state = one(database)
    assert (state.remaining, state.used_ratio, state.run_out_s) == (-5 * USD, 2, NOW_S)
    assert state.calls_left == CallsLeft(0, 0, 0, "low", 1)


def test_tokens_and_calls_are_limits_of_their_own(database: Database, book: PriceBook) -> None:
    declare(
        database,
        {"name": "calls", "limit_calls": 10, "period": "day"},
        {"name": "tokens", "limit_tokens": 10 * MILLION, "period": "week"},
        now_ns=NOW_NS,
    )
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, tokens=MILLION)] * 1, now_ns=NOW_NS)
    calls, tokens = states_of(database, NOW_NS)
    assert (calls.limit, calls.spent, calls.remaining) == (10, 1, 9)
    assert calls.calls_left == CallsLeft(9, 9, 9, "high", 0)
    assert (tokens.limit, tokens.spent, tokens.remaining) == (10 * MILLION, MILLION, 9 * MILLION)
    assert tokens.calls_left == CallsLeft(9, 9, 9, "low", 1)


def test_an_hour_is_forecast_from_the_hours_before(database: Database, book: PriceBook) -> None:
    now_ns = NOW_NS + HOUR_NS // 2
    declare(database, {"name": "hourly", "limit_calls": 100, "period": "hour"}, now_ns=now_ns)
    before = [call(book, NOW_NS - hour * HOUR_NS - HOUR_NS // 2) for hour in range(5) for _ in range(12)]
    ledger_of(database, book, [*before, *(call(book, NOW_NS + HOUR_NS // 4) for _ in range(6))], now_ns=now_ns)
    (state,) = states_of(database, now_ns)
    assert (state.bounds.end_s - state.bounds.start_s, state.spent) == (3600, 6)
    assert state.forecast == Forecast(12, 12, 12, "hours", 5)
    assert state.daily_average is None  # the ledger began five and a half hours ago


def test_what_the_last_period_left_is_added_to_the_limit(database: Database, book: PriceBook) -> None:
    declare(
        database,
        {"name": "a", "limit_usd": 100, "period": "week", "rollover": True},
        {"name": "b", "limit_usd": 100, "period": "week", "rollover": True, "rollover_max_usd": 25},
        {"name": "c", "limit_usd": 30, "period": "week", "rollover": True},
        {"name": "d", "limit_usd": 100, "period": "week"},
        now_ns=NOW_NS,
    )
    calls = [call(book, NOW_NS - 7 * DAY_NS, tokens=4 * TEN_USD), call(book, NOW_NS - HOUR_NS, tokens=TEN_USD)]
    ledger_of(database, book, calls, now_ns=NOW_NS)
    limits = {state.stored.budget.name: state.limit for state in states_of(database, NOW_NS)}
    assert limits == {"a": 160 * USD, "b": 125 * USD, "c": 30 * USD, "d": 100 * USD}


def test_groups_come_with_the_most_used_first_and_have_a_limit(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "users", "limit_usd": 10, "per": ["user"]}, now_ns=NOW_NS)
    calls = [call(book, NOW_NS - HOUR_NS, tokens=number * MILLION, user_id=f"u{number}") for number in range(1, 41)]
    ledger_of(database, book, calls, now_ns=NOW_NS)
    states = states_of(database, NOW_NS, groups_max=25)
    assert [state.group_key for state in states] == [f'["u{number}"]' for number in range(40, 15, -1)]
    assert states[0].spent == 24 * USD
    with database.read() as connection:
        stored = load_budgets(connection)
        (counts,) = read_group_counts(connection, stored, NOW_NS).values()
        (asked,) = read_group_counts(connection, stored, NOW_NS, at=(50, 240)).values()
    # 0.6 USD for each: 7.5, 9 and 10 USD are reached from the 13th, 15th and 17th on.
    assert counts == {0: 40, 75: 28, 90: 26, 100: 24}
    assert asked == {50: 32, 240: 1}


@pytest.mark.parametrize("rollover", [False, True])
def test_the_largest_limit_has_thresholds_too(database: Database, book: PriceBook, *, rollover: bool) -> None:
    limit = str(10**12)
    document = {"name": "users", "limit_usd": limit, "per": ["user"], "rollover": rollover, "thresholds": [1, 1000]}
    declare(database, document, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, user_id="ann")], now_ns=NOW_NS)
    assert one(database).limit == 10**18 * (2 if rollover else 1)
    with database.read() as connection:
        (counts,) = read_group_counts(connection, load_budgets(connection), NOW_NS).values()
    assert counts == {0: 1, 1: 0, 1000: 0}


def test_groups_are_ranked_by_their_own_limit_where_it_rolls_over(database: Database, book: PriceBook) -> None:
    declare(
        database, {"name": "teams", "limit_usd": 10, "per": ["team"], "period": "week", "rollover": True}, now_ns=NOW_NS
    )
    spent_before = call(book, NOW_NS - 7 * DAY_NS, tokens=TEN_USD, team="thrifty")
    now = [
        call(book, NOW_NS - HOUR_NS, tokens=15 * MILLION, team="thrifty"),  # 9 of 10 USD
        call(book, NOW_NS - HOUR_NS, tokens=16 * MILLION, team="new"),  # 9.6 of 20 USD
    ]
    ledger_of(database, book, [spent_before, *now], now_ns=NOW_NS)
    states = states_of(database, NOW_NS)
    assert [(state.group_key, state.limit) for state in states] == [('["thrifty"]', 10 * USD), ('["new"]', 20 * USD)]
    with database.read() as connection:
        (counts,) = read_group_counts(connection, load_budgets(connection), NOW_NS).values()
    assert counts == {0: 2, 75: 1, 90: 1, 100: 0}


def test_many_budgets_with_groups_are_all_looked_at_but_less_closely(database: Database, book: PriceBook) -> None:
    documents = [{"name": f"b{number}", "limit_usd": 10, "per": ["user"]} for number in range(3)]
    declare(database, *documents, {"name": "plain", "limit_usd": 10}, now_ns=NOW_NS)
    calls = [call(book, NOW_NS - HOUR_NS, user_id=f"u{number}") for number in range(30)]
    ledger_of(database, book, calls, now_ns=NOW_NS)
    found = states_of(database, NOW_NS, states_max=66)
    assert [state.stored.budget.name for state in found].count("b1") == 22
    assert [state.stored.budget.name for state in found].count("plain") == 1


def test_a_range_is_shown_before_and_after_but_is_not_running(database: Database, book: PriceBook) -> None:
    dates = {"past": ("2026-11-01", "2026-11-10"), "future": ("2026-12-01", "2026-12-10")}
    for name, (since, until) in dates.items():
        document = {"name": name, "limit_usd": 10, "period": "range", "since": since, "until": until}
        declare(database, document, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - 10 * DAY_NS, tokens=TEN_USD)], now_ns=NOW_NS)
    future, past = states_of(database, NOW_NS)
    assert (past.running, past.spent, past.days_left, past.forecast, past.calls_left) == (
        False,
        10 * USD,
        0,
        None,
        None,
    )
    assert (future.running, future.spent, future.forecast, future.run_out_s) == (False, 0, None, None)
    assert future.days_left == 21.5


def test_days_are_those_of_the_budgets_time_zone(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "kolkata", "limit_usd": 100, "period": "day", "timezone": "Asia/Kolkata"}, now_ns=NOW_NS)
    # Midnight in Kolkata was at 18:30 UTC.
    late = [call(book, NOW_NS - 18 * HOUR_NS, tokens=TEN_USD), call(book, NOW_NS - 17 * HOUR_NS, tokens=TEN_USD)]
    ledger_of(database, book, late, now_ns=NOW_NS)
    assert one(database).spent == 10 * USD
    assert one(database).bounds.start_s == NOW_S - 63_000


def test_an_unusual_day_names_what_grew(database: Database, book: PriceBook) -> None:
    declare(
        database,
        {"name": "all", "limit_usd": 1000},
        {"name": "search", "limit_usd": 1000, "scope": {"team": ["search"]}},
        {"name": "teams", "limit_usd": 1000, "per": ["team"]},
        now_ns=NOW_NS,
    )
    calls = daily(book, NOW_NS, [MILLION] * 14, team="search", project="index")
    calls += daily(book, NOW_NS, [MILLION] * 14, team="shop", project="carts", service="carts")
    calls.append(call(book, NOW_NS - HOUR_NS, tokens=TEN_USD, team="shop", project="carts", service="carts"))
    ledger_of(database, book, calls, now_ns=NOW_NS)
    found = {(state.stored.budget.name, state.group_key): state.anomaly for state in states_of(database, NOW_NS)}
    grew = (
        Growth("model", "gpt-4o-mini-2024-07-18", 10 * USD, 1_200_000),
        Growth("service", "carts", 10 * USD, 600_000),
        Growth("project", "carts", 10 * USD, 600_000),
    )
    unusual = found["all", ""]
    assert unusual is not None
    assert (unusual.anomalous, unusual.amount, unusual.usual, unusual.grew) == (True, 10 * USD, 1_200_000, grew)
    shop = found["teams", '["shop"]']
    assert shop is not None
    assert shop.anomalous
    assert shop.grew[0] == Growth("model", "gpt-4o-mini-2024-07-18", 10 * USD, 600_000)
    for usual in (found["search", ""], found["teams", '["search"]']):
        assert usual is not None
        assert not usual.anomalous


def lease(
    state: str, granted: int, settled: int, expires_ns: int, *, number: int = 1, start_s: int = 0
) -> dict[str, Any]:
    return {
        "lease_id": f"{state} {granted}", "budget_id": number, "group_key": "", "period_start_s": start_s,
        "owner": "shop 1", "state": state, "granted": granted, "settled": settled, "settled_calls": 0, "reported": 0,
        "reported_calls": 0, "sequence": 0, "granted_ns": NOW_NS - DAY_NS, "expires_ns": expires_ns,
    }  # fmt: skip


def test_what_processes_hold_that_are_gone_is_unaccounted(database: Database) -> None:
    declare(database, {"name": "company", "limit_usd": 100}, now_ns=NOW_NS)
    start_s, late_ns = one(database).bounds.start_s, NOW_NS - HOUR_NS
    rows = [
        lease("closed", 5 * USD, USD, late_ns, start_s=start_s),
        lease("open", 3 * USD, 0, late_ns, start_s=start_s),
        lease("open", 7 * USD, 0, NOW_NS + HOUR_NS, start_s=start_s),  # its process lives
        lease("released", 9 * USD, 0, late_ns, start_s=start_s),
        lease("open", 2 * USD, 3 * USD, late_ns, start_s=start_s),  # it used more than it was granted
        lease("open", 11 * USD, 0, late_ns, start_s=start_s - 86_400),  # of another period
        lease("open", 13 * USD, 0, late_ns, number=999, start_s=start_s),  # of another budget
    ]
    with database.write() as connection:
        connection.execute(insert(budget_leases), rows)
    assert one(database).unaccounted == 7 * USD
