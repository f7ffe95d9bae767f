"""A stand-in for Grafana's HTTP API, as far as folders and dashboards go: no Grafana can be installed where tests run.

It knows one token, keeps what it is given, checks what Grafana checks, and can be told to fail.

Source: grafana.com/docs/grafana v13.2, HTTP API: "Dashboard", "Folder", "Other"; the shapes and texts are theirs.
"""

import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.servers.authority import Identity

TOKEN = "glsa_HOruNAb7SOiCdshU9algkrq7F2c5P5Ys_2fdb5e1c"


class Answer(NamedTuple):
    """What is said instead of the usual."""

    status: int
    body: str | bytes
    headers: dict[str, str] = {}  # noqa: RUF012 -- a default that nobody changes


class Grafana:
    """What it was asked, what it keeps, and how it is to fail: by the path of a request."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.address = ""
        self.asked: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.failing: dict[str, Answer] = {}
        self.spared = 0
        """So many dashboards are taken before that path fails."""

    def answer(self, method: str, path: str, token: str | None, body: bytes) -> Answer:
        self.asked.append((method, path))
        self.tokens.append(token or "")
        path = path.removeprefix(self.path).partition("?")[0]
        if path in self.failing and len(self.dashboards) >= self.spared:
            return self.failing[path]
        if path == "/api/health":
            return _json(200, {"commit": "5f1e4e2", "database": "ok", "version": "13.2.3"})
        if token != f"Bearer {TOKEN}":
            return _json(401, {"message": "Invalid API key", "messageId": "api-key.invalid", "statusCode": 401})
        if path == "/api/folders" and method == "GET":
            return _json(200, [{"id": 1, "uid": uid, "title": title} for uid, title in self.folders.items()])
        document = json.loads(body) if body else {}
        if path == "/api/folders":
            uid = f"folder-{len(self.folders)}"
            self.folders[uid] = document["title"]
            return _json(
                200, {"id": 1, "uid": uid, "title": document["title"], "url": f"{self.path}/dashboards/f/{uid}/"}
            )
        return self._dashboard(document) if path == "/api/dashboards/db" else Answer(404, "page not found")

    def _dashboard(self, document: dict[str, Any]) -> Answer:
        dashboard = document["dashboard"]
        if document["folderUid"] not in self.folders:
            return _json(400, {"message": "folder not found"})
        if dashboard["id"] is not None:
            return _json(404, {"message": "Dashboard not found", "status": "not-found"})
        if dashboard["uid"] in self.dashboards and not document["overwrite"]:
            said = "The dashboard has been changed by someone else"
            return _json(412, {"message": said, "status": "version-mismatch"})
        self.dashboards[dashboard["uid"]] = document
        url = f"{self.path}/d/{dashboard['uid']}/{dashboard['uid']}"
        return _json(
            200, {"id": 1, "uid": dashboard["uid"], "url": url, "status": "success", "version": 1, "slug": "a"}
        )


def _json(status: int, document: object) -> Answer:
    return Answer(status, json.dumps(document), {"content-type": "application/json; charset=UTF-8"})


@contextmanager
def listening(path: str = "", identity: Identity | None = None) -> Generator[Grafana]:
    """A Grafana that is served below a path, with a certificate where it has one."""
    grafana = Grafana(path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            if self.path.startswith(f"{path}/"):
                answer = grafana.answer(self.command, self.path, self.headers["authorization"], body)
            else:
                answer = Answer(404, "page not found")
            text = answer.body if isinstance(answer.body, bytes) else answer.body.encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.certificate, identity.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "http" if identity is None else "https"
        grafana.address = f"{scheme}://127.0.0.1:{server.server_port}{path}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield grafana
        finally:
            server.shutdown()
            thread.join()
