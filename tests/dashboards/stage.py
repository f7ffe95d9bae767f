"""All that the dashboards ask, running: two exporters on one PostgreSQL with a month of calls, and Prometheus.

Calls come in through both exporters while Prometheus scrapes them; then no more do, and the stage stands still at
`now_s`, so that whatever is asked is asked of the same moment, however long it takes.
"""

import contextlib
import json
import random
import subprocess
import threading
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.engine import make_url

from tests.dashboards import backfill, calls
from tests.dashboards.backfill import Entry
from tests.dashboards.grafana import Window
from tests.exporter.otlp_requests import CHAT, span
from tests.servers import prometheus
from tests.servers.exporter import SPANLEDGER, Exporter
from tests.servers.postgresql import Cluster
from tests.servers.process import poll

SCRAPE_S: Final = 1
READER: Final = "grafana"
REFUSED: Final = 3
"""How many calls services say, of each exporter, that they refused."""
_REFUSED_TEAM: Final = "research"
"""Its calls have used up their hard budget, to the last one: none comes in any more."""
_BEFORE_S: Final = 5
_PACE_S: Final = 0.1
_SETTINGS: Final = {
    "SPANLEDGER_BUDGETS_EVALUATION_S": "1",
    "SPANLEDGER_METRICS_FOLLOW_S": "1",
    "SPANLEDGER_METRICS_NEW_SERIES_HOLD_S": "2",
}
_OPTIONS: Final = (
    "--storage.tsdb.retention.time=90d",  # its default is fifteen days
    "--enable-feature=exemplar-storage",
)
# Each exporter has evaluated the budgets, and that was scraped.
_SEEN: Final = "count(count by (instance) (genai_budget_decisions_total)) == {exporters}"
# Enough was scraped, commits of each exporter among it, and the rules have been evaluated.
_STEADY: Final = (
    "min(count_over_time(spanledger_build_info[1m])) >= 15 and "
    "min(sum by (instance) (increase(spanledger_commit_rows_count[1m]))) > 30 and count(ALERTS) > 0"
    " and count(budget_group:genai_budget_burn:rate1h) > 0"
)
_SCRAPED: Final = (
    "count(sum by (instance) (genai_calls_total) == {calls}) == {exporters}"
    " and min(spanledger_budget_last_evaluation_timestamp_seconds) > {at_s}"
)


class Stage(NamedTuple):
    """What stands still, and when."""

    prometheus: prometheus.Prometheus
    exporters: Sequence[Exporter]
    ledger: str
    traffic_s: float
    now_s: float

    @property
    def live(self) -> Window:
        """The time in which calls came in, and some scrapes before, as Grafana shows it with a scrape a second."""
        return Window(self.traffic_s - _BEFORE_S, self.now_s, SCRAPE_S)

    def past(self, length_s: float) -> Window:
        """A longer time, as far back as there are calls."""
        return Window(self.now_s - length_s, self.now_s, backfill.STEP_S)

    def select(self, statement: str) -> list[dict[str, Any]]:
        """Ask the ledger as the role that may only read the views."""
        return select(self.ledger, statement, role=READER)

    def report(self, *arguments: str) -> dict[str, Any]:
        """Return what `spanledger report --json` says."""
        return json.loads(spanledger("report", "--ledger", self.ledger, "--json", *arguments))


def select(ledger: str, statement: str, role: str | None = None) -> list[dict[str, Any]]:
    """Run a statement in a PostgreSQL ledger, as its owner or another role; return rows by the names of columns."""
    url = make_url(ledger).set(drivername="postgresql", **({} if role is None else {"username": role}))
    with psycopg.connect(url.render_as_string(), row_factory=dict_row) as connection:
        return connection.execute(statement.encode()).fetchall()


def spanledger(*arguments: str) -> str:
    """Run a command of ours, and return what it prints."""
    return subprocess.run([SPANLEDGER, *arguments], check=True, capture_output=True, text=True).stdout


def send(exporter: Exporter, request: bytes) -> None:
    """Send an OTLP request over HTTP."""
    _post(f"http://{exporter.http}/v1/traces", request, "application/x-protobuf")


def _post(url: str, content: bytes, kind: str) -> None:
    urllib.request.urlopen(urllib.request.Request(url, content, {"content-type": kind})).close()


@contextmanager
def set_up(cluster: Cluster, ledger: str, folder: Path) -> Generator[Stage]:
    """Let a month pass, then some seconds of traffic, and stop the time."""
    begun_s, dice = int(time.time()), random.Random(7)
    month = list(calls.bodies(calls.month(begun_s, dice)))
    past = backfill.entries(month)
    budgets = folder / "budgets.toml"
    budgets.write_text(_budgets(past, begun_s))
    settings = {**_SETTINGS, "SPANLEDGER_BUDGETS_FILE": str(budgets)}
    with _exporter(ledger, folder / "before", settings) as exporter:
        for request in month:
            send(exporter, request)
    cluster.execute(f"DROP ROLE IF EXISTS {READER}")
    cluster.execute(f"CREATE ROLE {READER} LOGIN")
    spanledger("ledger", "grant", READER, "--ledger", ledger)
    with contextlib.ExitStack() as stack:
        exporters = [stack.enter_context(_exporter(ledger, folder / name, settings)) for name in ("one", "other")]
        backfill.write(folder, past, begun_s, exporters[0].metrics)
        server = stack.enter_context(scraping(folder, exporters))
        poll(lambda: server.query(_SEEN.format(exporters=len(exporters))), what="the first scrapes")
        traffic_s = time.time()
        with _traffic(exporters, dice):
            poll(lambda: server.query(_STEADY), what="some seconds of traffic", timeout_s=120)
        found = select(ledger, "SELECT count(*) AS calls FROM entries")[0]["calls"]
        scraped = _SCRAPED.format(calls=found, exporters=len(exporters), at_s=time.time())
        poll(lambda: server.query(scraped), what="the last calls to be scraped")
        yield Stage(server, exporters, ledger, traffic_s, time.time())


@contextmanager
def _exporter(ledger: str, folder: Path, settings: Mapping[str, str]) -> Generator[Exporter]:
    folder.mkdir()
    exporter = Exporter(ledger, folder, environ=settings)
    with exporter.server:
        yield exporter


@contextmanager
def scraping(folder: Path, exporters: Sequence[Exporter]) -> Generator[prometheus.Prometheus]:
    """Run Prometheus as it is shipped over some exporters, with nobody to tell of alerts."""
    targets = {"spanledger": " ".join(exporter.metrics for exporter in exporters)}
    with prometheus.as_shipped(folder, targets, options=_OPTIONS) as server:
        yield server


@contextmanager
def _traffic(exporters: Sequence[Exporter], dice: random.Random) -> Generator[None]:
    """Let calls come in through all exporters in turn, until the end of the block; of one team all are refused."""
    over = threading.Event()
    going_on = [habit for habit in calls.HABITS if habit.team != _REFUSED_TEAM]

    def run() -> None:
        for exporter in exporters:
            for request in _odd():
                send(exporter, request)
            _post(f"http://{exporter.http}/v1/budgets/leases", json.dumps(_DECISIONS).encode(), "application/json")
        turn = 0
        while not over.wait(_PACE_S):
            habits = dice.choices(going_on, [habit.weight for habit in going_on], k=3)
            made = [call for habit in habits for call in calls.calls_of(habit, time.time_ns(), dice)]
            for request in calls.bodies(made):
                send(exporters[turn % len(exporters)], request)
            turn += 1

    thread = threading.Thread(target=run, name="traffic")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _odd() -> list[bytes]:
    """Make requests of which something is to be said: told twice, with a figure that cannot be, from the future."""
    now_ns, habit = time.time_ns(), calls.HABITS[0]

    def request(name: str, end_ns: int, **said: int) -> bytes:
        known = {
            "gen_ai.request.model": habit.model,
            "gen_ai.response.model": habit.model,
            "spanledger.team": habit.team,
        }
        told = {**CHAT, **known, "spanledger.project": habit.project, "gen_ai.response.id": f"answer-{name}-{now_ns}"}
        figures = {f"gen_ai.usage.{kind}": tokens for kind, tokens in said.items()}
        (made,) = calls.bodies([calls.Call(end_ns, habit, span({**told, **figures}, end_ns=end_ns))])
        return made

    twice = request("twice", now_ns)
    return [twice, twice, request("negative", now_ns, output_tokens=-1), request("ahead", now_ns + 30 * 86_400 * 10**9)]


# What a service tells that enforces hard budgets.
_DECISIONS: Final = {
    "process": "11111111-aaaa",
    "service": "laboratory",
    "decisions": [
        {"budget": "calls", "decision": "admitted", "count": 20},
        {"budget": "calls", "decision": "refused", "count": REFUSED},
    ],
}


def _budgets(past: Sequence[Entry], now_s: int) -> str:
    """Write budgets in each unit, soft and hard, alone and by group: some near their limit, some beyond it.

    The hard one is used up and no more than that, for it holds. Their period is as long again as there are calls, so
    that something is left to be forecast on any day of a month.
    """
    usd: dict[str, float] = {}
    words: dict[str, int] = {}
    made = sum(entry.sums.calls for entry in past if entry.cell.team == _REFUSED_TEAM)
    for entry in past:
        team, service = entry.cell.team, entry.cell.service
        usd[team] = usd.get(team, 0) + entry.sums.cost_pusd / 1e12
        words[service] = words.get(service, 0) + entry.sums.input_tokens + entry.sums.output_tokens
    since = datetime.fromtimestamp(now_s, UTC).date() - timedelta(days=calls.DAYS)
    period = f'period = "days"\ndays = {2 * calls.DAYS}\nsince = {since}'
    return f"""
[[budget]]
name = "company"
limit_usd = "{sum(usd.values()) * 1.4:.6f}"

[[budget]]
name = "teams"
limit_usd = "{max(usd.values()) * 1.25:.6f}"
per = ["team"]
{period}

[[budget]]
name = "users"
limit_usd = "{sum(usd.values()) / 40:.6f}"
per = ["user"]
{period}

[[budget]]
name = "words"
limit_tokens = {round(max(words.values()) / 0.95)}
per = ["service"]
{period}

[[budget]]
name = "calls"
scope = {{ team = "{_REFUSED_TEAM}" }}
limit_calls = {made}
per = ["service"]
mode = "hard"
{period}
"""
