"""A local web server that takes Alertmanager's notifications, and shows Prometheus the state of a budget."""

import contextlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Told(NamedTuple):
    """One alert of one notification."""

    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class Hook:
    """What was posted so far, what of it Alertmanager's webhooks told, and the metrics that are shown."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.posted: list[dict[str, Any]] = []
        self.metrics: Mapping[str, float] = {}
        self.address = ""

    def take(self, document: dict[str, Any]) -> None:
        self.posted.append(document)
        receiver = document.get("receiver", "")
        for alert in document.get("alerts", ()):
            self.told.append(Told(receiver, alert["status"], alert["labels"], alert["annotations"]))

    def thresholds(self, receiver: str, budget: str = "company") -> list[str]:
        """The thresholds of a budget that a receiver was told of, one for each time."""
        wanted = {"alertname": "SpanledgerBudgetThreshold", "budget": budget}
        told = [each for each in list(self.told) if each.receiver == receiver and each.status == "firing"]
        return [each.labels["threshold"] for each in told if wanted.items() <= each.labels.items()]


@contextmanager
def listening() -> Generator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("".join(f"{series} {value!r}\n" for series, value in hook.metrics.items()))

        def do_POST(self) -> None:
            hook.take(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._answer("")

        def _answer(self, text: str) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(text)))
            with contextlib.suppress(ConnectionError):  # an Alertmanager that is being restarted waits for no answer
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hook.address = f"127.0.0.1:{server.server_port}"
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
