"""Streams are asked for their usage on the app's behalf, and the app sees what it would have seen."""

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from spanledger_instrumentation import fence, injection
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.following import Outgoing
from spanledger_instrumentation.injection import HELD_BYTES_MAX, HOSTS_MAX, Hiding, Hosts, asking, inject
from spanledger_instrumentation.providers import anthropic_messages, hosts, openai_chat
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.settings import IncludeUsage, load
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import cut, stream_body
from tests.instrumentation.fixtures import load as load_fixture
from tests.wire_server import Cut, Gate, Reply, WireServer, json_reply, sse_reply

PATH = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "gpt-5", "messages": [{"role": "user", "content": "stream_options"}], "stream": True}
STREAM = load_fixture("openai/chat_stream.sse")
EVENTS = [event + b"\n\n" for event in STREAM.split(b"\n\n") if event]
EXTRA = EVENTS[-2]
HIDDEN = STREAM.replace(EXTRA, b"")
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
VARIABLE = "OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE"
ASKING = b'{"stream_options":{"include_usage":true},'
INJECTED = "spanledger.include_usage_injected"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    injection.HOSTS.clear()
    yield
    injection.HOSTS.clear()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """The spans of a process that asks every host."""
    monkeypatch.setenv(VARIABLE, "always")
    fence.FAILURES.clear()
    found = Spans()
    with instrumented(found.provider):
        yield found
    assert not fence.FAILURES


def reported(spans: Spans) -> bool:
    attributes = spans.attributes()
    return attributes["spanledger.usage.status"] == "reported" and attributes["gen_ai.usage.output_tokens"] == 340


# -- the request -----------------------------------------------------------------------------------------------------


def ask(content: bytes) -> bytes | None:
    return asking(content, Document.of(content, 1024))


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        (b'{"stream":true}', ASKING + b'"stream":true}'),
        (b' {\n "stream": true }\n', b' {"stream_options":{"include_usage":true},\n "stream": true }\n'),
        (b'{"stream":true,"stream_options":null}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options" : { } ,"stream":true}', b'{"stream_options" : {"include_usage":true } ,"stream":true}'),
        (
            b'{"a":"\\"}","stream_options":{"include_obfuscation":false},"stream":true}',
            b'{"a":"\\"}","stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}',
        ),
        (
            b'{"a":{"stream_options":{"include_usage":false}},"b":"stream_options","stream":true}',
            ASKING + b'"a":{"stream_options":{"include_usage":false}},"b":"stream_options","stream":true}',
        ),
        (
            '{"a":"é\u2028","stream":true}'.encode(),
            '{"stream_options":{"include_usage":true},"a":"é\u2028","stream":true}'.encode(),
        ),
        (
            b'{"a":1e400, "b":1.0, "stream_options":{}}',
            b'{"a":1e400, "b":1.0, "stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_the_body_is_changed_in_that_one_place(content: bytes, asked: bytes) -> None:
    assert ask(content) == asked
    assert Document(asked).read("stream_options", "include_usage") is True


@pytest.mark.parametrize(
    "content",
    [
        b'{"stream":true,"stream_options":{"include_usage":false}}',
        b'{"stream":true,"stream_options":{"include_usage":true}}',
        b'{"stream":true,"stream_options":{"include_usage":null}}',
        b'{"stream":true,"stream_options":"x"}',
        b'{"stream":true,"stream\\u005foptions":{"include_usage":false}}',
        b"[1]",
        b"{}",
        b"",
        '{"stream":true}'.encode("utf-16"),
        b'\xef\xbb\xbf{"stream":true}',
        b'{"a":"' + b"x" * 2000 + b'","stream_options":{"x":1}}',
    ],
)
def test_a_body_that_decides_itself_or_is_unclear_stays(content: bytes) -> None:
    assert ask(content) is None


def test_a_long_body_is_not_parsed_to_be_changed() -> None:
    content = b'{"stream":true,"messages":"' + b"x" * 2000 + b'"}'
    assert ask(content) == b'{"stream_options":{"include_usage":true},' + content[1:]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("stream_options"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(
    members=st.dictionaries(st.text(max_size=6) | st.just("stream_options"), JSON, max_size=5),
    indent=st.sampled_from([None, 0, 2]),
    escaped=st.booleans(),
)
def test_nothing_else_is_changed_in_any_body(members: dict[str, Any], indent: int | None, escaped: bool) -> None:
    members["stream"] = True
    asked = ask(json.dumps(members, indent=indent, ensure_ascii=escaped).encode("utf-8", "surrogatepass"))
    if asked is not None:
        options = members.get("stream_options") or {}
        assert json.loads(asked) == members | {"stream_options": options | {"include_usage": True}}


def outgoing(host: str = "api.openai.com", target: str = PATH, *, replaceable: bool = True, **headers: str) -> Outgoing:
    return Outgoing(
        method="POST",
        host=host,
        port=443,
        target=target.encode(),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        content=json.dumps(BODY).encode(),
        replaceable=replaceable,
    )


def injected(request: Outgoing, mode: IncludeUsage = "auto", wire: Wire = openai_chat.WIRE) -> bool:
    provider = hosts.provider_of(request.host)
    return inject(wire, request, Document(request.content), provider, mode) is not None


@pytest.mark.parametrize(
    ("mode", "host", "asked"),
    [
        ("auto", "api.openai.com", True),
        ("auto", "x.openai.azure.com", True),
        ("auto", "api.groq.com", False),
        ("auto", "llm.example.com", False),
        ("always", "llm.example.com", True),
        ("off", "api.openai.com", False),
    ],
)
def test_the_setting_says_which_hosts_are_asked(mode: IncludeUsage, host: str, *, asked: bool) -> None:
    assert injected(outgoing(host), mode) is asked


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "AWS4-HMAC-SHA256 Credential=x"},
        {"authorization": "Signature keyId=x"},
        {"content_digest": "sha-256=:x:"},
        {"x_signature": "x"},
        {"content_md5": "x"},
        {"x_amz_content_sha256": "x"},
        {"accept_encoding": "gzip, identity;q=0"},
        {"accept_encoding": "gzip, *;q=0.0"},
    ],
)
def test_a_signed_request_stays_as_it_is(headers: Mapping[str, str]) -> None:
    assert not injected(outgoing(**headers), "always")


def test_an_unsigned_request_is_asked_whatever_else_it_carries() -> None:
    headers = {"authorization": "Bearer sk-1", "api_key": "x", "accept_encoding": "gzip;q=0.5, identity;q=0.5"}
    assert injected(outgoing(**headers))
    assert injected(outgoing(authorization="sk-bare"))


def test_a_request_is_not_asked_where_it_cannot_be() -> None:
    assert not injected(outgoing(replaceable=False), "always")
    assert not injected(outgoing(target=PATH + "?X-Amz-Signature=1"), "always")
    assert not injected(outgoing(), "always", anthropic_messages.WIRE)


@pytest.mark.parametrize(("value", "mode"), [("", "auto"), (" OFF ", "off"), ("always", "always"), ("maybe", "auto")])
def test_an_unknown_setting_means_auto_and_is_logged(value: str, mode: str, caplog: pytest.LogCaptureFixture) -> None:
    assert load({VARIABLE: value}).include_usage == mode
    assert ("maybe" in caplog.text) is (value == "maybe")


# -- the hosts -------------------------------------------------------------------------------------------------------


def test_a_refusal_that_names_it_is_the_last_one() -> None:
    remembered = Hosts()
    remembered.accepted("a")
    remembered.refused("a", named=True, known=True)
    assert not remembered.allows("a")
    assert remembered.allows("b")


def test_any_refusal_of_an_unknown_host_is_the_last_one() -> None:
    remembered = Hosts()
    remembered.refused("a", named=False, known=False)
    assert not remembered.allows("a")


def test_a_host_that_accepts_it_may_refuse_for_reasons_of_its_own() -> None:
    remembered = Hosts()
    for _ in range(10):
        remembered.refused("a", named=False, known=True)
        remembered.refused("a", named=False, known=True)
        remembered.accepted("a")
    assert remembered.allows("a")
    for _ in range(3):
        remembered.refused("a", named=False, known=True)
    assert not remembered.allows("a")


def test_hosts_are_remembered_up_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    remembered = Hosts()
    for number in range(HOSTS_MAX + 1):
        remembered.refused(number, named=True, known=False)
        remembered.stop(number, "again")
    assert remembered.allows(0)
    assert not remembered.allows(1)
    assert len(caplog.records) == HOSTS_MAX + 1


# -- the answer ------------------------------------------------------------------------------------------------------

PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
IN_TWO_LINES = b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":1}}\n\n'
PARTS = st.sampled_from(
    [
        *EVENTS,
        b": ping\n\n",
        b"\n",
        b"event: x\nid: 1\ndata: 1\n\n",
        b'data: {"choices":[],"usage":{"prompt_tokens":1},"error":{"code":"x"}}\n\n',
        IN_TWO_LINES,
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[{"index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\n',
        b"data: " + b"x" * HELD_BYTES_MAX + b"\n\n",
    ]
)


def passed(*pieces: bytes) -> bytes:
    body, hiding, out = stream_body(openai_chat.WIRE), Hiding(openai_chat.WIRE), b""
    for piece in pieces:
        body.feed(piece)
        out += hiding.feed(piece, finished=bool(body.answer.finish_reasons))
    return out + hiding.finish()


def test_only_the_extra_chunk_is_hidden() -> None:
    assert passed(STREAM) == HIDDEN
    assert passed(*EVENTS) == HIDDEN


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_extra_chunk_is_hidden_byte_by_byte(line_end: bytes) -> None:
    content = STREAM.replace(b"\n", line_end)
    assert passed(*(content[at : at + 1] for at in range(len(content)))) == HIDDEN.replace(b"\n", line_end)


@given(parts=st.lists(PARTS, max_size=8), places=PLACES, line_end=LINE_ENDS)
def test_any_cut_of_any_stream_hides_the_same(parts: list[bytes], places: list[int], line_end: bytes) -> None:
    content = b"".join(parts).replace(b"\n", line_end)
    assert passed(*cut(content, places)) == passed(content)


@given(parts=st.lists(PARTS, max_size=8), places=PLACES)
def test_what_has_choices_or_comes_before_the_end_is_never_hidden(parts: list[bytes], places: list[int]) -> None:
    content = b"".join(part for part in parts if part not in (EXTRA, IN_TWO_LINES))
    assert passed(*cut(content, places)) == content
    unfinished = b"".join(part for part in [*parts, EXTRA] if b'finish_reason":"' not in part)
    assert passed(*cut(unfinished, places)) == unfinished


@given(content=st.binary(max_size=300), places=PLACES)
def test_any_bytes_after_the_end_are_passed_on(content: bytes, places: list[int]) -> None:
    content = b"".join(EVENTS[:-2]) + content
    assert passed(*cut(content, places)) == content


def test_nothing_is_held_before_the_first_reason_to_finish_and_then_one_event_at_most() -> None:
    body, hiding = stream_body(openai_chat.WIRE), Hiding(openai_chat.WIRE)

    def feed(piece: bytes) -> bytes:
        body.feed(piece)
        return hiding.feed(piece, finished=bool(body.answer.finish_reasons))

    before = b"".join(EVENTS[:4])
    for at in range(len(before)):
        assert feed(before[at : at + 1]) == before[at : at + 1]
    assert feed(EVENTS[4] + b": ping") == EVENTS[4]
    assert feed(b"\n\ndata") == b": ping\n\n"
    assert feed(b": 1\n\n") == b"data: 1\n\n"
    long = b"data: " + b"x" * HELD_BYTES_MAX
    assert feed(long) == long
    assert feed(b"y") == b"y"
    assert feed(b"\n\n" + EXTRA + b"data: [DONE]\n\n") == b"\n\ndata: [DONE]\n\n"


def test_an_extra_chunk_that_the_end_leaves_open_is_hidden_and_anything_else_is_not() -> None:
    assert passed(*EVENTS[:-2], EXTRA.rstrip()) == b"".join(EVENTS[:-2])
    assert passed(*EVENTS[:-2], EXTRA[:-9]) == b"".join(EVENTS[:-2]) + EXTRA[:-9]


# -- all of it, on the wire ------------------------------------------------------------------------------------------


@LIBRARIES
@pytest.mark.parametrize("step", [1, 7, 61, 10_000])
def test_an_app_that_did_not_ask_sees_no_extra_chunk(library: Any, server: WireServer, spans: Spans, step: int) -> None:
    server.reply(sse_reply(*cut(STREAM, list(range(0, len(STREAM), step)))))
    with library.Client(base_url=server.url) as client, client.stream("POST", PATH, json=BODY) as response:
        assert b"".join(response.iter_raw()) == HIDDEN
        own = response.request
    (request,) = server.requests
    assert request.json() == BODY | {"stream_options": {"include_usage": True}}
    assert request.headers["content-length"] == str(len(request.body))
    assert request.headers["accept-encoding"] == "identity"
    assert json.loads(own.content) == BODY
    assert own.headers["content-length"] == str(len(own.content))
    assert own.headers["accept-encoding"] != "identity"
    assert reported(spans)
    assert spans.attributes()[INJECTED] is True


@LIBRARIES
def test_an_async_app_sees_no_extra_chunk(library: Any, server: WireServer, spans: Spans) -> None:
    async def main() -> bytes:
        server.reply(sse_reply(*cut(STREAM, list(range(0, len(STREAM), 50)))))
        client = library.AsyncClient(base_url=server.url)
        async with client, client.stream("POST", PATH, json=BODY) as response:
            return b"".join([chunk async for chunk in response.aiter_bytes()])

    assert asyncio.run(main()) == HIDDEN
    assert reported(spans)


@LIBRARIES
@pytest.mark.parametrize("include_usage", [True, False])
def test_an_app_that_decides_itself_is_respected(
    library: Any, server: WireServer, spans: Spans, *, include_usage: bool
) -> None:
    body = BODY | {"stream_options": {"include_usage": include_usage}}
    server.reply(sse_reply(STREAM))
    with library.Client(base_url=server.url) as client, client.stream("POST", PATH, json=body) as response:
        assert response.read() == STREAM
    assert server.requests[0].json() == body
    assert INJECTED not in spans.attributes()


@LIBRARIES
def test_a_streamed_request_body_is_left_alone(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM))
    with library.Client(base_url=server.url) as client:
        pieces = iter([json.dumps(BODY).encode()])
        with client.stream("POST", PATH, content=pieces) as response:
            assert response.read() == STREAM
    assert server.requests[0].json() == BODY
    assert INJECTED not in spans.attributes()


@LIBRARIES
def test_a_response_that_the_client_reads_itself_has_no_extra_chunk_either(
    library: Any, server: WireServer, spans: Spans
) -> None:
    server.reply(sse_reply(gzip.compress(STREAM), content_encoding="gzip"))
    with library.Client(base_url=server.url) as client:
        assert client.post(PATH, json=BODY).content == HIDDEN
    assert reported(spans)


@LIBRARIES
def test_an_encoded_answer_is_not_touched_and_the_host_not_asked_again(
    library: Any, server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply(*[sse_reply(gzip.compress(STREAM), content_encoding="gzip")] * 2)
    with library.Client(base_url=server.url) as client:
        for _ in range(2):
            with client.stream("POST", PATH, json=BODY) as response:
                assert b"".join(response.iter_bytes()) == STREAM
    assert "stream_options" in server.requests[0].json()
    assert server.requests[1].json() == BODY
    assert caplog.text.count("no longer added") == 1


@LIBRARIES
def test_a_redirect_is_followed_with_the_same_body(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(status=307, headers={"location": "/other" + PATH}), sse_reply(STREAM))
    with (
        library.Client(base_url=server.url, follow_redirects=True) as client,
        client.stream("POST", PATH, json=BODY) as response,
    ):
        assert response.read() == HIDDEN
    assert [request.json()["stream_options"] for request in server.requests] == [{"include_usage": True}] * 2
    assert reported(spans)


@LIBRARIES
def test_an_auth_flow_that_sends_twice_sends_the_same_body(library: Any, server: WireServer, spans: Spans) -> None:
    class Twice(library.Auth):
        requires_request_body = True

        def auth_flow(self, request: Any) -> Any:
            request.headers["x-length"] = str(len(request.content))
            yield request
            yield request

    server.reply(json_reply({"error": {}}, 401), sse_reply(STREAM))
    with (
        library.Client(base_url=server.url, auth=Twice()) as client,
        client.stream("POST", PATH, json=BODY) as response,
    ):
        assert response.read() == HIDDEN
    first, second = server.requests
    assert first.body == second.body
    assert second.headers["x-length"] == second.headers["content-length"] == str(len(second.body))


@LIBRARIES
def test_a_request_that_is_sent_again_is_still_the_app_s_own(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM), sse_reply(STREAM))
    with library.Client(base_url=server.url) as client:
        request = client.build_request("POST", PATH, json=BODY)
        for _ in range(2):
            response = client.send(request, stream=True)
            assert response.read() == HIDDEN
            response.close()


@LIBRARIES
def test_a_client_on_top_of_another_one_counts_once(library: Any, server: WireServer, spans: Spans) -> None:
    inner = library.Client()

    class Through(library.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            return inner.send(
                inner.build_request(request.method, request.url, content=request.content, headers=request.headers),
                stream=True,
            )

    server.reply(sse_reply(STREAM))
    with (
        inner,
        library.Client(base_url=server.url, transport=Through()) as client,
        client.stream("POST", PATH, json=BODY) as response,
    ):
        assert response.read() == HIDDEN
    assert reported(spans)


@LIBRARIES
def test_what_is_held_reaches_the_app_before_the_error_that_breaks_the_stream(
    library: Any, server: WireServer, spans: Spans
) -> None:
    begun = b"".join(EVENTS[:-2]) + EXTRA[:40]
    server.reply(sse_reply(begun, Cut()))
    seen = b""
    with (
        library.Client(base_url=server.url) as client,
        client.stream("POST", PATH, json=BODY) as response,
        contextlib.suppress(library.RemoteProtocolError),
    ):
        for chunk in response.iter_raw():
            seen += chunk
    assert seen == begun
    assert spans.attributes()["error.type"] == "RemoteProtocolError"


@LIBRARIES
def test_what_is_held_reaches_an_async_app_before_the_error(library: Any, server: WireServer, spans: Spans) -> None:
    begun = b"".join(EVENTS[:-2]) + EXTRA[:40]
    server.reply(sse_reply(begun, Cut()))

    async def main() -> bytes:
        seen = b""
        client = library.AsyncClient(base_url=server.url)
        async with client, client.stream("POST", PATH, json=BODY) as response:
            with contextlib.suppress(library.RemoteProtocolError):
                async for chunk in response.aiter_raw():
                    seen += chunk
        return seen

    assert asyncio.run(main()) == begun
    assert spans.attributes()["error.type"] == "RemoteProtocolError"


@LIBRARIES
def test_each_chunk_but_the_hidden_one_arrives_before_the_next_is_sent(
    library: Any, server: WireServer, spans: Spans
) -> None:
    shown = [event for event in EVENTS if event != EXTRA]
    gates = [Gate() for _ in shown]
    pieces: list[Any] = []
    for event, gate in zip(shown, gates, strict=True):
        pieces += [*([EXTRA] if b"[DONE]" in event else []), event, gate]
    server.reply(sse_reply(*pieces))
    with library.Client(base_url=server.url) as client, client.stream("POST", PATH, json=BODY) as response:
        seen = b""
        chunks = response.iter_raw()
        for count, gate in enumerate(gates, 1):
            while len(seen) < len(b"".join(shown[:count])):
                seen += next(chunks)
            gate.set()
    assert seen == HIDDEN


@pytest.mark.parametrize("status", [400, 422])
def test_a_host_that_refuses_it_is_not_asked_again(
    server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    refusal = {"error": {"message": "Unrecognized request argument supplied: stream_options", "type": "x"}}
    server.reply(json_reply(refusal, status), sse_reply(STREAM), sse_reply(STREAM))
    client = openai.OpenAI(api_key="x", base_url=server.url + "/v1", max_retries=0)
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="m", messages=[], stream=True)
    for _ in range(2):
        list(client.chat.completions.create(model="m", messages=[], stream=True))
    assert [b"stream_options" in request.body for request in server.requests] == [True, False, False]
    assert [record.levelno for record in caplog.records if "no longer added" in record.message] == [logging.WARNING]


def test_the_openai_sdk_retries_and_its_app_indexes_the_choices_of_every_chunk(
    server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply({"error": {}}, 500, retry_after_ms="1"), sse_reply(STREAM))
    client = openai.OpenAI(api_key="x", base_url=server.url + "/v1", max_retries=1)
    stream = client.chat.completions.create(
        model="m", messages=[], stream=True, stream_options={"include_obfuscation": False}
    )
    assert [chunk.choices[0].index for chunk in stream] == [0, 0, 0, 1, 1, 0]
    options = {"include_usage": True, "include_obfuscation": False}
    assert [request.json()["stream_options"] for request in server.requests] == [options] * 2
    assert spans()[-1].attributes is not None
    assert spans()[-1].attributes["gen_ai.usage.output_tokens"] == 340


def test_a_call_that_nobody_records_is_left_alone(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM))
    unsampled = trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(0))
    with (
        trace.use_span(trace.NonRecordingSpan(unsampled)),
        httpx2.Client(base_url=server.url) as client,
        client.stream("POST", PATH, json=BODY) as response,
    ):
        assert response.read() == STREAM
    assert server.requests[0].json() == BODY
