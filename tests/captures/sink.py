"""An OTLP/HTTP server that keeps the bodies of trace requests, byte for byte, in the order of arrival."""

import gzip
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PROTOBUF = "application/x-protobuf"


class Sink(ThreadingHTTPServer):
    """What has arrived so far. Vendors put folders of their own before `/v1/traces`; other signals are dropped."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        self.refused: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Sink

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/v1/traces"):
            if self.headers["content-type"] == _PROTOBUF:
                self.server.bodies.append(body)
            else:
                self.server.refused.append(f"{self.path} as {self.headers['content-type']}")
        self.send_response(200)
        self.send_header("content-type", self.headers["content-type"] or _PROTOBUF)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        """Say nothing."""

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk


@contextmanager
def listening() -> Generator[Sink]:
    """Serve on a free port until the block ends."""
    with Sink() as sink:
        thread = threading.Thread(target=sink.serve_forever, name="sink")
        thread.start()
        try:
            yield sink
        finally:
            sink.shutdown()
            thread.join()
