"""Real processes that spend at the same time under one hard budget, with a real exporter: the bound holds.

8 processes x 16 threads; the make-believe provider's bill is the file that they write what they send to.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import pytest

from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import Counter, CounterKey, Lease
from spanledger_exporter.ledger.database import open_database
from tests.servers.exporter import Exporter
from tests.servers.process import free_port, poll

SKEWS_S = (0, 1, -1, 90, -90, 3600, -3600, 20 * 3600)
"""By how much the clock of each process is wrong."""
PROCESSES = len(SKEWS_S)
LIMIT = 3_000_000
ROOT = Path(__file__).parents[3]


class Company:
    """The exporter, the processes that spend, and the provider's bill."""

    def __init__(self, ledger: str, folder: Path) -> None:
        self.ledger, self.folder = ledger, folder
        self.bill, self.refused = folder / "bill", folder / "refused"
        self.bill.touch()
        self.refused.touch()
        self._http = f"127.0.0.1:{free_port()}"
        budget = Budget(
            name="all",
            limit=LIMIT,
            mode="hard",
            period=Period(kind="range", since=date(2020, 1, 1), until=date(2100, 1, 1)),
        )
        with closing(open_database(ledger)) as database:
            BudgetShelf(database).set(budget, "test")
        self.start_exporter()
        self.spenders: list[subprocess.Popen[str]] = []

    def start_exporter(self) -> None:
        self.exporter = Exporter(self.ledger, self.folder, http=self._http)

    def kill_exporter(self) -> None:
        self.exporter.server.process.kill()
        self.exporter.server.process.wait()

    def spend(self, on_unreachable: str = "closed", allowance: int = 0) -> None:
        command = [sys.executable, "-m", "tests.exporter.budgets.spender"]
        arguments = [self._http, str(self.folder), on_unreachable, str(allowance)]
        self.spenders = [
            subprocess.Popen([*command, *arguments, str(skew_s)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for skew_s in SKEWS_S
        ]

    def billed(self) -> int:
        """Return what the provider bills, in micro-USD; a last line may be half written."""
        lines = self.bill.read_bytes().split(b"\n")[:-1]
        return -(-sum(map(int, lines)) // 10**6)

    def wait_for_bill(self, micro_usd: int) -> None:
        poll(lambda: self.billed() >= micro_usd, what=f"a bill of {micro_usd}")

    def wait_for_refusals(self) -> None:
        """Wait until every process has been refused again and again while nobody answers, and let them end."""
        poll(lambda: self.refused.stat().st_size > 10 * 16 * PROCESSES, what="refusals while nobody answers")
        (self.folder / "over").touch()

    def finish(self) -> list[dict[str, int]]:
        """Wait for all that are still alive, and return what they know."""
        said: list[dict[str, int]] = []
        for spender in self.spenders:
            output, _ = spender.communicate(timeout=120)
            if spender.returncode == 0:
                said.append(json.loads(output))
        return said

    def counter(self) -> Counter:
        with closing(open_database(self.ledger)) as database, database.read() as connection:
            (stored,) = BudgetShelf(database).all()
            bounds = stored.budget.period.bounds(1_795_000_000)
            assert bounds is not None
            key = CounterKey(stored.budget_id, bounds.start_s, "")
            return leases.counters(connection, [key], lock=False)[key]

    def leases(self) -> list[Lease]:
        with closing(open_database(self.ledger)) as database, database.write() as connection:
            return leases.locked(connection)

    def stop(self) -> None:
        for spender in self.spenders:
            spender.kill()
            spender.communicate()
        if self.exporter.server.process.poll() is None:
            self.exporter.server.stop()


@contextmanager
def company(ledger: str, folder: Path) -> Iterator[Company]:
    made = Company(ledger, folder)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def firm(ledger_url: str, tmp_path: Path) -> Iterator[Company]:
    with company(ledger_url, tmp_path) as made:
        yield made


def test_no_more_is_spent_than_the_limit_though_a_process_and_the_exporter_are_killed(firm: Company) -> None:
    firm.spend()
    firm.wait_for_bill(LIMIT // 5)
    firm.spenders[0].kill()
    firm.wait_for_bill(LIMIT // 3)
    firm.kill_exporter()
    firm.start_exporter()
    assert len(firm.finish()) == PROCESSES - 1
    assert LIMIT // 2 < firm.billed() <= LIMIT
    counter, kept = firm.counter(), firm.leases()
    # Spans of the killed process are lost, and what they may have cost is held.
    assert counter.spent("usd") <= firm.billed() <= counter.spent("usd") + counter.leased <= LIMIT
    assert sum(lease.held for lease in kept) == counter.leased
    # And what was granted in an answer that the exporter was killed before it gave.
    assert len({lease.owner for lease in kept if lease.held and lease.sequence}) <= 1


@pytest.mark.parametrize(
    ("on_unreachable", "allowance", "beyond"),
    [
        ("closed", 0, lambda _said: 0),
        ("safe", 20_000, lambda said: sum(each["allowed"] for each in said)),
    ],
)
def test_without_an_exporter_no_more_is_spent_than_was_leased_and_is_allowed(
    firm: Company, on_unreachable: str, allowance: int, beyond: Callable[[list[dict[str, int]]], int]
) -> None:
    firm.spend(on_unreachable, allowance)
    firm.wait_for_bill(LIMIT // 5)
    firm.kill_exporter()
    before = firm.counter()
    firm.wait_for_refusals()
    said = firm.finish()
    assert len(said) == PROCESSES
    assert firm.billed() <= before.spent("usd") + before.leased + beyond(said)
    assert all(each["allowed"] <= allowance for each in said)
    assert firm.billed() <= LIMIT + PROCESSES * allowance
