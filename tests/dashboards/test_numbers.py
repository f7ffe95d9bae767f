"""Numbers on the dashboards against the ledger, which is asked in SQL: truths.py has a line for each stat.

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
from tests.dashboards.truths import (
    CALLS,
    COST,
    IN_TESTS_OF_THEIR_OWN,
    NOT_IN_THE_LEDGER,
    OF_A_TIME,
    OF_NOW,
    TOKENS,
    Figure,
    Stat,
)
from tests.servers.process import poll

pytestmark = pytest.mark.xdist_group("dashboards")
HOUR_S = 3600
# `increase()` extrapolates by an interval; of what began seconds ago that is more: ten scrapes or more are there.
NEWBORN = 1.1 / 10


class Range(NamedTuple):
    """Between what a figure is."""

    low: float
    high: float


def within(stage: Stage, window: Window, what: str, matching: str = "true") -> Range:
    """A sum of the entries since the first scrape of a time, whenever that was, up to the last one before its end."""

    def entries(since_s: float, until_s: float) -> float:
        bounds = f"end_ns > {round(since_s * 1e9)} AND end_ns <= {round(until_s * 1e9)} AND {matching}"
        return float(stage.select(f"SELECT coalesce({what}, 0) AS value FROM entries WHERE {bounds}")[0]["value"])

    # All that there is was scraped when the stage stood still.
    last_s = window.to_s if window.to_s >= stage.now_s else window.to_s - backfill.STEP_S
    return Range(entries(window.from_s + backfill.STEP_S, last_s), entries(window.from_s, window.to_s))


def truth(stage: Stage, window: Window, figure: Figure) -> Range:
    """Between what a figure of a time is, whenever the first scrape in it was."""
    part = within(stage, window, figure.part)
    less = within(stage, window, figure.less) if figure.less else Range(0, 0)
    low, high = part.low - less.high, part.high - less.low
    if not figure.whole:
        return Range(low, high)
    whole = within(stage, window, figure.whole)
    return Range(low / whole.high, high / whole.low)


def shown(stage: Stage, name: str, title: str, window: Window, chosen: Chosen = asking.ALL) -> float:
    """The one figure of a panel."""
    dashboard = boards.load(f"spanledger-{name}")
    stats = (each for each in boards.expressions(dashboard) if each.panel["type"] == "stat")
    (target,) = (each for each in stats if each.panel["title"] == title)
    expr = grafana.promql(target.query["expr"], window, asking.variables(dashboard), chosen)
    (series,) = asking.ask(stage.prometheus, expr, window, instant=True)
    return series.values[0]


def test_every_stat_is_compared_with_the_ledger_or_it_is_said_why_not() -> None:
    stats = {
        (name.removeprefix("spanledger-"), target.panel["title"])
        for name in boards.names()
        for target in boards.expressions(boards.load(name))
        if target.panel["type"] == "stat"
    }
    said = [*OF_A_TIME, *OF_NOW, *IN_TESTS_OF_THEIR_OWN, *NOT_IN_THE_LEDGER]
    assert sorted(said) == sorted(stats)
    assert set(IN_TESTS_OF_THEIR_OWN.values()) <= globals().keys()


@pytest.mark.parametrize("stat", OF_A_TIME, ids=" ".join)
@pytest.mark.parametrize("hours", [3, 6, 24, 7 * 24])
def test_a_figure_of_a_time_is_the_ledgers(stage: Stage, stat: Stat, hours: int) -> None:
    window = stage.past(hours * HOUR_S)
    low, high = truth(stage, window, OF_A_TIME[stat])
    assert low > 0 or hours < 24, "nothing of the kind in a day"
    assert low * (1 - 1e-9) <= shown(stage, *stat, window) <= high * (1 + 1e-9)


@pytest.mark.parametrize("stat", OF_NOW, ids=" ".join)
def test_a_figure_of_now_is_the_ledgers(stage: Stage, stat: Stat) -> None:
    assert shown(stage, *stat, stage.live) == stage.select(OF_NOW[stat])[0]["value"] > 0


def test_a_budget_whose_groups_have_no_names_is_counted(stage: Stage) -> None:
    """It can be chosen, and then it is the one that is shown: at its limit for the users that are at theirs."""
    dashboard, users = boards.load("spanledger-budgets"), {"budget": ["users"]}
    (variable,) = (each for each in asking.variables(dashboard) if each["name"] == "budget")
    offered = asking.values(stage.prometheus, variable, dashboard, stage.live)
    assert offered == [row["budget"] for row in stage.select("SELECT DISTINCT budget FROM budget_spend ORDER BY 1")]
    titles = ("Budgets", "At their limit", "Likely to exceed it")
    assert [shown(stage, "budgets", title, stage.live, users) for title in titles] == [1, 1, -1]


def test_a_time_is_set_against_the_one_before(stage: Stage) -> None:
    window = stage.past(24 * HOUR_S)
    before = Window(window.from_s - 24 * HOUR_S, window.from_s, window.scrape_s)
    new, old = within(stage, window, COST), within(stage, before, COST)
    change = shown(stage, "spend", "Against the time before", window)
    assert (new.low / old.high) * (1 - 1e-9) <= change + 1 <= (new.high / old.low) * (1 + 1e-9)


def test_calls_of_now_are_counted_once_though_two_exporters_show_them(stage: Stage) -> None:
    """They began after the first scrape, so that each of them is known."""
    calls = stage.select(
        f"SELECT count(*) AS value FROM entries WHERE end_ns > {round((stage.live.from_s - 10) * 1e9)}"
    )
    assert shown(stage, "overview", "Calls", stage.live) == calls[0]["value"] > 0


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


def test_tokens_that_nobody_reported_are_not_said_to_be_none(stage: Stage) -> None:
    """All calls to one model lack their usage, but for those that failed; of embeddings it is known that none came."""
    for name, title, column in (
        ("spend", "By service and model", "tokens"),
        ("models", "Models side by side", "output tokens for a call"),
    ):
        said = {each.labels["model"]: each.values[0] for each in of_column(stage, name, title, column)}
        models = {model for row in stage.select("SELECT DISTINCT model FROM spend_days") if (model := row["model"])}
        assert models - said.keys() == {"gpt-4.1"}
        assert (said["text-embedding-3-small"] == 0) == (column != "tokens")
    window = stage.past(24 * HOUR_S)
    lacking = f'max without (instance, pod) (rate(genai_unreported_calls_total{{model="gpt-4.1"}}[{window.rate_s}s]))'
    (unknown,) = asking.ask(stage.prometheus, f"sum({lacking}) > 0", window, instant=False)
    for each in of_column(stage, "overview", "Tokens", "", {"model": ["gpt-4.1"]}):
        assert not {*each.times_s} & {*unknown.times_s}


def of_column(stage: Stage, name: str, title: str, column: str, chosen: Chosen = asking.ALL) -> list[asking.Series]:
    """What a column of a table says, or a chart, at the end of a day."""
    dashboard, window = boards.load(f"spanledger-{name}"), stage.past(24 * HOUR_S)
    targets = (each for each in boards.expressions(dashboard) if each.panel["title"] == title)
    (target,) = (each for each in targets if boards.column(each) == column)
    expr = grafana.promql(target.query["expr"], window, asking.variables(dashboard), chosen)
    return asking.ask(stage.prometheus, expr, window, instant=bool(target.query["instant"]))


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


def test_a_hard_budget_is_used_and_holds(stage: Stage) -> None:
    """To the last call, and not beyond it: what is shown of the stage in pictures is what a hard budget does."""
    assert total(stage, 'max(genai_budget_used_ratio and on (budget) genai_budget_mode_info{mode="hard"})') == 1
    assert total(stage, "min(genai_budget_remaining_calls)") == 0


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
