"""Every query of every dashboard over real metrics: it finds something to show, and all of what it names is there."""

import re
from collections.abc import Iterator

import pytest

from tests.dashboards import asking, boards
from tests.dashboards.asking import Answer
from tests.dashboards.grafana import Window
from tests.dashboards.stage import Stage

pytestmark = pytest.mark.xdist_group("dashboards")
# What a panel shows at first.
SPANS_S = {"now-6h": 6 * 3600, "now-24h": 24 * 3600, "now-7d": 7 * 24 * 3600}
# No collector is on this stage; test_collector_panels.py has one.
OF_A_COLLECTOR = re.compile(r"otelcol_")
# Nothing was there a minute before the traffic; and entries without a split of their cost are older than the split.
NOT_NOW = re.compile(r" offset ")
NEVER_HERE = re.compile(r'cost_type="unknown"')
# What Prometheus has of the past: what the ledger's counters and the calls' histograms say.
OF_THE_PAST = re.compile(r"genai_(cost|tokens|calls|unpriced|unreported|cache|retries|call_)")
OF_NOW = re.compile(r"genai_(budget|month|rate_limit)|spanledger_|ALERTS")


@pytest.mark.parametrize("name", boards.names())
def test_every_panel_shows_what_happens_now(stage: Stage, name: str) -> None:
    found = [*asked(stage, name, stage.live)]
    assert empty(found, OF_A_COLLECTOR, NOT_NOW, NEVER_HERE) == []
    assert faults(found) == []


@pytest.mark.parametrize("name", boards.names())
def test_every_panel_of_spend_shows_the_past(stage: Stage, name: str) -> None:
    found = [*asked(stage, name, stage.past(SPANS_S[boards.load(name)["time"]["from"]]))]
    assert empty([each for each in found if OF_THE_PAST.search(each.expr)], OF_NOW, NEVER_HERE) == []
    assert faults(found) == []


def test_every_variable_offers_values_and_panels_take_them(stage: Stage) -> None:
    """One value of one variable, and two; panels may be empty then, but never wrong."""
    for name in boards.names():
        dashboard = boards.load(name)
        for variable in asking.variables(dashboard):
            if variable.get("datasource", {}).get("type") != "prometheus":
                continue
            values = asking.values(stage.prometheus, variable, dashboard, stage.live)
            assert values, f"{name}: {variable['name']} offers nothing"
            for chosen in (values[:1], values[:2]):
                answers = asking.answers(stage.prometheus, dashboard, stage.live, {variable["name"]: chosen})
                assert [each.where for each in answers if not each.finite] == []


def test_the_marks_over_panels_are_the_alerts_that_fire(stage: Stage) -> None:
    found = [
        each for name in boards.names() for each in asking.annotations(stage.prometheus, boards.load(name), stage.live)
    ]
    assert len(found) == len(boards.names()) - 1, "all but the ledger's, which asks no Prometheus"
    assert [each.where for each in found if not each.series] == []
    assert faults(found) == []


def test_single_calls_beside_histograms_lead_to_traces(stage: Stage) -> None:
    found = [
        each for name in boards.names() for each in asking.exemplars(stage.prometheus, boards.load(name), stage.live)
    ]
    assert found
    for where, labels in found:
        assert labels, where
        assert all(re.fullmatch("[0-9a-f]{32}", each["trace_id"]) for each in labels), where


def asked(stage: Stage, name: str, window: Window) -> Iterator[Answer]:
    return asking.answers(stage.prometheus, boards.load(name), window)


def empty(found: list[Answer], *rightly: re.Pattern[str]) -> list[str]:
    wanted = (each for each in found if not any(pattern.search(each.expr) for pattern in rightly))
    return [each.where for each in wanted if not each.series]


def faults(found: "Iterator[Answer] | list[Answer]") -> list[str]:
    return [fault for each in found for fault in each.faults]
