"""Dashboards ask for what there is: every metric and label of theirs is one that the code exposes, or the rules record.

A metric or label that is renamed, in the code or in a dashboard, is found here.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import promql_parser as promql
import pytest

from spanledger_exporter.ledger import schema
from tests.dashboards import boards
from tests.dashboards.rules import Rule, alerts_of, rules_of
from tests.test_docs import ROOT, exposed

COMING_VIEWS = {
    "budget_spend": {
        "budget", "unit", "mode", "limit_amount", "group_key", "period_start_s", "calls", "tokens", "unpriced_calls",
        "cost_micro_usd", "cost_rest_pusd", "leased",
    }
}  # fmt: skip
SCRAPED = frozenset({"job", "instance", "pod", "le"})
"""Labels that Prometheus, or what finds the exporters for it, adds; and that of buckets."""


class Use(NamedTuple):
    """One metric that is asked for, and a label that it must have."""

    where: str
    metric: str
    labels: frozenset[str]


@cache
def known() -> dict[str, frozenset[str]]:
    """Each metric that there is, with its labels."""
    found = {name: labels for name, (_, labels) in exposed().items()}
    for rule in rules_of("shipped"):
        if "record" in rule:
            found[rule["record"]] = frozenset(boards.labels_of(promql.parse(rule["expr"])) or ())
    told = {label for rule in alerts_of("shipped") for label in rule["labels"]}
    told |= {label for rule in alerts_of("shipped") for label in boards.labels_of(promql.parse(rule["expr"])) or ()}
    found["ALERTS"] = frozenset({"alertname", "alertstate", *told})
    collector = (ROOT / "docs" / "collector.md").read_text()
    for name in re.findall(r"`(otelcol_\w+)`", collector):
        found[name] = frozenset({"exporter", "receiver"})
    return found


def uses(name: str) -> Iterator[Use]:
    """What a dashboard's panels, variables and marks ask for."""
    dashboard = boards.load(name)
    queries = [(target.where, target.query["expr"]) for target in boards.expressions(dashboard)]
    queries += [("marks", each["target"]["expr"]) for each in dashboard["annotations"].get("list") or []]
    for variable in dashboard["templating"]["list"]:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", str(variable.get("query")))
        if asked is not None:
            queries.append((variable["name"], f"sum by ({asked[2]}) ({asked[1]})"))
    for where, expr in queries:
        for series in boards.series(boards.parsed(expr)):
            by = [node.modifier for node in series.around if isinstance(node, promql.AggregateExpr) and node.modifier]
            grouped = {label for each in by if each.type == promql.AggModifierType.By for label in each.labels}
            for metric in _spelt_out(series.name):
                yield Use(where, metric, series.labels | grouped)


def _spelt_out(name: str) -> Iterator[str]:
    """The names that a regular expression stands for; a version may append `_total` to the collector's."""
    alternatives = re.fullmatch(r"(\w*)\(([\w|]+)\)(\w*)(\(_total\)\?)?", name)
    if alternatives is None:
        yield re.sub(r"_(bucket|sum|count)$", "", name)
    else:
        yield from (f"{alternatives[1]}{each}{alternatives[3]}" for each in alternatives[2].split("|"))


def unknown(found: Iterator[Use]) -> list[str]:
    complaints = [f"{use.where}: {use.metric}" for use in found if use.metric not in known()]
    return complaints + [
        f"{use.where}: {use.metric} has no {sorted(use.labels - known()[use.metric] - SCRAPED)}"
        for use in found
        if use.metric in known() and use.labels - known()[use.metric] - SCRAPED
    ]


@pytest.mark.parametrize("name", boards.names())
def test_every_metric_and_label_that_a_dashboard_asks_for_is_exposed(name: str) -> None:
    found = list(uses(name))
    assert unknown(found) == []
    assert found or name == "spanledger-ledger"


def test_a_metric_or_label_that_is_not_there_is_found() -> None:
    assert unknown([Use("a", "genai_cost_eur_total", frozenset())]) == ["a: genai_cost_eur_total"]
    assert unknown([Use("a", "genai_calls_total", frozenset({"colour"}))]) == ["a: genai_calls_total has no ['colour']"]


def test_every_metric_that_is_about_calls_is_on_a_dashboard() -> None:
    shown = {use.metric for name in boards.names() for use in uses(name)}
    assert {name for name in known() if name.startswith(("genai_", "spanledger_"))} - shown == set()


def test_every_view_and_column_that_the_ledgers_dashboard_asks_for_is_there() -> None:
    views = {name: set(table.columns.keys()) for name, table in schema.views.tables.items()} | COMING_VIEWS
    sums = {*schema.DIMENSIONS, *schema.ROLLUP_SUMS}
    views |= {"spend_hours": {"hour_s", *sums}, "spend_days": {"day_s", *sums}}
    asked = [target.query["rawSql"] for target in boards.targets(boards.load("spanledger-ledger"))]
    asked += [
        each["query"] for each in boards.load("spanledger-ledger")["templating"]["list"] if each["type"] == "query"
    ]
    for sql in asked:
        (view,) = set(re.findall(r"\bFROM (\w+)", sql))
        aliases = set(re.findall(r"\bAS \"?(\w+)", sql))
        plain = re.sub(r"'[^']*'|\$\{?\w+(:\w+)?\}?|::\w+|\bFROM \w+", "", sql)
        named = set(re.findall(r"\b[a-z]\w*\b(?!\()", plain))
        assert named - aliases <= views[view], sql


@cache
def recorded() -> dict[str, frozenset[str]]:
    """What the rules record, and of which metrics."""
    return {rule["record"]: _metrics(rule["expr"]) for rule in rules_of("shipped") if "record" in rule}


def _metrics(expr: str) -> frozenset[str]:
    return frozenset(metric for series in boards.series(promql.parse(expr)) for metric in _spelt_out(series.name))


@cache
def shown_on(name: str) -> frozenset[str]:
    """The metrics that panels of a dashboard ask for."""
    exprs = [target.query["expr"] for target in boards.expressions(boards.load(name))]
    found = {series.name for expr in exprs for series in boards.series(boards.parsed(expr))}
    spelt_out = {metric for each in found for metric in _spelt_out(each)}
    return frozenset(spelt_out.union(*(recorded().get(each, ()) for each in spelt_out)))


@pytest.mark.parametrize("rule", alerts_of("shipped"), ids=lambda rule: rule["alert"])
def test_every_alert_leads_to_a_dashboard_that_shows_its_metrics(rule: Rule) -> None:
    board = re.sub(r"\{\{.*", "", rule["annotations"]["dashboard_url"]).rsplit("/", 1)[1]
    asked = _metrics(rule["expr"])
    asked = asked.union(*(recorded().get(each, ()) for each in asked)) - recorded().keys()
    # That an exporter is up Prometheus says, not the exporter; where it is down, no panel has anything to show.
    assert asked == {"up"} or asked - {"up"} <= shown_on(board)
