"""What 8 processes with 16 calls at a time can spend under a hard budget, whatever goes wrong: no more than the bound.

The bound is docs/leases.md's: the limit, and beyond it only calls that cost more than their bound, what processes let
pass while nobody answered them, and what was leased already at the moment when a limit was lowered.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from tempfile import TemporaryDirectory

import pytest

from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.simulation import START_S, Run, Trouble

HOUR_S = START_S // 3600 * 3600
LIMIT = 3_000_000
EVERYTHING = Trouble(
    lost=0.05, unanswered=0.05, doubled=0.1, repeated=0.2, crashes=3, freezes=1, restarts=2, skew_s=120
)


Ran = Callable[[str, Trouble, int], Run]


@pytest.fixture
def ran(book: PriceBook) -> Iterator[Ran]:
    """A function that lets a run happen on a database, which is closed at the end of the test."""
    with ExitStack() as stack:

        def ran(url: str, trouble: Trouble, seed: int) -> Run:
            run = Run(stack.enter_context(closing(open_database(url))), book, trouble, seed, limit=LIMIT)
            run.run()
            return run

        yield ran


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a ledger in memory where there is a folder in it: thousands of commits wait for no disk there."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield f"sqlite:///{folder}/ledger.db"


@pytest.mark.parametrize("seed", range(4))
def test_whatever_goes_wrong_no_period_is_billed_more_than_its_limit(ran: Ran, url: str, seed: int) -> None:
    run = ran(url, EVERYTHING, seed)
    assert LIMIT // 3 < run.found.worst <= LIMIT
    assert len(run.found.billed) >= 2
    assert run.found.denied
    held = run.held()
    assert {key: run.counter(key.period_start_s)[0] for key in held} == held


def test_all_of_it_holds_on_postgresql_too(ran: Ran, postgresql_url: str) -> None:
    run = ran(postgresql_url, EVERYTHING, 7)
    assert LIMIT // 3 < run.found.worst <= LIMIT
    held = run.held()
    assert {key: run.counter(key.period_start_s)[0] for key in held} == held


def test_where_nothing_goes_wrong_nearly_all_of_the_limit_can_be_used(ran: Ran, url: str) -> None:
    run = ran(url, Trouble(), 0)
    assert LIMIT * 9 // 10 < run.found.worst <= LIMIT
    assert not any(run.held().values())
    assert run.found.requests < run.found.calls * 4


@pytest.mark.parametrize("on_unreachable", ["open", "safe", "closed"])
def test_an_exporter_that_is_gone_costs_no_more_than_the_budget_says(ran: Ran, url: str, on_unreachable: str) -> None:
    allowance = 100_000
    trouble = Trouble(outage=(200, 900), on_unreachable=on_unreachable, allowance=allowance, crashes=1)
    run = ran(url, trouble, 0)
    beyond = {"closed": 0, "safe": len(run.processes) * allowance, "open": run.found.passed_open}[on_unreachable]
    assert run.found.worst <= LIMIT + beyond
    assert (run.found.passed_open > 0, run.found.allowed > 0) == (on_unreachable == "open", on_unreachable == "safe")


def test_calls_beyond_their_bound_cost_what_they_are_beyond_it(ran: Ran, url: str) -> None:
    run = ran(url, Trouble(beyond=0.05, crashes=1), 0)
    assert run.found.beyond > 0
    assert run.found.worst <= LIMIT + run.found.beyond


def test_a_limit_that_is_lowered_holds_but_for_what_was_leased_then(ran: Ran, url: str) -> None:
    lowered = 1_000_000
    run = ran(url, Trouble(lowered=(150, lowered)), 0)
    assert run.found.billed[HOUR_S] <= max(lowered, run.found.spent_when_lowered + run.found.leased_when_lowered)
    assert run.found.billed[HOUR_S + 3600] <= lowered
