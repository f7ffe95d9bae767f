"""A real collector in front: it hears OK after the commit only, and so sends again what a kill left open."""

import random
import re
import signal
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from spanledger_exporter.failpoints import POINTS, VARIABLE
from tests.faults.books import assert_balanced
from tests.faults.traffic import request, traffic
from tests.servers.exporter import Exporter
from tests.servers.otelcol import CONFIG, Collector
from tests.servers.process import TIMEOUT_S, free_port, poll

# The collector's build, on a machine that never built one, takes minutes while other tests take the cores.
pytestmark = pytest.mark.timeout(900)


def test_an_exporter_that_is_killed_at_each_point_gets_every_call_from_the_collector_once(
    otelcol: Path, sqlite_url: str, tmp_path: Path
) -> None:
    sent = traffic(random.Random(6), 200)
    collector = Collector(otelcol, tmp_path, endpoint=f"127.0.0.1:{free_port()}")
    patient, config = "max_interval: 30s", tmp_path / "impatient.yaml"
    assert patient in CONFIG.read_text()
    config.write_text(CONFIG.read_text().replace(patient, "max_interval: 1s"))
    with collector.start(config=config):
        with grpc.insecure_channel(collector.grpc) as channel:
            for at in range(0, len(sent.reports), 40):
                TraceServiceStub(channel).Export(request(sent.reports[at : at + 40]), timeout=30)
        for point in POINTS:
            exporter = start(sqlite_url, tmp_path / point, collector.endpoint, f"{point}=kill")
            assert exporter.server.process.wait(TIMEOUT_S) == -signal.SIGKILL
        last = start(sqlite_url, tmp_path / "last", collector.endpoint, "")
        with last.server:
            done = rf"^otelcol_exporter_sent_spans(_total)?\{{[^}}]*\}} {len(sent.reports)}$"
            poll(lambda: re.search(done, collector.metrics(), re.MULTILINE), what="every span to be acknowledged")
            assert_balanced(sqlite_url, sent.tally, last)


def start(ledger_url: str, folder: Path, address: str, points: str) -> Exporter:
    folder.mkdir()
    return Exporter(ledger_url, folder, grpc=address, environ={VARIABLE: points})
