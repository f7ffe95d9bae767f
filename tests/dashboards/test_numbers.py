"""Numbers on the dashboards against the ledger, which is asked in SQL.

Gauges and totals are equal. What a panel says of a time is the ledger's figure but for the calls between its beginning
and the first scrape in it, for Prometheus cannot know of them when they were made.
"""

import time
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from tests.dashboards import asking, backfill, boards, grafana
from tests.dashboards import stage as stages
from tests.dashboards.grafana import Chosen, Window
from tests.dashboards.stage import SCRAPE_S, Stage
from tests.servers.process import poll

pytestmark = pytest.mark.xdist_group("dashboards")
HOUR_S = 3600
# `increase()` extrapolates by an interval; of what began seconds ago that is more: ten scrapes or more are there.
NEWBORN = 1.1 / 10
COST, CALLS, TOKENS = "sum(cost_pusd) / 1e12", "count(*)", "sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))"
FAILED, UNPRICED = "count(*) FILTER (WHERE outcome = 'error')", "count(*) FILTER (WHERE price_status = 'unpriced')"
UNKNOWN_USAGE = "count(*) FILTER (WHERE usage_status IN ('unreported', 'partial') AND price_status <> 'free')"
PRICED = f"({CALLS} - {UNPRICED})"


class Range(NamedTuple):
    """Between what a figure is."""

    low: float
    high: float


def within(stage: Stage, window: Window, what: str, matching: str = "true") -> Range:
    """A sum of the entries since the first scrape of a time, whenever that was."""

    def entries(since_s: float) -> float:
        bounds = f"end_ns > {round(since_s * 1e9)} AND {matching}"
        return float(stage.select(f"SELECT coalesce({what}, 0) AS value FROM entries WHERE {bounds}")[0]["value"])

    return Range(entries(window.from_s + backfill.STEP_S), entries(window.from_s))


def shown(stage: Stage, name: str, title: str, window: Window, chosen: Chosen = asking.ALL) -> float:
    """The one figure of a panel."""
    dashboard = boards.load(f"spanledger-{name}")
    stats = (each for each in boards.expressions(dashboard) if each.panel["type"] == "stat")
    (target,) = (each for each in stats if each.panel["title"] == title)
    expr = grafana.promql(target.query["expr"], window, asking.variables(dashboard), chosen)
    (series,) = asking.ask(stage.prometheus, expr, window, instant=True)
    return series.values[0]


@pytest.mark.parametrize(
    ("name", "title", "what"),
    [("overview", "Cost", COST), ("overview", "Calls", CALLS), ("spend", "Cost", COST)],
)
@pytest.mark.parametrize("hours", [3, 6, 24, 7 * 24])
def test_a_sum_is_the_ledgers(stage: Stage, name: str, title: str, what: str, hours: int) -> None:
    window = stage.past(hours * HOUR_S)
    low, high = within(stage, window, what)
    assert low * (1 - 1e-9) <= shown(stage, name, title, window) <= high * (1 + 1e-9)


def test_calls_of_now_are_counted_once_though_two_exporters_show_them(stage: Stage) -> None:
    """They began after the first scrape, so that each of them is known."""
    calls = stage.select(
        f"SELECT count(*) AS value FROM entries WHERE end_ns > {round((stage.live.from_s - 10) * 1e9)}"
    )
    assert shown(stage, "overview", "Calls", stage.live) == calls[0]["value"] > 0


@pytest.mark.parametrize(
    ("name", "title", "part", "whole"),
    [
        ("overview", "Calls that fail", FAILED, CALLS),
        ("overview", "Cost unknown", UNPRICED, CALLS),
        ("overview", "Cost for a call", COST, PRICED),
        ("spend", "USD for a million tokens", f"1e6 * {COST}", TOKENS),
        ("quality", "Usage unknown", UNKNOWN_USAGE, CALLS),
    ],
)
def test_a_share_is_the_ledgers(stage: Stage, name: str, title: str, part: str, whole: str) -> None:
    window = stage.past(24 * HOUR_S)
    parts, wholes = within(stage, window, part), within(stage, window, whole)
    low, high = parts.low / wholes.high, parts.high / wholes.low
    assert low * (1 - 1e-9) <= shown(stage, name, title, window) <= high * (1 + 1e-9)


@pytest.mark.parametrize(
    "chosen",
    [
        {"service": ["assistant"]},
        {"team": ["search", "finance"]},
        {"model": ["gpt-4.1", "gpt-4o-mini"]},
        {"provider": ["openai"], "environment": ["staging"]},
    ],
    ids=str,
)
def test_what_is_chosen_is_what_is_summed(stage: Stage, chosen: Chosen) -> None:
    columns = {"model": "coalesce(response_model, request_model)"}
    quoted = {name: ", ".join(f"'{value}'" for value in values) for name, values in chosen.items()}
    matching = " AND ".join(f"{columns.get(name, name)} IN ({values})" for name, values in quoted.items())
    window = stage.past(24 * HOUR_S)
    low, high = within(stage, window, COST, matching)
    assert low * (1 - 1e-9) <= shown(stage, "overview", "Cost", window, chosen) <= high * (1 + 1e-9)
    assert high < within(stage, window, COST).low


def test_counters_are_the_ledgers_totals(stage: Stage) -> None:
    """To the last digit that a float has; each replica says the same, so that their sum would be twice as much."""
    for metric, what in (("cost_usd", COST), ("calls", CALLS), ("tokens", TOKENS)):
        truth = float(stage.select(f"SELECT {what} AS value FROM entries")[0]["value"])
        assert total(stage, f"sum(max without (instance, pod) (genai_{metric}_total))") == pytest.approx(
            truth, rel=1e-12
        )
        assert total(stage, f"sum(genai_{metric}_total)") == pytest.approx(len(stage.exporters) * truth, rel=1e-12)


def test_no_counter_falls_where_an_exporter_takes_over(stage: Stage) -> None:
    """What was scraped in the past, what the ledger gave back at the start, and what came then are one line."""
    assert total(stage, 'max(resets({__name__=~"genai_(cost_usd|calls|tokens)_total"}[30d]))') == 0


def test_budgets_are_the_ledgers_to_a_micro_usd(stage: Stage) -> None:
    """They are counted in whole ones."""
    month = month_to_date(stage, stage.now_s)
    teams = stage.select(f"SELECT 'team=' || team AS of, coalesce({COST}, 0) AS value FROM entries GROUP BY team")
    truth = {("company", ""): month} | {("teams", row["of"]): float(row["value"]) for row in teams}
    found = stage.prometheus.ask("query", query="max by (budget, group) (genai_budget_spent_usd)", time=stage.now_s)[
        "result"
    ]
    shown = {(each["metric"]["budget"], each["metric"].get("group", "")): float(each["value"][1]) for each in found}
    assert shown.keys() == truth.keys()
    assert all(0 <= truth[key] - spent < 1e-6 for key, spent in shown.items())


def test_the_first_refused_calls_are_seen(stage: Stage) -> None:
    """What each exporter was told is summed; its series began at 0."""
    told = stages.REFUSED * len(stage.exporters)
    assert told <= shown(stage, "budgets", "Refused calls", stage.live) <= told * (1 + NEWBORN)


def test_the_month_is_the_ledgers(stage: Stage) -> None:
    """Exporters read the month anew every minute; what they have read since the last call is what the ledger says."""
    at_s = poll(lambda: read_since(stage), what="the month to be read", timeout_s=120)
    window = Window(at_s - HOUR_S, at_s, SCRAPE_S)
    truth = month_to_date(stage, at_s)
    for name in ("overview", "spend"):
        assert shown(stage, name, "Month to date", window) == pytest.approx(truth, rel=1e-12)


def month_to_date(stage: Stage, at_s: float) -> float:
    month = datetime.fromtimestamp(at_s, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    bounds = f"end_ns >= {round(month.timestamp()) * 10**9}"
    return float(stage.select(f"SELECT coalesce({COST}, 0) AS value FROM entries WHERE {bounds}")[0]["value"])


def read_since(stage: Stage) -> float | None:
    """The time, once all exporters have read the month after the stage stood still."""
    now_s = time.time()
    return now_s if stage.prometheus.query(f"min(spanledger_month_timestamp_seconds) > {stage.now_s}") else None


def total(stage: Stage, expr: str) -> float:
    (series,) = asking.ask(stage.prometheus, expr, stage.live, instant=True)
    return series.values[0]
