"""The shipped rules and configurations under a real Prometheus and Alertmanager: who is told of what, how often."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from tests.dashboards.hook import Hook, listening
from tests.dashboards.rules import SHIPPED
from tests.servers import alertmanager, prometheus
from tests.servers.process import poll, require

RECEIVERS = ("pager", "chat", "budgets-chat", "mail", "webhook")


def amtool(*arguments: str | Path) -> str:
    command = [require("amtool", package="prometheus-alertmanager"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def told(**labels: str) -> list[str]:
    """The receivers of an alert, as amtool finds them."""
    pairs = [f"{name}={text}" for name, text in labels.items()]
    return amtool("config", "routes", "test", f"--config.file={alertmanager.SHIPPED}", *pairs).strip().split(",")


def test_amtool_finds_no_fault_with_the_shipped_configuration() -> None:
    assert "5 receivers" in amtool("check-config", alertmanager.SHIPPED)
    assert tuple(each["name"] for each in yaml.safe_load(alertmanager.SHIPPED.read_text())["receivers"]) == RECEIVERS


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (
            {"alertname": "SpanledgerBudgetThreshold", "budget": "b", "threshold": "100", "severity": "critical"},
            ["pager", "webhook", "mail", "budgets-chat"],
        ),
        (
            {"alertname": "SpanledgerBudgetThreshold", "budget": "b", "threshold": "75", "severity": "info"},
            ["webhook", "mail", "budgets-chat"],
        ),
        (
            {"alertname": "SpanledgerBudgetForecastOver", "budget": "b", "severity": "warning"},
            ["webhook", "budgets-chat"],
        ),
        ({"alertname": "SpanledgerExporterDown", "severity": "critical"}, ["pager", "chat"]),
        ({"alertname": "SpanledgerUnpricedModel", "severity": "warning"}, ["chat"]),
    ],
    ids=lambda value: value["alertname"] if isinstance(value, dict) else "",
)
def test_each_alert_goes_where_it_belongs(labels: dict[str, str], receivers: list[str]) -> None:
    assert told(**labels) == receivers


class Servers:
    """Both servers with what is shipped, in seconds instead of minutes, and receivers that are here."""

    def __init__(self, hook: Hook, folder: Path) -> None:
        self.hook = hook
        self._folder = folder
        self.config = alertmanager.shipped(f"http://{hook.address}/")
        self.alertmanager = ""

    def start(self, stack: ExitStack, *, rules: str = "") -> prometheus.Prometheus:
        (self._folder / "alertmanager.yml").write_text(yaml.safe_dump(self.config))
        self.alertmanager = stack.enter_context(alertmanager.running(self._folder / "alertmanager.yml", self._folder))
        targets = {"spanledger": self.hook.address}
        return stack.enter_context(
            prometheus.as_shipped(self._folder, targets, alerts_to=self.alertmanager, rules=rules)
        )

    def spent(self, ratio: float) -> None:
        now = time.time()
        self.hook.metrics = {
            'genai_budget_used_ratio{budget="company"}': ratio,
            'genai_budget_period_start_timestamp_seconds{budget="company"}': now - 86_400,
            'genai_budget_period_end_timestamp_seconds{budget="company"}': now + 29 * 86_400,
            "spanledger_budget_last_evaluation_timestamp_seconds": now,
        }

    def until_told(self, thresholds: list[str]) -> None:
        for receiver in ("mail", "budgets-chat"):
            poll(
                lambda: self.hook.thresholds(receiver) == thresholds,  # noqa: B023 -- called before the next receiver
                what=f"{receiver} to be told of {thresholds}",
            )

    def until_looked_at(self) -> None:
        """Wait until Alertmanager has held its groups of alerts against its log of notifications some times more."""
        before = alertmanager.looks(self.alertmanager)
        poll(lambda: alertmanager.looks(self.alertmanager) > before + 10, what="Alertmanager to look at its groups")

    def alerts(self) -> list[dict[str, Any]]:
        return alertmanager.alerts(self.alertmanager)


@pytest.fixture
def servers(tmp_path: Path) -> Generator[Servers]:
    with listening() as hook:
        yield Servers(hook, tmp_path)


def test_each_threshold_is_told_once_and_nothing_again_after_a_restart(servers: Servers) -> None:
    hook = servers.hook
    with ExitStack() as stack:
        servers.spent(0.6)
        server = servers.start(stack)
        poll(lambda: server.query("budget_group:genai_budget_used:ratio == 0.6"), what="the rules to be worked out")
        for ratio, reached in ((0.76, ["75"]), (0.91, ["75", "90"]), (1.02, ["75", "90", "100"])):
            servers.spent(ratio)
            servers.until_told(reached)
        hook.metrics = {}  # the exporter is started anew: for a while it shows nothing
        poll(lambda: server.query("absent(genai_budget_used_ratio)"), what="the state of the budget to be gone")
        servers.until_looked_at()
        servers.spent(1.03)
        poll(lambda: server.query("genai_budget_used_ratio == 1.03"), what="the state of the budget to be back")
        servers.until_looked_at()
    assert hook.thresholds("pager") == ["100"]
    assert {each.annotations["summary"] for each in hook.told if each.receiver == "mail"} == {
        "Budget company is at 76% of its limit",
        "Budget company is at 91% of its limit",
        "Budget company is at 102% of its limit",
    }
    with ExitStack() as stack:  # both have ended, and are started anew with what they kept
        servers.start(stack)
        poll(servers.alerts, what="Prometheus to tell Alertmanager again")
        servers.until_looked_at()
    assert hook.thresholds("mail") == ["75", "90", "100"]
    assert hook.thresholds("budgets-chat") == ["75", "90", "100"]
    assert hook.thresholds("pager") == ["100"]


def test_of_several_thresholds_that_are_true_at_once_the_highest_alone_is_told(servers: Servers) -> None:
    """Ranges that somebody has opened: 75, 90 and 100 fire together, and two of them are inhibited."""
    opened = SHIPPED.read_text().replace(">= 0.75 < 0.9", ">= 0.75").replace(">= 0.9 < 1", ">= 0.9")
    with ExitStack() as stack:
        servers.spent(1.02)
        servers.start(stack, rules=opened)
        hook = servers.hook
        poll(lambda: hook.thresholds("mail") == ["100"], what="the mail of the highest")
        wanted = {"75": "suppressed", "90": "suppressed", "100": "active"}
        poll(lambda: _states(servers.alerts()) == wanted, what="two of the three to be held back")
        servers.until_looked_at()
        assert hook.thresholds("mail") == hook.thresholds("pager") == hook.thresholds("budgets-chat") == ["100"]


def _states(alerts: list[dict[str, Any]]) -> dict[str, str]:
    return {each["labels"]["threshold"]: each["status"]["state"] for each in alerts if "threshold" in each["labels"]}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ({"alertname": "SpanledgerBudgetThreshold", "threshold": "100", "severity": "critical"},
         {"alertname": "SpanledgerBudgetForecastOver", "severity": "warning"}),
        ({"alertname": "SpanledgerBudgetThreshold", "threshold": "90", "severity": "warning"},
         {"alertname": "SpanledgerBudgetThreshold", "threshold": "75", "severity": "info"}),
        ({"alertname": "SpanledgerBudgetBurnFast", "severity": "critical"},
         {"alertname": "SpanledgerBudgetBurnSlow", "severity": "warning"}),
        ({"alertname": "SpanledgerBudgetRunOutSoon", "severity": "critical"},
         {"alertname": "SpanledgerBudgetRunOutSoon", "severity": "warning"}),
        ({"alertname": "SpanledgerExporterDown", "severity": "critical"},
         {"alertname": "SpanledgerBudgetDataStale", "severity": "critical"}),
    ],
    ids=lambda alert: alert["alertname"],
)  # fmt: skip
def test_what_is_worse_holds_back_what_follows_from_it(
    servers: Servers, source: dict[str, str], target: dict[str, str], tmp_path: Path
) -> None:
    """Of the same budget; another budget's alert is told."""
    about = {} if "Budget" not in source["alertname"] else {"budget": "company", "group": "team=search"}
    other = [] if not about else [{**target, **about, "budget": "other"}]
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(servers.config))
    wanted = {(target["alertname"], about.get("budget", "")): "suppressed"}
    if other:
        wanted[target["alertname"], "other"] = "active"

    def states() -> dict[tuple[str, str], str]:
        return {
            (each["labels"]["alertname"], each["labels"].get("budget", "")): each["status"]["state"]
            for each in servers.alerts()
            if target.items() <= each["labels"].items()
        }

    with alertmanager.running(tmp_path / "alertmanager.yml", tmp_path) as address:
        servers.alertmanager = address
        _post(address, [{**source, **about}, {**target, **about}, *other])
        poll(lambda: states() == wanted, what="the one alert to be held back, and no other")


@pytest.mark.parametrize(
    ("runbook", "told"),
    [
        ("https://wiki.example/r.md", "<https://wiki.example/r.md|what to do>"),
        ("docs/runbooks/r.md", "what to do: docs/runbooks/r.md"),
    ],
)
def test_a_message_in_slack_has_all_that_is_to_be_known_and_no_words_of_slacks_own(
    servers: Servers, tmp_path: Path, runbook: str, told: str
) -> None:
    """Names of teams are whatever services say; that of this one would call everybody."""
    shipped = {each["name"]: each for each in yaml.safe_load(alertmanager.SHIPPED.read_text())["receivers"]}
    (slack,) = shipped["budgets-chat"]["slack_configs"]
    del slack["api_url_file"]
    slack["api_url"] = f"http://{servers.hook.address}/"
    servers.config["receivers"][RECEIVERS.index("budgets-chat")] = {"name": "budgets-chat", "slack_configs": [slack]}
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(servers.config))
    labels = {
        "alertname": "SpanledgerBudgetThreshold",
        "budget": "teams",
        "group": "team=<!channel>",
        "severity": "info",
    }
    annotations = {
        "summary": "Budget teams (team=<!channel>) & so on",
        "description": "It is <!here>.",
        "runbook_url": runbook,
        "dashboard_url": "https://grafana.example/d/spanledger-budgets?var-budget=teams",
    }
    with alertmanager.running(tmp_path / "alertmanager.yml", tmp_path) as address:
        _post(address, [labels], annotations)
        found = poll(
            lambda: next((each for each in servers.hook.posted if "attachments" in each), None), what="the message"
        )
    (attachment,) = found["attachments"]
    assert attachment["title"] == "Budget teams"
    assert "*Budget teams (team=&lt;!channel>) &amp; so on* (info)" in attachment["text"]
    assert "It is &lt;!here>." in attachment["text"]
    assert f"<{annotations['dashboard_url']}|dashboard> · {told}" in attachment["text"]
    assert "<!" not in json.dumps(found["attachments"][0]["text"])


def _post(address: str, alerts: list[dict[str, str]], annotations: Mapping[str, str] = MappingProxyType({})) -> None:
    body = json.dumps([{"labels": labels, "annotations": dict(annotations)} for labels in alerts]).encode()
    request = urllib.request.Request(
        f"http://{address}/api/v2/alerts", data=body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200
