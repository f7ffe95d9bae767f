"""urllib3: the app sees what it would see without us, and each request is one call, however its answer is read."""

import gc
import gzip
import io
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import urllib3
from urllib3.exceptions import IncompleteRead, MaxRetryError, ProtocolError, ReadTimeoutError

from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import cut, load
from tests.wire_server import Cut, Gate, Reply, WireServer, json_reply, sse_reply

PATH = "/v1/chat/completions"
HEADERS = {"content-type": "application/json"}
BODY = json.dumps({"model": "gpt-5", "messages": [], "stream": True}).encode()
STREAM = load("openai/chat_stream.sse")
HALF = STREAM[: len(STREAM) // 2]
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
READERS: dict[str, Callable[[Any], Any]] = {
    "data": lambda response: response.data,
    "read": lambda response: response.read(),
    "read of 7": lambda response: list(iter(lambda: response.read(7), b"")),
    "read, raw": lambda response: response.read(decode_content=False),
    "read1": lambda response: b"".join(iter(response.read1, b"")),
    "stream": lambda response: list(response.stream()),
    "stream of 7": lambda response: list(response.stream(7)),
    "stream, raw": lambda response: list(response.stream(decode_content=False)),
    "read_chunked": lambda response: list(response.read_chunked()),
    "readinto": lambda response: (buffer := bytearray(9000), response.readinto(buffer), bytes(buffer)),
    "lines": lambda response: (setattr(response, "auto_close", False), list(io.TextIOWrapper(response)))[1],
    "readline": lambda response: [response.readline(), response.readline(), response.read()],
    "drain": lambda response: response.drain_conn(),
}


def post(server: WireServer, **kwargs: Any) -> Any:
    return urllib3.PoolManager().request(
        "POST", server.url + PATH, **{"body": BODY, "headers": HEADERS, "retries": False, **kwargs}
    )


def reported(spans: Spans) -> bool:
    attributes = spans.attributes()
    return attributes["spanledger.usage.status"] == "reported" and attributes["gen_ai.usage.output_tokens"] == 340


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("reader", READERS)
def test_an_app_sees_the_same_with_and_without_us(server: WireServer, encoding: str, reader: str) -> None:
    encoded = ENCODINGS[encoding](STREAM)
    reply = sse_reply(*cut(encoded, list(range(0, len(encoded), 61))), content_encoding=encoding)

    def see() -> Any:
        server.reply(reply)
        response = post(server, preload_content=False)
        seen = READERS[reader](response)
        return seen, response.closed, response.tell(), list(response.headers), type(response).__qualname__

    spans = Spans()
    without = see()
    with instrumented(spans.provider):
        assert see() == without
    assert reported(spans)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("decode", [True, False])
def test_an_answer_that_is_read_at_once_is_reported(
    server: WireServer, spans: Spans, encoding: str, *, decode: bool
) -> None:
    encoded = ENCODINGS[encoding](STREAM)
    server.reply(sse_reply(encoded, content_encoding=encoding))
    response = post(server, decode_content=decode)
    assert response.data == (STREAM if decode else encoded)
    assert reported(spans)


def test_a_pool_is_followed_without_a_manager(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM))
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port) as pool:
        assert pool.urlopen("POST", PATH + "?key=secret", BODY, HEADERS).data == STREAM
    attributes = spans.attributes()
    assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", server.port)
    assert "secret" not in str(attributes)


@pytest.mark.parametrize("body", [BODY, BODY.decode(), bytearray(BODY)], ids=["bytes", "str", "bytearray"])
def test_a_body_that_is_all_there_is_read(server: WireServer, spans: Spans, body: Any) -> None:
    server.reply(sse_reply(STREAM))
    post(server, body=body)
    assert spans.attributes()["gen_ai.request.model"] == "gpt-5"
    assert server.requests[0].json()["model"] == "gpt-5"


@pytest.mark.parametrize("body", [lambda: io.BytesIO(BODY), lambda: iter([BODY])], ids=["file", "generator"])
def test_a_body_that_can_be_read_only_once_is_left_alone(
    server: WireServer, spans: Spans, body: Callable[[], Any]
) -> None:
    server.reply(sse_reply(STREAM))
    post(server, body=body())
    assert server.requests[0].body == BODY
    assert "gen_ai.request.model" not in spans.attributes()
    assert reported(spans)


@pytest.mark.parametrize("preload", [True, False])
def test_redirects_and_retries_are_one_call(server: WireServer, spans: Spans, *, preload: bool) -> None:
    server.reply(
        Reply(status=307, headers={"location": PATH}),
        json_reply({"error": {"code": "overloaded"}}, 503),
        sse_reply(STREAM),
    )
    retries = urllib3.Retry(4, status_forcelist=[503], allowed_methods=None, backoff_factor=0)
    assert post(server, retries=retries, preload_content=preload).data == STREAM
    assert len(server.requests) == 3
    assert reported(spans)


def test_a_connection_is_used_again_after_the_last_byte(server: WireServer, spans: Spans) -> None:
    with urllib3.HTTPConnectionPool("127.0.0.1", server.port, maxsize=1) as pool:
        for _ in range(3):
            server.reply(sse_reply(HALF, STREAM[len(HALF) :]))
            response = pool.urlopen("POST", PATH, BODY, HEADERS, preload_content=False)
            assert b"".join(response.stream()) == STREAM
        assert pool.num_connections == 1
    assert len(spans()) == 3


def test_closing_half_way_keeps_what_is_known(server: WireServer, spans: Spans) -> None:
    gate = Gate()
    server.reply(sse_reply(HALF, gate, STREAM))
    response = post(server, preload_content=False)
    stream = response.stream()
    assert next(stream) == HALF
    assert not spans()
    response.close()
    attributes = spans.attributes()
    assert attributes["gen_ai.response.id"] == "chatcmpl-A1"
    assert attributes["spanledger.usage.status"] == "unreported"
    assert "error.type" not in attributes


def test_a_dropped_response_is_collected_at_once_and_ends_its_call(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Gate()))
    response = post(server, preload_content=False)
    assert response.read1() == HALF
    gc.disable()  # collected by its count alone: nothing of ours refers to it in a circle
    try:
        del response
        spans.wait(1)
    finally:
        gc.enable()
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda response: list(response.stream()), ProtocolError),
        (lambda response: response.read(), ProtocolError),
        (lambda response: list(iter(lambda: response.read(7), b"")), ProtocolError),
    ],
    ids=["stream", "read", "read of 7"],
)
def test_a_broken_stream_raises_the_same_and_says_so(
    server: WireServer, read: Callable[[Any], Any], error: type[Exception]
) -> None:
    def see() -> str:
        server.reply(sse_reply(HALF, Cut()))
        with pytest.raises(error) as raised:
            read(post(server, preload_content=False))
        return str(raised.value)

    spans = Spans()
    without = see()
    with instrumented(spans.provider):
        assert see() == without
    attributes = spans.attributes()
    assert attributes["error.type"] == error.__name__
    assert attributes["spanledger.usage.status"] == "unreported"


def test_a_timeout_while_reading_raises_the_same_and_says_so(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Gate()))
    response = post(server, preload_content=False, timeout=urllib3.Timeout(read=0.2))
    with pytest.raises(ReadTimeoutError):
        list(response.stream())
    assert spans.attributes()["error.type"] == "ReadTimeoutError"


def test_a_body_short_of_its_length_has_not_come_to_its_end(spans: Spans) -> None:
    def respond() -> Any:
        return urllib3.HTTPResponse(
            io.BytesIO(HALF),
            headers={"content-type": "text/event-stream", "content-length": str(len(STREAM))},
            status=200,
            preload_content=False,
        )

    class Pool(urllib3.HTTPConnectionPool):
        def _make_request(self, *args: Any, **kwargs: Any) -> Any:
            return respond()

    with pytest.raises(ProtocolError) as raised:
        list(Pool("llm.example.com").urlopen("POST", PATH, BODY, HEADERS, preload_content=False).stream())
    assert isinstance(raised.value.args[1], IncompleteRead)
    assert spans.attributes()["error.type"] == "ProtocolError"


def test_a_refused_connection_raises_the_same(spans: Spans) -> None:
    with pytest.raises(MaxRetryError):
        urllib3.PoolManager().request("POST", "http://127.0.0.1:1" + PATH, body=BODY, retries=0)
    assert spans.attributes()["error.type"] == "MaxRetryError"


class Transport(httpx.BaseTransport):
    """httpx, sending through urllib3."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = urllib3.PoolManager().request(
            request.method, str(request.url), body=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.data)


def test_a_client_built_on_this_one_is_one_call(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM))
    with httpx.Client(transport=Transport()) as client:
        assert client.post(server.url + PATH, content=BODY).content == STREAM
    assert reported(spans)


def test_a_refusal_is_reported_with_its_error(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"error": {"code": "rate_limit_exceeded", "message": "x"}}, 429))
    assert post(server, preload_content=False).json()["error"]["message"] == "x"
    attributes = spans.attributes()
    assert attributes["error.type"] == "rate_limit_exceeded"
    assert attributes["spanledger.usage.status"] == "none"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", PATH), ("POST", "/v1/chat"), ("POST", "/"), ("POST", "/x?a=/chat/completions")]
)
def test_other_requests_are_left_alone(server: WireServer, spans: Spans, method: str, path: str) -> None:
    server.reply(json_reply({}))
    response = urllib3.PoolManager().request(method, server.url + path, preload_content=False)
    assert type(response) is urllib3.HTTPResponse
    assert response.json() == {}
    assert not spans()


def test_revert_gives_back_the_methods_of_urllib3() -> None:
    before = urllib3.HTTPConnectionPool.urlopen, urllib3.PoolManager.urlopen
    with instrumented(Spans().provider):
        assert urllib3.HTTPConnectionPool.urlopen is not before[0]
    assert (urllib3.HTTPConnectionPool.urlopen, urllib3.PoolManager.urlopen) == before


class Echo(urllib3.HTTPConnectionPool):
    """A pool that answers by itself."""

    def _make_request(self, *_: Any, **__: Any) -> Any:
        return urllib3.HTTPResponse(b"{}", status=200)


def test_a_host_of_that_name_is_no_path(spans: Spans) -> None:
    manager = urllib3.PoolManager()
    manager.pool_classes_by_scheme = {"http": Echo}
    assert manager.request("POST", "http://embeddings", body=BODY).data == b"{}"
    assert not spans()


@pytest.mark.parametrize("where", ["spanledger_instrumentation.clients", "spanledger_instrumentation.instrumentor"])
def test_no_client_is_imported_by_us(where: str) -> None:
    code = f"import sys, {where}; print([name for name in sys.modules if name in {{'urllib3', 'requests', 'aiohttp'}}])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
