"""Rate limits from end to end, with the real parts: from a header of the provider's to the alert.

sample service under `opentelemetry-instrument` -> OpenTelemetry Collector with the shipped configuration -> exporter ->
Prometheus with the shipped configuration and rules; and what the service measures itself, from the collector.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from spanledger_demo.provider import Provider, running_provider
from tests.e2e.sample import Service
from tests.servers import prometheus
from tests.servers.exporter import Exporter
from tests.servers.otelcol import Collector
from tests.servers.process import poll

# The collector's build, on a machine that never built one, takes minutes while other tests take the cores.
pytestmark = pytest.mark.timeout(900)

OF = {"provider": "openai", "model": "gpt-4o-mini"}
HOLDS = {"SpanledgerRateLimitNear": "1s", "SpanledgerRateLimited": "1s"}


class World:
    """A service, a provider whose limits can be moved, and who watches them."""

    def __init__(self, provider: Provider, service: Service, server: prometheus.Prometheus) -> None:
        self.provider, self.service, self.server = provider, service, server

    def refused(self, times: int) -> None:
        """Have so many attempts refused for a rate limit, and wait until Prometheus knows of all of them."""
        before = self._refusals()
        self.provider.control(next_errors=[429] * times)
        while self.provider.books.faults.plan.next_errors:
            self.service.call(1)
        poll(lambda: self._refusals() == before + times, what=f"{times} refused calls more to be seen")

    def _refusals(self) -> float:
        found = self.server.query('genai_call_errors_total{error_type="rate_limit_exceeded"}')
        return sum(float(each["value"][1]) for each in found)

    def alerts(self, name: str) -> list[dict[str, str]]:
        """The labels of an alert that fires, but for those that each of its name has."""
        found = self.server.query(f'ALERTS{{alertname="{name}", alertstate="firing"}}')
        usual = {"__name__", "alertname", "alertstate", "severity"}
        return [{label: text for label, text in each["metric"].items() if label not in usual} for each in found]


@pytest.fixture
def world(otelcol: Path, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        provider = stack.enter_context(running_provider())
        at_once = {"SPANLEDGER_METRICS_NEW_SERIES_HOLD_S": "2"}  # two scrapes, as ever
        exporter = Exporter(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path, environ=at_once)
        stack.enter_context(exporter.server)
        collector = Collector(otelcol, tmp_path, endpoint=exporter.grpc)
        stack.enter_context(collector.start())
        environ = {"OTEL_METRIC_EXPORT_INTERVAL": "500"}
        service = stack.enter_context(Service(tmp_path, provider, collector, environ))
        targets = {"spanledger": exporter.metrics, "spanledger-services": collector.services}
        server = stack.enter_context(prometheus.as_shipped(tmp_path, targets, holds=HOLDS))
        yield World(provider, service, server)


def test_a_limit_that_is_nearly_used_up_raises_an_alert_until_it_is_not(world: World) -> None:
    near = "SpanledgerRateLimitNear"
    world.provider.control(limits_used=0.5)
    world.service.call(1)
    left = "min by (kind) (genai_rate_limit_remaining / genai_rate_limit_limit)"
    poll(lambda: len(world.server.query(f"{left} == 0.5")) == 2, what="both limits to be half used")
    used = "max by (spanledger_rate_limit_kind) (spanledger_rate_limit_used_ratio)"
    poll(lambda: len(world.server.query(f"{used} == 0.5")) == 2, what="the service to say the same")
    assert not world.alerts(near)
    world.provider.control(limits_used=0.95)
    world.service.call(1)
    told = poll(lambda: found if len(found := world.alerts(near)) == 2 else None, what="an alert for each limit")
    kinds = ("requests", "tokens")
    assert sorted(told, key=str) == [{**OF, "model": "gpt-4o-mini-2024-07-18", "kind": kind} for kind in kinds]
    world.provider.control(limits_used=0.5)
    world.service.call(1)
    poll(lambda: not world.alerts(near), what="the alerts to end")


def test_calls_that_are_refused_for_a_rate_limit_raise_an_alert(world: World) -> None:
    world.service.call(1)
    assert not world.alerts("SpanledgerRateLimited")
    world.refused(5)
    assert poll(lambda: world.alerts("SpanledgerRateLimited"), what="the alert") == [OF]
    measured = 'gen_ai_client_inference_duration_seconds_count{error_type="rate_limit_exceeded"} == 5'
    (refused,) = poll(lambda: world.server.query(measured), what="the service to have measured the same")
    assert refused["metric"]["exported_job"] == "sample"
    assert refused["metric"]["exported_instance"]
