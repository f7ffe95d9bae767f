"""The receivers over real sockets: what senders are told, and that an OK means committed."""

import gzip
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from filelock import FileLock
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from sqlalchemy import create_engine

from tests.exporter.otlp_requests import CHAT, body, document, request, span, spans_of
from tests.servers.exporter import SPANLEDGER, Exporter, entries
from tests.servers.process import poll

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json; charset=utf-8"}


AT_ONCE = {"SPANLEDGER_METRICS_NEW_SERIES_HOLD_S": "0"}


@pytest.fixture
def exporter(sqlite_url: str, tmp_path: Path) -> Iterator[Exporter]:
    running = Exporter(sqlite_url, tmp_path, environ=AT_ONCE)
    yield running
    running.server.stop()


@pytest.fixture
def channel(exporter: Exporter) -> Iterator[grpc.Channel]:
    options = (("grpc.max_send_message_length", -1),)
    with grpc.insecure_channel(exporter.grpc, options) as opened:
        yield opened


def post(
    exporter: Exporter, content: bytes, headers: dict[str, str], path: str = "/v1/traces"
) -> tuple[int, bytes, dict[str, str]]:
    sent = urllib.request.Request(f"http://{exporter.http}{path}", data=content, headers=headers)
    try:
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read(), dict(exc.headers)


def get(exporter: Exporter, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{exporter.metrics}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


@contextmanager
def broken_ledger(url: str) -> Generator[None]:
    """Take a table that each commit needs away for a while."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ledger_state RENAME TO gone")
    yield
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO ledger_state")
    engine.dispose()


def test_grpc_says_ok_when_the_calls_are_in_the_ledger(exporter: Exporter, channel: grpc.Channel) -> None:
    answer = TraceServiceStub(channel).Export(request(span(), span()), timeout=60)
    assert not answer.HasField("partial_success")
    assert len(entries(exporter.ledger)) == 2


def test_a_repeated_request_is_ok_and_counted_once(exporter: Exporter, channel: grpc.Channel) -> None:
    sent = request(span())
    for _ in range(3):
        TraceServiceStub(channel).Export(sent, timeout=60)
    assert post(exporter, sent.SerializeToString(), PROTOBUF)[0] == 200
    assert len(entries(exporter.ledger)) == 1
    assert 'spanledger_spans_total{result="duplicate"} 3.0' in get(exporter, "/metrics")[1]


def test_http_takes_plain_and_gzip_bodies(exporter: Exporter) -> None:
    status, answer, headers = post(exporter, body(span()), PROTOBUF)
    assert (status, headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(answer) == ExportTraceServiceResponse()
    assert post(exporter, gzip.compress(body(span())), {**PROTOBUF, "content-encoding": "gzip"})[0] == 200
    assert len(entries(exporter.ledger)) == 2


def test_http_takes_json_and_answers_in_json(exporter: Exporter) -> None:
    broken = span()
    broken.span_id = b""
    made = document(request(span(), span(), broken))
    spans_of(made)[1]["traceId"] = "no hex"
    status, answer, headers = post(exporter, json.dumps(made).encode(), JSON)
    assert (status, headers["content-type"]) == (200, "application/json")
    said = json.loads(answer)["partialSuccess"]
    assert said["rejectedSpans"] == "2"
    assert "hex" in said["errorMessage"]
    zipped = gzip.compress(json.dumps(document(request(span()))).encode())
    assert post(exporter, zipped, {**JSON, "content-encoding": "gzip"})[:2] == (200, b"{}")
    assert post(exporter, b"{}", JSON)[:2] == (200, b"{}")
    assert len(entries(exporter.ledger)) == 2


def test_an_error_comes_in_the_encoding_of_its_request(exporter: Exporter, tmp_path: Path) -> None:
    status, answer, headers = post(exporter, b"garbage", JSON)
    assert (status, headers["content-type"]) == (400, "application/json")
    assert json.loads(answer)["code"] == 3
    with broken_ledger(exporter.ledger):
        status, answer, headers = post(exporter, json.dumps(document(request(span()))).encode(), JSON)
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(answer)["details"][0]["retryDelay"] == "1s"


def test_spans_that_are_no_calls_are_accepted_and_ignored(exporter: Exporter) -> None:
    status, answer, _ = post(exporter, body(span({"http.method": "GET"})), PROTOBUF)
    assert (status, answer) == (200, b"")
    assert entries(exporter.ledger) == []


def test_metrics_and_logs_are_accepted_and_ignored(exporter: Exporter, channel: grpc.Channel) -> None:
    """An SDK sends them to the same address by default, and would complain in the app's log for ever."""
    for service in ("metrics.v1.MetricsService", "logs.v1.LogsService"):
        assert channel.unary_unary(f"/opentelemetry.proto.collector.{service}/Export")(b"anything", timeout=60) == b""
    for signal in ("metrics", "logs"):
        assert post(exporter, b"anything", PROTOBUF, path=f"/v1/{signal}")[:2] == (200, b"")
    text = get(exporter, "/metrics")[1]
    for transport in ("grpc", "http"):
        assert f'spanledger_requests_total{{answer="ignored",transport="{transport}"}} 2.0' in text


def test_a_bad_span_is_rejected_alone(exporter: Exporter, channel: grpc.Channel) -> None:
    broken = span()
    broken.trace_id = b"short"
    answer = TraceServiceStub(channel).Export(request(span(), broken), timeout=60)
    assert answer.partial_success.rejected_spans == 1
    assert "trace_id must be 16 bytes" in answer.partial_success.error_message
    assert len(entries(exporter.ledger)) == 1


def test_malformed_grpc_bytes_are_an_invalid_argument(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(EXPORT)(b"garbage", timeout=60)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not an OTLP ExportTraceServiceRequest" in raised.value.details()


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"garbage", PROTOBUF, 400, "not an OTLP"),
        (b"{}", {"content-type": "text/plain"}, 400, "text/plain"),
        (b"x", {**PROTOBUF, "content-encoding": "br"}, 400, "'br' is not supported"),
        (b"not gzip", {**PROTOBUF, "content-encoding": "gzip"}, 400, "is not gzip"),
        (gzip.compress(body(span()))[:-9], {**PROTOBUF, "content-encoding": "gzip"}, 400, "ends before its end"),
        (gzip.compress(bytes(65 * 2**20)), {**PROTOBUF, "content-encoding": "gzip"}, 413, "over the limit"),
        (bytes(65 * 2**20), PROTOBUF, 413, "over the limit"),
    ],
    ids=["garbage", "text", "brotli", "no gzip", "cut gzip", "bomb", "huge"],
)
def test_http_says_what_is_wrong(
    exporter: Exporter, content: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    got, answer, _ = post(exporter, content, headers)
    assert got == status
    assert said in Status.FromString(answer).message
    assert get(exporter, "/healthz") == (200, "ok\n")


def test_trouble_with_the_database_is_retryable_and_passes(exporter: Exporter, channel: grpc.Channel) -> None:
    """The table is taken away and given back: senders are told to retry, in both places where they look."""
    with broken_ledger(exporter.ledger):
        with pytest.raises(grpc.RpcError) as raised:
            TraceServiceStub(channel).Export(request(span()), timeout=60)
        status, _, headers = post(exporter, body(span()), PROTOBUF)
    trailers = dict(raised.value.trailing_metadata())
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds == 1
    detail = RetryInfo()
    assert Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(detail)
    assert (status, headers["retry-after"]) == (503, "1")
    TraceServiceStub(channel).Export(request(span()), timeout=60)
    assert len(entries(exporter.ledger)) == 1


def test_metrics_and_readiness_answer(exporter: Exporter, channel: grpc.Channel) -> None:
    TraceServiceStub(channel).Export(request(span()), timeout=60)
    assert get(exporter, "/readyz") == (200, "ready\n")
    status, text = get(exporter, "/metrics")
    assert status == 200
    assert 'genai_calls_total{environment="test",model="gpt-4o-mini-2024-07-18",operation="chat",outcome="ok"' in text
    assert "_created" not in text


def test_counters_survive_kill_9_and_a_restart(exporter: Exporter, channel: grpc.Channel, tmp_path: Path) -> None:
    TraceServiceStub(channel).Export(request(span(), span({**CHAT, "gen_ai.response.model": "mystery"})), timeout=60)
    before = spend(get(exporter, "/metrics")[1])
    exporter.server.kill()
    (tmp_path / "again").mkdir()
    again = Exporter(exporter.ledger, tmp_path / "again", environ=AT_ONCE)
    try:
        assert spend(get(again, "/metrics")[1]) == before != []
    finally:
        again.server.stop()


def spend(text: str) -> list[str]:
    names = ("genai_cost", "genai_tokens", "genai_calls", "genai_unpriced")
    return sorted(line for line in text.splitlines() if line.startswith(names))


def test_a_gzip_body_of_several_members_is_read_to_its_end(exporter: Exporter) -> None:
    content = gzip.compress(body(span())) + gzip.compress(body(span()))
    assert post(exporter, content, {**PROTOBUF, "content-encoding": "gzip"})[0] == 200
    assert len(entries(exporter.ledger)) == 2


def test_a_request_that_the_shutdown_overtakes_is_told_to_retry(sqlite_url: str, tmp_path: Path) -> None:
    """Its commit waits for a lock that somebody else holds; 500 would make a collector drop it."""
    exporter = Exporter(sqlite_url, tmp_path, environ={"SPANLEDGER_RECEIVER_SHUTDOWN_GRACE_S": "1"})
    with FileLock(f"{tmp_path}/ledger.db.lock"), ThreadPoolExecutor() as pool:
        waiting = pool.submit(post, exporter, body(span()), PROTOBUF)
        poll(lambda: "spanledger_in_flight_bytes 0.0" not in get(exporter, "/metrics")[1], what="a request in flight")
        exporter.server.stop()
        assert waiting.result()[0] == 503


def test_a_sender_that_gives_up_leaves_no_trace_in_the_log(
    exporter: Exporter, channel: grpc.Channel, tmp_path: Path
) -> None:
    with FileLock(f"{tmp_path}/ledger.db.lock"), pytest.raises(grpc.RpcError):
        TraceServiceStub(channel).Export(request(span()), timeout=0.2)
    TraceServiceStub(channel).Export(request(span()), timeout=60)
    assert len(entries(exporter.ledger)) == 2
    assert "Traceback" not in exporter.server.log_text()


def test_a_port_that_is_taken_is_said_and_nothing_is_left_running(sqlite_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("--grpc", "--http", "--metrics"):
            others = [part for other in {"--grpc", "--http", "--metrics"} - {flag} for part in (other, "127.0.0.1:0")]
            done = subprocess.run(
                [SPANLEDGER, "serve", flag, address, *others, "--ledger", sqlite_url],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stdout) == (2, "")
            assert f"cannot listen on {address}: Address already in use; {flag} ADDR names another" in done.stderr
