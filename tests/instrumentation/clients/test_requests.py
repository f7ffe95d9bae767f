"""requests: the app sees what it would see without us, and each request is one call, though urllib3 is below."""

import concurrent.futures
import gc
import gzip
import json
import pickle
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import cut, load
from tests.wire_server import Cut, Gate, Reply, Request, WireServer, json_reply, sse_reply

PATH = "/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [], "stream": True}
STREAM = load("openai/chat_stream.sse")
HALF = STREAM[: len(STREAM) // 2]
MESSAGE = json.loads(load("anthropic/message.json"))
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
READERS: dict[str, Callable[[Any], Any]] = {
    "content": lambda response: response.content,
    "text": lambda response: response.text,
    "iter_content": lambda response: list(response.iter_content()),
    "iter_content of any size": lambda response: list(response.iter_content(None)),
    "iter_content of 7": lambda response: list(response.iter_content(7)),
    "iter_lines": lambda response: list(response.iter_lines()),
    "iteration": list,
    "raw read": lambda response: response.raw.read(),
    "raw stream": lambda response: list(response.raw.stream(16, decode_content=True)),
    "with": lambda response: [list(opened.iter_content(16)) for opened in [response.__enter__()]],
}


def post(server: WireServer, *, stream: bool = True, **kwargs: Any) -> requests.Response:
    if "data" not in kwargs:
        kwargs = {"json": BODY, **kwargs}
    return requests.post(server.url + PATH, stream=stream, timeout=10, **kwargs)


def reported(spans: Spans) -> bool:
    attributes = spans.attributes()
    return attributes["spanledger.usage.status"] == "reported" and attributes["gen_ai.usage.output_tokens"] == 340


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_an_app_sees_the_same_with_and_without_us(
    server: WireServer, encoding: str, reader: str, *, stream: bool
) -> None:
    encoded = ENCODINGS[encoding](STREAM)
    reply = sse_reply(*cut(encoded, list(range(0, len(encoded), 61))), content_encoding=encoding)

    def see() -> Any:
        server.reply(reply)
        response = post(server, stream=stream)
        seen = READERS[reader](response)
        return seen, response.raw.closed, list(response.headers), response.status_code

    spans = Spans()
    without = see()
    with instrumented(spans.provider):
        assert see() == without
    assert reported(spans)


def test_an_answer_of_anthropic_is_reported(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply(MESSAGE))
    body = {"model": "claude-opus-4-5", "max_tokens": 10, "messages": []}
    assert requests.post(f"{server.url}/v1/messages", json=body, timeout=10).json() == MESSAGE
    attributes = spans.attributes()
    assert attributes["gen_ai.usage.input_tokens"] == 42600
    assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", server.port)


def test_a_response_can_be_pickled_as_ever(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM))
    assert pickle.loads(pickle.dumps(post(server))).content == STREAM
    assert reported(spans)


def chunks(content: bytes) -> Iterator[bytes]:
    yield content[:5]
    yield content[5:]


@pytest.mark.parametrize("data", [json.dumps(BODY), json.dumps(BODY).encode()], ids=["str", "bytes"])
def test_a_body_that_is_all_there_is_read(server: WireServer, spans: Spans, data: Any) -> None:
    server.reply(sse_reply(STREAM))
    post(server, data=data, stream=False)
    assert spans.attributes()["gen_ai.request.model"] == "gpt-5"


def test_a_streamed_body_is_left_alone_and_is_one_call(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM))
    content = json.dumps(BODY).encode()
    assert post(server, data=chunks(content), stream=False).content == STREAM
    assert server.requests[0].body == content
    assert "gen_ai.request.model" not in spans.attributes()
    assert reported(spans)


def test_a_redirect_is_followed_within_one_call(server: WireServer, spans: Spans) -> None:
    server.reply(Reply(status=307, headers={"location": PATH}), sse_reply(STREAM))
    response = post(server)
    assert response.content == STREAM
    assert [redirect.status_code for redirect in response.history] == [307]
    assert reported(spans)


def test_the_hooks_of_a_session_see_the_answer_and_may_read_it(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM))
    seen: list[bytes] = []

    def hook(response: requests.Response, **_: Any) -> None:
        seen.append(response.content)

    with requests.Session() as session:
        session.hooks["response"].append(hook)
        assert session.post(server.url + PATH, json=BODY, stream=True).content == STREAM
    assert seen == [STREAM]
    assert reported(spans)


def test_another_call_inside_a_hook_is_a_call_of_its_own(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM), json_reply(MESSAGE))

    def hook(_: requests.Response, **__: Any) -> None:
        requests.post(f"{server.url}/v1/messages", json={"model": "claude-opus-4-5", "max_tokens": 1}, timeout=10)

    with requests.Session() as session:
        session.hooks["response"].append(hook)
        session.post(server.url + PATH, json=BODY)
    assert sorted(span.attributes["gen_ai.usage.output_tokens"] for span in spans() if span.attributes) == [340, 900]


def test_closing_half_way_keeps_what_is_known(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Gate(), STREAM))
    with post(server) as response:
        assert next(response.iter_content(None)) == HALF
        assert not spans()
    attributes = spans.attributes()
    assert attributes["gen_ai.response.id"] == "chatcmpl-A1"
    assert attributes["gen_ai.response.finish_reasons"] == ("error",)


def test_a_dropped_response_ends_its_call(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Gate()))
    response = post(server)
    assert next(response.iter_content(None)) == HALF
    del response
    gc.collect()
    spans.wait(1)
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


def test_a_broken_stream_raises_the_same(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Cut()))
    response = post(server)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(response.iter_content(None))
    assert spans.attributes()["error.type"] == "ProtocolError"


def test_a_timeout_raises_the_same(server: WireServer, spans: Spans) -> None:
    gate = Gate()

    def answer(_: Request) -> Reply:
        gate.wait(10)
        return Reply()

    server.answer = answer
    with pytest.raises(requests.ReadTimeout):
        requests.post(server.url + PATH, json=BODY, timeout=0.1)
    gate.set()
    attributes = spans.attributes()
    assert attributes["error.type"] == "ReadTimeout"
    assert attributes["spanledger.usage.status"] == "unreported"


def test_a_refused_connection_raises_the_same(spans: Spans) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.post("http://127.0.0.1:1" + PATH, json=BODY, timeout=1)
    assert spans.attributes()["error.type"] == "ConnectionError"


def test_what_is_no_url_raises_the_same(spans: Spans) -> None:
    with pytest.raises(requests.exceptions.MissingSchema):
        requests.post("llm.example.com" + PATH, json=BODY, timeout=1)
    with pytest.raises(requests.exceptions.InvalidSchema):
        requests.post("ftp://llm.example.com" + PATH, json=BODY, timeout=1)
    assert [span.attributes["error.type"] for span in spans() if span.attributes] == ["InvalidSchema"]


def test_calls_of_many_threads_are_kept_apart(server: WireServer, spans: Spans) -> None:
    def answer(request: Request) -> Reply:
        usage = {"prompt_tokens": int(request.json()["model"]), "completion_tokens": 1}
        return json_reply({"choices": [{"index": 0, "finish_reason": "stop"}], "usage": usage})

    server.answer = answer
    with requests.Session() as session, concurrent.futures.ThreadPoolExecutor(8) as threads:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=8))
        bodies = [{"model": str(number)} for number in range(40)]
        list(threads.map(lambda body: session.post(server.url + PATH, json=body, timeout=10).json(), bodies))
    said = [(span.attributes or {}) for span in spans()]
    assert sorted(int(str(each["gen_ai.request.model"])) for each in said) == list(range(40))
    assert all(each["gen_ai.request.model"] == str(each["gen_ai.usage.input_tokens"]) for each in said)
