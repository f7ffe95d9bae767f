"""Budgets in the ledger: kept, changed, recorded, and counted from the entries when they come later."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from spanledger_exporter.budgets.charges import NOTHING, Sum
from spanledger_exporter.budgets.current_budgets import CurrentBudgets
from spanledger_exporter.budgets.document import to_document, to_json
from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.budgets.rebuilding import at_one_instant, differences, drift
from spanledger_exporter.budgets.recounting import counted_from
from spanledger_exporter.budgets.shelf import BudgetShelf, load_budgets
from spanledger_exporter.errors import ConfigError, LedgerError
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import CounterKey
from spanledger_exporter.ledger.checking import check, repair
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.retention import expire
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.counted import Counted, assert_counted, counters, days, declared
from tests.exporter.calls import USAGE, USAGE_PUSD, priced
from tests.exporter.ledgers import DAY_NS, HOUR_NS, NOW_NS, count, daily, rows, writer
from tests.exporter.otlp_requests import END_NS

NOVEMBER_S = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
ONE = Counted(1, 120, 0, USAGE_PUSD)


@pytest.fixture
def shelf(database: Database) -> BudgetShelf:
    return BudgetShelf(database, clock_ns=lambda: NOW_NS)


@pytest.fixture
def ledger(database: Database, book: PriceBook) -> Ledger:
    return writer(database, book)


def numbers(shelf: BudgetShelf) -> dict[str, int]:
    return {each.budget.name: each.budget_id for each in shelf.all()}


def test_a_budget_is_kept_and_every_change_is_recorded(shelf: BudgetShelf) -> None:
    first, second = declared(), declared(limit_usd=50, mode="hard")
    assert shelf.set(first, "ann")
    assert not shelf.set(first, "ann")
    assert shelf.set(second, "bob")
    kept = shelf.get("all")
    assert kept is not None
    assert (kept.budget, kept.source) == (second, "command")
    shelf.remove("all", "cem")
    assert shelf.get("all") is None
    changes = [(each.made_by, each.before, each.after) for each in shelf.changes("all")]
    assert changes == [
        ("cem", to_json(second), None), ("bob", to_json(first), to_json(second)), ("ann", None, to_json(first)),
    ]  # fmt: skip
    assert {each.made_ns for each in shelf.changes()} == {NOW_NS}
    assert shelf.changes("other") == []


def test_a_budget_that_is_not_there_cannot_be_removed(shelf: BudgetShelf) -> None:
    shelf.set(declared(), "ann")
    with pytest.raises(LedgerError, match="there is no budget 'other'; there are all"):
        shelf.remove("other", "ann")


def test_a_change_of_the_limit_keeps_what_was_counted_and_holds_at_once(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """Also what is granted of it stays."""
    shelf.set(declared(), "ann")
    ledger.append([priced(book)])
    with database.write() as connection:
        connection.execute(text("UPDATE budget_counters SET leased = 5"))
    before = numbers(shelf)
    shelf.set(declared(limit_usd=1, mode="hard", thresholds=[50], rollover=True), "ann")
    assert numbers(shelf) == before
    assert counters(database) == {("all", "", NOVEMBER_S): ONE}
    assert rows(database, "SELECT leased FROM budget_counters") == [(5,)]
    rates = {"on_unpriced": "rate", "default_rate": {"input_mtok": 1, "output_mtok": 1}}
    shelf.set(declared(**rates), "ann")
    assert numbers(shelf) == before
    assert rows(database, "SELECT leased, calls FROM budget_counters WHERE calls > 0") == [(5, 1)]


@pytest.mark.parametrize(
    "other",
    [{"scope": {"team": "search"}}, {"per": ["team"]}, {"period": "day"}, {"timezone": "Africa/Cairo"}, {"day": 2}],
)
def test_a_budget_of_other_calls_or_periods_is_counted_anew(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook, other: dict[str, object]
) -> None:
    """And has another number: what was granted of the old one is none of its own."""
    shelf.set(declared(), "ann")
    ledger.append([priced(book, team=team, end_ns=END_NS - 5 * DAY_NS) for team in ("search", "ads", None)])
    before = numbers(shelf)
    shelf.set(declared(**other), "ann")
    assert numbers(shelf) != before
    assert counters(database)
    assert_counted(database, shelf.all())
    assert count(database, "budget_counters") == len(counters(database))


def test_a_budget_that_is_made_later_knows_what_was_spent(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """In its period, in those of the last 35 days, and day by day."""
    ledger.append(daily(book, range(100), user_id="u1"))
    shelf.set(declared("month"), "ann")
    shelf.set(declared("hour", period="hour", timezone="Asia/Kathmandu"), "ann")
    shelf.set(declared("user", per=["user", "session"], period="days", days=10, since="2026-11-13"), "ann")
    since = {each.budget.name: datetime.fromtimestamp(each.counted_from_s, tz=UTC).isoformat() for each in shelf.all()}
    assert since == {
        "month": "2026-10-01T00:00:00+00:00",
        "hour": "2026-10-15T10:15:00+00:00",
        "user": "2026-10-14T00:00:00+00:00",
    }
    assert_counted(database, shelf.all())
    assert sum(each.calls for (name, *_), each in days(database).items() if name == "month") == 49


def test_since_when_a_budget_is_counted() -> None:
    now_s = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp())

    def since(period: Period, *, floor: datetime | None = None, rollover: bool = False) -> str:
        floor_ns = 0 if floor is None else int(floor.timestamp()) * 10**9
        return f"{datetime.fromtimestamp(counted_from(period, now_s, floor_ns, rollover=rollover), tz=UTC):%m-%d %H:%M}"

    assert since(Period(kind="year")) == "01-01 00:00"
    assert since(Period(kind="month")) == "10-01 00:00"
    assert since(Period(kind="days", days=40, since=datetime(2026, 11, 1, tzinfo=UTC).date())) == "09-22 00:00"
    assert since(Period(kind="quarter", month=10)) == "10-01 00:00"
    assert since(Period(kind="quarter"), rollover=True) == "07-01 00:00"
    floor = datetime(2026, 11, 2, 7, tzinfo=UTC)
    assert since(Period(kind="month"), floor=floor) == "11-02 07:00"
    days_ = {"since": datetime(2026, 12, 1).date(), "until": datetime(2026, 12, 2).date()}  # noqa: DTZ001
    assert since(Period(kind="range", timezone="Asia/Tokyo", **days_)) == "11-30 15:00"
    over = {"since": datetime(2026, 2, 1).date(), "until": datetime(2026, 2, 2).date()}  # noqa: DTZ001
    assert since(Period(kind="range", **over)) == "02-01 00:00"


def test_what_retention_has_deleted_is_not_counted_and_stays_counted(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """A budget that is made afterwards begins at the floor; one that was there keeps what it had."""
    shelf.set(declared("early", period="month"), "ann")
    ledger.append(daily(book, range(40)))
    before = counters(database)
    expire(database, END_NS - 9 * DAY_NS - 5 * HOUR_NS, between=lambda _took_s: None)
    shelf.set(declared("late", period="month"), "ann")
    late = {each.budget.name: each.counted_from_s for each in shelf.all()}["late"]
    assert late * 10**9 == (END_NS - 9 * DAY_NS - 5 * HOUR_NS) // HOUR_NS * HOUR_NS
    found = counters(database)
    assert {key: each for key, each in found.items() if key[0] == "early"} == before
    assert found["late", "", NOVEMBER_S].calls == 10
    assert check(database, NOW_NS) == []
    rates = {"on_unpriced": "rate", "default_rate": {"input_mtok": 1, "output_mtok": 1}}
    shelf.set(declared("early", period="month", **rates), "ann")
    assert {key: each for key, each in counters(database).items() if key[0] == "early"} == before
    ledger.append([priced(book)])
    assert check(database, NOW_NS) == []


def test_the_file_is_the_authority_on_what_it_declares(shelf: BudgetShelf, database: Database) -> None:
    mine, theirs, ours = declared("mine"), declared("theirs"), declared("ours")
    shelf.set(mine, "ann")
    shelf.set(theirs, "ann")
    assert shelf.sync([theirs, ours], "budgets.toml")
    assert not shelf.sync([theirs, ours], "budgets.toml")
    assert {each.budget.name: each.source for each in shelf.all()} == {
        "mine": "command", "theirs": "file", "ours": "file",
    }  # fmt: skip
    for change in (lambda: shelf.set(declared("ours", limit_usd=5), "ann"), lambda: shelf.remove("theirs", "ann")):
        with pytest.raises(ConfigError, match=r"is declared in the file that budgets\.file names: change it there"):
            change()
    shelf.sync([declared("ours", limit_usd=7)], "budgets.toml")
    assert {name: to_document(kept.budget)["limit_usd"] for name in ("mine", "ours") if (kept := shelf.get(name))} == {
        "mine": "100", "ours": "7",
    }  # fmt: skip
    assert shelf.get("theirs") is None
    assert shelf.sync([], "budgets.toml")
    assert [each.budget.name for each in shelf.all()] == ["mine"]
    made = rows(database, "SELECT value FROM ledger_state WHERE name = 'budgets_revision'")
    assert made == [(5,)]


def test_many_budgets_of_a_file_are_counted_in_one_go(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    ledger.append([priced(book, team=f"team-{number}", user_id=f"u{number}") for number in range(40)])
    kinds = [("month", "UTC"), ("day", "Asia/Kathmandu"), ("hour", "Australia/Lord_Howe"), ("week", "America/Havana")]
    budgets = [
        declared(f"b{number}", scope={"team": f"team-{number}"}, period=kind, timezone=zone, per=per)
        for number in range(40)
        for kind, zone in [kinds[number % 4]]
        for per in [["user"] if number % 3 else []]
    ]
    shelf.sync(budgets, "budgets.toml")
    assert len(counters(database)) == 40
    assert_counted(database, shelf.all())


def test_a_budget_of_a_newer_program_is_passed_over_and_named(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.set(declared("odd"), "ann")
    shelf.set(declared("even"), "ann")
    with database.write() as connection:
        odd = json.dumps({"name": "odd", "limit_usd": "5", "colour": "red"})
        connection.execute(text("UPDATE budgets SET document = :odd WHERE name = 'odd'"), {"odd": odd})
    ledger.append([priced(book)])
    assert counters(database) == {("even", "", NOVEMBER_S): ONE}
    assert "the budget odd cannot be read, and is not counted: unknown key 'colour'" in caplog.text
    shelf.set(declared("odd"), "ann")
    assert counters(database)["odd", "", NOVEMBER_S] == ONE


# -- the limit of values


def limited(database: Database, book: PriceBook, groups_max: int) -> Ledger:
    """A ledger whose budgets have room for so many values."""
    made = writer(database, book)
    made._budgets = CurrentBudgets(groups_max=groups_max)
    return made


def test_beyond_the_limit_of_values_calls_count_under_other(
    shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """Whoever writes them, also after a restart, and so they are taken away from there."""
    shelf.set(declared(per=["user"]), "ann")
    ledger = limited(database, book, 2)
    other = '["__other__"]'
    ledger.append([priced(book, user_id="u1")])
    ledger.append([priced(book, user_id=user) for user in ("u2", "u3", "u3")])
    again = limited(database, book, 2)
    again.append([priced(book, user_id=user) for user in ("u1", "u4")])
    found = {group: each.calls for (_, group, _), each in counters(database).items()}
    assert found == {'["u1"]': 2, '["u2"]': 1, other: 3}
    assert (ledger.groups_folded, again.groups_folded) == (1, 1)
    first = priced(book, user_id="u5", scope="a", response_id="chatcmpl-B1x2y3z4w5v6u7", usage=USAGE)
    again.append([first])
    again.append([priced(book, user_id="u6", scope="b", response_id="chatcmpl-B1x2y3z4w5v6u7", usage=USAGE)])
    found = {group: each.calls for (_, group, _), each in counters(database).items()}
    assert found == {'["u1"]': 2, '["u2"]': 1, other: 4}
    assert {group: each.calls for (_, group, _), each in days(database).items()} == found


def test_a_value_that_was_folded_stays_so_when_leases_let_go_of_theirs(
    shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """Else its calls would count in two places, and the check would miss those of before."""
    shelf.set(declared(per=["user"]), "ann")
    (stored,) = shelf.all()
    leased = CounterKey(stored.budget_id, NOVEMBER_S, '["leased"]')
    with database.write() as connection:
        leases.begin_counters(connection, [leased])
    ledger = limited(database, book, 2)
    ledger.append([priced(book, user_id=user) for user in ("u1", "u2")])
    with database.write() as connection:
        leases.drop_empty(connection, [leased])
    ledger.append([priced(book, user_id=user) for user in ("u1", "u2", "u3")])
    found = {group: each.calls for (_, group, _), each in counters(database).items()}
    assert found == {'["u1"]': 2, '["__other__"]': 3}
    with database.read() as connection:
        assert differences(connection, [stored], 0, groups_max=2) == ({}, {})


# -- the check


def spoil(database: Database, statement: str) -> None:
    with database.write() as connection:
        connection.execute(text(statement))


@pytest.fixture
def mixed(ledger: Ledger, shelf: BudgetShelf, book: PriceBook) -> Ledger:
    shelf.set(declared("teams", per=["team"]), "ann")
    shelf.set(declared("days", period="day", timezone="Asia/Beirut"), "ann")
    ledger.append(daily(book, range(60), team="search"))
    ledger.append([priced(book, team="ads"), priced(book, response_model="mystery", request_model=None)])
    return ledger


def test_a_right_ledger_has_nothing_wrong(mixed: Ledger, database: Database) -> None:
    assert check(database, NOW_NS) == []
    assert repair(database) == 0


TOO_MUCH = (
    "INSERT INTO budget_counters (budget_id, period_start_s, group_key, calls, tokens, unpriced_calls, "
    "cost_micro_usd, cost_rest_pusd) VALUES (1, 1793491200, '[\"x\"]', 0, 0, 0, 0, 7)"
)


@pytest.mark.parametrize(
    ("statement", "kinds", "said"),
    [
        ("UPDATE budget_counters SET calls = calls + 2 WHERE budget_id = 1 AND group_key = '[\"ads\"]'",
         {"sums_of_a_budget"}, "team=ads, from 2026-11-01T00:00:00Z: the sums differ from the entries by calls +2"),
        ("UPDATE budget_counters SET cost_rest_pusd = cost_rest_pusd - 1 WHERE budget_id = 2",
         {"sums_of_a_budget"}, "days, from 2026-10-1"),
        ("UPDATE budget_counters SET unpriced_calls = 0", {"sums_of_a_budget"}, "by unpriced_calls -1"),
        ("DELETE FROM budget_days WHERE budget_id = 1", {"sums_of_a_budgets_day"}, "calls -1"),
        ("DELETE FROM budget_counters", {"sums_of_a_budget"}, "team=search"),
        (TOO_MUCH, {"sums_of_a_budget"}, "team=x, from 2026-11-01T00:00:00Z: the sums differ from the entries by cost"),
    ],
    ids=["calls", "a pico-dollar", "unpriced", "days", "nothing", "too much"],
)  # fmt: skip
def test_what_is_wrong_is_said_and_repaired(
    mixed: Ledger, shelf: BudgetShelf, database: Database, statement: str, kinds: set[str], said: str
) -> None:
    spoil(database, "UPDATE budget_counters SET leased = 3")
    spoil(database, statement)
    found = check(database, NOW_NS)
    assert {finding.kind for finding in found} == kinds
    assert any(said in finding.detail for finding in found), found
    assert repair(database) == len(found)
    assert check(database, NOW_NS) == []
    assert_counted(database, shelf.all())


def test_a_period_across_the_floor_must_be_what_its_days_add_up_to(
    mixed: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """What was counted of entries that are gone is believed."""
    before = counters(database)
    expire(database, END_NS - 9 * DAY_NS - 5 * HOUR_NS, between=lambda _took_s: None)
    assert check(database, NOW_NS) == []
    spoil(
        database, "UPDATE budget_counters SET tokens = tokens + 1 WHERE budget_id = 1 AND period_start_s = 1793491200"
    )
    assert {each.kind for each in check(database, NOW_NS)} == {"sums_of_a_budget"}
    repair(database)
    assert (check(database, NOW_NS), counters(database)) == ([], before)


def test_drift_is_found_in_what_was_counted_of_late(mixed: Ledger, shelf: BudgetShelf, database: Database) -> None:
    def found() -> dict[str, Sum]:
        with database.read() as connection:
            at_one_instant(connection)
            return drift(connection, load_budgets(connection), NOW_NS)

    assert found() == {"teams": NOTHING, "days": NOTHING}
    spoil(
        database,
        "UPDATE budget_days SET cost_micro_usd = cost_micro_usd - 5 WHERE budget_id = 2 AND day_s > 1794900000",
    )
    assert found() == {"teams": NOTHING, "days": Sum(0, 0, 0, 5_000_000)}
    spoil(database, "UPDATE budget_counters SET calls = 0 WHERE budget_id = 1 AND period_start_s = 1793491200")
    assert found()["teams"].calls == 20
