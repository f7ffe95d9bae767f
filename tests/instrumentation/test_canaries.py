"""No prompt, output, key or URL query leaves the process: every byte that is exported is searched for canaries.

Each canary is a word of its own, so that a failure says what leaked. Spans and metrics are encoded as OTLP; what our
loggers write at debug level is searched as text, tracebacks included.
"""

import contextlib
import gc
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import cohere
import google.genai
import google.genai.types
import groq
import httpx
import httpx2
import mistralai.client
import ollama
import openai
import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanledger_instrumentation import attribute
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from tests.instrumentation.conftest import until
from tests.instrumentation.fixtures import load
from tests.wire_server import Cut, Reply, Request, WireServer, json_reply, sse_reply

PROMPT = "canary-of-the-prompt"
SYSTEM = "canary-of-the-system-text"
TOOL = "canary-of-the-tool"
OUTPUT = "canary-of-the-output"
ERROR = "canary-of-the-error"
HEADER = "canary-of-a-header"
QUERY = "canary-of-the-query"
METADATA = "canary-of-the-metadata"
KEY = "sk-canary-of-the-key-0123456789"
SECRET = "canary-of-the-hash-key"
EXCEPTION = "canary-of-the-exception"
CANARIES = (PROMPT, SYSTEM, TOOL, OUTPUT, ERROR, HEADER, QUERY, METADATA, KEY, KEY[:-4], SECRET, EXCEPTION)
MODEL = "the-model"
MESSAGES: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
TOOLS: Any = [{"type": "function", "function": {"name": "f", "description": TOOL, "parameters": {"type": "object"}}}]
EXTRA: Any = {"extra_headers": {"x-secret": HEADER}, "extra_query": {"q": QUERY}}


class Exported:
    """All that leaves the process."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.spans = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.metrics = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.metrics])
        self.log = log

    def everything(self) -> bytes:
        """Encode it."""
        spans = encode_spans(self.spans.get_finished_spans()).SerializeToString()
        measured = self.metrics.get_metrics_data()
        metrics = b"" if measured is None else encode_metrics(measured).SerializeToString()
        ours = [record for record in self.log.records if record.name.startswith("spanledger")]
        formatter = logging.Formatter()
        return b"\0".join([spans, metrics, *(formatter.format(record).encode() for record in ours)])


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Exported]:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_HASH_KEY", SECRET)
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai/dup")
    caplog.set_level(logging.DEBUG, logger="spanledger_instrumentation")
    found = Exported(caplog)
    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument(tracer_provider=found.tracer_provider, meter_provider=found.meter_provider)
    yield found
    instrumentor.uninstrument()
    found.tracer_provider.shutdown()
    found.meter_provider.shutdown()


# -- what the SDKs send ----------------------------------------------------------------------------------------


def openai_chat(url: str, **options: Any) -> None:
    with openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=1) as client:
        answer: Any = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, tools=TOOLS, metadata={"a": METADATA}, user="u1", **EXTRA, **options
        )
        list(answer)


def openai_responses(url: str, **options: Any) -> None:
    with openai.OpenAI(base_url=url + "/v1", api_key=KEY, max_retries=1) as client:
        answer: Any = client.responses.create(
            model=MODEL, input=PROMPT, instructions=SYSTEM, metadata={"a": METADATA}, **EXTRA, **options
        )
        list(answer)


def anthropic_messages(url: str, **options: Any) -> None:
    tool: Any = {"name": "f", "description": TOOL, "input_schema": {"type": "object"}}
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=1) as client:
        answer: Any = client.messages.create(
            model=MODEL,
            max_tokens=9,
            system=SYSTEM,
            messages=[{"role": "user", "content": PROMPT}],
            tools=[tool],
            metadata={"user_id": METADATA},
            **EXTRA,
            **options,
        )
        list(answer)


def groq_chat(url: str, **options: Any) -> None:
    with groq.Groq(base_url=url, api_key=KEY, max_retries=1) as client:
        answer: Any = client.chat.completions.create(model=MODEL, messages=MESSAGES, tools=TOOLS, **EXTRA, **options)
        list(answer)


def mistral_chat(url: str) -> None:
    with mistralai.client.Mistral(server_url=url, api_key=KEY) as client:
        client.chat.complete(model=MODEL, messages=MESSAGES, http_headers={"x-secret": HEADER})


def cohere_chat(url: str) -> None:
    with httpx.Client(headers={"x-secret": HEADER}) as transport:
        client = cohere.ClientV2(base_url=url, api_key=KEY, httpx_client=transport)
        client.chat(model=MODEL, messages=MESSAGES, request_options={"max_retries": 0})


def ollama_chat(url: str) -> None:
    with contextlib.closing(ollama.Client(host=url, headers={"authorization": f"Bearer {KEY}"})) as client:
        client.chat(model=MODEL, messages=MESSAGES)


def gemini(url: str) -> None:
    options = google.genai.types.HttpOptions(base_url=url, headers={"x-secret": HEADER})
    config = google.genai.types.GenerateContentConfig(system_instruction=SYSTEM)
    with google.genai.Client(api_key=KEY, http_options=options) as client:
        client.models.generate_content(model=MODEL, contents=PROMPT, config=config)


def raw_with_the_key_in_the_query(url: str) -> None:
    with httpx2.Client(base_url=url) as client:
        client.post(f"/v1beta/models/{MODEL}:generateContent?key={KEY}&q={QUERY}", json={"contents": PROMPT})
        client.post(f"/v1/chat/completions?key={KEY}&q={QUERY}", json={"model": MODEL, "messages": MESSAGES})


def a_long_body(url: str) -> None:
    with httpx2.Client(base_url=url, headers={"api-key": KEY}) as client:
        client.post("/v1/chat/completions", json={"messages": [PROMPT * 20_000], "user": METADATA, "model": MODEL})


CALLS = (
    openai_chat,
    lambda url: openai_chat(url, stream=True),
    openai_responses,
    lambda url: openai_responses(url, stream=True),
    anthropic_messages,
    lambda url: anthropic_messages(url, stream=True),
    groq_chat,
    lambda url: groq_chat(url, stream=True),
    mistral_chat,
    cohere_chat,
    ollama_chat,
    gemini,
    raw_with_the_key_in_the_query,
    a_long_body,
)
NAMES = (
    *("openai chat", "openai chat stream", "openai responses", "openai responses stream", "anthropic"),
    *("anthropic stream", "groq", "groq stream", "mistral", "cohere", "ollama", "gemini", "key in the query", "long"),
)

# -- what the server answers -----------------------------------------------------------------------------------

HEAD = {
    "x-request-id": "req_1",
    "x-ratelimit-remaining-requests": "9",
    "x-ratelimit-limit-tokens": OUTPUT,
    "retry-after-ms": "1",
    "x-secret": HEADER,
    "set-cookie": HEADER,
}
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": OUTPUT})}}
SAID = {"role": "assistant", "content": OUTPUT, "tool_calls": [TOOL_CALL]}
ANSWER = {
    "id": "a1",
    "model": MODEL,
    "object": "chat.completion",
    "created": 1,
    "choices": [{"index": 0, "message": SAID, "finish_reason": f"{OUTPUT} in a sentence"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, OUTPUT: 1},
    "metadata": {"a": METADATA},
    "content": [{"type": "text", "text": OUTPUT}],
    "candidates": [{"content": {"role": "model", "parts": [{"text": OUTPUT}]}}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
    "message": SAID,
    "done": True,
    "done_reason": f"{OUTPUT} in a sentence",
}
CHUNK = {"id": "a1", "model": MODEL, "choices": [{"index": 0, "delta": {"role": "assistant", "content": OUTPUT}}]}
REFUSAL = {
    "error": {
        "message": f"{ERROR} on tokens per minute (TPM): Limit 6, Used 4, Requested 3. Please try again in 1s. {ERROR}",
        "type": f"{ERROR} in a sentence",
        "code": f"{ERROR} in a sentence",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": f"RequestPerDay{ERROR}"}],
            }
        ],
    },
    "message": ERROR,
    "detail": ERROR,
}


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def succeed(request: Request) -> Reply:
    if b'"stream":true' in request.body:
        return sse_reply(event(CHUNK), event(ANSWER), event(REFUSAL), b"data: [DONE]\n\n", **HEAD)
    return json_reply(ANSWER, **HEAD)


def refuse(_: Request) -> Reply:
    return json_reply(REFUSAL, 429, **HEAD)


def fail(_: Request) -> Reply:
    return json_reply([ERROR, REFUSAL], 500, **HEAD)


def babble(_: Request) -> Reply:
    return Reply(headers={"content-type": "text/event-stream", **HEAD}, pieces=[f"data: {{{OUTPUT}\n\n".encode() * 9])


def break_off(_: Request) -> Reply:
    return sse_reply(event(CHUNK), Cut(), **HEAD)


@pytest.mark.parametrize("answer", [succeed, refuse, fail, babble, break_off])
@pytest.mark.parametrize("call", CALLS, ids=NAMES)
def test_nothing_that_is_exported_holds_a_canary(
    call: Callable[[str], None], answer: Callable[[Request], Reply], server: WireServer, exported: Exported
) -> None:
    server.answer = answer
    with contextlib.suppress(Exception), attribute(user="the-user", team="the-team"):
        call(server.url)
    if not exported.spans.get_finished_spans():
        gc.collect()  # some SDKs leave a stream that failed to the garbage collector
    until(lambda: bool(exported.spans.get_finished_spans()))
    everything = exported.everything()
    assert any(PROMPT.encode() in request.body for request in server.requests)
    assert b"the-user" in everything
    assert [canary for canary in CANARIES if canary.encode() in everything] == []


def test_an_exception_of_the_transport_is_named_and_not_quoted(exported: Exported) -> None:
    def explode(_: Any) -> Any:
        raise httpx2.ReadError(EXCEPTION)

    with httpx2.Client(transport=httpx2.MockTransport(explode)) as client, pytest.raises(httpx2.ReadError):
        client.post("http://llm.example.com/v1/chat/completions", json={"model": MODEL, "messages": MESSAGES})
    everything = exported.everything()
    assert b"ReadError" in everything
    assert [canary for canary in CANARIES if canary.encode() in everything] == []


def test_a_recorded_stream_is_exported_without_its_text(server: WireServer, exported: Exported) -> None:
    server.reply(sse_reply(load("anthropic/message_stream.sse"), **HEAD))
    anthropic_messages(server.url, stream=True)
    everything = exported.everything()
    assert b"claude-opus-4-5-20251101" in everything
    assert [canary for canary in CANARIES if canary.encode() in everything] == []
