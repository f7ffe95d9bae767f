"""The contract between the halves: what the instrumentation exports is what the exporter understands, byte for byte.

The golden file holds such bytes as the instrumentation of the day wrote them, so that an exporter that stops
understanding a released instrumentation fails here. `python -m tests.test_contract` writes it anew, which only a
deliberate change of docs/span-attributes.md should need.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanledger_demo.provider import running_provider
from spanledger_exporter import dialects, otlp
from spanledger_exporter.records import UsageRecord
from spanledger_instrumentation import attributes
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor

GOLDEN = Path(__file__).parent / "data" / "contract"
VARYING = frozenset({"end_ns", "start_ns", "span_id", "trace_id", "parent_span_id", "time_to_first_chunk_ns"})


@contextmanager
def instrumented() -> Iterator[InMemorySpanExporter]:
    spans = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield spans
    finally:
        instrumentor.uninstrument()


def make_calls(openai_url: str, url: str) -> None:
    """One call of each kind that is supported, and one that fails."""
    question: list[Any] = [{"role": "user", "content": "What is the answer? " * 40}]
    with openai.OpenAI(base_url=openai_url, api_key="test", max_retries=0) as client:
        client.chat.completions.create(model="gpt-5-mini", messages=question)
        client.chat.completions.create(model="gpt-5-mini", messages=question)
        options: Any = {"include_usage": True}
        list(
            client.chat.completions.create(model="gpt-4o-mini", messages=question, stream=True, stream_options=options)
        )
        list(client.chat.completions.create(model="gpt-4o-mini", messages=question, stream=True))
        client.responses.create(model="gpt-5-mini", input="What is the answer?")
        list(client.responses.create(model="gpt-5-mini", input="What is the answer?", stream=True))
        client.embeddings.create(model="text-embedding-3-small", input="What is the answer?")
    with (
        openai.OpenAI(base_url=openai_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="gpt-4o-mini", messages=question)
    with anthropic.Anthropic(base_url=url, api_key="test", max_retries=0) as client:
        for ttl in ("1h", "5m", "5m"):
            cached: Any = [
                {"type": "text", "text": f"{ttl} " * 5000, "cache_control": {"type": "ephemeral", "ttl": ttl}}
            ]
            client.messages.create(model="claude-haiku-4-5", max_tokens=100, system=cached, messages=question)
        with client.messages.stream(model="claude-haiku-4-5", max_tokens=100, messages=question) as stream:
            stream.until_done()


def exported() -> tuple[bytes, list[dict[str, Any]]]:
    """The bytes of the spans of those calls, and what the provider's own books say of each."""
    with running_provider() as provider, instrumented() as spans:
        make_calls(provider.openai_url, provider.url)
        return encode_spans(spans.get_finished_spans()).SerializeToString(), provider.answers()


def understood(body: bytes) -> list[UsageRecord]:
    batch = otlp.decode(body, dialects.WANTED, dialects.WANTED_RESOURCE)
    assert batch.problems == []
    return dialects.understand(batch.spans).records


def document(record: UsageRecord) -> dict[str, Any]:
    """A record without what differs from run to run, and without what is not reported."""
    values = record._replace(server_address=None)._asdict() | {"usage": None, **record.usage._asdict()}
    return {name: value for name, value in values.items() if name not in VARYING and value is not None}


FIGURES = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)


def test_every_call_is_understood_with_the_provider_s_own_figures() -> None:
    body, answers = exported()
    records = understood(body)
    assert len(records) == len(answers) == 12
    for record, answer in zip(sorted(records, key=lambda record: record.end_ns), answers, strict=True):
        assert (record.response_id, record.outcome == "error") == (answer["response_id"], answer["outcome"] == "error")
        if record.usage_status == "reported":
            assert {name: getattr(record.usage, name) or 0 for name in FIGURES} == {
                name: answer[name] for name in FIGURES
            }
    # One stream did not ask for its usage: the provider knows it, and nobody else can. One call was refused.
    statuses = [record.usage_status for record in records]
    assert (statuses.count("reported"), statuses.count("unreported"), statuses.count("none")) == (10, 1, 1)
    assert all(any(getattr(record.usage, name) for record in records) for name in FIGURES), "a class was never used"


def test_every_usage_attribute_that_is_written_is_read() -> None:
    written = {value for name, value in vars(attributes).items() if name.startswith("USAGE_")}
    assert written
    assert written <= dialects.SPAN_ATTRIBUTES


def test_spans_of_a_released_instrumentation_are_understood_as_ever() -> None:
    records = understood((GOLDEN / "spans.binpb").read_bytes())
    assert [document(record) for record in records] == json.loads((GOLDEN / "records.json").read_text())


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    (GOLDEN / "spans.binpb").write_bytes(exported()[0])
    records = understood((GOLDEN / "spans.binpb").read_bytes())
    (GOLDEN / "records.json").write_text(json.dumps([document(record) for record in records], indent=1) + "\n")
