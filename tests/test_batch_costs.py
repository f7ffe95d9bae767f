"""A batch costs what its requests cost, one by one: from the bytes of its results to pico-USD, through both halves."""

import random
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanledger_exporter import dialects
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.receiving import otlp
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from tests.instrumentation.test_batches import MESSAGE, chat, openai_line, succeeded

OPENAI = "https://api.openai.com/v1/files/file-{}/content"
ANTHROPIC = "https://api.anthropic.com/v1/messages/batches/msgbatch_{}/results"


def cost_pusd(url: str, files: Sequence[bytes]) -> tuple[int, int]:
    """Download these files; give what the exporter says that they cost, and of how many requests it knows."""
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        for number, content in enumerate(files):
            transport = httpx2.MockTransport(lambda _, content=content: httpx2.Response(200, content=content))
            with httpx2.Client(transport=transport) as client:
                client.get(url.format(number))
    finally:
        instrumentor.uninstrument()
    body = encode_spans(exported.get_finished_spans()).SerializeToString()
    decoded = otlp.decode(body, dialects.RESOURCE_ATTRIBUTES)
    records = dialects.understand(decoded.spans).records
    book = packaged_book()
    prices = [price(record, book) for record in records]
    assert {each.status for each in prices} == {"priced"}
    assert {record.profile.service_tier for record in records} == {"batch"}
    costs = [each.cost_pusd for each in prices if each.cost_pusd is not None]
    return sum(costs), sum(record.usage.requests or 0 for record in records)


def message(model: str, tokens: int) -> bytes:
    usage: dict[str, Any] = {**MESSAGE["usage"], "input_tokens": tokens, "service_tier": "batch", "speed": "standard"}
    return succeeded(model=model, usage={**usage, "inference_geo": "global"})


@pytest.mark.parametrize(
    ("url", "line", "models"),
    [
        (OPENAI, lambda model, tokens: openai_line(chat(model, tokens)), ("gpt-5.4", "gpt-5-mini")),
        (ANTHROPIC, message, ("claude-sonnet-4-5", "claude-haiku-4-5")),
    ],
    ids=["openai", "anthropic"],
)
def test_a_batch_costs_what_its_requests_cost_one_by_one(url: str, line: Any, models: tuple[str, ...]) -> None:
    chosen = random.Random(11)
    lengths = [chosen.choice((100, 99_999, 157_500, 199_999, 200_000, 200_001, 272_000, 272_001)) for _ in range(60)]
    lines = [line(chosen.choice(models), tokens) for tokens in lengths]
    whole, requests = cost_pusd(url, [b"".join(lines)])
    assert requests == 60
    assert whole == cost_pusd(url, lines)[0]
    assert whole > 0
