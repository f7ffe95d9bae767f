"""A token goes to the host that it is for: along no redirect, and on this host through no proxy."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from spanledger_exporter.web_client import opener


class Handler(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    made = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"asked": asked}))
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{made.server_address[1]}", asked
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_redirect_is_an_error_and_is_not_followed(server: tuple[str, list[str]]) -> None:
    address, asked = server
    with pytest.raises(urllib.error.HTTPError) as raised:
        opener("127.0.0.1").open(f"http://{address}/moved")
    assert (raised.value.code, raised.value.headers["location"]) == (302, "/elsewhere")
    raised.value.close()
    assert asked == ["/moved"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_this_host_is_asked_past_any_proxy(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    address, asked = server
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.delenv("no_proxy", raising=False)
    opener(host).open(f"http://{address}/metrics").close()
    assert asked == ["/metrics"]


def test_other_hosts_are_asked_through_the_proxy_of_the_environment(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = server
    monkeypatch.setenv("http_proxy", f"http://{address}")
    monkeypatch.delenv("no_proxy", raising=False)
    opener("grafana.example").open("http://grafana.example/api/health").close()
    assert asked == ["http://grafana.example/api/health"]
