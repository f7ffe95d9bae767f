"""Senders that are slow, half, huge, stale or hostile: each is told so or let go, and the others never notice."""

import gzip
import http.client
import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import grpc
import pytest
from filelock import FileLock
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from tests.exporter.otlp_requests import body, request, span
from tests.servers.exporter import Exporter, entries
from tests.servers.process import get, poll
from tests.servers.sink import EXPORT

PROTOBUF = {"content-type": "application/x-protobuf"}
HEAD = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    environ = {"SPANLEDGER_RECEIVER_READ_TIMEOUT_S": "1"}
    running = Exporter(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path, environ=environ)
    yield running
    running.server.stop()


def post(address: str, content: bytes, **headers: str) -> int:
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", "/v1/traces", body=content, headers={**PROTOBUF, **named})
        return connection.getresponse().status


def connected(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def said_until_the_end(sock: socket.socket) -> bytes:
    """Read until the other side hangs up."""
    parts: list[bytes] = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def in_flight(exporter: Exporter) -> str:
    text = get(f"http://{exporter.metrics}/metrics") or ""
    return next(line.split()[1] for line in text.splitlines() if line.startswith("spanledger_in_flight_bytes "))


@pytest.mark.parametrize("sent", [b"", b"POST /v1/tra", HEAD], ids=["nothing", "half a line", "half a head"])
def test_a_head_that_never_ends_is_hung_up_on(exporter: Exporter, sent: bytes) -> None:
    with connected(exporter.http) as sock:
        sock.sendall(sent)
        assert said_until_the_end(sock) == b""


def test_a_second_head_on_a_kept_connection_has_no_more_time_than_the_first(exporter: Exporter) -> None:
    content = body(span())
    with connected(exporter.http) as sock:
        sock.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(content) + content + HEAD)
        assert said_until_the_end(sock).count(b"HTTP/1.1 200") == 1


def test_a_body_that_never_ends_is_told_to_come_again(exporter: Exporter) -> None:
    with connected(exporter.http) as sock:
        sock.sendall(HEAD + b"content-length: 1000000\r\n\r\n" + b"x" * 1000)
        assert sock.recv(65536).startswith(b"HTTP/1.1 503")
    poll(lambda: in_flight(exporter) == "0.0", what="the half body to be given up")


def test_a_sender_that_hangs_up_half_way_leaves_nothing(exporter: Exporter) -> None:
    for _ in range(20):
        with connected(exporter.http) as sock:
            sock.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n400\r\n" + b"x" * 100)
    poll(lambda: in_flight(exporter) == "0.0", what="the half bodies to be given up")
    assert post(exporter.http, body(span())) == 200
    assert "Traceback" not in exporter.server.log_text()


def test_hundreds_of_slow_senders_keep_nobody_waiting(exporter: Exporter) -> None:
    """Half of them dribble a head, half of them a body; calls by both ways go on meanwhile."""
    with ExitStack() as open_ones:
        for number in range(400):
            sock = open_ones.enter_context(connected(exporter.http))
            sock.sendall(HEAD + (b"content-length: 9\r\n\r\nx" if number % 2 else b""))
        for _ in range(50):
            silent = open_ones.enter_context(connected(exporter.grpc))
            silent.sendall(b"PRI * HTTP/2.0\r\n")
        assert post(exporter.http, body(span())) == 200
        with grpc.insecure_channel(exporter.grpc) as channel:
            TraceServiceStub(channel).Export(request(span()), timeout=60)
    assert len(entries(exporter.ledger)) == 2


@pytest.mark.parametrize("members", [1, 5])
def test_a_bomb_is_refused_before_it_fills_the_memory(exporter: Exporter, members: int) -> None:
    bomb = gzip.compress(bytes(2**27 // members), 9) * members
    before = resident_bytes(exporter)
    assert post(exporter.http, bomb, content_encoding="gzip") == 413
    assert resident_bytes(exporter) - before < 2**28
    assert post(exporter.http, body(span())) == 200


def test_a_body_of_a_million_empty_members_is_refused_at_once(exporter: Exporter) -> None:
    """What is left of it after each is not copied again: by its square it would take hours."""
    assert post(exporter.http, gzip.compress(b"") * 1_000_000, content_encoding="gzip") == 400


def test_a_bomb_by_grpc_is_refused(exporter: Exporter) -> None:
    with grpc.insecure_channel(exporter.grpc, compression=grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(EXPORT)(bytes(2**27), timeout=60)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        TraceServiceStub(channel).Export(request(span()), timeout=60)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", zlib.compress(b"x"), b"\x1f\x8b\x08\x00" + bytes(100)])
def test_what_is_no_gzip_is_refused(exporter: Exporter, content: bytes) -> None:
    assert post(exporter.http, content, content_encoding="gzip") == (400 if content else 200)


def test_a_deadline_that_passes_during_the_commit_loses_nothing_and_counts_once(
    exporter: Exporter, tmp_path: Path
) -> None:
    sent = request(span())
    with grpc.insecure_channel(exporter.grpc) as channel:
        stub = TraceServiceStub(channel)
        with FileLock(f"{tmp_path}/ledger.db.lock"), pytest.raises(grpc.RpcError) as raised:
            stub.Export(sent, timeout=0.3)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        poll(lambda: len(entries(exporter.ledger)) == 1, what="the call, though nobody waits for it")
        stub.Export(sent, timeout=60)
    assert len(entries(exporter.ledger)) == 1


def test_a_half_sent_grpc_message_hinders_nobody(exporter: Exporter) -> None:
    """A message that announces more than it sends, on a connection of its own; and one that is then cut off."""
    with connected(exporter.grpc) as sock:
        sock.sendall(half_a_call())
        with grpc.insecure_channel(exporter.grpc) as channel:
            TraceServiceStub(channel).Export(request(span()), timeout=60)
    with grpc.insecure_channel(exporter.grpc) as channel:
        TraceServiceStub(channel).Export(request(span()), timeout=60)
    assert len(entries(exporter.ledger)) == 2


def half_a_call() -> bytes:
    """HTTP/2 by hand: the preface, settings, the head of an Export, and the beginning of its message."""
    path, host = EXPORT.encode(), b"x"
    head = b"\x83\x86" + b"\x44" + bytes((len(path),)) + path + b"\x41" + bytes((len(host),)) + host
    for name, value in ((b"content-type", b"application/grpc"), (b"te", b"trailers")):
        head += b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value
    message = b"\x00" + (10_000).to_bytes(4, "big") + b"x" * 100
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, head) + frame(0, 0, 1, message)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def resident_bytes(exporter: Exporter) -> int:
    status = Path(f"/proc/{exporter.server.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def test_shutdown_finishes_what_was_accepted(tmp_path: Path) -> None:
    """A request that waits for its commit when SIGTERM comes is committed and answered OK."""
    exporter = Exporter(f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path)
    with FileLock(f"{tmp_path}/ledger.db.lock") as lock, grpc.insecure_channel(exporter.grpc) as channel:
        waiting = channel.unary_unary(EXPORT).future(body(span()), timeout=60)
        poll(lambda: in_flight(exporter) != "0.0", what="a request in flight")
        exporter.server.process.terminate()
        poll(lambda: refuses(exporter), what="the doors to be closed")
        lock.release()
        assert waiting.result() == b""
    assert exporter.server.process.wait(60) == 0
    assert len(entries(exporter.ledger)) == 1


def refuses(exporter: Exporter) -> bool:
    with grpc.insecure_channel(exporter.grpc) as channel:
        try:
            channel.unary_unary(EXPORT)(b"", timeout=5)
        except grpc.RpcError as exc:
            return exc.code() is grpc.StatusCode.UNAVAILABLE
    return False
