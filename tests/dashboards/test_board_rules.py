"""Every dashboard obeys every rule, and every rule finds what is against it."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from dashboards.boards.colors import BLUE, ORANGE
from tests.dashboards import board_rules, boards
from tests.dashboards.boards import Dashboard


@pytest.mark.parametrize("rule", board_rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", boards.names())
def test_the_dashboard_obeys(name: str, rule: Callable[[Dashboard], board_rules.Complaints]) -> None:
    assert list(rule(boards.load(name))) == []


def panel(dashboard: Dashboard, kind: str = "timeseries") -> dict[str, Any]:
    """The first panel of a kind."""
    return next(each for each in boards.panels(dashboard) if each["type"] == kind)


def query(expr: str, kind: str = "timeseries", **changes: Any) -> Callable[[Dashboard], None]:
    """Let the first panel of a kind ask something else."""

    def spoil(dashboard: Dashboard) -> None:
        panel(dashboard, kind)["targets"] = [panel(dashboard, kind)["targets"][0] | {"expr": expr} | changes]

    return spoil


def fields(kind: str = "timeseries", **changes: Any) -> Callable[[Dashboard], None]:
    return lambda dashboard: panel(dashboard, kind)["fieldConfig"]["defaults"].update(changes)


def top(**changes: Any) -> Callable[[Dashboard], None]:
    return lambda dashboard: dashboard.update(changes)


def variable(name: str, **changes: Any) -> Callable[[Dashboard], None]:
    return lambda dashboard: next(each for each in dashboard["templating"]["list"] if each["name"] == name).update(
        changes
    )


def of_panel(**changes: Any) -> Callable[[Dashboard], None]:
    return lambda dashboard: panel(dashboard).update(changes)


def leading(name: str, carried: str) -> Callable[[Dashboard], None]:
    """Let the first panel lead to another dashboard."""
    return fields(links=[{"title": "there", "url": f"/d/spanledger-{name}?from=0{carried}"}])


MAX = "max without (instance, pod)"
MIN = "min without (instance, pod)"
MOST = "max_over_time(genai_cost_usd_total[$__range])"
LEAST = "min_over_time(genai_cost_usd_total[$__range])"
OTHERS_LEAST = "min_over_time(genai_calls_total[$__range])"
BUCKETS = "genai_call_cost_usd_bucket"
COST = "rate(genai_cost_usd_total[$__rate_interval])"
SOURCES = "&${datasource:queryparam}&${tempo:queryparam}"
LINK = {"title": "there", "url": "/d/x?var-team=${__field.labels.team}"}
EXPLORE = "/explore?schemaVersion=1&panes="
SILENT: dict[str, Any] = {"a": {"queries": []}}
ASKED = {"a": {"queries": [{"datasource": {"type": "prometheus"}, "expr": "sum("}]}}
SPOILED: list[tuple[str, Callable[[Dashboard], None]]] = [
    ("uneditable", top(editable=True)),
    ("known_and_linked", top(uid="overview")),
    ("known_and_linked", top(tags=["genai"])),
    ("known_and_linked", lambda dashboard: dashboard["links"][0].update(includeVars=False)),
    ("common_settings", top(schemaVersion=36)),
    ("common_settings", top(timezone="utc")),
    ("source_is_a_variable", variable("datasource", type="constant")),
    ("panels_use_the_variable", of_panel(datasource={"type": "prometheus", "uid": "abc"})),
    ("panels_use_the_variable", query("up", datasource={"type": "prometheus", "uid": "abc"})),
    ("variables_are_read_anew", variable("service", refresh=1)),
    ("variables_are_read_anew", variable("service", allValue=None)),
    ("variables_are_read_anew", variable("service", multi=False)),
    ("variables_exist", query('up{cluster="$cluster"}')),
    ("variables_exist", fields(links=[{"title": "there", "url": "/d/x?var-cluster=${cluster}"}])),
    ("panels_say_what_they_show", of_panel(title="")),
    ("panels_say_what_they_show", of_panel(targets=[])),
    ("panels_say_what_they_show", of_panel(description="Cost.")),
    ("panels_say_what_they_show", fields(unit=None)),
    ("rates_say_what_of", fields(custom={"axisLabel": "USD"})),
    ("rates_say_what_of", query(f"sum({MAX} ({COST}))")),
    ("rates_say_what_of", fields(unit="ops")),
    ("quantiles_have_their_name", query(f"histogram_quantile(0.5, sum by (le) ({BUCKETS}))", legendFormat="half")),
    ("quantiles_have_their_name", query(f"histogram_quantile(0.9, sum by (le) ({BUCKETS}))", legendFormat="p90")),
    ("titles_have_room", lambda dashboard: panel(dashboard, "stat").update(title="Saved for each USD spent")),
    ("bars_are_in_order", query("max by (budget) (genai_budget_used_ratio)", "bargauge")),
    ("nothing_is_said", fields(noValue=None)),
    ("nothing_is_said", fields(mappings=[])),
    ("panels_lead_on", fields(links=[])),
    ("links_have_their_values", fields(links=[LINK])),
    ("links_have_their_values", fields("table", links=[{"title": "there", "url": "/d/x?a=${__data.fields.team}"}])),
    ("links_take_choices_along", leading("quality", f"&var-service=a{SOURCES}")),
    ("links_take_choices_along", leading("exporter", f"{SOURCES}&${{__all_variables}}")),
    ("links_take_choices_along", leading("exporter", f"&var-budget=a{SOURCES}")),
    ("links_are_heeded", leading("ledger", f"&var-budget=a{SOURCES}")),
    ("links_are_heeded", leading("ledger", f"&viewPanel=panel-1000{SOURCES}")),
    ("explore_is_asked_something", fields(links=[{"title": "there", "url": "/explore"}])),
    ("explore_is_asked_something", fields(links=[{"title": "there", "url": EXPLORE + quote(json.dumps(SILENT))}])),
    ("explore_is_asked_something", fields(links=[{"title": "there", "url": EXPLORE + quote(json.dumps(ASKED))}])),
    ("legends_have_their_labels", query(f"sum by (model) ({MAX} ({COST}))", legendFormat="{{service}}")),
    ("legends_have_their_labels", query(f"sum by (model, team) ({MAX} ({COST}))", legendFormat="{{model}}")),
    ("rates_have_their_interval", query(f"sum({MAX} (rate(genai_cost_usd_total[5m])))")),
    ("rates_have_their_interval", query(f"sum({MAX} (increase(genai_cost_usd_total[$__range])))", instant=False)),
    ("rates_have_their_interval", query("sum(increase(spanledger_spans_total[$__rate_interval]))")),
    ("counters_are_rated_and_summed", query(f"sum({MAX} (genai_cost_usd_total))")),
    ("counters_are_rated_and_summed", query("rate(spanledger_spans_total[$__rate_interval])")),
    ("replicas_are_put_together", query(f"sum({COST})")),
    ("replicas_are_put_together", query(f"{MAX} (sum without (model) ({COST}))")),
    ("replicas_are_put_together", query("sum(genai_month_to_date_cost_usd)")),
    ("replicas_are_put_together", query(f"sum({MAX} (increase(genai_cost_usd_total[$__range])))", instant=True)),
    ("counters_are_rated_and_summed", query(f"sum({MAX} ({MOST}) - {MAX} ({LEAST}))", instant=True)),
    ("replicas_are_put_together", query(f"sum({MAX} ({MOST}) - {MIN} ({OTHERS_LEAST}))", instant=True)),
    ("replicas_are_put_together", query(f"max by (le) (rate({BUCKETS}[$__rate_interval]))")),
    ("replicas_are_put_together", query("max(rate(spanledger_folded_calls_total[$__rate_interval]))")),
    ("replicas_are_put_together", query("max by (budget, group) (genai_budget_remaining_usd)")),
    ("divisions_are_guarded", query(f"sum({MAX} ({COST})) / sum({MAX} ({COST}))")),
    ("zero_is_said_where_it_is_true", query(f"sum({MAX} ({COST})) or vector(0)")),
    ("unknown_tokens_are_not_none", query(f"sum({MAX} (rate(genai_tokens_total[$__rate_interval])))")),
    ("unknown_tokens_are_not_none", query("sum(genai_tokens_total) / (sum(genai_calls_total) > 0)")),
    ("heatmaps_are_of_buckets", of_panel(type="heatmap")),
    ("latencies_have_exemplars", query(f"sum by (le) (rate({BUCKETS}[$__rate_interval]))", exemplar=False)),
    ("thresholds_are_no_money", fields("stat", thresholds={"steps": [{"color": BLUE}, {"color": ORANGE, "value": 9}]})),
    ("colours_can_be_told_apart", fields(thresholds={"steps": [{"color": "green"}]})),
    ("colours_can_be_told_apart", fields(color={"mode": "palette-classic"})),
    ("panels_have_room", of_panel(gridPos={"x": 0, "y": 0, "w": 4, "h": 4})),
    ("panels_have_room", of_panel(id=1)),
    ("alerts_are_marked", top(annotations={"list": []})),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil"), SPOILED, ids=[f"{name}-{place}" for place, (name, _) in enumerate(SPOILED)])
def test_the_rule_finds_what_is_against_it(name: str, spoil: Callable[[Dashboard], None]) -> None:
    dashboard = boards.load("spanledger-overview")
    spoil(dashboard)
    rule = next(rule for rule in board_rules.RULES if rule.__name__ == name)
    assert list(rule(dashboard))


def test_every_rule_is_seen_to_fail() -> None:
    assert {name for name, _ in SPOILED} == {rule.__name__ for rule in board_rules.RULES}
