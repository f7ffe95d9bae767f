"""The panels about the collector, over what a real one says of itself."""

import urllib.request
from pathlib import Path

import pytest

from tests.dashboards import asking, boards
from tests.dashboards.grafana import Window
from tests.dashboards.test_panels import OF_A_COLLECTOR, faults
from tests.exporter.otlp_requests import CHAT, body, span
from tests.servers import prometheus
from tests.servers.otelcol import Collector
from tests.servers.process import free_port, poll

# The collector's build, on a machine that never built one, takes minutes while other tests take the cores.
pytestmark = pytest.mark.timeout(900)


def test_they_show_a_collector_that_cannot_deliver(otelcol: Path, tmp_path: Path) -> None:
    collector = Collector(otelcol, tmp_path, endpoint=f"127.0.0.1:{free_port()}")
    with (
        collector.start(),
        prometheus.as_shipped(tmp_path, {"spanledger-collector": collector.metrics_address}) as server,
    ):
        headers = {"content-type": "application/x-protobuf"}
        request = urllib.request.Request(f"http://{collector.http}/v1/traces", body(span(CHAT)), headers)
        urllib.request.urlopen(request).close()
        at_s = poll(lambda: _seen(server), what="some scrapes since the span came")
        answers = [*asking.answers(server, boards.load("spanledger-exporter"), Window(at_s - 60, at_s, 1))]
    found = [each for each in answers if OF_A_COLLECTOR.search(each.expr)]
    assert len(found) == 2
    assert [each.where for each in found if not each.series] == []
    assert faults(found) == []


def _seen(server: prometheus.Prometheus) -> float | None:
    """The time on Prometheus' clock, once it has scraped what became of the span a few times."""
    seen = "count_over_time(otelcol_receiver_refused_spans[1m]) >= 4 and on () otelcol_exporter_queue_size > 0"
    found = server.query(f"timestamp({seen})")
    return float(found[0]["value"][1]) if found else None
