"""A real Prometheus reads the exporter's metrics, with the scrape configuration that we ship."""

import re
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.otlp_requests import CHAT, body, span
from tests.servers import prometheus
from tests.servers.exporter import Exporter, entries
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


def send(exporter: Exporter, sent: bytes) -> None:
    """Send spans, and return once they are committed."""
    headers = {"content-type": "application/x-protobuf"}
    request = urllib.request.Request(f"http://{exporter.http}/v1/traces", data=sent, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def stream(**changes: Any) -> bytes:
    now_ns = time.time_ns()
    told = {"gen_ai.request.stream": True, "gen_ai.response.time_to_first_chunk": 0.25}
    return body(*(span({**CHAT, **told, **changes}, end_ns=now_ns - age * 10**6) for age in range(3)))


def test_prometheus_has_the_traces_of_calls_that_are_in_the_ledger(exporter: Exporter, tmp_path: Path) -> None:
    send(exporter, stream())
    config = tmp_path / "prometheus.yml"
    config.write_text(SCRAPES.read_text().replace("127.0.0.1:9464", exporter.metrics).replace("15s", "1s"))
    (option,) = re.findall(r"--enable-feature=\S+", SCRAPES.read_text())
    now_s, traces = time.time(), {entry["trace_id"] for entry in entries(exporter.ledger)}
    with prometheus.running(config, tmp_path, option) as server:
        for name in (
            "genai_call_duration_seconds",
            "genai_time_to_first_chunk_seconds",
            "genai_output_tokens_per_second",
            "genai_call_cost_usd",
        ):
            found = poll(lambda name=name: server.exemplars(f"{name}_bucket", now_s - 60, now_s + 60), what=name)
            assert {each["labels"]["trace_id"] for each in found} <= traces


def test_a_rate_limit_of_the_spans_is_found_by_prometheus(exporter: Exporter, tmp_path: Path) -> None:
    prefix = "spanledger.rate_limit.tokens."
    send(exporter, stream(**{f"{prefix}limit": 100, f"{prefix}remaining": 7, f"{prefix}reset_at": time.time() + 3600}))
    config = tmp_path / "prometheus.yml"
    config.write_text(SCRAPES.read_text().replace("127.0.0.1:9464", exporter.metrics).replace("15s", "1s"))
    with prometheus.running(config, tmp_path) as server:
        (series,) = poll(
            lambda: server.query("genai_rate_limit_remaining / genai_rate_limit_limit"), what="a scrape of the exporter"
        )
    assert series["value"][1] == "0.07"


def sample(page: str, name: str) -> float:
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", page, flags=re.MULTILINE)
    return float(value)


def test_the_page_says_how_the_exporter_is(exporter: Exporter, book: PriceBook) -> None:
    before_s = time.time()
    send(exporter, stream())
    first, page = (get(f"http://{exporter.metrics}/metrics") or "" for _ in range(2))
    scrapes = [sample(each, "spanledger_scrape_duration_seconds_count") for each in (first, page)]
    assert scrapes[1] == scrapes[0] + 1
    assert before_s - 1 <= sample(page, "spanledger_last_commit_timestamp_seconds") <= time.time() + 1
    assert sample(page, "spanledger_commit_rows_sum") == 3
    assert sample(page, "spanledger_queue_requests") == 0
    assert sample(page, f'spanledger_price_book_info{{source="{book.source}"}}') == 1
    assert 0 < sample(page, "spanledger_price_book_timestamp_seconds") < before_s


def test_the_shipped_scrape_configuration_is_valid() -> None:
    prometheus.promtool("check", "config", SCRAPES)
