"""What is granted to whom: on SQLite and PostgreSQL alike."""

import threading
from datetime import date

import pytest

from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.budgets.states import read_group_counts, read_states
from spanledger_exporter.leases.leases import GRACE_S, TTL_S
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.retention import expire
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.asking import NOW_S, USD, Desk

OTHER = "22222222-bbbb"
HOUR = Period(kind="hour")


def test_a_call_that_no_hard_budget_holds_needs_no_lease(desk: Desk) -> None:
    desk.budget("soft", USD, mode="soft")
    desk.budget("elsewhere", USD, scope={"service": ("checkout",)})
    answer = desk.want()
    assert [granted.leases for granted in answer.granted] == [[]]
    assert (answer.denied, answer.soft, desk.leases()) == ([], [], [])


def test_a_lease_says_all_that_a_process_needs_to_know(desk: Desk) -> None:
    desk.budget("all", 10 * USD, on_unreachable="safe", safe_allowance=5, on_unpriced="refuse", per=("team",))
    lease = desk.lease(team="search")
    assert (lease.budget, lease.group, lease.unit, lease.mode) == ("all", "team=search", "usd", "hard")
    assert (lease.limit, lease.on_unpriced, lease.on_unreachable, lease.safe_allowance) == (
        10 * USD,
        "refuse",
        "safe",
        5,
    )
    assert lease.period_start_s <= NOW_S < lease.period_end_s
    assert lease.expires_s == NOW_S + TTL_S


def test_a_lease_is_a_part_of_what_is_left_and_never_less_than_the_call_needs(desk: Desk) -> None:
    desk.budget("all", 1000)
    assert desk.lease(1).granted == 100  # a tenth of the limit
    assert desk.lease(300).granted == 300
    assert desk.lease(1, process=OTHER).granted == 100
    assert desk.lease(1).granted == 1  # it has more than two leases' worth
    assert desk.lease(1, process="33333333-cccc").granted == 83  # of the 499 that are left, for three processes
    assert desk.counter("all").leased == 584


def test_a_process_has_two_leases_worth_at_a_time_however_often_it_asks(desk: Desk) -> None:
    """One to spend and the next: of a budget of many scopes it asks for each, and takes all along if it is killed."""
    desk.budget("all", 1000)
    first, *others = [desk.lease(2, team=f"team-{number}") for number in range(8)]
    assert [lease.granted for lease in others] == [100, 2, 2, 2, 2, 2, 2]
    desk.report(first.lease, 1, used=90, calls=9)
    assert desk.lease(2).granted == 78
    desk.report(first.lease, 2, used=100, calls=10, closed=True)
    assert desk.lease(2).granted == 10
    assert desk.lease(2, process=OTHER).granted == 100
    desk.clock.now_s += 11  # what was told is read again
    assert desk.lease(2).granted == 2


def test_rates_come_with_the_answer_and_bound_a_call_that_named_no_amount(desk: Desk) -> None:
    desk.budget("all", USD)
    want = {"scope": {"provider": "openai", "model": "gpt-4o-mini"}, "input_tokens": 400_000, "output_tokens": 200_000}
    (granted,) = desk.ask(want=[want]).granted
    rates = granted.rates
    assert rates.known
    assert granted.leases[0].granted == (rates.input_pusd * 400_000 + rates.output_pusd * 200_000) // 10**6


def test_all_budgets_of_a_hierarchy_grant_or_none_does(desk: Desk) -> None:
    desk.budget("company", 1000)
    desk.budget("search", 50, scope={"team": ("search",)})
    desk.budget("bots", 400, scope={"project": ("bot-*",)})
    answer = desk.want(80, team="search", project="bot-1")
    assert [(each.budget, each.reason) for each in answer.denied] == [("search", "exhausted")]
    assert answer.granted == []
    assert (desk.counter("company").leased, desk.counter("bots").leased, desk.leases()) == (0, 0, [])
    answer = desk.want(40, team="search", project="bot-1")
    assert sorted(lease.budget for lease in answer.granted[0].leases) == ["bots", "company", "search"]
    assert (desk.counter("company").leased, desk.counter("bots").leased, desk.counter("search").leased) == (100, 40, 40)


def test_a_denial_says_which_budget_stands_how(desk: Desk) -> None:
    desk.budget("all", 1000, period=HOUR)
    desk.ledger.append([desk.call()])  # of 24 micro-USD
    desk.lease(900)
    (denied,) = desk.want(900).denied
    assert (denied.budget, denied.limit, denied.spent, denied.leased, denied.unit) == ("all", 1000, 24, 900, "usd")
    assert (denied.reason, denied.period_end_s, denied.threshold) == ("exhausted", NOW_S // 3600 * 3600 + 3600, None)


def test_each_value_has_a_budget_of_its_own_and_those_beyond_the_limit_share_one(
    database: Database, book: PriceBook
) -> None:
    desk = Desk(database, book, groups_max=2)
    desk.budget("users", 1000, per=("user",))
    for user in ("ada", "bob", "eve", "mallory"):
        desk.lease(400, user=user)
    assert desk.counter("users", '["ada"]').leased == 400
    assert desk.counter("users", '["__other__"]').leased == 800
    assert desk.want(400, user="trent").denied[0].group == "user=__other__"
    assert desk.lease(400, user="bob").granted == 400


def test_limits_in_tokens_and_calls_work_the_same_way(desk: Desk) -> None:
    desk.budget("tokens", 10_000, unit="tokens")
    desk.budget("calls", 30, unit="calls")
    answer = desk.want(tokens=4000, calls=2)
    assert {lease.unit: lease.granted for lease in answer.granted[0].leases} == {"tokens": 4000, "calls": 3}
    assert desk.want(tokens=7000).denied[0].budget == "tokens"
    assert desk.want(tokens=1, calls=28).denied[0].budget == "calls"


def test_a_model_without_a_price_is_refused_counted_at_the_default_rate_or_let_pass(desk: Desk) -> None:
    desk.budget("refuses", USD, on_unpriced="refuse", scope={"team": ("a",)})
    desk.budget("rates", USD, on_unpriced="rate", input_rate_pusd=5, output_rate_pusd=7, scope={"team": ("b",)})
    desk.budget("lets-pass", 1, scope={"team": ("c",)})
    (denied,) = desk.want(model="nobodys", team="a").denied
    assert (denied.budget, denied.reason) == ("refuses", "unpriced_model")
    (granted,) = desk.want(model="nobodys", team="b").granted
    assert (granted.rates.input_pusd, granted.rates.output_pusd, granted.rates.known) == (5, 7, False)
    assert [lease.budget for lease in granted.leases] == ["rates"]
    assert desk.want(10**9, model="nobodys", team="c").granted[0].leases == []


def test_the_tenant_is_the_credentials_whatever_the_process_says(desk: Desk) -> None:
    desk.budget("acme", 1000, scope={"tenant": ("acme",)})
    want = [{"scope": {"tenant": "acme", "model": "gpt-4o-mini", "provider": "openai"}, "usd_micro": 1}]
    assert desk.ask(want=want, tenant="other").granted[0].leases == []
    assert [lease.budget for lease in desk.want(tenant="acme").granted[0].leases] == ["acme"]


def test_a_lease_is_of_the_period_that_its_process_says_it_is_in(desk: Desk) -> None:
    desk.budget("all", 10_000, period=HOUR)
    hour_s = NOW_S // 3600 * 3600
    assert desk.lease().period_start_s == hour_s
    assert desk.lease(now_s=hour_s + 3600.5).period_start_s == hour_s + 3600
    assert desk.lease(now_s=hour_s - 1).period_start_s == hour_s - 3600
    assert desk.lease(1, now_s=NOW_S + 90_000).period_start_s == hour_s  # a clock that is off by more than a day


def test_a_budget_does_not_hold_a_call_of_before_it_is_counted(desk: Desk) -> None:
    """As its span will count nowhere in it: of the period that was there before, only a part would be known."""
    expire(desk.database, (NOW_S - 600) * 10**9, between=lambda _took_s: None)
    desk.budget("all", 10_000)
    (stored,) = desk.shelf.all()
    since_s = stored.counted_from_s
    assert desk.lease(now_s=since_s).budget == "all"
    assert desk.want(now_s=since_s - 1).granted[0].leases == []
    desk.ledger.append([desk.call(start_ns=since_s * 10**9 - 1)])
    assert desk.counter("all").calls == 0


def test_what_the_last_period_left_rolls_over_but_not_what_its_leases_hold(desk: Desk) -> None:
    desk.budget("all", 1000, period=HOUR, rollover=True, rollover_max=500)
    desk.clock.now_s = NOW_S // 3600 * 3600 + 3599
    lease = desk.lease(700)
    desk.clock.now_s += 10
    assert desk.lease(1300).limit == 1300
    desk.clock.now_s += 10
    desk.report(lease.lease, 1, closed=True)
    assert desk.lease(100).limit == 1500


def test_reports_are_cumulative_and_told_twice_change_nothing(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100)
    desk.report(lease.lease, 5, used=40, calls=2)
    desk.report(lease.lease, 4, used=90, calls=9)
    desk.report(lease.lease, 5, used=90, calls=9)
    (kept,) = desk.leases()
    assert (kept.reported, kept.reported_calls, kept.sequence) == (40, 2, 5)
    for _ in range(2):
        told = desk.report(lease.lease, 6, used=40, calls=2, closed=True).renewed
    assert [(each.lease, each.state) for each in told] == [(lease.lease, "closed")]
    assert desk.counter("all").leased == 40  # two spans are still to come
    desk.report(lease.lease, 7, used=0, calls=0)
    assert desk.counter("all").leased == 40


def test_a_report_renews_a_lease_also_of_a_process_that_was_taken_for_dead(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease()
    desk.clock.now_s += 10 * TTL_S
    (renewed,) = desk.report(lease.lease, 1).renewed
    assert (renewed.state, renewed.expires_s) == ("open", desk.clock.now_s + TTL_S)


@pytest.mark.parametrize("whose", [{"process": OTHER}, {"tenant": "acme"}])
def test_nobody_tells_of_the_leases_of_another(desk: Desk, whose: dict[str, str]) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100)
    (told,) = desk.report(lease.lease, 1, closed=True, **whose).renewed
    assert told.state == "unknown"
    assert desk.counter("all").leased == 100
    assert desk.report("no-such", 1).renewed[0].state == "unknown"


def test_a_lowered_limit_applies_at_once_and_revokes_leases_as_they_are_renewed(desk: Desk) -> None:
    desk.budget("all", 1000)
    before = desk.want(300)
    (lease,) = before.granted[0].leases
    desk.budget("all", 200)
    answer = desk.report(lease.lease, 1, used=10, calls=1)
    assert answer.revision != before.revision
    assert [each.state for each in answer.renewed] == ["revoked"]
    assert desk.want(1).denied[0].limit == 200
    desk.report(lease.lease, 2, used=10, calls=1, closed=True)
    assert desk.lease(1).granted == 20


def test_a_raised_limit_applies_at_once(desk: Desk) -> None:
    desk.budget("all", 100)
    desk.lease(100)
    assert desk.want(100).denied
    desk.budget("all", 1000)
    assert desk.lease(100).limit == 1000


@pytest.mark.parametrize("change", ["removed", "softened", "moved", "of another unit"])
def test_a_lease_of_a_budget_that_is_not_so_any_more_is_revoked(desk: Desk, change: str) -> None:
    desk.budget("all", 1000)
    lease = desk.lease()
    if change == "removed":
        desk.shelf.remove("all", "test")
    elif change == "softened":
        desk.budget("all", 1000, mode="soft")
    elif change == "moved":
        desk.budget("all", 1000, period=HOUR)
    else:
        desk.budget("all", 1000, unit="calls")
        assert desk.counter("all").leased == 0
    assert [each.state for each in desk.report(lease.lease, 1).renewed] == ["revoked"]
    assert [each.state for each in desk.report(lease.lease, 2, used=5, calls=1, closed=True).renewed] == ["closed"]


def test_soft_budgets_over_a_threshold_are_told_of(desk: Desk) -> None:
    desk.budget("soft", 30, mode="soft", thresholds=(50, 80, 100))
    assert desk.want().soft == []
    desk.ledger.append([desk.call()])
    (soft,) = desk.want().soft
    assert (soft.budget, soft.spent, soft.limit, soft.threshold) == ("soft", 24, 30, 80)


def test_the_dimensions_that_any_budget_asks_for_are_told(desk: Desk) -> None:
    assert desk.want().dimensions == []
    desk.budget("users", 1000, per=("user",), scope={"team": ("search",)})
    assert desk.want().dimensions == ["team", "user"]


def test_a_process_that_asks_for_ever_more_is_stopped(database: Database, book: PriceBook) -> None:
    desk = Desk(database, book, leases_max=3)
    desk.budget("all", USD)
    for _ in range(3):
        desk.lease()
    (denied,) = desk.want().denied
    assert (denied.reason, denied.leased) == ("too_many_leases", 201_000)
    assert desk.lease(process=OTHER).granted


def test_a_fixed_range_holds_nothing_outside_of_it(desk: Desk) -> None:
    desk.budget("past", 1, period=Period(kind="range", since=date(2020, 1, 1), until=date(2021, 1, 1)))
    assert desk.want().granted[0].leases == []


def test_values_of_any_kind_are_taken_as_the_ledger_has_them(desk: Desk) -> None:
    desk.budget("users", 1000, per=("user", "team"))
    long = "x" * 3000
    (lease,) = desk.want(100, user=f"a\0{long}", team="\u00e9\U0001f600").granted[0].leases
    assert len(lease.group) < 400
    assert desk.lease(100, user=f"a{long}", team="\u00e9\U0001f600").group == lease.group
    assert desk.lease(100, user=None, team="").group == "user=,team="


def test_replicas_that_grant_at_the_same_time_grant_no_more_than_there_is(ledger_url: str, book: PriceBook) -> None:
    """T1 and T2: several exporters on one database, each with many askers, on the last cents."""
    first = open_database(ledger_url)
    desk = Desk(first, book)
    desk.budget("company", 1000)
    desk.budget("search", 700, scope={"team": ("search",)})
    granted: list[int] = []

    def ask(number: int) -> None:
        database = open_database(ledger_url)
        mine = Desk(database, book)
        for turn in range(12):
            answer = mine.want(29, process=f"process-{number:04d}-{turn}", team="search" if turn % 2 else "ads")
            granted.extend(
                lease.granted for each in answer.granted for lease in each.leases if lease.budget == "company"
            )
        database.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1000 - 29 < sum(granted) <= 1000
    assert desk.counter("company").leased == sum(granted)
    assert desk.counter("search").leased <= 700
    first.close()


def test_leases_that_were_given_back_do_not_count_as_open(desk: Desk) -> None:
    """Of a small budget each call needs a lease of its own, and a process makes many in a second."""
    desk.budget("all", 10 * USD)
    given_back: list[str] = []
    for _ in range(300):
        reports = [{"lease": lease, "sequence": 1, "used": 10, "calls": 1, "closed": True} for lease in given_back]
        want = {"scope": {"provider": "openai", "model": "gpt-4o-mini"}, "usd_micro": 6 * USD}
        (granted,) = desk.ask(want=[want], reports=reports).granted
        given_back = [granted.leases[0].lease]


def test_processes_that_are_gone_make_nobodys_share_smaller(desk: Desk) -> None:
    desk.budget("all", 1000 * USD)
    for number in range(20):
        desk.lease(1, process=f"killed-{number:04}")
    assert desk.lease(1).granted < 10 * USD
    desk.clock.now_s += TTL_S + GRACE_S + 1
    assert desk.lease(1).granted == 100 * USD


@pytest.mark.parametrize("per", [(), ("team",)])
def test_what_is_shown_of_a_limit_is_what_is_lent_from(desk: Desk, per: tuple[str, ...]) -> None:
    desk.budget("all", 1000, period=HOUR, rollover=True, per=per)
    desk.clock.now_s = NOW_S // 3600 * 3600 + 3599
    desk.lease(700, team="search")
    desk.clock.now_s += 10
    limit = desk.lease(650, team="search").limit
    with desk.database.read() as connection:
        stored = load_budgets(connection)
        (state,) = read_states(connection, stored, desk.clock())
        counts = read_group_counts(connection, stored, desk.clock(), at=(1,))
    assert (state.limit, state.remaining) == (limit, 650) == (1300, 650)
    assert counts == ({stored[0].budget_id: {1: 0}} if per else {})
