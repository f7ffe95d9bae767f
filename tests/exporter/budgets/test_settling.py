"""Money moves from leased to spent with the entries, once, and what nobody uses comes back: on both databases."""

import json
from contextlib import closing
from itertools import permutations, product
from typing import Any

import pytest

from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.errors import LedgerError
from spanledger_exporter.leases.leases import GRACE_S, TTL_S
from spanledger_exporter.leases.sweep import release, sweep
from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.ledger.rows import document_of, record_of_document
from spanledger_exporter.records import Adjustment, Price, PricedRecord, Usage
from tests.exporter.budgets.asking import PROCESS, USD, Desk

CALL = 24  # micro-USD of the call that tests make
OTHER = "22222222-bbbb"
ID = "chatcmpl-000042BxYzKw"


def test_an_entry_moves_money_from_leased_to_spent(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100)
    desk.ledger.append([desk.call(lease.lease), desk.call(lease.lease)])
    counter = desk.counter("all")
    assert (counter.spent("usd"), counter.leased) == (2 * CALL, 100 - 2 * CALL)
    (kept,) = desk.leases()
    assert (kept.settled, kept.settled_calls, kept.state) == (2 * CALL, 2, "open")


def test_every_budget_of_a_call_settles_in_its_own_unit(desk: Desk) -> None:
    desk.budget("usd", USD)
    desk.budget("tokens", 10_000, unit="tokens")
    desk.budget("calls", 100, unit="calls")
    granted = desk.want(100, tokens=1000).granted[0].leases
    desk.ledger.append([desk.call(*(lease.lease for lease in granted))])
    settled = {lease.lease: lease.unit for lease in granted}
    assert {settled[lease.lease_id]: lease.settled for lease in desk.leases()} == {
        "usd": CALL, "tokens": 120, "calls": 1,
    }  # fmt: skip
    assert [desk.counter(name).leased for name in ("usd", "tokens", "calls")] == [
        next(lease.granted for lease in granted if lease.unit == name) - moved
        for name, moved in (("usd", CALL), ("tokens", 120), ("calls", 1))
    ]


def test_a_budget_for_each_model_counts_a_call_where_its_lease_is(desk: Desk) -> None:
    """The model that answers has another name than the one that is asked for: a dated one."""
    desk.budget("models", 1000, per=("model",))
    lease = desk.lease(100)
    desk.ledger.append([desk.call(lease.lease)])
    counter = desk.counter("models", '["gpt-4o-mini"]')
    assert (counter.spent("usd"), counter.leased) == (CALL, 100 - CALL)


def test_a_call_that_is_delivered_again_settles_nothing(desk: Desk) -> None:
    """T4."""
    desk.budget("all", 1000)
    call = desk.call(desk.lease(100).lease)
    for _ in range(3):
        desk.ledger.append([call, call])
    assert desk.leases()[0].settled_calls == 1
    assert desk.counter("all").leased == 100 - CALL


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("ours_first", [True, False])
def test_a_call_that_two_instrumentations_report_settles_once(desk: Desk, together: bool, ours_first: bool) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100)
    ours = desk.call(lease.lease, response_id=ID)
    theirs = desk.call(response_id=ID, scope="theirs", trace_id=ours.record.trace_id)
    pair = [ours, theirs] if ours_first else [theirs, ours]
    for batch in [pair] if together else [pair[:1], pair[1:]]:
        desk.ledger.append(batch)
    for again in (pair[:1], pair[1:], pair):
        desk.ledger.append(again)
    counter = desk.counter("all")
    assert (counter.calls, counter.spent("usd"), counter.leased) == (1, CALL, 100 - CALL)
    assert desk.leases()[0].settled_calls == 1


def reports_of(desk: Desk, number: int, *leases: tuple[str, ...]) -> list[PricedRecord]:
    """Three reports of one call, with their leases: the third has the first's id, and is the parent of the second."""
    own = {"trace_id": number.to_bytes(16), "parent_span_id": None}
    identity = f"chatcmpl-{number:06}BxYzKw"
    by_id, by_parent, both = leases
    parent = number.to_bytes(8)
    return [
        desk.call(*by_id, scope="a", response_id=identity, **own),
        desk.call(*by_parent, scope="b", **{**own, "parent_span_id": parent}),
        desk.call(*both, scope="c", response_id=identity, span_id=parent, **own),
    ]


@pytest.mark.parametrize("named", list(product([True, False], repeat=3))[:-1])
def test_a_call_settles_once_whichever_of_its_reports_name_the_lease_and_in_any_order(
    desk: Desk, named: tuple[bool, bool, bool]
) -> None:
    """Two of them are two calls until the third comes, which joins them."""
    desk.budget("all", 100 * USD)
    for number, (order, cut) in enumerate(product(permutations(range(3)), range(3)), 1):
        lease = desk.lease(100, process=f"process-{number:04}")
        reports = reports_of(desk, number, *((lease.lease,) if each else () for each in named))
        said = [reports[place] for place in order]
        for batch in (said[:cut], said[cut:], said):
            desk.ledger.append(batch)
        (kept,) = (each for each in desk.leases() if each.lease_id == lease.lease)
        assert (kept.settled, kept.settled_calls) == (CALL, 1), (order, cut)
    counter = desk.counter("all")
    assert (counter.calls, counter.leased) == (number, sum(each.held for each in desk.leases()))


def test_a_later_report_settles_the_difference(desk: Desk) -> None:
    """The first came without the tokens of the answer; both name the lease."""
    desk.budget("all", 1000)
    lease = desk.lease(100).lease
    desk.ledger.append([desk.call(lease, response_id=ID, usage=Usage(100, None), usage_status="partial")])
    assert (desk.leases()[0].settled, desk.counter("all").spent("usd")) == (15, 15)
    desk.ledger.append([desk.call(lease, response_id=ID, scope="theirs", usage=Usage(100, 20))])
    (kept,), counter = desk.leases(), desk.counter("all")
    assert (kept.settled, kept.settled_calls) == (27, 1)
    assert (counter.spent("usd"), counter.leased) == (27, 100 - 27)


def test_writers_that_each_get_a_report_of_a_call_settle_it_once(desk: Desk, ledger_url: str) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100).lease
    reports = [desk.call(lease, response_id=ID, scope=scope) for scope in ("a", "b", "c")]
    with closing(open_database(ledger_url)) as other_database:
        other = Desk(other_database, desk.book)
        for number, report in enumerate([*reports, *reports]):
            (other if number % 2 else desk).ledger.append([report])
    assert (desk.leases()[0].settled, desk.leases()[0].settled_calls) == (CALL, 1)
    assert desk.counter("all").leased == 100 - CALL


def test_a_lease_whose_calls_turn_out_to_be_one_waits_for_the_other(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100).lease
    one, same, both = reports_of(desk, 1, (lease,), (lease,), ())
    desk.ledger.append([one, same])
    desk.report(lease, 1, used=60, calls=2, closed=True)
    assert (desk.leases()[0].state, desk.counter("all").leased) == ("settled", 0)
    desk.ledger.append([both])
    assert (desk.leases()[0].state, desk.counter("all").leased) == ("closed", 60 - CALL)
    desk.ledger.append([desk.call(lease)])
    assert (desk.leases()[0].state, desk.counter("all").leased) == ("settled", 0)
    assert desk.counter("all").spent("usd") == 2 * CALL


def test_a_price_that_comes_later_settles_the_difference(desk: Desk, ledger_url: str) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100).lease
    desk.ledger.append([desk.call(lease, request_model="nobodys", response_model=None)])
    assert (desk.leases()[0].settled, desk.leases()[0].settled_calls, desk.counter("all").leased) == (0, 1, 100)
    for cost in (77, 30):
        agreed = Price("priced", cost * 10**6, model="mine")
        with Reader(ledger_url) as reader:
            ((number, read, _),) = reader.priced(Filter(), unpriced=False)
        assert desk.ledger.adjust([Adjustment(number, agreed, desk.book.book_id, "agreed", read)]).changed == 1
        assert (desk.leases()[0].settled, desk.leases()[0].settled_calls) == (cost, 1)
        assert (desk.counter("all").spent("usd"), desk.counter("all").leased) == (cost, 100 - cost)


def test_what_a_call_costs_beyond_its_lease_is_spent_all_the_same(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(10)
    assert lease.granted == 100
    desk.ledger.append([desk.call(lease.lease, usage=Usage(1_000_000, 0))])
    counter = desk.counter("all")
    assert (counter.spent("usd"), counter.leased) == (150_000, 0)
    desk.report(lease.lease, 1, used=150_000, calls=1, closed=True)
    assert desk.leases()[0].state == "settled"
    assert desk.counter("all").leased == 0


def test_a_lease_that_is_closed_holds_what_was_used_until_the_last_span_is_there(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100)
    calls = [desk.call(lease.lease) for _ in range(2)]
    desk.ledger.append(calls[:1])
    desk.report(lease.lease, 1, used=60, calls=2, closed=True)
    assert desk.counter("all").leased == 60 - CALL
    desk.ledger.append(calls)
    assert desk.counter("all").leased == 0
    assert desk.leases()[0].state == "settled"


def test_a_lease_that_is_closed_after_its_spans_came_holds_nothing(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100)
    desk.ledger.append([desk.call(lease.lease)])
    desk.report(lease.lease, 1, used=90, calls=1, closed=True)
    assert (desk.counter("all").leased, desk.leases()[0].state) == (0, "settled")


def test_a_call_without_a_known_cost_settles_as_a_call(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100)
    failed = desk.call(lease.lease, usage=Usage(), usage_status="none", outcome="error")
    desk.ledger.append([failed])
    desk.report(lease.lease, 1, used=0, calls=1, closed=True)
    assert (desk.counter("all").leased, desk.leases()[0].state) == (0, "settled")


def test_calls_without_a_price_settle_at_the_default_rate(desk: Desk) -> None:
    desk.budget("all", USD, on_unpriced="rate", input_rate_pusd=10**6, output_rate_pusd=2 * 10**6)
    lease = desk.lease(500, model="nobodys")
    desk.ledger.append([desk.call(lease.lease, request_model="nobodys", response_model=None)])
    assert desk.leases()[0].settled == 100 + 2 * 20
    assert desk.counter("all").spent("usd") == 140


def test_parts_of_a_micro_usd_give_back_no_more_than_was_spent(desk: Desk) -> None:
    desk.budget("all", 1000)
    lease = desk.lease(100)
    for _ in range(3):
        desk.ledger.append([desk.call(lease.lease, usage=Usage(5, 0))])  # of 0.75 micro-USD
    counter = desk.counter("all")
    assert (counter.spent("usd"), counter.leased) == (3, 100)
    desk.ledger.append([desk.call(lease.lease, usage=Usage(5, 0)), desk.call(lease.lease, usage=Usage(5, 0))])
    assert desk.counter("all").leased == 99
    desk.report(lease.lease, 1, used=5, calls=5, closed=True)
    assert desk.counter("all").leased == 0


def test_leases_that_nobody_has_granted_settle_nothing(desk: Desk) -> None:
    desk.budget("all", 1000)
    desk.ledger.append([desk.call("no-such", "' OR 1=1 --")])
    assert desk.counter("all").calls == 1
    desk.shelf.remove("all", "test")
    desk.ledger.append([desk.call("no-such")])


def test_a_lease_whose_budget_is_gone_settles_nothing_and_hinders_nothing(desk: Desk) -> None:
    desk.budget("all", 1000)
    desk.budget("other", 1000)
    leases = [lease.lease for lease in desk.want(100).granted[0].leases]
    desk.shelf.remove("all", "test")
    desk.ledger.append([desk.call(*leases)])
    assert (desk.counter("other").leased, desk.counter("other").calls) == (100 - CALL, 1)


def test_what_a_killed_process_took_is_held_until_somebody_releases_it(desk: Desk) -> None:
    """T3: nothing comes back by itself that may have been spent, and all of it comes back when it is told to."""
    desk.budget("all", 1000)
    lease = desk.lease(100)
    desk.report(lease.lease, 1, used=10, calls=1)
    desk.clock.now_s += TTL_S + GRACE_S + 1
    sweep(desk.database, desk.clock())
    assert desk.counter("all").leased == 100
    late = desk.call(lease.lease)
    desk.ledger.append([late])
    assert desk.counter("all").leased == 100 - CALL
    assert release(desk.database, "all", "ops", clock_ns=desk.clock) == (1, 100 - CALL)
    assert desk.counter("all").leased == 0
    change = desk.shelf.changes("all")[0]
    assert (change.made_by, json.loads(change.before or "")) == ("ops", {"unaccounted": 100 - CALL, "unit": "usd"})
    desk.ledger.append([desk.call(lease.lease)])
    assert (desk.counter("all").leased, desk.counter("all").spent("usd")) == (0, 2 * CALL)
    assert [each.state for each in desk.report(lease.lease, 2).renewed] == ["revoked"]


def test_only_what_nobody_tells_of_is_released(desk: Desk) -> None:
    desk.budget("all", 1000)
    desk.lease(100)
    assert release(desk.database, "all", "ops", clock_ns=desk.clock) == (0, 0)
    assert desk.counter("all").leased == 100
    with pytest.raises(LedgerError, match="no budget 'none'"):
        release(desk.database, "none", "ops")


def test_a_lease_whose_answer_was_lost_comes_back_once_its_process_has_told_of_others(desk: Desk) -> None:
    desk.budget("all", 1000)
    desk.lease(100)  # never gets there
    desk.clock.now_s += 1
    known = desk.lease(100)
    for sequence in range(1, 60):
        desk.clock.now_s += 10
        desk.report(known.lease, sequence)
    sweep(desk.database, desk.clock())
    assert desk.counter("all").leased == 100
    assert sorted(lease.state for lease in desk.leases()) == ["ended", "open"]


def test_a_lease_of_a_process_that_was_killed_before_its_first_report_is_held(desk: Desk) -> None:
    desk.budget("all", 1000)
    for _ in range(2):
        lease = desk.lease(100)
    desk.clock.now_s += 9
    desk.report(lease.lease, 1)  # the last that was heard of it
    desk.clock.now_s += 10 * TTL_S
    sweep(desk.database, desk.clock())
    assert desk.counter("all").leased == 200


def test_the_end_of_a_period_ends_what_the_dead_hold_of_it(desk: Desk) -> None:
    desk.budget("all", 1000, period=Period(kind="hour"))
    began_s = desk.clock.now_s
    desk.lease(100)
    desk.clock.now_s += 3 * 3600
    desk.lease(100, process=OTHER)
    sweep(desk.database, desk.clock())
    assert desk.counter("all", at_s=began_s).leased == 0
    assert desk.counter("all").leased == 100
    desk.clock.now_s += 8 * 86_400
    while sweep(desk.database, desk.clock()):
        pass
    assert desk.leases() == []


def test_leases_of_a_removed_budget_are_forgotten_in_time(desk: Desk) -> None:
    desk.budget("all", 1000)
    desk.lease(100)
    desk.shelf.remove("all", "test")
    desk.clock.now_s += 9 * 86_400
    for _ in range(2):
        sweep(desk.database, desk.clock())
    assert desk.leases() == []


def test_the_leases_of_a_report_are_kept_with_it(desk: Desk) -> None:
    call = desk.call("a", "b").record
    assert record_of_document(document_of(call)) == call
    without = call._replace(leases=())
    assert "leases" not in document_of(without)
    assert record_of_document(document_of(without)) == without


def test_owners_are_told_apart_by_tenant_service_and_process(desk: Desk) -> None:
    desk.budget("all", 1000)
    desk.lease(1)
    desk.lease(1, tenant="acme")
    owners = {lease.owner for lease in desk.leases()}
    assert owners == {f"shop/{PROCESS}", f"acme/shop/{PROCESS}"}


def test_a_call_that_a_budget_refused_settles_nothing_whatever_leases_its_span_names(desk: Desk) -> None:
    desk.budget("calls", 30, unit="calls")
    (lease,) = desk.want().granted[0].leases
    refused = desk.call(lease.lease, usage=Usage(), usage_status="none", error_type="budget_exceeded", outcome="error")
    desk.ledger.append([refused])
    counter = desk.counter("calls")
    assert (counter.calls, counter.leased) == (0, lease.granted)


@pytest.mark.parametrize("said", [{"scope": {"tenant": ("acme",)}}, {"per": ("team", "tenant")}])
def test_a_call_settles_no_lease_of_another_tenant(desk: Desk, said: dict[str, Any]) -> None:
    desk.budget("all", 1000, **said)
    lease = desk.lease(100, tenant="acme")
    group_key = '[null,"acme"]' if "per" in said else ""
    desk.ledger.append([desk.call(lease.lease, tenant="other")])
    assert desk.counter("all", group_key).leased == 100
    desk.ledger.append([desk.call(lease.lease, tenant="acme")])
    assert desk.counter("all", group_key).leased == 100 - CALL
