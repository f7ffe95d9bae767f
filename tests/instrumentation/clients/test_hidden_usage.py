"""aiohttp, requests and urllib3 are asked for the usage of streams, and the app sees what it would have seen."""

import asyncio
import contextlib
import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
import requests
import requests.auth
import urllib3
import urllib3.http2

from spanledger_instrumentation import fence
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import cut, load
from tests.wire_server import Cut, Gate, Reply, Request, WireServer, json_reply, sse_reply

pytestmark = pytest.mark.usefixtures("asked")

PATH = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "gpt-5", "messages": [{"role": "user", "content": "é"}], "stream": True}
CONTENT = json.dumps(BODY, ensure_ascii=False).encode()
ASKING = BODY | {"stream_options": {"include_usage": True}}
STREAM = load("openai/chat_stream.sse")
EVENTS = [event + b"\n\n" for event in STREAM.split(b"\n\n") if event]
EXTRA = EVENTS[-2]
HIDDEN = STREAM.replace(EXTRA, b"")
JSON = {"content-type": "application/json"}
INJECTED = "spanledger.include_usage_injected"


def reported(spans: Spans) -> bool:
    attributes = spans.attributes()
    assert attributes[INJECTED] is True
    return attributes["spanledger.usage.status"] == "reported" and attributes["gen_ai.usage.output_tokens"] == 340


def provider(*places: int, **headers: str) -> Callable[[Request], Reply]:
    """Answer as OpenAI does: with one more chunk where the request asks for it."""

    def answer(request: Request) -> Reply:
        assert int(request.headers["content-length"]) == len(request.body)
        options = request.json().get("stream_options") or {}
        return sse_reply(*cut(STREAM if options.get("include_usage") else HIDDEN, list(places)), **headers)

    return answer


# -- each client, in each way to read --------------------------------------------------------------------------------


async def parts(response: Any, name: str, *args: Any) -> list[bytes]:
    """Read until nothing comes."""
    found: list[bytes] = []
    while part := await getattr(response.content, name)(*args):
        found.append(part)
    return found


async def listed(iterator: Any) -> list[Any]:
    return [part async for part in iterator]


async def exactly(response: Any) -> list[bytes]:
    found: list[bytes] = []
    while True:
        try:
            found.append(await response.content.readexactly(100))
        except asyncio.IncompleteReadError as error:
            return [*found, error.partial]


async def nowait(response: Any) -> list[bytes]:
    await response.content.wait_eof()
    return [response.content.read_nowait(9), response.content.read_nowait()]


AIOHTTP: dict[str, Callable[[Any], Any]] = {
    "read": lambda response: response.read(),
    "text": lambda response: response.text(),
    "content read": lambda response: response.content.read(),
    "read of 7": lambda response: parts(response, "read", 7),
    "readany": lambda response: parts(response, "readany"),
    "readline": lambda response: parts(response, "readline"),
    "readuntil": lambda response: parts(response, "readuntil", b"}"),
    "readexactly": exactly,
    "read_nowait": nowait,
    "lines": lambda response: listed(response.content),
    "iter_chunked": lambda response: listed(response.content.iter_chunked(7)),
    "iter_any": lambda response: listed(response.content.iter_any()),
    "iter_chunks": lambda response: listed(response.content.iter_chunks()),
}
REQUESTS: dict[str, Callable[[Any], Any]] = {
    "content": lambda response: response.content,
    "text": lambda response: response.text,
    "iter_content": lambda response: list(response.iter_content()),
    "iter_content of any size": lambda response: list(response.iter_content(None)),
    "iter_content of 7": lambda response: list(response.iter_content(7)),
    "iter_lines": lambda response: list(response.iter_lines()),
    "raw read": lambda response: response.raw.read(),
    "raw read of 7": lambda response: list(iter(lambda: response.raw.read(7), b"")),
    "raw stream": lambda response: list(response.raw.stream(16)),
}
URLLIB3: dict[str, Callable[[Any], Any]] = {
    "data": lambda response: response.data,
    "read": lambda response: response.read(),
    "read of 7": lambda response: list(iter(lambda: response.read(7), b"")),
    "read of 7, raw": lambda response: list(iter(lambda: response.read(7, decode_content=False), b"")),
    "read1": lambda response: list(iter(response.read1, b"")),
    "read1 of 7": lambda response: list(iter(lambda: response.read1(7), b"")),
    "stream": lambda response: list(response.stream()),
    "stream of 7": lambda response: list(response.stream(7)),
    "iteration": list,
    "readinto": lambda response: (buffer := bytearray(9000), response.readinto(buffer), bytes(buffer))[1:],
    "lines": lambda response: (setattr(response, "auto_close", False), list(io.TextIOWrapper(response)))[1],
    "readline": lambda response: [response.readline(), response.readline(), response.read()],
    "drain": lambda response: response.drain_conn(),
}
PIECES = [[], [len(STREAM) // 2], list(range(0, len(STREAM), 61)), list(range(0, len(STREAM), 3))]
AT_A_TIME = pytest.mark.parametrize("places", PIECES, ids=["one piece", "two pieces", "pieces", "small pieces"])


def whole(seen: Any) -> Any:
    """Join pieces that depend on when they arrived, but see to it that none is longer than it was asked for."""
    if isinstance(seen, list) and seen and isinstance(seen[0], bytes | tuple):
        return b"".join(part[0] if isinstance(part, tuple) else part for part in seen)
    return seen


def both(see: Callable[[], Any]) -> None:
    """Hold what an app sees with us to what it sees without us."""
    without, spans = see(), Spans()
    fence.FAILURES.clear()
    with instrumented(spans.provider):
        assert see() == without
    assert reported(spans)
    assert not fence.FAILURES


@AT_A_TIME
@pytest.mark.parametrize("reader", AIOHTTP)
def test_an_app_on_aiohttp_sees_no_extra_chunk(server: WireServer, reader: str, places: list[int]) -> None:
    async def run() -> Any:
        async with aiohttp.ClientSession(server.url) as session, session.post(PATH, json=BODY) as response:
            seen = await AIOHTTP[reader](response)
            assert isinstance(response.content, aiohttp.StreamReader)
            assert not isinstance(seen, list) or "7" not in reader or max(map(len, seen)) <= 7
            return whole(seen), response.content.at_eof(), response.content.total_bytes

    server.answer = provider(*places)
    both(lambda: asyncio.run(run()))


@AT_A_TIME
@pytest.mark.parametrize("reader", REQUESTS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_an_app_on_requests_sees_no_extra_chunk(
    server: WireServer, reader: str, places: list[int], *, stream: bool
) -> None:
    def see() -> Any:
        response = requests.post(server.url + PATH, data=CONTENT, headers=JSON, stream=stream, timeout=10)
        seen = REQUESTS[reader](response)
        assert not isinstance(seen, list) or "7" not in reader or all(len(part) <= 7 for part in seen)
        return whole(seen), response.raw.closed, response.request.body, dict(response.request.headers)

    server.answer = provider(*places)
    both(see)


@AT_A_TIME
@pytest.mark.parametrize("reader", URLLIB3)
def test_an_app_on_urllib3_sees_no_extra_chunk(server: WireServer, reader: str, places: list[int]) -> None:
    def see() -> Any:
        response = urllib3.PoolManager().request(
            "POST", server.url + PATH, body=CONTENT, headers=JSON, preload_content=False
        )
        seen = URLLIB3[reader](response)
        assert not isinstance(seen, list) or "7" not in reader or all(len(part) <= 7 for part in seen)
        return whole(seen), response.closed, response.tell(), type(response).__qualname__

    server.answer = provider(*places)
    both(see)


@pytest.mark.parametrize("decode", [True, False])
def test_an_answer_that_urllib3_has_read_has_no_extra_chunk(server: WireServer, *, decode: bool) -> None:
    def see() -> Any:
        response = urllib3.request("POST", server.url + PATH, json=BODY, decode_content=decode)
        return response.data, response.tell(), response.closed

    server.answer = provider()
    both(see)


class Pool(urllib3.HTTPConnectionPool):
    """A pool that answers with a file of known length: nothing is cut into chunks."""

    length = True

    def _make_request(self, *args: Any, **kwargs: Any) -> Any:
        body: Any = kwargs.get("body")
        content = STREAM if b"include_usage" in body else HIDDEN
        length = {"content-length": str(len(content))} if self.length else {}
        return urllib3.HTTPResponse(
            io.BytesIO(content),
            headers={"content-type": "text/event-stream", **length},
            status=200,
            preload_content=kwargs["preload_content"],
        )


@pytest.mark.parametrize("reader", [name for name in URLLIB3 if "chunk" not in name])
@pytest.mark.parametrize("length", [True, False])
def test_a_body_that_is_not_chunked_has_none_and_is_not_too_short(reader: str, *, length: bool) -> None:
    class Own(Pool):
        pass

    Own.length = length

    def see() -> Any:
        response = Own("llm.example.com").urlopen("POST", PATH, CONTENT, dict(JSON), preload_content=False)
        seen = URLLIB3[reader](response)
        seen = whole(seen) if "read1" in reader else seen  # which may give fewer bytes than it is asked for
        return seen, response.tell(), response.closed, response.length_remaining

    both(see)


# -- the request -----------------------------------------------------------------------------------------------------


def by_aiohttp(server: WireServer, *, auto_decompress: bool = True, **kwargs: Any) -> bytes:
    async def run() -> bytes:
        session = aiohttp.ClientSession(server.url, auto_decompress=auto_decompress)
        async with session, session.post(PATH, **kwargs) as response:
            return await response.read()

    return asyncio.run(run())


def by_requests(server: WireServer, **kwargs: Any) -> bytes:
    return requests.post(server.url + PATH, timeout=10, **kwargs).content


def by_urllib3(server: WireServer, **kwargs: Any) -> bytes:
    return urllib3.request("POST", server.url + PATH, **kwargs).data


CLIENTS: dict[str, Callable[..., bytes]] = {"aiohttp": by_aiohttp, "requests": by_requests, "urllib3": by_urllib3}
EACH = pytest.mark.parametrize("client", CLIENTS)
BODIES: list[tuple[str, Callable[[], dict[str, Any]]]] = [
    ("aiohttp", lambda: {"json": BODY}),
    ("aiohttp", lambda: {"data": CONTENT}),
    ("aiohttp", lambda: {"data": CONTENT.decode()}),
    ("aiohttp", lambda: {"data": bytearray(CONTENT)}),
    ("aiohttp", lambda: {"data": aiohttp.JsonPayload(BODY)}),
    ("aiohttp", lambda: {"data": aiohttp.BytesPayload(CONTENT, content_type="application/json")}),
    ("aiohttp", lambda: {"data": CONTENT, "headers": {"Content-LENGTH": str(len(CONTENT))}}),
    ("requests", lambda: {"json": BODY}),
    ("requests", lambda: {"data": CONTENT}),
    ("requests", lambda: {"data": CONTENT.decode()}),
    ("requests", lambda: {"data": CONTENT, "headers": {"Content-LENGTH": str(len(CONTENT))}}),
    ("urllib3", lambda: {"json": BODY}),
    ("urllib3", lambda: {"body": CONTENT}),
    ("urllib3", lambda: {"body": CONTENT.decode()}),
    ("urllib3", lambda: {"body": bytearray(CONTENT)}),
    ("urllib3", lambda: {"body": CONTENT, "headers": {"Content-LENGTH": str(len(CONTENT))}}),
    ("urllib3", lambda: {"body": CONTENT, "headers": urllib3.HTTPHeaderDict({"accept-encoding": "gzip"})}),
]


@pytest.mark.parametrize(("client", "body"), BODIES)
def test_only_the_member_and_the_length_of_a_request_change(
    server: WireServer, client: str, body: Callable[[], dict[str, Any]]
) -> None:
    def see() -> tuple[Request, dict[str, Any]]:
        given = body()
        assert CLIENTS[client](server, **given) == HIDDEN
        assert str(given) == str(body()) or "payload" in str(given)
        return server.requests.pop(), given

    server.answer = provider()
    without, _ = see()
    spans = Spans()
    with instrumented(spans.provider):
        within, given = see()
    assert within.json() == ASKING
    assert within.body.replace(b'"stream_options":{"include_usage":true},', b"") == without.body
    changed = {"content-length", *(["accept-encoding"] if client != "aiohttp" else [])}
    assert same_but(within, changed) == same_but(without, changed)
    assert client == "aiohttp" or within.headers["accept-encoding"] == "identity"
    assert getattr(given.get("data"), "size", len(without.body)) == len(without.body)
    assert reported(spans)


def same_but(request: Request, changed: set[str]) -> Mapping[str, str]:
    return {name: value for name, value in request.headers.items() if name not in changed}


@EACH
@pytest.mark.parametrize("include_usage", [True, False, None])
def test_an_app_that_decides_itself_is_respected(
    server: WireServer, spans: Spans, client: str, *, include_usage: bool | None
) -> None:
    body = BODY | {"stream_options": {"include_usage": include_usage}}
    server.answer = provider()
    assert CLIENTS[client](server, json=body) == (STREAM if include_usage else HIDDEN)
    assert server.requests[0].json() == body
    assert INJECTED not in spans.attributes()


def pieces() -> Iterator[bytes]:
    yield CONTENT[:9]
    yield CONTENT[9:]


async def async_pieces() -> Any:
    for piece in pieces():
        yield piece


SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=x", **JSON}


@pytest.mark.parametrize(
    ("client", "body"),
    [
        ("aiohttp", lambda: {"data": io.BytesIO(CONTENT)}),
        ("aiohttp", lambda: {"data": async_pieces()}),
        ("aiohttp", lambda: {"data": CONTENT, "headers": SIGNED}),
        ("aiohttp", lambda: {"json": BODY, "headers": {"x-amz-content-sha256": "x"}}),
        ("aiohttp", lambda: {"json": BODY, "params": {"X-Amz-Signature": "x"}}),
        ("aiohttp", lambda: {"json": BODY, "headers": {"accept-encoding": "gzip, identity;q=0"}}),
        ("requests", lambda: {"data": io.BytesIO(CONTENT)}),
        ("requests", lambda: {"data": pieces()}),
        ("requests", lambda: {"data": CONTENT, "headers": SIGNED}),
        ("requests", lambda: {"json": BODY, "params": {"X-Amz-Signature": "x"}}),
        ("urllib3", lambda: {"body": io.BytesIO(CONTENT)}),
        ("urllib3", lambda: {"body": pieces()}),
        ("urllib3", lambda: {"body": CONTENT, "headers": SIGNED}),
        ("urllib3", lambda: {"body": CONTENT, "headers": {"content-digest": "sha-256=:x:"}}),
    ],
)
def test_a_signed_or_streamed_request_stays_as_it_is(
    server: WireServer, spans: Spans, client: str, body: Callable[[], dict[str, Any]]
) -> None:
    server.reply(sse_reply(HIDDEN))
    assert CLIENTS[client](server, **body()) == HIDDEN
    assert server.requests[0].json() == BODY
    assert INJECTED not in spans.attributes()


@EACH
def test_off_means_off(server: WireServer, monkeypatch: pytest.MonkeyPatch, client: str) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE", "off")
    server.answer = provider()
    spans = Spans()
    with instrumented(spans.provider):
        assert CLIENTS[client](server, json=BODY) == HIDDEN
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


@EACH
def test_a_host_that_refuses_it_is_not_asked_again(server: WireServer, spans: Spans, client: str) -> None:
    refusal = {"error": {"message": "Unrecognized request argument supplied: stream_options"}}
    server.reply(json_reply(refusal, 400), sse_reply(HIDDEN))
    assert b"Unrecognized" in CLIENTS[client](server, json=BODY)
    assert CLIENTS[client](server, json=BODY) == HIDDEN
    assert [request.json() for request in server.requests] == [ASKING, BODY]


@EACH
def test_a_redirect_is_followed_with_the_same_body(server: WireServer, spans: Spans, client: str) -> None:
    server.reply(Reply(status=307, headers={"location": "/other" + PATH}), sse_reply(STREAM))
    assert CLIENTS[client](server, json=BODY) == HIDDEN
    assert [request.json() for request in server.requests] == [ASKING] * 2
    assert reported(spans)


def test_the_requests_that_a_redirect_makes_are_the_app_s_own_again(server: WireServer, spans: Spans) -> None:
    server.reply(*[Reply(status=307, headers={"location": PATH})] * 2, sse_reply(STREAM), sse_reply(STREAM))
    with requests.Session() as session:
        first = session.post(server.url + PATH, json=BODY, allow_redirects=False)
        assert first.next is not None
        answer = session.send(first.next)
        assert answer.content == HIDDEN
        for each in (first.request, first.next, answer.request, answer.history[0].request):
            assert json.loads(each.body or b"") == BODY
            assert each.headers["content-length"] == str(len(each.body or b""))
            assert each.headers["accept-encoding"] != "identity"
        assert session.send(answer.request).content == HIDDEN
    assert [request.json() for request in server.requests] == [ASKING] * 4


def test_a_request_that_never_ends_to_be_redirected_is_the_app_s_own_again(server: WireServer, spans: Spans) -> None:
    server.reply(*[Reply(status=307, headers={"location": PATH})] * 3)
    with requests.Session() as session:
        session.max_redirects = 2
        with pytest.raises(requests.TooManyRedirects) as raised:
            session.post(server.url + PATH, json=BODY)
    assert raised.value.response is not None
    assert json.loads(raised.value.response.request.body or b"") == BODY


def test_digest_authentication_sends_the_same_body_twice(server: WireServer, spans: Spans) -> None:
    challenge = Reply(status=401, headers={"www-authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    server.reply(challenge, sse_reply(STREAM))
    answer = requests.post(
        server.url + PATH, json=BODY, auth=requests.auth.HTTPDigestAuth("user", "password"), timeout=10
    )
    assert answer.content == HIDDEN
    assert json.loads(answer.request.body or b"") == BODY
    assert [request.json() for request in server.requests] == [ASKING] * 2


def test_retries_of_urllib3_send_the_same_body(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"error": {}}, 503), sse_reply(STREAM))
    retries = urllib3.Retry(4, status_forcelist=[503], allowed_methods=None, backoff_factor=0)
    assert by_urllib3(server, body=CONTENT, retries=retries) == HIDDEN
    assert [request.json() for request in server.requests] == [ASKING] * 2


@pytest.mark.parametrize("where", ["manager", "pool"])
def test_the_headers_of_a_sender_are_not_changed(server: WireServer, spans: Spans, where: str) -> None:
    server.answer = provider()
    headers = {"accept-encoding": "gzip", "content-length": str(len(CONTENT))}
    if where == "manager":
        sender: Any = urllib3.PoolManager(headers=headers)
        answer = sender.urlopen("POST", server.url + PATH, body=CONTENT)
    else:
        sender = urllib3.HTTPConnectionPool("127.0.0.1", server.port, headers=headers)
        answer = sender.urlopen("POST", PATH, CONTENT, None, urllib3.Retry(0))
    assert answer.data == HIDDEN
    assert dict(sender.headers) == headers
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_requests_over_urllib3_is_one_call_and_asks_once(server: WireServer, spans: Spans) -> None:
    server.answer = provider()
    assert by_requests(server, json=BODY) == HIDDEN
    assert server.requests[0].json() == ASKING
    assert server.requests[0].body.count(b"stream_options") == 1
    assert reported(spans)


@pytest.mark.parametrize("client", ["requests", "urllib3"])
def test_the_trial_of_http2_is_not_asked(server: WireServer, spans: Spans, client: str) -> None:
    server.reply(sse_reply(HIDDEN))
    urllib3.http2.inject_into_urllib3()
    try:
        assert CLIENTS[client](server, json=BODY) == HIDDEN
    finally:
        urllib3.http2.extract_from_urllib3()
    assert server.requests[0].json() == BODY


def test_an_adapter_that_is_none_of_requests_own_is_not_asked(server: WireServer, spans: Spans) -> None:
    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request: Any, **_: Any) -> Any:
            response = requests.Response()
            response.status_code, response.request, response.url = 200, request, request.url
            response.raw = io.BytesIO(request.body)
            return response

        def close(self) -> None:
            """There is nothing to close."""

    with requests.Session() as session:
        session.mount("http://", Adapter())
        assert session.post(server.url + PATH, data=CONTENT).content == CONTENT
    assert INJECTED not in spans.attributes()


# -- the answer ------------------------------------------------------------------------------------------------------


def test_aiohttp_decodes_first_and_asks_for_what_the_app_asks_for(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(*cut(gzip.compress(STREAM), list(range(0, 900, 50))), content_encoding="gzip"))
    assert by_aiohttp(server, json=BODY) == HIDDEN
    assert "gzip" in server.requests[0].headers["accept-encoding"]
    assert reported(spans)


def test_bytes_that_aiohttp_leaves_encoded_are_not_touched(server: WireServer, spans: Spans) -> None:
    encoded = gzip.compress(STREAM)
    server.reply(sse_reply(encoded, content_encoding="gzip"), sse_reply(HIDDEN))
    assert by_aiohttp(server, json=BODY, auto_decompress=False) == encoded
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert by_aiohttp(server, json=BODY, auto_decompress=False) == HIDDEN
    assert [request.json() for request in server.requests] == [ASKING, BODY]


@pytest.mark.parametrize(
    "read",
    [
        lambda response: b"".join(response.stream(decode_content=True)),
        lambda response: b"".join(response.stream(7, decode_content=True)),
        lambda response: b"".join(iter(lambda: response.read(7), b"")),
    ],
)
def test_bytes_that_urllib3_gets_encoded_are_not_touched(
    server: WireServer, spans: Spans, read: Callable[[Any], bytes]
) -> None:
    server.reply(sse_reply(gzip.compress(STREAM), content_encoding="gzip"), sse_reply(HIDDEN))
    for expected in (STREAM, HIDDEN):
        assert read(urllib3.request("POST", server.url + PATH, json=BODY, preload_content=False)) == expected
    assert [request.json() for request in server.requests] == [ASKING, BODY]


SHOWN = [event for event in EVENTS if event != EXTRA]


def gated() -> tuple[list[Any], list[Gate]]:
    gates = [Gate() for _ in SHOWN]
    found: list[Any] = []
    for event, gate in zip(SHOWN, gates, strict=True):
        found += [*([EXTRA] if b"[DONE]" in event else []), event, gate]
    return found, gates


def test_each_chunk_but_the_hidden_one_reaches_aiohttp_before_the_next_is_sent(
    server: WireServer, spans: Spans
) -> None:
    replied, gates = gated()
    server.reply(sse_reply(*replied))

    async def run() -> list[bytes]:
        seen: list[bytes] = []
        async with aiohttp.ClientSession(server.url) as session, session.post(PATH, json=BODY) as response:
            for event, gate in zip(SHOWN, gates, strict=True):
                part = b""
                while len(part) < len(event):
                    part += await response.content.readany()
                seen.append(part)
                gate.set()
            assert await response.content.readany() == b""
        return seen

    assert asyncio.run(run()) == SHOWN
    assert reported(spans)


@pytest.mark.parametrize("client", ["requests", "urllib3"])
def test_each_chunk_but_the_hidden_one_reaches_urllib3_before_the_next_is_sent(
    server: WireServer, spans: Spans, client: str
) -> None:
    replied, gates = gated()
    server.reply(sse_reply(*replied))
    if client == "requests":
        chunks = requests.post(server.url + PATH, json=BODY, stream=True, timeout=10).iter_content(None)
    else:
        chunks = urllib3.request("POST", server.url + PATH, json=BODY, preload_content=False).stream()
    for event, gate in zip(SHOWN, gates, strict=True):
        assert next(chunks) == event
        gate.set()
    assert list(chunks) == []
    assert reported(spans)


BEGUN = b"".join(EVENTS[:-2]) + EXTRA[:40]


@pytest.mark.parametrize("name", ["readany", "readline", "readchunk"])
def test_what_is_held_reaches_aiohttp_before_the_error_that_breaks_the_stream(server: WireServer, name: str) -> None:
    async def run() -> tuple[bytes, str]:
        seen = b""
        async with aiohttp.ClientSession(server.url) as session, session.post(PATH, json=BODY) as response:
            try:
                while part := await getattr(response.content, name)():
                    seen += part[0] if isinstance(part, tuple) else part
                    if seen.endswith(b"".join(EVENTS[:-2])):
                        gate.set()
            except aiohttp.ClientError as error:
                return seen, type(error).__name__
        return seen, ""

    spans, found = Spans(), list[Any]()
    for instrument in (contextlib.nullcontext, lambda: instrumented(spans.provider)):
        gate = Gate()
        server.reply(sse_reply(b"".join(EVENTS[:-2]), EXTRA[:40], gate, Cut()))
        with instrument():
            found.append(asyncio.run(run()))
    assert found[0] == found[1]
    assert found[1][1] == "ClientPayloadError"
    assert spans.attributes()["error.type"] == "ClientPayloadError"


@pytest.mark.parametrize(
    "read",
    [
        lambda response: response.stream(),
        lambda response: response.stream(7),
        lambda response: iter(lambda: response.read(7), b""),
        lambda response: iter(response.read1, b""),
    ],
    ids=["stream", "stream of 7", "read of 7", "read1"],
)
def test_what_is_held_reaches_urllib3_before_the_error_that_breaks_the_stream(
    server: WireServer, read: Callable[[Any], Iterator[bytes]]
) -> None:
    def see() -> tuple[bytes, str, bool]:
        server.reply(sse_reply(BEGUN, Cut()))
        response = urllib3.request("POST", server.url + PATH, json=BODY, preload_content=False)
        seen = b""
        try:
            for part in read(response):
                seen += part
        except urllib3.exceptions.HTTPError as error:
            return seen, type(error).__name__, response.closed
        return seen, "", response.closed

    without = see()
    spans = Spans()
    with instrumented(spans.provider):
        within = see()
    assert within == without
