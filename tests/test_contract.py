"""The contract between the halves: what the instrumentation exports is what the exporter understands, byte for byte.

The golden files hold such bytes as the instrumentation of the day wrote them, so that an exporter that stops
understanding a released instrumentation fails here: `spans` those of the first release, `families` a call to each
family of providers. `python -m tests.test_contract families` writes the latter anew, which only a deliberate change of
docs/span-attributes.md should need.
"""

import json
import sys
from collections.abc import Callable, Iterator
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
from spanledger_exporter import dialects
from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.prices.names import BOOK_PROVIDERS
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.receiving import otlp
from spanledger_exporter.records import PricedRecord, UsageRecord
from spanledger_instrumentation import attributes
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from spanledger_instrumentation.providers.hosts import PROVIDERS
from tests import provider_families

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


def exported_families() -> bytes:
    """The bytes of the spans of one call to each family of providers, in the order of the calls."""
    with instrumented() as spans:
        provider_families.make_calls()
        return encode_spans(spans.get_finished_spans()).SerializeToString()


def understood(body: bytes) -> list[UsageRecord]:
    batch = otlp.decode(body, dialects.RESOURCE_ATTRIBUTES)
    assert batch.problems == []
    return dialects.understand(batch.spans).records


def document(record: UsageRecord) -> dict[str, Any]:
    """A record without what differs from run to run, and without what is not reported."""
    shared = record.profile._replace(server_address=None)._asdict()
    values = record._asdict() | {"profile": None, "usage": None, **shared, **record.usage._asdict()}
    return {name: value for name, value in values.items() if name not in VARYING and value not in (None, ())}


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
        assert (record.response_id, record.profile.outcome == "error") == (
            answer["response_id"],
            answer["outcome"] == "error",
        )
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


def test_every_call_to_every_family_of_providers_is_understood() -> None:
    """Its figures are those of the golden file; tests/instrumentation holds them against the fixtures."""
    body = exported_families()
    assert b"CANARY" not in body
    records = understood(body)
    assert len(records) == len(provider_families.CALLS)
    assert [document(record) for record in in_order(records)] == golden("families")


# Providers that the price book does not have. They cost nothing (a local server), something that only they know, or
# whatever the provider behind them asks.
NOT_IN_THE_BOOK = {"jina", "ollama", "portkey", "writer"}


def test_every_provider_that_is_written_has_prices_or_is_known_to_have_none() -> None:
    book = {provider["id"] for provider in packaged_book().document["providers"]}
    written = {provider.name for provider in PROVIDERS}
    assert {name for name in written if BOOK_PROVIDERS.get(name, name) not in book} == NOT_IN_THE_BOOK & written


# What the golden calls cost in USD, or why nobody knows: by provider, operation and model.
COSTS = (
    ("anthropic", "chat", None, "unknown_tier"),
    ("openai", "chat", None, "0.005622"),
    ("openai", "image_generation", "gpt-image-1", "0.04325"),
    ("openai", "image_generation", "dall-e-3", "unknown_model"),
    ("openai", "transcription", "whisper-1", "0.0009"),
    ("groq", "transcription", "whisper-large-v3", "0.000261158333"),
    ("openai", "moderation", "omni-moderation-latest", "0"),
    ("openai", "text_completion", "gpt-3.5-turbo-instruct", "0.0000215"),
    ("azure.ai.openai", "chat", "prod", "0.003748"),
    ("gcp.gemini", "generate_content", "gemini-2.5-flash", "0.0328"),
    ("gcp.gemini", "generate_content", "gemini-2.5-flash", "0.0328"),
    ("gcp.vertex_ai", "embeddings", "text-embedding-005", "unknown_model"),
    ("gcp.vertex_ai", "generate_content", "gemini-2.5-flash", "unknown_tier"),
    ("mistral_ai", "chat", "mistral-large-latest", "0.00036"),
    ("mistral_ai", "chat", "voxtral-small-latest", "0.002006"),
    ("mistral_ai", "ocr", "mistral-ocr-latest", "0.008"),
    ("mistral_ai", "ocr", "mistral-ocr-latest", "0.01"),
    ("mistral_ai", "embeddings", "mistral-embed", "0.0000015"),
    ("mistral_ai", "moderation", "mistral-moderation-latest", "unknown_model"),
    ("cohere", "chat", "command-a-03-2025", "0.0011075"),
    ("cohere", "embeddings", "embed-v4.0", "0.00019464"),
    ("cohere", "rerank", "rerank-v3.5", "unknown_model"),
    ("groq", "chat", "openai/gpt-oss-120b", "0.0000465"),
    ("openrouter", "chat", "anthropic/claude-sonnet-4.5", "no_unit_price"),
    ("deepseek", "chat", "deepseek-reasoner", "0.0002661"),
    ("x_ai", "chat", "grok-4", "no_unit_price"),
    ("x_ai", "image_generation", "grok-2-image", "unknown_model"),
    ("together", "chat", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "0.0002816"),
    ("fireworks", "chat", "accounts/fireworks/models/gpt-oss-120b", "0.00024576"),
    ("perplexity", "chat", "sonar-deep-research", "0.409393"),
    ("voyage", "embeddings", "voyage-3.5", "0.0000006"),
    ("jina", "rerank", "jina-reranker-v3", "unknown_provider"),
    ("ollama", "chat", "llama3", "unknown_provider"),
    ("aws.bedrock", "chat", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "unknown_tier"),
    ("aws.bedrock", "chat", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "unknown_tier"),
    ("aws.bedrock", "chat", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "0.0054175"),
    ("anthropic", "chat", "claude-haiku-4-5", "unknown_tier"),
)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_family_is_kept_and_priced(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    book = packaged_book()
    records = in_order(understood((GOLDEN / "families.binpb").read_bytes()))
    ledger = Ledger(open_database(url), cells_max=100)
    ledger.keep_book(book)
    ledger.append([PricedRecord(record, price(record, book), book.book_id) for record in records])
    ledger.close()
    with Reader(url) as reader:
        kept = [reader.entry(record.span_id.hex())[1] for record in records]
        entries = list(reader.entries(Filter()))
    assert kept == records
    found = [
        (entry["provider"], entry["operation"], entry["request_model"], entry["cost_usd"] or entry["price_reason"])
        for entry in reversed(entries)
    ]
    assert found == list(COSTS)


@pytest.mark.parametrize("name", ["spans", "families"])
def test_spans_of_a_released_instrumentation_are_understood_as_ever(name: str) -> None:
    records = understood((GOLDEN / f"{name}.binpb").read_bytes())
    assert [document(record) for record in records] == golden(name)


def in_order(records: list[UsageRecord]) -> list[UsageRecord]:
    return sorted(records, key=lambda record: record.end_ns)


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


_SOURCES: dict[str, Callable[[], bytes]] = {"spans": lambda: exported()[0], "families": exported_families}

if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:]:
        body = _SOURCES[name]()
        (GOLDEN / f"{name}.binpb").write_bytes(body)
        documents = [document(record) for record in understood(body)]
        (GOLDEN / f"{name}.json").write_text(json.dumps(documents, indent=1) + "\n")
