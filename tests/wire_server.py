"""A real HTTP server on a real socket that answers with given bytes in given pieces, as a provider would."""

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Read the body."""
        return json.loads(self.body)


class Gate(threading.Event):
    """A pause in a reply: the server goes on when the test opens it."""


class Cut:
    """The end of a reply where the connection breaks."""


Piece = bytes | Gate | Cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server answers: each piece of bytes is one chunk of a chunked body, flushed by itself."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    pieces: Sequence[Piece] = ()


def json_reply(body: object, status: int = 200, **headers: str) -> Reply:
    """Answer with JSON in one piece."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(
        status=status, headers={"content-type": "application/json", **named}, pieces=[json.dumps(body).encode()]
    )


def sse_reply(*pieces: Piece, **headers: str) -> Reply:
    """Answer with an event stream."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(headers={"content-type": "text/event-stream", **named}, pieces=pieces)


class WireServer:
    """Answer each request with the next reply in line, or by a function."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Reply] = lambda _: self._replies.get(timeout=10)
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._gates: list[Gate] = []
        self._http = _Http(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._http.server_address[1]

    @property
    def url(self) -> str:
        """The origin of the server."""
        return f"http://127.0.0.1:{self.port}"

    def reply(self, *replies: Reply) -> None:
        """Add replies to the line."""
        for reply in replies:
            self._gates += [piece for piece in reply.pieces if isinstance(piece, Gate)]
            self._replies.put(reply)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Open every gate, break every connection and end."""
        for gate in self._gates:
            gate.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@contextlib.contextmanager
def running() -> Iterator[WireServer]:
    """Run a server for the length of the block."""
    server = WireServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, wire: WireServer) -> None:
        self.wire = wire
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # each piece leaves at once
    server: _Http

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("transfer-encoding") == "chunked":
            body = self._dechunk()
        request = Request(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )
        self.server.wire.requests.append(request)
        self._send(self.server.wire.answer(request))

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that http.server calls

    def _dechunk(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in reply.pieces:
            if isinstance(piece, Gate):
                piece.wait(10)
            elif isinstance(piece, Cut):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            elif piece:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_message(self, *args: Any) -> None:
        """Stay silent."""
