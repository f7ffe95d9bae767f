"""A stand-in for Grafana's HTTP API, which cannot be installed where the tests run; it can be made to fail.

Shapes: "Folder HTTP API", "Dashboard HTTP API" and "Other HTTP API" of Grafana's documentation, read in November 2026.
"""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeGrafana:
    """What it holds, what it was asked, and how it answers: `failures` has a status and a body by path."""

    def __init__(self) -> None:
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.failures: dict[str, tuple[int, Any]] = {}
        self.moved_to: str | None = None
        self.token = "glsa_secret"
        self.url = ""

    def answer(self, method: str, path: str, token: str | None, document: Any) -> tuple[int, Any]:
        self.asked.append((method, path, token))
        if path in self.failures:
            return self.failures[path]
        if path == "/api/health":
            return 200, {"commit": "1a2b3c", "database": "ok", "version": "13.2.3"}
        if token != f"Bearer {self.token}":
            return 401, {"message": "Invalid API key"}
        return self._answer(method, path, document)

    def _answer(self, method: str, path: str, document: Any) -> tuple[int, Any]:
        if (method, path) == ("POST", "/api/folders"):
            self.folders[document["uid"]] = document["title"]
            return 200, {"id": 1, "uid": document["uid"], "title": document["title"], "version": 1}
        if (method, path) == ("POST", "/api/dashboards/db"):
            return self._keep(document)
        uid = path.removeprefix("/api/folders/")
        if method == "GET" and uid in self.folders:
            return 200, {"id": 1, "uid": uid, "title": self.folders[uid], "url": f"/dashboards/f/{uid}"}
        return 404, {"message": "folder not found", "status": "not-found"}

    def _keep(self, document: dict[str, Any]) -> tuple[int, Any]:
        dashboard = document["dashboard"]
        uid = dashboard["uid"]
        if document["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        if uid in self.dashboards and not document["overwrite"]:
            return 412, {"message": "A dashboard with the same uid already exists", "status": "name-exists"}
        self.dashboards[uid] = document
        url = f"/d/{uid}/{dashboard['title'].lower().replace(' ', '-')}"
        return 200, {"id": 1, "uid": uid, "url": url, "status": "success", "version": 1, "slug": "x"}


@contextmanager
def running() -> Generator[FakeGrafana]:
    """Serve a new one on loopback."""
    fake = FakeGrafana()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._handle("GET")

        def do_POST(self) -> None:
            self._handle("POST")

        def _handle(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, document = fake.answer(
                method, self.path, self.headers.get("authorization"), json.loads(body) if body else None
            )
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            if fake.moved_to is not None:
                self.send_header("location", fake.moved_to)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
