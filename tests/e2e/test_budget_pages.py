"""A budget from end to end, with the real parts: from an SDK's call to the page, the mail, and the refusal.

sample service under `opentelemetry-instrument` -> OpenTelemetry Collector -> exporter -> Prometheus with the shipped
rules -> Alertmanager with the shipped configuration -> a web hook and a mail server.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_bytes
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiosmtpd.controller import Controller

from spanledger_demo.provider import Provider, running_provider
from tests.dashboards.hook import Hook, listening
from tests.servers import alertmanager, prometheus
from tests.servers.exporter import Exporter, entries
from tests.servers.otelcol import Collector
from tests.servers.process import Server, free_port, get, poll

DASHBOARDS = Path(__file__).parents[2] / "dashboards"
LIMIT = 40
BUDGETS = f"""
[[budget]]
name = "all-calls"
limit_calls = {LIMIT}
period = "day"
mode = "hard"
on_unreachable = "closed"
scope = {{ service = "sample" }}
"""


class Mailbox:
    """A mail server on this machine, and the subjects of the messages that it took."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())
        self.address = f"127.0.0.1:{self._controller.port}"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 -- aiosmtpd's
        subject = message_from_bytes(envelope.content)["Subject"]
        self.subjects.append(str(make_header(decode_header(subject))))
        return "250 OK"

    def __enter__(self) -> "Mailbox":
        self._controller.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._controller.stop()


class World:
    """All of it, each process with its own addresses and folder, so that it can be stopped and started again."""

    def __init__(self, otelcol: Path, folder: Path, provider: Provider, hook: Hook, mailbox: Mailbox) -> None:
        self.provider, self.hook, self.mailbox = provider, hook, mailbox
        self.ledger = f"sqlite:///{folder / 'ledger.db'}"
        self._otelcol, self._folder = otelcol, folder
        self._addresses = {name: f"127.0.0.1:{free_port()}" for name in ("grpc", "http", "metrics")}
        (folder / "budgets.toml").write_text(BUDGETS)
        self.collector = Collector(otelcol, folder, endpoint=self._addresses["grpc"])

    def exporter(self) -> Server:
        environ = {
            "SPANLEDGER_BUDGETS_FILE": str(self._folder / "budgets.toml"),
            "SPANLEDGER_BUDGETS_EVALUATION_S": "1",
        }
        return Exporter(self.ledger, self._folder, environ=environ, **self._addresses).server

    def service(self) -> "Service":
        environ = {
            "OPENAI_BASE_URL": self.provider.openai_url,
            "OPENAI_API_KEY": "sk-test",
            "OTEL_SERVICE_NAME": "sample",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.collector.grpc}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT": f"http://{self._addresses['http']}",
        }
        return Service(environ, self._folder)

    def prometheus(self, alerts_to: str) -> Any:
        """Start Prometheus with what is shipped, in seconds instead of minutes."""
        config = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["scrape_configs"] = config["scrape_configs"][:1]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [self._addresses["metrics"]]}]
        config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alerts_to]}]
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        rules = (DASHBOARDS / "spanledger.rules.yml").read_text().replace("interval: 30s", "interval: 1s")
        (self._folder / "spanledger.rules.yml").write_text(rules)
        # What it tells before it knows of Alertmanager is lost, and told again after this time: a minute by default.
        soon = "--rules.alert.resend-delay=1s"
        return prometheus.running(self._folder / "prometheus.yml", self._folder, soon)

    def alertmanager(self) -> Any:
        """Start Alertmanager with what is shipped, but for the receivers, which are here, and the pace."""
        config = yaml.safe_load((DASHBOARDS / "alertmanager.yml").read_text())
        config["global"] = {
            "smtp_smarthost": self.mailbox.address,
            "smtp_from": "spanledger@example.com",
            "smtp_require_tls": False,
        }
        for receiver in config["receivers"]:
            if receiver["name"] != "mail":
                (kind,) = set(receiver) - {"name"}
                resolved = receiver.pop(kind)[0].get("send_resolved", True)
                receiver["webhook_configs"] = [{"url": f"http://{self.hook.address}/", "send_resolved": resolved}]
        for route in (config["route"], *config["route"]["routes"]):
            route.update(group_wait="1s", group_interval="1s")
        (self._folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        return alertmanager.running(self._folder / "alertmanager.yml", self._folder)

    def until_told(self, thresholds: list[str]) -> None:
        """Wait until each threshold has been told, by mail and by web hook, in this order and once each."""
        poll(
            lambda: (
                self.hook.thresholds("budgets-chat") == thresholds and len(self.mailbox.subjects) == len(thresholds)
            ),
            what=f"mail and chat to be told of {thresholds}, not {self.told}",
        )

    @property
    def told(self) -> dict[str, list[str]]:
        found = {name: self.hook.thresholds(name) for name in ("pager", "budgets-chat", "webhook")}
        return {**found, "mail": list(self.mailbox.subjects)}


class Service:
    """The sample service, as anybody would start theirs."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        instrument = Path(sys.executable).with_name("opentelemetry-instrument")
        with (folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [instrument, sys.executable, Path(__file__).with_name("service.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **environ},
            )  # fmt: skip

    def call(self, count: int) -> list[dict[str, Any]]:
        """Make so many calls, and return what became of each."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return [json.loads(self._process.stdout.readline()) for _ in range(count)]

    def __enter__(self) -> "Service":
        return self

    def end(self) -> None:
        """Let it come to its end, at which its SDK sends what it still holds."""
        self._process.communicate(timeout=60)

    def __exit__(self, *_exc: object) -> None:
        self.end()


@pytest.fixture
def world(otelcol: Path, tmp_path: Path) -> Iterator[World]:
    with running_provider() as provider, listening() as hook, Mailbox() as mailbox:
        yield World(otelcol, tmp_path, provider, hook, mailbox)


def test_a_budget_warns_pages_and_refuses_each_once_whatever_is_restarted(world: World) -> None:
    with ExitStack() as stack:
        exporter = stack.enter_context(world.exporter())
        collector = stack.enter_context(world.collector.start())
        service = stack.enter_context(world.service())
        with world.alertmanager() as address, world.prometheus(address):
            assert all(each["ok"] for each in service.call(30))  # 75 %
            world.until_told(["75"])
            assert all(each["ok"] for each in service.call(6))  # 90 %
            world.until_told(["75", "90"])
            collector.stop()
            stack.enter_context(world.collector.start())
            assert all(each["ok"] for each in service.call(4))  # 100 %
            world.until_told(["75", "90", "100"])
            refused = service.call(5)
            exporter.stop()
            stack.enter_context(world.exporter())
            _until_looked_at_again(address)
        with world.alertmanager() as address, world.prometheus(address):  # both with what they kept
            poll(lambda: _alerts(address), what="Prometheus to tell Alertmanager again")
            _until_looked_at_again(address)
            refused += service.call(5)
        service.end()
        kept = poll(
            lambda: found if len(found := entries(world.ledger)) == LIMIT + len(refused) else None,
            what="every call to be in the ledger",
        )
    assert world.hook.thresholds("budgets-chat") == ["75", "90", "100"]
    assert world.hook.thresholds("pager") == ["100"]
    assert [subject.split(" is at ")[1].split("%")[0] for subject in world.mailbox.subjects] == ["75", "90", "100"]
    for each in refused:
        assert (each["ok"], each["kind"], each["status"]) == (False, "APIStatusError", 402)
        assert "all-calls" in each["text"]
        assert str(LIMIT) in each["text"]
    assert world.provider.tally()["calls"] == LIMIT
    assert sum(entry["outcome"] == "ok" for entry in kept) == LIMIT
    assert sum(entry["error_type"] == "budget_exceeded" for entry in kept) == len(refused)


def _alerts(address: str) -> list[dict[str, Any]]:
    return json.loads(get(f"http://{address}/api/v2/alerts") or "[]")


def _until_looked_at_again(address: str) -> None:
    """Wait until Alertmanager has held its groups of alerts against its log of notifications some times more."""
    before = _flushes(address)
    poll(lambda: _flushes(address) > before + 8, what="its groups to be looked at some times more")


def _flushes(address: str) -> float:
    lines = (get(f"http://{address}/metrics") or "").splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("alertmanager_nflog_queries_total"))
