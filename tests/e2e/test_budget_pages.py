"""A budget from end to end, with the real parts: from an SDK's call to the page, the mail, and the refusal.

sample service under `opentelemetry-instrument` -> OpenTelemetry Collector -> exporter -> Prometheus with the shipped
rules -> Alertmanager with the shipped configuration -> a web hook and a mail server.
"""

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from spanledger_demo.provider import Provider, running_provider
from tests.dashboards.hook import Hook, listening
from tests.e2e.sample import Service
from tests.servers import alertmanager, prometheus
from tests.servers.exporter import Exporter, entries
from tests.servers.mailbox import Mailbox, receiving
from tests.servers.otelcol import Collector
from tests.servers.process import Server, free_port, poll

LIMIT = 40
# Of a trial the first call is the last: whatever is said of the pace at which it is used up comes too late.
BUDGETS = f"""
[[budget]]
name = "all-calls"
limit_calls = {LIMIT}
period = "day"
mode = "hard"
on_unreachable = "closed"
scope = {{ service = "sample" }}

[[budget]]
name = "trial"
limit_calls = 1
period = "day"
scope = {{ service = "sample" }}
"""
SPENT = "genai_budget_spend_calls_total"
FAST, SLOW, REACHED = "SpanledgerBudgetBurnFast", "SpanledgerBudgetBurnSlow", "SpanledgerBudgetThreshold"
# Longer than Prometheus takes to find Alertmanager: what is reached is known there before the pace is, as with the
# minutes of the shipped rules.
HOLDS = {FAST: "6s", SLOW: "6s"}
# Both paces of both budgets, when both are used up.
ALL_PACES = {(pace, budget): REACHED for pace in (FAST, SLOW) for budget in ("all-calls", "trial")}


class World:
    """All of it, each process with its own addresses and folder, so that it can be stopped and started again."""

    def __init__(self, otelcol: Path, folder: Path, provider: Provider, hook: Hook, mail: tuple[Mailbox, int]) -> None:
        self.provider, self.hook = provider, hook
        self._mailbox, self._mail_port = mail
        self.ledger = f"sqlite:///{folder / 'ledger.db'}"
        self._folder = folder
        self._addresses = {name: f"127.0.0.1:{free_port()}" for name in ("grpc", "http", "metrics")}
        (folder / "budgets.toml").write_text(BUDGETS)
        self.collector = Collector(otelcol, folder, endpoint=self._addresses["grpc"])

    def exporter(self) -> Server:
        environ = {
            "SPANLEDGER_BUDGETS_FILE": str(self._folder / "budgets.toml"),
            "SPANLEDGER_BUDGETS_EVALUATION_S": "1",
        }
        return Exporter(self.ledger, self._folder, environ=environ, **self._addresses).server

    def service(self) -> Service:
        environ = {
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT": f"http://{self._addresses['http']}",
        }
        return Service(self._folder, self.provider, self.collector, environ)

    @contextmanager
    def watched(self) -> Generator[str]:
        """Run Prometheus and Alertmanager with what is shipped; yield Alertmanager's address."""
        config = alertmanager.shipped(f"http://{self.hook.address}/", mail_to=f"127.0.0.1:{self._mail_port}")
        (self._folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        targets = {"spanledger": self._addresses["metrics"]}
        with (
            alertmanager.running(self._folder / "alertmanager.yml", self._folder) as address,
            prometheus.as_shipped(self._folder, targets, alerts_to=address, holds=HOLDS) as server,
        ):
            poll(lambda: server.query(SPENT), what="Prometheus to see what is spent")
            yield address

    def until_told(self, thresholds: list[str]) -> None:
        """Wait until each threshold has been told, by mail and by web hook, in this order and once each."""
        poll(
            lambda: self.hook.thresholds("budgets-chat", "all-calls") == self.mails("all-calls") == thresholds,
            what=f"mail and chat to be told of {thresholds}",
        )

    def mails(self, budget: str) -> list[str]:
        """The percentages that mails about a budget have in their subjects."""
        found = [re.fullmatch(rf"Budget {budget} is at (\d+)% of its limit", each) for each in self._mailbox.subjects()]
        return [each[1] for each in found if each]

    def paces(self, budget: str) -> list[tuple[str, str]]:
        """Each time that somebody was told of the pace of a budget: by which receiver, by which alert."""
        told = [each for each in list(self.hook.told) if each.labels.get("budget") == budget]
        names = [(each.receiver, each.labels["alertname"]) for each in told]
        return [each for each in names if each[1] in (FAST, SLOW)]


@pytest.fixture
def world(otelcol: Path, tmp_path: Path) -> Iterator[World]:
    mailbox = Mailbox()
    with running_provider() as provider, listening() as hook, receiving(mailbox) as mail_port:
        yield World(otelcol, tmp_path, provider, hook, (mailbox, mail_port))


def test_a_budget_warns_pages_and_refuses_each_once_whatever_is_restarted(world: World) -> None:
    with ExitStack() as stack:
        exporter = stack.enter_context(world.exporter())
        collector = stack.enter_context(world.collector.start())
        service = stack.enter_context(world.service())
        with world.watched() as address:
            assert all(each["ok"] for each in service.call(30))  # 75 %
            world.until_told(["75"])
            poll(lambda: ("pager", FAST) in world.paces("all-calls"), what="the page about the pace")
            _until_held_back(address, {(SLOW, "all-calls"): FAST, (FAST, "trial"): REACHED, (SLOW, "trial"): REACHED})
            assert all(each["ok"] for each in service.call(6))  # 90 %
            world.until_told(["75", "90"])
            collector.stop()
            stack.enter_context(world.collector.start())
            assert all(each["ok"] for each in service.call(4))  # 100 %
            world.until_told(["75", "90", "100"])
            _until_held_back(address, ALL_PACES)
            refused = service.call(5)
            exporter.stop()
            stack.enter_context(world.exporter())
            _until_looked_at_again(address)
        with world.watched() as address:  # both with what they kept
            _until_held_back(address, ALL_PACES)
            _until_looked_at_again(address)
            refused += service.call(5)
        service.end()
        kept = poll(
            lambda: found if len(found := entries(world.ledger)) == LIMIT + len(refused) else None,
            what="every call to be in the ledger",
        )
    assert world.hook.thresholds("budgets-chat", "all-calls") == world.mails("all-calls") == ["75", "90", "100"]
    assert world.hook.thresholds("pager", "all-calls") == ["100"]
    for each in refused:
        assert (each["ok"], each["kind"], each["status"]) == (False, "APIStatusError", 402)
        assert "all-calls" in each["text"]
        assert str(LIMIT) in each["text"]
    assert world.provider.tally()["calls"] == LIMIT
    assert sum(entry["outcome"] == "ok" for entry in kept) == LIMIT
    assert sum(entry["error_type"] == "budget_exceeded" for entry in kept) == len(refused)
    assert world.paces("trial") == []
    assert sorted(world.paces("all-calls")) == [(name, FAST) for name in ("budgets-chat", "pager", "webhook")]


def _until_held_back(address: str, wanted: Mapping[tuple[str, str], str]) -> None:
    """Wait until Alertmanager holds these back of what it has of paces, each for the alert that is named."""

    def held_back() -> dict[tuple[str, str], str]:
        found = alertmanager.alerts(address)
        names = {each["fingerprint"]: each["labels"]["alertname"] for each in found}
        return {
            (each["labels"]["alertname"], each["labels"]["budget"]): names[each["status"]["inhibitedBy"][0]]
            for each in found
            if each["labels"]["alertname"] in (FAST, SLOW) and each["status"]["state"] == "suppressed"
        }

    poll(lambda: held_back() == wanted, what=f"{wanted} to be held back")


def _until_looked_at_again(address: str) -> None:
    """Wait until Alertmanager has held its groups of alerts against its log of notifications some times more."""
    before = alertmanager.looks(address)
    poll(lambda: alertmanager.looks(address) > before + 8, what="its groups to be looked at some times more")
