"""Values that only leases know of: whoever may ask for leases cannot fill a budget with names that nobody uses."""

from contextlib import closing

import pytest
from sqlalchemy import select

from spanledger_exporter.budgets.groups import GROUPS_MAX, LEASED_GROUPS_MAX, room
from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.leases.leases import GRACE_S, TTL_S
from spanledger_exporter.leases.sweep import release, sweep
from spanledger_exporter.ledger.budget_schema import budget_counters
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.asking import Desk

OTHER = "22222222-bbbb"


def groups(desk: Desk) -> list[str]:
    """The groups that have a counter, whatever is in it."""
    with desk.database.read() as connection:
        return sorted(connection.execute(select(budget_counters.c.group_key)).scalars())


def test_a_question_that_is_denied_leaves_no_group(desk: Desk) -> None:
    """For want of money, of a price, or because another budget of the call has none."""
    desk.budget("users", 50, per=("user",), on_unpriced="refuse")
    assert desk.want(51, user="ada").denied[0].group == "user=ada"
    assert desk.want(1, user="bob", model="nobodys").denied[0].reason == "unpriced_model"
    assert groups(desk) == []
    desk.budget("company", 10)
    assert [denied.budget for denied in desk.want(11, user="eve").denied] == ["company"]
    assert groups(desk) == [""]


def test_a_question_that_needs_no_lease_leaves_no_group(desk: Desk) -> None:
    desk.budget("users", 50, per=("user",))
    desk.budget("soft", 50, per=("user",), mode="soft")
    assert desk.want(1, user="ada", model="nobodys").granted[0].leases == []
    assert groups(desk) == []


def test_a_lease_that_ends_with_nothing_spent_leaves_no_group(desk: Desk) -> None:
    """Given back, lost on its way, released, or at the end of its period."""
    desk.budget("users", 1000, per=("user",), period=Period(kind="hour"))
    desk.report(desk.lease(100, user="ada").lease, 1, closed=True)
    assert groups(desk) == []
    desk.lease(100, user="lost")
    desk.clock.now_s += 1
    known = desk.lease(100, user="known", process=OTHER)
    desk.lease(100, user="released", process="killed-0001")
    kept = desk.lease(100)
    for sequence in range(1, 60):
        desk.clock.now_s += 10
        desk.report(kept.lease, sequence)
    sweep(desk.database, desk.clock())
    assert groups(desk) == ['["known"]', '["released"]', "[null]"]
    desk.report(known.lease, 1, used=5, calls=1, process=OTHER)
    assert release(desk.database, "users", "ops", clock_ns=desk.clock) == (1, 100)
    assert groups(desk) == ['["known"]', "[null]"]
    desk.clock.now_s += 3 * 3600
    sweep(desk.database, desk.clock())
    assert groups(desk) == []


def test_a_group_of_which_something_was_spent_stays(desk: Desk) -> None:
    desk.budget("users", 1000, per=("user",))
    lease = desk.lease(100, user="ada")
    desk.report(lease.lease, 1, used=30, calls=1, closed=True)
    assert desk.counter("users", '["ada"]').leased == 30
    desk.ledger.append([desk.call(lease.lease, user_id="ada")])
    assert desk.counter("users", '["ada"]').leased == 0
    assert groups(desk) == ['["ada"]']


def test_a_group_that_another_replica_has_let_go_of_is_leased_again(desk: Desk, ledger_url: str) -> None:
    desk.budget("users", 1000, per=("user",))
    with closing(open_database(ledger_url)) as other_database:
        Desk(other_database, desk.book).report(desk.lease(100, user="ada").lease, 1, closed=True)
    assert groups(desk) == []
    assert desk.lease(100, user="ada").granted == 100
    assert desk.counter("users", '["ada"]').leased == 100


def test_there_is_a_limit_to_what_only_leases_know_of(database: Database, book: PriceBook) -> None:
    """Beyond it others are denied, until calls come or leases are given back; those who have calls are not."""
    desk = Desk(database, book, leased_groups_max=2)
    desk.budget("users", 1000, per=("user",))
    desk.ledger.append([desk.call(user_id="known")])
    ada, bob = desk.lease(100, user="ada"), desk.lease(100, user="bob")
    wants = [
        {"scope": {"provider": "openai", "model": "gpt-4o-mini", "user": user}, "usd_micro": 1}
        for user in ("eve", "mallory", "known", "ada")
    ]
    answer = desk.ask(want=wants)
    assert [(each.want, each.group, each.reason) for each in answer.denied] == [
        (0, "user=eve", "too_many_groups"),
        (1, "user=mallory", "too_many_groups"),
    ]
    assert (answer.denied[0].limit, answer.denied[0].needed) == (1000, 1)
    assert groups(desk) == ['["ada"]', '["bob"]', '["known"]']
    desk.report(ada.lease, 1, closed=True)
    assert groups(desk) == ['["ada"]', '["bob"]', '["known"]']  # of which there is another lease
    desk.report(bob.lease, 1, closed=True)
    assert desk.lease(1, user="eve").group == "user=eve"
    assert desk.want(1, user="mallory").denied
    desk.ledger.append([desk.call(user_id="eve")])
    desk.clock.now_s += 10
    assert desk.lease(1, user="mallory").group == "user=mallory"


def test_what_is_claimed_and_denied_in_one_request_is_free_for_the_next(database: Database, book: PriceBook) -> None:
    desk = Desk(database, book, leased_groups_max=1)
    desk.budget("users", 50, per=("user",))
    assert desk.want(51, user="ada").denied[0].reason == "exhausted"
    assert desk.lease(50, user="bob").group == "user=bob"


@pytest.mark.parametrize(
    ("rows", "folding", "left"),
    [
        (0, False, GROUPS_MAX),
        (GROUPS_MAX - 1, False, 1),
        (GROUPS_MAX + 5, False, 0),
        (5, True, GROUPS_MAX - LEASED_GROUPS_MAX - 5),
        (GROUPS_MAX - LEASED_GROUPS_MAX, True, 0),
    ],
)
def test_no_room_comes_back_once_calls_were_folded(rows: int, folding: bool, left: int) -> None:
    """But a value that has the name of all others by chance costs no more than a part of it."""
    assert room(rows, folding=folding) == left


def test_a_value_that_was_folded_stays_so_when_leases_make_room(database: Database, book: PriceBook) -> None:
    desk = Desk(database, book, groups_max=2)
    desk.budget("users", 1000, per=("user",))
    ada, _ = desk.lease(400, user="ada"), desk.lease(400, user="bob")
    assert desk.lease(400, user="eve").group == "user=__other__"
    desk.report(ada.lease, 1, closed=True)
    assert groups(desk) == ['["__other__"]', '["bob"]']
    assert desk.lease(400, user="mallory").group == "user=__other__"


def test_a_process_that_was_killed_holds_its_group_with_its_money(desk: Desk) -> None:
    desk.budget("users", 1000, per=("user",))
    desk.lease(100, user="ada")
    desk.clock.now_s += TTL_S + GRACE_S + 1
    sweep(desk.database, desk.clock())
    assert groups(desk) == ['["ada"]']
