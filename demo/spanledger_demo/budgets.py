"""The demo's budgets, as a team would declare them in a file, and the pager that hears of them: a webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

BODY_BYTES_MAX: Final = 256 * 1024
REFUSED: Final = "budget_exceeded"
"""The error type of a call that a budget refused: the provider never saw it."""


def declare(folder: Path, *, usd: float, reviews: int) -> Path:
    """Write the file of budgets: one that warns of all spend, and one that refuses calls of the dearest model."""
    path = folder / "budgets.toml"
    path.write_text(
        f"""# Warns: the whole desk may spend this much a day.
[[budget]]
name = "support-desk"
limit_usd = {usd}
period = "day"
scope = {{ service = "support-desk" }}

# Refuses: so many calls of the dearest model a day, and not one more.
[[budget]]
name = "dearest-model"
limit_calls = {reviews}
period = "day"
mode = "hard"
scope = {{ service = "support-desk", model = "claude-sonnet-*" }}
"""
    )
    return path


@contextmanager
def pager() -> Generator[tuple[str, SimpleQueue[str]]]:
    """Run a webhook on this machine; give its URL for the notifier, and the titles of the messages that come."""
    titles: SimpleQueue[str] = SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length") or 0), BODY_BYTES_MAX)
            titles.put(_title(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002 -- http.server's
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="pager", daemon=True)
    thread.start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/pager", titles
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _title(body: bytes) -> str:
    try:
        said: Any = json.loads(body)
    except ValueError:
        return "(a message that is no JSON)"
    return str(said.get("title") or said.get("message") or "(an empty message)")


def refused(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry is of a call that a budget refused before it was sent."""
    return entry["error_type"] == REFUSED
