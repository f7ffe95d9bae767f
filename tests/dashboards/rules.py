"""The rules under test, shipped and generated, and the cases that promtool is told (cases.yml)."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from spanledger_exporter.alerts.rules import Links
from spanledger_exporter.alerts.rules_commands import generated
from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.periods import Period
from tests.servers import prometheus

SHIPPED = prometheus.RULES
BUDGET_CHOSEN = "{{ with $labels.budget }}?var-budget={{ . | urlquery }}{{ end }}"
MICRO = 10**6
BUDGETS = (
    Budget(name="company", limit=2592 * MICRO),
    Budget(name="daily", limit=86_400_000, period=Period(kind="day", timezone="Europe/Berlin"), mode="hard"),
    Budget(name="hourly", limit=36 * MICRO, period=Period(kind="hour")),
    Budget(name="sessions", limit=MICRO, per=("session",), thresholds=(50, 80, 120)),
    Budget(name="teams", limit=500 * MICRO, per=("team",), thresholds=(50, 80, 120), rollover=True),
    Budget(name="tokens", limit=2592, unit="tokens", period=Period(kind="quarter")),
    Budget(name="users", limit=10 * MICRO, per=("user",)),
)

# Promtool's own terms: rules and cases are what YAML says.
Rule = dict[str, Any]


class Case(NamedTuple):
    """One case: an alert, what goes in, and what comes out at some times."""

    alert: str
    case: str
    every: str
    series: dict[str, str]
    at: dict[str, list[dict[str, str]]]
    rules: str

    @property
    def title(self) -> str:
        return f"{self.alert}: {self.case}"


@cache
def text_of(kind: str) -> str:
    return SHIPPED.read_text() if kind == "shipped" else generated(BUDGETS, Links())


@cache
def rules_of(kind: str) -> tuple[Rule, ...]:
    groups = yaml.safe_load(text_of(kind))["groups"]
    return tuple(rule for group in groups for rule in group["rules"])


def alerts_of(kind: str) -> list[Rule]:
    return [rule for rule in rules_of(kind) if "alert" in rule]


class Texts(yaml.SafeLoader):
    """YAML in which every scalar is a text: promtool's `0x40` is no number in hex. Only `<<` stays what it is."""


Texts.yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}


@cache
def cases() -> tuple[Case, ...]:
    document = yaml.load((Path(__file__).parent / "cases.yml").read_text(), Loader=Texts)
    return tuple(
        Case(
            each["alert"],
            each["case"],
            each.get("every", "1m"),
            each["series"],
            each["at"],
            each.get("rules", "both"),
        )
        for each in document
    )


def without_others(kind: str, alert: str) -> str:
    """The rules of one alert, and what its group records: promtool works all of a file out, for each case."""
    groups = yaml.safe_load(text_of(kind))["groups"]
    own = [
        {**group, "rules": [rule for rule in group["rules"] if rule.get("alert", alert) == alert]} for group in groups
    ]
    return yaml.safe_dump({"groups": [group for group in own if any("alert" in rule for rule in group["rules"])]})


def promtool_tests(kind: str, file: str, found: list[Case]) -> dict[str, Any]:
    """Say cases in promtool's words; all of them have the same `every`."""
    return {
        "rule_files": [file],
        "evaluation_interval": found[0].every,
        "tests": [
            {
                "name": case.title,
                "interval": case.every,
                "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
                "alert_rule_test": [
                    {
                        "eval_time": time,
                        "alertname": case.alert,
                        "exp_alerts": [_expected(kind, case.alert, alert) for alert in alerts],
                    }
                    for time, alerts in case.at.items()
                ],
            }
            for case in found
        ],
    }


def _expected(kind: str, name: str, alert: dict[str, str]) -> dict[str, Any]:
    labels = {label: text for label, text in alert.items() if label != "summary"}
    (rule,) = (rule for rule in alerts_of(kind) if rule["alert"] == name and _makes(rule, labels))
    annotations = rule["annotations"]
    assert "{{" not in annotations["description"] + annotations["runbook_url"]
    chosen = f"?var-budget={labels['budget']}" if "budget" in labels else ""
    dashboard = annotations["dashboard_url"].replace(BUDGET_CHOSEN, chosen)
    return {
        "exp_labels": labels,
        "exp_annotations": {**annotations, "summary": alert["summary"], "dashboard_url": dashboard},
    }


def _makes(rule: Rule, labels: dict[str, str]) -> bool:
    """Tell whether an alert of these labels may be a rule's; of a generated one also by its budget."""
    own = f'budget="{labels.get("budget")}"'
    named = 'budget="' not in rule["expr"] or own in rule["expr"]
    return named and all(labels.get(label) == text for label, text in rule["labels"].items())


def cases_of(kind: str) -> Iterator[Case]:
    return (case for case in cases() if case.rules in ("both", kind))
