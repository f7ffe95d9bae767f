"""Senders that are not ours, really installed: whatever they send, each call is in the ledger once, to the token."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind

from tests.exporter.otlp_requests import CHAT, CHAT_PUSD, request, span
from tests.servers.exporter import Exporter, entries
from tests.servers.process import poll
from tests.servers.senders import Rotel, node
from tests.servers.sink import EXPORT

SPANS = 600


@pytest.fixture
def exporter(sqlite_url: str, tmp_path: Path) -> Iterator[Exporter]:
    running = Exporter(sqlite_url, tmp_path)
    yield running
    running.server.stop()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def python_sender(exporter: Exporter, kind: str) -> SpanExporter:
    if kind == "grpc":
        return GrpcSpanExporter(endpoint=f"http://{exporter.grpc}", insecure=True)
    compression = Compression.Gzip if kind == "http gzip" else Compression.NoCompression
    return HttpSpanExporter(endpoint=f"http://{exporter.http}/v1/traces", compression=compression)


@pytest.mark.parametrize("kind", ["grpc", "http", "http gzip"])
def test_the_python_sdk(exporter: Exporter, kind: str) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(python_sender(exporter, kind)))
    tracer = provider.get_tracer("python-sender")
    for _ in range(SPANS):
        tracer.start_span("chat", kind=SpanKind.CLIENT, attributes=dict(CHAT)).end()
    assert provider.force_flush(60_000)
    provider.shutdown()
    kept = entries(exporter.ledger)
    assert len(kept) == SPANS
    assert {(entry["service"], entry["cost_pusd"]) for entry in kept} == {("shop", CHAT_PUSD)}


def test_the_node_sdk_in_json(exporter: Exporter) -> None:
    results = node(Path(__file__).with_name("send.mjs"), f"http://{exporter.http}/v1/traces", str(SPANS))
    assert sum(result["spans"] for result in results) == SPANS
    assert {(result["code"], result["error"]) for result in results} == {(0, "")}
    kept = entries(exporter.ledger)
    assert sorted(entry["response_id"] for entry in kept) == sorted(
        f"chatcmpl-node-{number}" for number in range(SPANS)
    )
    (first, *_) = kept
    assert (first["service"], first["environment"], first["scope"]) == ("node-shop", "test", "node-sender")
    assert (first["input_tokens"], first["output_tokens"], first["finish_reasons"]) == (100, 20, "stop")
    assert (first["stream"], first["time_to_first_chunk_ns"]) == (True, 250_000_000)
    assert all(entry["price_status"] == "priced" for entry in kept)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_in_rust_passes_calls_on(exporter: Exporter, tmp_path: Path, protocol: str) -> None:
    endpoint = exporter.grpc if protocol == "grpc" else exporter.http
    sent = [span() for _ in range(SPANS)]
    rotel = Rotel(tmp_path, endpoint=endpoint, protocol=protocol)
    with rotel.server, grpc.insecure_channel(rotel.grpc) as channel:
        for start in range(0, SPANS, 100):
            body = request(*sent[start : start + 100]).SerializeToString()
            channel.unary_unary(EXPORT)(body, timeout=60, wait_for_ready=True)
        poll(lambda: len(entries(exporter.ledger)) >= SPANS, what=f"{SPANS} entries in the ledger")
    kept = entries(exporter.ledger)
    assert sorted(entry["span_id"] for entry in kept) == sorted(each.span_id.hex() for each in sent)
    assert sum(entry["cost_pusd"] for entry in kept) == SPANS * CHAT_PUSD
