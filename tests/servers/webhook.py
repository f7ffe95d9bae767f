"""A real HTTP server that keeps what is posted to it, and answers as it is told."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """What was posted so far; `status` is the answer, and `open` holds it back while it is not set."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.status = 200
        self.open = threading.Event()
        self.open.set()

    def documents(self) -> list[Any]:  # Any: JSON
        """Return the bodies as JSON."""
        return [json.loads(body) for body in self.bodies]


@contextmanager
def posted_to(webhook: Webhook, port: int = 0) -> Generator[int]:
    """Serve a webhook on loopback, and yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            webhook.open.wait()
            if webhook.status < 400:
                webhook.paths.append(self.path)
                webhook.bodies.append(body)
            answer = b"ok"
            self.send_response(webhook.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        webhook.open.set()
        server.shutdown()
        thread.join()
        server.server_close()
