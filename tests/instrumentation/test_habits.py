"""What apps do with a client, one habit at a time: they see the same with and without us, and each call is one span."""

import contextlib
import copy
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import h2.config
import h2.connection
import h2.events
import httpx
import httpx2
import openai
import pytest
from opentelemetry import context
from starlette.applications import Starlette
from starlette.requests import Request as AppRequest
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import load
from tests.wire_server import Cut, Gate, Reply, Request, WireServer, json_reply, sse_reply

PATH = "/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [], "stream": False}
STREAMING = {**BODY, "stream": True}
CHAT = load("openai/chat.json")
STREAM = load("openai/chat_stream.sse")
HALF = STREAM[: len(STREAM) // 2]
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
Seen = list[Any]


def redirected(request: Request) -> Reply:
    return Reply(status=int(request.path[1:4]), headers={"location": PATH})


def challenged(request: Request) -> Reply:
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
    return (
        plain(request)
        if "authorization" in request.headers
        else Reply(status=401, headers={"www-authenticate": challenge})
    )


def asked_for_a_token(request: Request) -> Reply:
    known = request.headers.get("authorization") == "Bearer t"
    return plain(request) if known else json_reply({"token": "t"}, status=401)


def plain(request: Request) -> Reply:
    streaming = b'"stream":true' in request.body.replace(b" ", b"")
    return sse_reply(HALF, STREAM[len(HALF) :]) if streaming else Reply(pieces=[CHAT])


MOODS: dict[str, Callable[[Request], Reply]] = {
    **dict.fromkeys(("301", "302", "303", "307", "308"), redirected),
    "elsewhere": lambda _: Reply(status=302, headers={"location": "/elsewhere" + PATH}),
    "digest": challenged,
    "token": asked_for_a_token,
    "busy": lambda _: json_reply({"error": {"type": "overloaded"}}, status=529),
    "broken": lambda _: sse_reply(HALF, Cut()),
    "slow": lambda _: sse_reply(HALF, Gate()),
    "cookie": lambda _: Reply(headers={"set-cookie": "seen=1"}, pieces=[CHAT]),
}
"""Of the provider, by the first segment of the path."""


def provider(request: Request) -> Reply:
    return MOODS.get(request.path.split("/")[1], plain)(request)


@pytest.fixture
def wire(server: WireServer) -> WireServer:
    """The provider, answering."""
    server.answer = provider
    return server


def told(response: Any) -> Seen:
    """What an app can tell of a response."""
    headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"date"]
    history = [(each.status_code, str(each.request.url), each.request.method) for each in response.history]
    return [response.status_code, headers, response.content, history, response.request.method]


Habit = Callable[[Any, WireServer], Seen]
HABITS: dict[str, tuple[Habit, int]] = {}
"""Each with the number of its calls."""


def habit(calls: int = 1) -> Callable[[Habit], Habit]:
    def add(function: Habit) -> Habit:
        HABITS[function.__name__] = (function, calls)
        return function

    return add


@contextlib.contextmanager
def noting(seen: Seen) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever an app may see
        seen.append((type(error), str(error)))


@habit()
def hooks_that_read_and_write(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []

    def before(request: Any) -> None:
        request.headers["x-hook"] = "1"
        seen.append(request.read())

    def after(response: Any) -> None:
        seen.append(response.read())

    with library.Client(base_url=wire.url, event_hooks={"request": [before], "response": [after]}) as client:
        seen += told(client.post(PATH, json=BODY))
    return [*seen, wire.requests[-1].headers["x-hook"]]


@habit()
def a_response_hook_that_reads_a_stream(library: Any, wire: WireServer) -> Seen:
    hooks = {"response": [lambda response: response.read()]}
    with (
        library.Client(base_url=wire.url, event_hooks=hooks) as client,
        client.stream("POST", PATH, json=STREAMING) as response,
    ):
        return [list(response.iter_bytes()), list(response.iter_lines()), *told(response)]


@habit()
def a_response_hook_that_raises(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []
    hooks = {"response": [lambda response: response.raise_for_status()]}
    with library.Client(base_url=wire.url, event_hooks=hooks) as client, noting(seen):
        client.post("/busy" + PATH, json=BODY)
    return seen


@habit()
def a_request_hook_that_raises(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []

    def refuse(_: Any) -> None:
        raise PermissionError("not today")

    with library.Client(base_url=wire.url, event_hooks={"request": [refuse]}) as client, noting(seen):
        client.post(PATH, json=BODY)
    return seen


@habit(calls=2)
def mounted_and_wrapped_transports(library: Any, wire: WireServer) -> Seen:
    class Wrapping(library.BaseTransport):
        def __init__(self) -> None:
            self.inner = library.HTTPTransport()

        def handle_request(self, request: Any) -> Any:
            response = self.inner.handle_request(request)
            response.extensions["wrapped"] = True
            return response

        def close(self) -> None:
            self.inner.close()

    with library.Client(base_url=wire.url, mounts={"all://127.0.0.1": Wrapping()}) as client:
        plain = client.post(PATH, json=BODY)
        with client.stream("POST", PATH, json=STREAMING) as response:
            return [*told(plain), plain.extensions["wrapped"], list(response.iter_raw())]


@habit(calls=2)
def a_forward_proxy(library: Any, wire: WireServer) -> Seen:
    with library.Client(proxy=wire.url) as client:
        plain = client.post("http://provider.test" + PATH, json=BODY)
        with client.stream("POST", "http://provider.test" + PATH, json=STREAMING) as response:
            return [*told(plain), list(response.iter_raw()), wire.requests[-1].path]


@habit(calls=6)
def redirects_of_every_kind(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []
    with library.Client(base_url=wire.url, follow_redirects=True) as client:
        for code in (301, 302, 303, 307, 308):
            seen += told(client.post(f"/{code}{PATH}", json=BODY))
            seen.append((wire.requests[-1].method, wire.requests[-1].body))
        with noting(seen):
            client.post("/elsewhere" + PATH, json=BODY)
    return seen


@habit(calls=2)
def redirects_that_the_app_follows(library: Any, wire: WireServer) -> Seen:
    with library.Client(base_url=wire.url) as client:
        first = client.post("/307" + PATH, json=BODY)
        return [*told(first), *told(client.send(first.next_request))]


@habit(calls=2)
def authentication_in_two_steps(library: Any, wire: WireServer) -> Seen:
    class Token(library.Auth):
        requires_response_body = True

        def auth_flow(self, request: Any) -> Iterator[Any]:
            response = yield request
            request.headers["authorization"] = "Bearer " + response.json()["token"]
            yield request

    with library.Client(base_url=wire.url) as client:
        digest = client.post("/digest" + PATH, json=BODY, auth=library.DigestAuth("u", "p"))
        token = client.post("/token" + PATH, json=BODY, auth=Token())
        names = [name for name, _ in told(digest)[1]]
        return [digest.status_code, names, digest.content, *told(token), dict(client.cookies)]


@habit(calls=2)
def cookies(library: Any, wire: WireServer) -> Seen:
    with library.Client(base_url=wire.url) as client:
        first, second = client.post("/cookie" + PATH, json=BODY), client.post("/cookie" + PATH, json=BODY)
        return [*told(first), *told(second), dict(client.cookies), wire.requests[-1].headers.get("cookie")]


@habit(calls=0)
def other_methods_of_the_same_path(library: Any, wire: WireServer) -> Seen:
    transport = library.MockTransport(lambda request: library.Response(204, headers={"allow": request.method}))
    with library.Client(transport=transport, base_url=wire.url) as client:
        return [client.request(method, PATH).headers["allow"] for method in ("HEAD", "OPTIONS", "GET", "PUT", "DELETE")]


@habit(calls=2)
def a_connection_after_an_abandoned_stream(library: Any, wire: WireServer) -> Seen:
    with library.Client(base_url=wire.url, limits=library.Limits(max_connections=1)) as client:
        with client.stream("POST", "/slow" + PATH, json=STREAMING) as response:
            first = next(response.iter_raw())
        return [first, response.is_closed, response.is_stream_consumed, *told(client.post(PATH, json=BODY))]


@habit(calls=4)
def timeouts_in_each_phase(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []
    limits, timeout = library.Limits(max_connections=1), library.Timeout(10, pool=0.01, read=0.05)
    with library.Client(base_url=wire.url, limits=limits, timeout=timeout) as client:
        with noting(seen), client.stream("POST", "/slow" + PATH, json=STREAMING) as response:
            with noting(seen):
                client.post(PATH, json=BODY)
            response.read()
        seen.append((response.is_closed, wire.requests[-1].path))
        with noting(seen):
            client.post("http://127.0.0.1:1" + PATH, json=BODY)
        with noting(seen):
            client.post("nowhere://x" + PATH, json=BODY)
    return seen


@habit()
def a_stream_that_breaks(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []
    with (
        library.Client(base_url=wire.url) as client,
        client.stream("POST", "/broken" + PATH, json=STREAMING) as response,
    ):
        with noting(seen):
            for chunk in response.iter_bytes():
                seen.append(chunk)
        return [*seen, response.is_closed, response.is_stream_consumed, response.num_bytes_downloaded]


@habit(calls=2)
def reading_twice(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []
    with library.Client(base_url=wire.url) as client:
        with client.stream("POST", PATH, json=STREAMING) as response:
            seen += [list(response.iter_raw())]
            with noting(seen):
                list(response.iter_raw())
            with noting(seen):
                response.read()
            with noting(seen):
                _ = response.content
        with client.stream("POST", PATH, json=STREAMING) as response:
            pass
        with noting(seen):
            response.read()
    return seen


@habit()
def the_stream_itself(library: Any, wire: WireServer) -> Seen:
    with library.Client(base_url=wire.url) as client, client.stream("POST", PATH, json=STREAMING) as response:
        stream = response.stream
        return [
            isinstance(stream, library.SyncByteStream),
            isinstance(stream, library.AsyncByteStream),
            b"".join(stream),
        ]


@habit(calls=2)
def a_response_that_is_copied_and_pickled(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []
    with library.Client(base_url=wire.url) as client:
        plain = client.post(PATH, json=BODY)
        with client.stream("POST", PATH, json=STREAMING) as response:
            response.read()
        for each in (plain, response):
            for twin in (pickle.loads(pickle.dumps(each)), copy.copy(each)):
                seen += [twin.content, twin.status_code, twin.is_closed]
            with noting(seen):
                seen.append(copy.deepcopy(each).content)
    return seen


@habit(calls=2)
def a_client_that_is_copied(library: Any, wire: WireServer) -> Seen:
    with library.Client(base_url=wire.url) as client:
        twin = copy.copy(client)
        return [*told(twin.post(PATH, json=BODY)), *told(client.post(PATH, json=BODY))]


@habit(calls=2)
def a_request_that_is_sent_twice(library: Any, wire: WireServer) -> Seen:
    with library.Client(base_url=wire.url) as client:
        request = client.build_request("POST", PATH, json=BODY)
        return [
            *told(client.send(request)),
            *told(client.send(request)),
            request.headers.raw,
            request.extensions.keys(),
        ]


@habit(calls=5)
def bodies_of_every_kind(library: Any, wire: WireServer) -> Seen:
    seen: Seen = []
    with library.Client(base_url=wire.url) as client:
        client.post(PATH, content=b"\xff\xfe{")
        client.post(PATH, content='{"model": "\u00e9"}')
        client.post(PATH, content=iter([b"{", b"}"]))
        client.post(PATH, data={"model": "m"}, files={"file": b"x" * 100_000})
        client.post(PATH, content=b'{"model": "m", "x": "' + b"x" * 3_000_000 + b'"}')
        for sent in wire.requests[-5:]:
            kind = sent.headers.get("content-type", "").partition("boundary=")
            seen.append(
                (sent.body.replace(kind[2].encode() or b"-", b"-"), kind[0], sent.headers.get("content-length"))
            )
        with noting(seen):
            client.post("/elsewhere", content=12)
    return seen


@habit(calls=3)
def raw_and_streaming_responses_of_an_sdk(library: Any, wire: WireServer) -> Seen:
    if library is not httpx2:
        return told_by_sdk(openai.OpenAI(api_key="k", base_url=wire.url + "/v1", max_retries=0))
    return told_by_sdk(openai.OpenAI(api_key="k", base_url=wire.url + "/v1", max_retries=0).with_options(timeout=9))


def told_by_sdk(client: openai.OpenAI) -> Seen:
    messages: Any = [{"role": "user", "content": "hi"}]
    with client:
        create = client.chat.completions.with_raw_response.create
        raw = create(model="m", messages=messages)
        lines = create(model="m", messages=messages, stream=True)
        streamed = client.chat.completions.with_streaming_response.create(model="m", messages=messages)
        with streamed as response:
            parts = list(response.iter_lines())
        chunks: Any = lines.parse()
        return [raw.content, raw.status_code, raw.parse().id, [chunk.id for chunk in chunks], parts]


@LIBRARIES
@pytest.mark.parametrize("name", HABITS)
def test_a_habit_of_an_app_is_not_disturbed(
    library: Any, wire: WireServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE", "off")
    act, calls = HABITS[name]
    before = context.get_current()
    without = act(library, wire)
    spans = Spans()
    with instrumented(spans.provider):
        assert act(library, wire) == without
    assert context.get_current() == before
    assert len(spans()) == calls
    assert all("spanledger.usage.status" in (span.attributes or {}) for span in spans())


# -- mounted apps ----------------------------------------------------------------------------------------------------


async def _app_chat(request: AppRequest) -> Any:
    body = await request.json()

    async def chunks() -> Any:
        yield HALF
        yield STREAM[len(HALF) :]

    return (
        StreamingResponse(chunks(), media_type="text/event-stream") if body["stream"] else JSONResponse({"usage": {}})
    )


def _wsgi(environ: Any, start: Any) -> list[bytes]:
    start("200 OK", [("content-type", "text/event-stream")])
    environ["wsgi.input"].read()
    return [HALF, STREAM[len(HALF) :]]


@LIBRARIES
@BACKENDS
def test_a_mounted_app_is_a_provider_like_any_other(library: Any, backend: str, spans: Spans) -> None:
    app = Starlette(routes=[Route(PATH, _app_chat, methods=["POST"])])

    async def main() -> None:
        transport = library.ASGITransport(app=app)
        async with library.AsyncClient(transport=transport, base_url="http://app") as client:
            assert (await client.post(PATH, json=BODY)).json() == {"usage": {}}
            async with client.stream("POST", PATH, json=STREAMING) as response:
                assert b"".join([chunk async for chunk in response.aiter_raw()]) == STREAM

    anyio.run(main, backend=backend)
    with library.Client(transport=library.WSGITransport(app=_wsgi), base_url="http://app") as client:
        assert client.post(PATH, json=STREAMING).content == STREAM
    statuses = [(span.attributes or {})["spanledger.usage.status"] for span in spans()]
    assert statuses == ["unreported", "reported", "reported"]


# -- taken back in between -------------------------------------------------------------------------------------------


@LIBRARIES
def test_uninstrumenting_in_the_middle_of_a_stream_ends_it_as_ever(library: Any, wire: WireServer) -> None:
    spans = Spans()
    with library.Client(base_url=wire.url) as client:
        with instrumented(spans.provider) as instrumentor:
            response = client.send(client.build_request("POST", PATH, json=STREAMING), stream=True)
            chunks = response.iter_raw()
            first = next(chunks)
            instrumentor.uninstrument()
            assert first + b"".join(chunks) == STREAM
            response.close()
            assert len(spans()) == 1
        assert client.post(PATH, json=BODY).content == CHAT
    assert len(spans()) == 1


# -- HTTP/2 ----------------------------------------------------------------------------------------------------------


class Http2Server:
    """A server of HTTP/2 without TLS, for one connection: each request is answered by a stream in two pieces."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Http2Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        peer, _ = self._socket.accept()
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        with peer, contextlib.suppress(ConnectionError):
            peer.sendall(connection.data_to_send())
            while data := peer.recv(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.StreamEnded):
                        self._answer(connection, event.stream_id)
                peer.sendall(connection.data_to_send())

    def _answer(self, connection: h2.connection.H2Connection, stream: int) -> None:
        connection.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
        connection.send_data(stream, HALF)
        connection.send_data(stream, STREAM[len(HALF) :], end_stream=True)


@LIBRARIES
def test_http_2_is_followed_like_http_1(library: Any, spans: Spans) -> None:
    with Http2Server() as server, library.Client(http1=False, http2=True, base_url=server.url) as client:
        body = {**STREAMING, "stream_options": {"include_usage": True}}
        with client.stream("POST", PATH, json=body) as response:
            assert (response.http_version, b"".join(response.iter_raw())) == ("HTTP/2", STREAM)
        assert client.post(PATH, json=body).content == STREAM
        with client.stream("POST", PATH, json=body) as response:
            next(response.iter_raw())
    assert len(spans()) == 3


# -- cancelled wherever it waits -------------------------------------------------------------------------------------

STEPS = 12
"""More than there are places to wait."""


class Steps:
    """Count the places where a call waits; at one of them it is cancelled."""

    def __init__(self, cancelled_at: int) -> None:
        self.scope = anyio.CancelScope()
        self.count = 0
        self._cancelled_at = cancelled_at

    async def wait(self) -> None:
        """Wait for a moment."""
        self.count += 1
        if self.count == self._cancelled_at:
            self.scope.cancel()
        await anyio.lowlevel.checkpoint()


def stepping(library: Any, steps: Steps, seen: Seen) -> Any:
    """Make a transport that waits at each step."""

    class Stream(library.AsyncByteStream):
        async def __aiter__(self) -> Any:
            for chunk in (HALF, STREAM[len(HALF) :]):
                await steps.wait()
                yield chunk
            await steps.wait()

        async def aclose(self) -> None:
            seen.append("closed")
            await steps.wait()

    class Transport(library.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            await steps.wait()
            await request.aread()
            await steps.wait()
            return library.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())

    return Transport()


async def see_cancelled(library: Any, cancelled_at: int) -> Seen:
    seen: Seen = []
    steps = Steps(cancelled_at)
    body = {**STREAMING, "stream_options": {"include_usage": True}}
    before = context.get_current()
    with steps.scope:
        async with library.AsyncClient(transport=stepping(library, steps, seen)) as client:
            await steps.wait()
            async with client.stream("POST", "http://x" + PATH, json=body) as response:
                async for chunk in response.aiter_bytes():
                    seen.append(chunk)
                    await steps.wait()
    assert context.get_current() == before
    return [*seen, steps.count, steps.scope.cancelled_caught]


@pytest.mark.filterwarnings("ignore:Async generator 'http:ResourceWarning")  # trio's, of the client's own generators
@LIBRARIES
@BACKENDS
def test_a_call_that_is_cancelled_at_any_place_where_it_waits_sees_the_same(library: Any, backend: str) -> None:
    for cancelled_at in range(1, STEPS):
        without = anyio.run(see_cancelled, library, cancelled_at, backend=backend)
        spans = Spans()
        with instrumented(spans.provider):
            assert anyio.run(see_cancelled, library, cancelled_at, backend=backend) == without
        assert len(spans()) == (1 if cancelled_at > 1 else 0)
    assert without[-1] is False
