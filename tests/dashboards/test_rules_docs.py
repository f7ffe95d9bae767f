"""The rules ask for nothing that is not exposed, and the documentation says what they are.

That docs/metrics.md and docs/metrics-instrumentation.md are what the code has is test_docs.py's to see.
"""

import re
from functools import cache

import promql_parser as promql
import pytest

from spanledger_exporter.alerts.budget_rules import DAY_S, HOUR_S, LENGTHS, Burn
from tests.dashboards import replicas
from tests.dashboards.rules import Rule, alerts_of, rules_of
from tests.test_docs import ROOT, code, docs, text_of

KINDS = ("shipped", "generated")
OF_EVERY_SERIES = {"job", "instance", "__name__"}
NAME = re.compile(r"(?<![:\w\"])(?:genai|spanledger|gen_ai|otelcol|up)(?:_[a-z0-9_]+)?\b(?![:\w]|\s*=)")
# What a collector says of itself; docs/collector.md names the metrics, not their labels.
COLLECTOR_LABELS = {"exporter"}
# Whether a counter rose at all, on whichever exporter, and not by how much.
ASKED_WHETHER = {"SpanledgerUnpricedModel"}


@cache
def exposed() -> dict[str, frozenset[str]]:
    """Each series that Prometheus may find, and its labels."""
    found = {"up": frozenset[str]()}
    for row in docs("metrics.md", "metric"):
        (name, *_), labels = code(row.cells["metric"]), frozenset(code(row.cells["labels"]))
        suffixes = ("_bucket", "_sum", "_count") if row.cells["type"] == "histogram" else ("",)
        found |= {name + suffix: labels | ({"le"} if suffix == "_bucket" else set()) for suffix in suffixes}
    for row in docs("metrics-instrumentation.md", "metric"):
        (name, *_) = code(row.cells["metric"])
        found |= dict.fromkeys(in_prometheus(name, row.cells["kind"], code(row.cells["unit"])[0]), client_labels())
    for name in re.findall(r"`(otelcol_\w+)`", text_of(ROOT / "docs" / "collector.md")):
        found[name] = found[f"{name}_total"] = frozenset(COLLECTOR_LABELS)
    return found


def client_labels() -> frozenset[str]:
    """The attributes of the instrumentation's metrics, as labels."""
    page = text_of(ROOT / "docs" / "metrics-instrumentation.md")
    attributes = page.partition("\nAttributes: ")[2].partition("\n\n")[0]
    return frozenset(name.replace(".", "_") for name in code(attributes))


def in_prometheus(name: str, kind: str, unit: str) -> list[str]:
    """The series of one of OpenTelemetry's metrics.

    As its compatibility specification says: units in words, `total` behind counters, `ratio` behind gauges of 1.
    """
    whole = name.replace(".", "_") + {"s": "_seconds", "1": "_ratio" if kind == "gauge" else ""}.get(unit, "")
    if kind == "histogram":
        return [f"{whole}_{part}" for part in ("bucket", "sum", "count")]
    return [f"{whole}_total" if kind == "counter" else whole]


def asked(rule: Rule) -> set[str]:
    """The series that an expression asks for by name."""
    by_pattern = {
        name
        for pattern in re.findall(r'__name__=~"([^"]+)"', rule["expr"])
        for name in exposed()
        if re.fullmatch(pattern, name)
    }
    without_labels = re.sub(r'"[^"]*"|\b(?:by|on) \([^)]*\)', "", rule["expr"])
    return by_pattern | set(NAME.findall(without_labels))


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_that_the_rules_ask_for_is_exposed(kind: str) -> None:
    for rule in rules_of(kind):
        series = asked(rule)
        assert series or ":" in rule["expr"]
        assert series <= exposed().keys(), rule["expr"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_label_that_the_rules_ask_for_is_of_their_metrics(kind: str) -> None:
    for rule in rules_of(kind):
        own = OF_EVERY_SERIES.union(*(exposed()[name] for name in asked(rule)))
        own |= set(re.findall(r'label_replace\(.*?, "(\w+)", "\$1"', rule["expr"]))  # what a rule makes itself
        for level in re.findall(r"\b([a-z_]+):genai_", rule["expr"]):  # what is recorded has the labels of its level
            own |= set(level.split("_"))
        grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"])
        labels = {name.strip() for names in grouped for name in names.split(",") if name.strip()}
        assert labels <= own, rule["expr"]
        for name, matchers in re.findall(r"([\w:]+)\{([^}]*)\}", rule["expr"]):
            wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            allowed = OF_EVERY_SERIES | exposed().get(name, {"budget", "group"})
            assert wanted <= allowed, rule["expr"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_put_replicas_together_as_documented(kind: str) -> None:
    found: dict[str, list[str]] = {}
    for rule in rules_of(kind):
        if complaints := list(replicas.wrongly(promql.parse(rule["expr"]))):
            found[rule.get("alert") or rule["record"]] = complaints
    assert found.keys() == ASKED_WHETHER, found


@pytest.mark.parametrize("kind", KINDS)
def test_every_label_that_a_message_names_is_left_by_its_expression(kind: str) -> None:
    for rule in alerts_of(kind):
        said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = {name for names in re.findall(r"\((\w+(?:, \w+)*)\)", rule["expr"]) for name in names.split(", ")}
        kept |= {"instance"} if rule["expr"].startswith("up{") else set()
        kept |= {"budget", "group"} if "budget_group:" in rule["expr"] else set()
        kept |= {"service", "environment"} if "service_environment:" in rule["expr"] else set()
        assert said <= kept, rule["alert"]


def test_every_alert_is_documented_with_its_severities() -> None:
    documented = {
        re.findall(r"\[(\w+)\]", row.cells["alert"])[0]: code(row.cells["severity"])
        for row in docs("alerting.md", "alert")
    }
    severities: dict[str, list[str]] = {}
    for rule in alerts_of("shipped"):
        found = severities.setdefault(rule["alert"], [])
        if rule["labels"]["severity"] not in found:
            found.append(rule["labels"]["severity"])
    assert {name: sorted(found) for name, found in documented.items()} == {
        name: sorted(found) for name, found in severities.items()
    }


def test_the_burn_rates_are_documented() -> None:
    def span(seconds: int) -> str:
        return f"{seconds // DAY_S} days" if seconds >= DAY_S else f"{seconds // HOUR_S} hours"

    def said(burns: tuple[Burn, ...]) -> str:
        return "; ".join(f"{burn.share * 100:g} % within {burn.long}, still in {burn.short}" for burn in burns)

    shown = [tuple(row.cells.values()) for row in docs("alerting.md", "length of the period")]
    expected: list[tuple[str, ...]] = []
    for each in LENGTHS:
        least, below = span(each.least_s), span(each.below_s or DAY_S)
        length = "longer" if each.below_s is None else f"{least.removesuffix(' days')} to {below}"
        expected.append((length, said(each.fast), said(each.slow)))
    assert shown == expected
