"""kill -9 in the middle of the work: what was acknowledged is there, and what is sent again is there once."""

import threading
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tests.exporter.otlp_requests import request, span
from tests.servers.exporter import Exporter, entries
from tests.servers.process import free_port, poll

BATCHES, SPANS_A_BATCH, KILLS = 60, 20, 3


class Sender(threading.Thread):
    """Sends each batch until it is acknowledged, as a collector does, and every third one twice."""

    def __init__(self, address: str, batches: list[ExportTraceServiceRequest]) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._batches = batches
        self.acknowledged: list[ExportTraceServiceRequest] = []

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            export = TraceServiceStub(channel).Export
            for number, batch in enumerate(self._batches):
                for _ in range(1 + (number % 3 == 0)):
                    poll(lambda batch=batch: self._sent(export, batch), what="an acknowledgement")
                self.acknowledged.append(batch)

    def _sent(self, export: grpc.UnaryUnaryMultiCallable, batch: ExportTraceServiceRequest) -> bool:
        try:
            export(batch, timeout=60, wait_for_ready=True)
        except grpc.RpcError as exc:
            if exc.code() is grpc.StatusCode.UNAVAILABLE:
                return False
            raise
        return True


def span_ids(batches: list[ExportTraceServiceRequest]) -> list[str]:
    return sorted(
        sent.span_id.hex()
        for batch in batches
        for resource_spans in batch.resource_spans
        for scope_spans in resource_spans.scope_spans
        for sent in scope_spans.spans
    )


def test_nothing_acknowledged_is_lost_and_nothing_is_counted_twice(ledger_url: str, tmp_path: Path) -> None:
    batches = [request(*(span() for _ in range(SPANS_A_BATCH))) for _ in range(BATCHES)]
    address = f"127.0.0.1:{free_port()}"
    sender = Sender(address, batches)
    for life in range(KILLS + 1):
        folder = tmp_path / str(life)
        folder.mkdir()
        exporter = Exporter(ledger_url, folder, grpc=address)
        if life == 0:
            sender.start()
        if life < KILLS:
            enough = (life + 1) * BATCHES // (KILLS + 2)
            poll(lambda enough=enough: len(sender.acknowledged) >= enough, what=f"{enough} batches")
            exporter.server.kill()
            stored = {entry["span_id"] for entry in entries(ledger_url)}
            assert stored.issuperset(span_ids(list(sender.acknowledged)))
    sender.join(timeout=120)
    exporter.server.stop()
    assert sorted(entry["span_id"] for entry in entries(ledger_url)) == span_ids(batches)
