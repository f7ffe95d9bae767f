"""A real Prometheus reads the exporter's metrics, with the scrape configuration that we ship."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.servers import prometheus
from tests.servers.exporter import Exporter
from tests.servers.process import get, poll

SCRAPES = Path(__file__).parents[3] / "dashboards" / "prometheus.yml"


@pytest.fixture
def exporter(tmp_path: Path) -> Generator[Exporter]:
    started = Exporter(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path)
    with started.server:
        yield started


def test_promtool_finds_no_fault_with_the_metrics(exporter: Exporter) -> None:
    metrics = get(f"http://{exporter.metrics}/metrics")
    assert metrics
    prometheus.promtool("check", "metrics", text=metrics)


def test_prometheus_scrapes_the_exporter_as_the_shipped_configuration_says(exporter: Exporter, tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    shipped = SCRAPES.read_text()
    config.write_text(shipped.replace("127.0.0.1:9464", exporter.metrics).replace("15s", "1s"))
    with prometheus.running(config, tmp_path) as server:
        poll(lambda: server.query('up{job="spanledger"} == 1'), what="a scrape of the exporter")
        assert server.query('{__name__=~"spanledger_.+", job="spanledger"}')


def test_the_shipped_scrape_configuration_is_valid() -> None:
    prometheus.promtool("check", "config", SCRAPES)
