"""Calls under budgets, on SQLite and PostgreSQL: where each counts, how much, and once."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.failpoints import BEFORE_COMMIT, Failpoints
from spanledger_exporter.ledger.checking import check
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.retention import expire
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Adjustment, Price, Usage
from tests.exporter.budgets.counted import Counted, assert_counted, counters, days, declared
from tests.exporter.calls import USAGE_PUSD, priced
from tests.exporter.ledgers import DAY_NS, HOUR_NS, NOW_NS, writer
from tests.exporter.otlp_requests import END_NS

ONE = Counted(1, 120, 0, USAGE_PUSD)
NOVEMBER_S = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
ID = "chatcmpl-B1x2y3z4w5v6u7"


def unix_ns(text_: str) -> int:
    return int(datetime.fromisoformat(text_).timestamp()) * 10**9


@pytest.fixture
def shelf(database: Database) -> BudgetShelf:
    return BudgetShelf(database, clock_ns=lambda: NOW_NS)


@pytest.fixture
def ledger(database: Database, book: PriceBook) -> Ledger:
    return writer(database, book)


def times(sums: Counted, count: int) -> Counted:
    return Counted(*(each * count for each in sums))


def test_a_call_counts_once_under_each_budget_that_holds_it(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """Also under two of the same scope, and under those above it."""
    for name, scope in (
        ("company", {}),
        ("openai", {"provider": "openai"}),
        ("also-openai", {"provider": ["openai", "anthropic"]}),
        ("search", {"team": "search", "provider": "open*"}),
        ("others", {"team": ["ads", ""]}),
    ):
        shelf.set(declared(name, scope=scope), "test")
    batch = [priced(book, team="search"), priced(book, team="search"), priced(book)]
    ledger.append(batch)
    ledger.append(batch)
    assert counters(database) == {
        ("company", "", NOVEMBER_S): times(ONE, 3),
        ("openai", "", NOVEMBER_S): times(ONE, 3),
        ("also-openai", "", NOVEMBER_S): times(ONE, 3),
        ("search", "", NOVEMBER_S): times(ONE, 2),
        ("others", "", NOVEMBER_S): ONE,
    }
    assert_counted(database, shelf.all())


def test_a_call_that_a_budget_refused_counts_under_none(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """Its provider never saw it; a span that says so and has figures all the same does count."""
    shelf.set(declared("company"), "test")
    refused = {"outcome": "error", "error_type": "budget_exceeded"}
    ledger.append([
        priced(book, usage_status="none", usage=Usage(), **refused),
        priced(book, **refused),
        priced(book, usage_status="none", usage=Usage(), outcome="error", error_type="rate_limit_exceeded"),
    ])  # fmt: skip
    assert counters(database) == {("company", "", NOVEMBER_S): Counted(2, 120, 0, USAGE_PUSD)}
    assert_counted(database, shelf.all())


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        ({"model": "gpt-4o-mini"}, True),  # as it was asked for
        ({"model": "gpt-4o-mini-2024-07-18"}, True),  # as it answered
        ({"model": "GPT-4o*"}, True),  # patterns ignore case
        ({"model": "GPT-4o-mini"}, False),  # names do not
        ({"model": "*mini*18"}, True),
        ({"model": "*mini*mini"}, False),  # no part is found twice
        ({"model": "gpt-4o-mini-2024-07-18*8"}, False),
        ({"service": "shop", "environment": "test", "user": "u*"}, True),
        ({"service": "shop", "user": "v*"}, False),
        ({"session": "s1"}, True),
        ({"project": "*"}, True),  # anything, also what was not reported
        ({"project": ""}, True),  # what was not reported
        ({"team": ""}, False),
        ({"api_key": "k1", "organization": "o1", "tenant": "t1", "feature": "f.g"}, True),
        ({"feature": "f*g"}, True),
        ({"feature": "f-g"}, False),
    ],
)
def test_a_scope_holds_calls_by_names_and_patterns(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook, scope: dict[str, str], held: bool
) -> None:
    shelf.set(declared(scope=scope), "test")
    call = priced(
        book, team="search", user_id="u1", session_id="s1", api_key_hash="k1", organization="o1", tenant="t1",
        feature="f.g",
    )  # fmt: skip
    ledger.append([call])
    assert counters(database) == ({("all", "", NOVEMBER_S): ONE} if held else {})


def test_a_budget_is_one_for_each_value(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    shelf.set(declared("teams", per=["team"]), "test")
    shelf.set(declared("people", per=["user", "model"], scope={"team": "search"}), "test")
    long = "名" * 100
    ledger.append([
        priced(book, team="search", user_id="u1"),
        priced(book, team="search", user_id="u1"),
        priced(book, team="search", user_id='"u2"', request_model=None),
        priced(book, team=long, user_id="u1"),
        priced(book),
    ])  # fmt: skip
    assert counters(database) == {
        ("teams", '["search"]', NOVEMBER_S): times(ONE, 3),
        ("teams", f'["{"名" * 66}"]', NOVEMBER_S): ONE,  # cut to 200 bytes
        ("teams", "[null]", NOVEMBER_S): ONE,
        ("people", '["u1","gpt-4o-mini"]', NOVEMBER_S): times(ONE, 2),
        ("people", r'["\"u2\"","gpt-4o-mini-2024-07-18"]', NOVEMBER_S): ONE,
    }


def test_a_call_counts_in_the_period_in_which_it_was_made(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """A call over midnight belongs to the day before, as does one that comes late; a start that cannot be is none."""
    shelf.set(declared(period="day", timezone="Europe/Berlin"), "test")
    midnight_ns = unix_ns("2026-11-17T23:00:00Z")
    calls = {
        -1: [
            priced(book, start_ns=midnight_ns - 1, end_ns=midnight_ns + 10**9),
            priced(book, start_ns=midnight_ns - 10**9, end_ns=midnight_ns - 1),
        ],
        0: [
            priced(book, start_ns=midnight_ns, end_ns=midnight_ns + 1),
            priced(book, start_ns=midnight_ns + 5 * 10**9, end_ns=midnight_ns + 10**9),
            priced(book, start_ns=0, end_ns=midnight_ns + 10**9),
            priced(book, start_ns=3600 * 10**9, end_ns=midnight_ns + 10**9),  # a clock that counts from the boot
        ],
    }
    ledger.append(calls[0])
    ledger.append(calls[-1])
    midnight_s = midnight_ns // 10**9
    counted = {("all", "", midnight_s - 86_400): times(ONE, 2), ("all", "", midnight_s): times(ONE, 4)}
    assert counters(database) == days(database) == counted


@pytest.mark.parametrize(("lasts_ns", "days_before"), [(DAY_NS, 1), (DAY_NS + 1, 0), (60 * DAY_NS, 0)])
def test_a_call_that_says_it_took_more_than_a_day_counts_at_its_end(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook, lasts_ns: int, days_before: int
) -> None:
    """A clock that is wrong takes no call out of the budgets: 60 days ago this one was not counted yet."""
    midnight_ns = unix_ns("2026-11-17T00:00:00Z")
    counted = {("all", "", midnight_ns // 10**9 - days_before * 86_400): ONE}
    call = priced(book, start_ns=midnight_ns - lasts_ns, end_ns=midnight_ns)
    shelf.set(declared(period="day"), "test")
    ledger.append([call])
    assert counters(database) == days(database) == counted
    shelf.set(declared("again", period="day"), "test")
    assert counters(database) == counted | {("again", *key[1:]): each for key, each in counted.items()}
    assert check(database, NOW_NS) == []


def test_a_call_of_before_a_budget_is_counted_counts_nowhere_however_it_comes(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """A late one of a period that is counted counts in that; of an earlier one the sum would be a part alone."""
    shelf.set(declared(period="day"), "test")
    (stored,) = shelf.all()
    from_ns = stored.counted_from_s * 10**9
    ledger.append([
        priced(book, start_ns=from_ns - 20 * DAY_NS, end_ns=from_ns - 20 * DAY_NS + 10**9),
        priced(book, start_ns=from_ns - 1, end_ns=from_ns + 10**9),
        priced(book, start_ns=from_ns, end_ns=from_ns + 10**9),
        priced(book, start_ns=from_ns + 5 * DAY_NS, end_ns=from_ns + 5 * DAY_NS + 10**9),
    ])  # fmt: skip
    counted = {("all", "", stored.counted_from_s + later * 86_400): ONE for later in (0, 5)}
    assert counters(database) == days(database) == counted
    assert check(database, NOW_NS) == []
    rates = {"on_unpriced": "rate", "default_rate": {"input_mtok": 1, "output_mtok": 1}}
    shelf.set(declared(period="day", **rates), "test")
    assert counters(database) == days(database) == counted


def test_the_days_of_a_month_are_those_of_its_time_zone(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """In Santiago, where midnight of 6 September 2026 does not exist: that day begins at one."""
    shelf.set(declared(period="month", timezone="America/Santiago", day=6), "test")
    begins_ns = unix_ns("2026-11-06T03:00:00Z")
    ledger.append([priced(book, start_ns=begins_ns + moved, end_ns=begins_ns + 10**9) for moved in (-1, 0, 1)])
    starts_s = int(datetime.fromisoformat("2026-10-06T03:00:00Z").timestamp())
    assert counters(database) == {("all", "", starts_s): ONE, ("all", "", begins_ns // 10**9): times(ONE, 2)}
    assert days(database) == {
        ("all", "", begins_ns // 10**9 - 86_400): ONE,
        ("all", "", begins_ns // 10**9): times(ONE, 2),
    }


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """A process whose own time zone is far from UTC."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Chatham"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
def test_the_time_zones_of_server_and_database_decide_nothing(ledger_url: str, book: PriceBook) -> None:
    first = open_database(ledger_url)
    if not first.is_sqlite:
        with first.write() as connection:
            name = connection.execute(text("SELECT current_database()")).scalar_one()
            connection.execute(text(f"ALTER DATABASE \"{name}\" SET timezone TO 'Asia/Kathmandu'"))
    first.close()
    database = open_database(ledger_url)
    if not database.is_sqlite:
        with database.read() as connection:
            assert connection.execute(text("SHOW timezone")).scalar_one() == "Asia/Kathmandu"
    ledger, shelf = writer(database, book), BudgetShelf(database, clock_ns=lambda: NOW_NS)
    midnight_ns = unix_ns("2026-11-18T00:00:00Z")
    batch = [priced(book, start_ns=midnight_ns + moved, end_ns=midnight_ns + 10**9) for moved in (-1, 0)]
    ledger.append(batch[:1])
    shelf.set(declared(period="day"), "test")
    ledger.append(batch[1:])
    midnight_s = midnight_ns // 10**9
    assert counters(database) == {("all", "", midnight_s - 86_400): ONE, ("all", "", midnight_s): ONE}
    database.close()


def test_several_reports_of_a_call_count_once_as_they_say_together(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """A report that comes later moves the budgets by the difference: to another user, and to an earlier hour."""
    shelf.set(declared(per=["user"], period="hour"), "test")
    hour_ns = END_NS // HOUR_NS * HOUR_NS
    first = priced(book, scope="a", response_id=ID, start_ns=hour_ns, end_ns=hour_ns + 10**9, usage=Usage(100, None))
    ledger.append([first])
    assert counters(database) == {("all", "[null]", hour_ns // 10**9): Counted(1, 100, 0, first.price.cost_pusd or 0)}
    second = priced(
        book, scope="b", response_id=ID, start_ns=hour_ns - 1, end_ns=hour_ns + 10**9, usage=Usage(100, 20),
        user_id="u1",
    )  # fmt: skip
    ledger.append([second])
    cost = 100 * 150_000 + 20 * 600_000
    assert counters(database) == {("all", '["u1"]', hour_ns // 10**9 - 3600): Counted(1, 120, 0, cost)}
    ledger.append([first, second])
    assert_counted(database, shelf.all())


def test_attempts_of_an_sdk_count_each_and_what_is_delivered_again_does_not(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """An attempt that failed is a call without tokens and without cost."""
    shelf.set(declared(limit_calls=10), "test")
    failed = priced(book, outcome="error", http_status=429, usage=Usage(), usage_status="none", response_id=None)
    done = priced(book, resend_count=1)
    for _ in range(3):
        ledger.append([failed, done])
    assert counters(database) == {("all", "", NOVEMBER_S): Counted(2, 120, 0, USAGE_PUSD)}


def test_zero_is_zero_and_unknown_is_counted_as_unknown(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """Nothing is estimated for a call that reported zero; one that reported nothing shows as unpriced."""
    shelf.set(declared(on_unpriced="rate", default_rate={"input_mtok": 1, "output_mtok": "2.5"}), "test")
    ledger.append([priced(book, usage=Usage(0, 0))])
    assert counters(database) == {("all", "", NOVEMBER_S): Counted(1, 0, 0, 0)}
    ledger.append([priced(book, usage=Usage(), usage_status="unreported")])
    assert counters(database) == {("all", "", NOVEMBER_S): Counted(2, 0, 1, 0)}


def test_a_model_without_a_price_is_counted_apart_or_at_the_default_rates(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    """The budget that gave rates later counts what was there before at them, too."""
    shelf.set(declared("alerting"), "test")
    shelf.set(declared("refusing", on_unpriced="refuse", mode="hard"), "test")
    ledger.append([priced(book, response_model="mystery", request_model=None, usage=Usage(1000, 10))])
    rates = {"on_unpriced": "rate", "default_rate": {"input_mtok": "1.5", "output_mtok": 6}}
    shelf.set(declared("rating", **rates), "test")
    ledger.append([priced(book, response_model="mystery", request_model=None, usage=Usage(1000, 10)), priced(book)])
    plain = times(Counted(1, 1010, 1, 0), 2).plus(ONE)
    assert counters(database) == {
        ("alerting", "", NOVEMBER_S): plain,
        ("refusing", "", NOVEMBER_S): plain,
        ("rating", "", NOVEMBER_S): plain._replace(cost_pusd=USAGE_PUSD + 2 * (1000 * 1_500_000 + 10 * 6_000_000)),
    }
    assert_counted(database, shelf.all())


def test_a_price_that_comes_later_moves_the_budgets(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    shelf.set(declared(), "test")
    ledger.append([priced(book, response_model="mystery", request_model=None)])
    agreed = Price("priced", 77, model="mine/mystery")
    ledger.adjust([Adjustment(1, agreed, book.book_id, "agreed")])
    assert counters(database) == {("all", "", NOVEMBER_S): Counted(1, 120, 0, 77)}
    ledger.adjust([Adjustment(1, agreed, book.book_id, "agreed")])
    assert counters(database) == {("all", "", NOVEMBER_S): Counted(1, 120, 0, 77)}


def test_sums_beyond_64_bits_of_pico_usd_are_exact(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    shelf.set(declared(), "test")
    batch = [priced(book, usage=Usage(40 * 10**12 + 1, 0), end_ns=END_NS + number) for number in range(5)]
    ledger.append(batch[:2])
    ledger.append(batch[2:])
    cost = 5 * (6 * 10**18 + 150_000)
    assert counters(database) == {("all", "", NOVEMBER_S): Counted(5, 5 * (40 * 10**12 + 1), 0, cost)}
    shelf.set(declared("again"), "test")
    assert counters(database)["again", "", NOVEMBER_S].cost_pusd == cost


def test_another_writer_counts_from_its_next_commit_on(
    ledger: Ledger, shelf: BudgetShelf, database: Database, ledger_url: str, book: PriceBook
) -> None:
    other_database = open_database(ledger_url)
    other = writer(other_database, book)
    other.append([priced(book)])
    shelf.set(declared(), "test")
    other.append([priced(book)])
    ledger.append([priced(book)])
    assert counters(database) == {("all", "", NOVEMBER_S): times(ONE, 3)}
    shelf.set(declared(scope={"team": "search"}), "test")
    other.append([priced(book), priced(book, team="search")])
    shelf.set(declared("second"), "test")
    shelf.remove("all", "test")
    ledger.append([priced(book)])
    assert counters(database) == {("second", "", NOVEMBER_S): times(ONE, 6)}
    other_database.close()


def test_nothing_is_counted_of_what_was_not_committed(shelf: BudgetShelf, database: Database, book: PriceBook) -> None:
    """And the profile that was numbered in vain leaves nothing behind that another one could be taken for."""
    armed: dict[str, Callable[[], None]] = {}
    ledger = Ledger(database, cells_max=100, clock_ns=lambda: NOW_NS, points=Failpoints(armed))
    ledger.keep_book(book)
    shelf.set(declared(per=["team"]), "test")

    def fail() -> None:
        raise UnavailableError("on purpose")

    armed[BEFORE_COMMIT] = fail
    with pytest.raises(UnavailableError, match="on purpose"):
        ledger.append([priced(book, team="ads")])
    armed.clear()
    assert counters(database) == {}
    ledger.append([priced(book, team="search")])
    assert counters(database) == {("all", '["search"]', NOVEMBER_S): ONE}


def test_counters_stay_when_retention_deletes_entries(
    ledger: Ledger, shelf: BudgetShelf, database: Database, book: PriceBook
) -> None:
    shelf.set(declared(period="day"), "test")
    ledger.append([priced(book, end_ns=END_NS - day * DAY_NS) for day in range(4)])
    before = counters(database)
    assert len(before) == 4
    expire(database, END_NS - DAY_NS, between=lambda _took_s: None)
    assert counters(database) == before
    ledger.append([priced(book)])
    assert sum(each.calls for each in counters(database).values()) == 5
