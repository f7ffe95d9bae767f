"""What a rule of Prometheus is, and how a file of rules is written: the same rules are always the same text.

budget_rules.py and health_rules.py say which rules there are; rules_commands.py puts them together.

Source: prometheus.io/docs/prometheus/latest/configuration/recording_rules and alerting_rules, read in November 2026;
Prometheus 2.42, for `keep_firing_for`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import dedent, indent
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

Severity = Literal["critical", "warning", "info"]
Dashboard = Literal["budgets", "spend", "providers", "quality", "exporter"]
INTERVAL: Final = "30s"
RUNBOOKS: Final = "docs/runbooks"
GRAFANA: Final = "http://127.0.0.1:3000"
JOB: Final = "spanledger"
BUDGET: Final = "Budget {{ $labels.budget }}{{ with $labels.group }} ({{ . }}){{ end }}"
"""Prometheus' template of the budget and group that an alert is about."""


class Recording(NamedTuple):
    """An expression that is worked out once, and kept under a name of its own."""

    record: str
    expr: str
    labels: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An expression that is nothing while all is well.

    Units: `hold` and `keep` are durations as Prometheus writes them: how long the expression must be true before the
    alert fires, and how long it goes on firing when it is not any more. `keep` is for those whose metrics are gone
    while the exporter is started anew: they would otherwise end, and be told a second time.
    """

    name: str
    expr: str
    severity: Severity
    summary: str
    description: str
    dashboard: Dashboard
    hold: str = ""
    keep: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


class Group(NamedTuple):
    """Rules that are worked out one after another, so that the later see what the earlier record."""

    name: str
    rules: tuple[Recording | Alert, ...]


class Links(NamedTuple):
    """Where what an alert links to is: the folder of the runbooks, and Grafana."""

    runbooks: str = RUNBOOKS
    grafana: str = GRAFANA

    def runbook(self, alert: Alert) -> str:
        """Return where it stands what an alert means and what to do."""
        return f"{literal(self.runbooks.rstrip('/'))}/{alert.name}.md"

    def dashboard(self, alert: Alert) -> str:
        """Return the dashboard that shows what an alert is about; of a budget, with the budget chosen."""
        chosen = (
            "{{ with $labels.budget }}?var-budget={{ . | urlquery }}{{ end }}" if alert.dashboard == "budgets" else ""
        )
        return f"{literal(self.grafana.rstrip('/'))}/d/spanledger-{alert.dashboard}{chosen}"


def expression(text: str) -> str:
    """Return an expression without the indentation that it has in the code."""
    return dedent(text).strip()


def literal(text: str) -> str:
    """Return a text so that Prometheus' templates take it for nothing but itself."""
    return text.replace("{{", '{{ "{{" }}')


def rules_text(groups: Iterable[Group], links: Links, *, heading: Iterable[str] = ()) -> str:
    """Return a file of rules in YAML."""
    lines = [*(f"# {line}".rstrip() for line in heading), "groups:"]
    for group in groups:
        lines += [f"  - name: {_quoted(group.name)}", f"    interval: {INTERVAL}", "    rules:"]
        for rule in group.rules:
            lines += _recording(rule) if isinstance(rule, Recording) else _alert(rule, links)
    return "\n".join(lines) + "\n"


def _recording(rule: Recording) -> Iterator[str]:
    yield f"      - record: {rule.record}"
    yield from _expression(rule.expr)
    if rule.labels:
        yield from _texts("labels", rule.labels)


def _alert(rule: Alert, links: Links) -> Iterator[str]:
    yield f"      - alert: {rule.name}"
    yield from _expression(rule.expr)
    if rule.hold:
        yield f"        for: {rule.hold}"
    if rule.keep:
        yield f"        keep_firing_for: {rule.keep}"
    yield from _texts("labels", {"severity": rule.severity, **rule.labels})
    annotations = {"summary": rule.summary, "description": rule.description}
    yield from _texts(
        "annotations", {**annotations, "runbook_url": links.runbook(rule), "dashboard_url": links.dashboard(rule)}
    )


def _expression(expr: str) -> Iterator[str]:
    yield "        expr: |-"
    yield from indent(expr, " " * 10).splitlines()


def _texts(key: str, texts: Mapping[str, str]) -> Iterator[str]:
    yield f"        {key}:"
    for name, text in texts.items():
        yield f"          {name}: {_quoted(text)}"


def _quoted(text: str) -> str:
    """Return a text between quotes. What JSON writes YAML reads as the same, but for characters that end its lines."""
    return "".join(
        each if each.isprintable() else f"\\U{ord(each):08x}" for each in json.dumps(text, ensure_ascii=False)
    )
