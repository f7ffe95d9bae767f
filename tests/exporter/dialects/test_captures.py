"""Spans that real instrumentations sent -> the provider's own tally of the calls that they made."""

from collections.abc import Iterator
from typing import Any

import pytest

from spanledger_exporter import dialects
from spanledger_exporter.receiving import otlp
from spanledger_exporter.records import UsageRecord
from tests.captures import captures
from tests.captures.captures import Capture, TallyCall

CLASSES = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
)
LIFETIMES = ("cache_write_5m_tokens", "cache_write_1h_tokens")
# What an instrumentation does not say of some calls, by the captures that it alone tells of: nobody can know it.
UNSAID: dict[str, tuple[str, ...]] = {
    "java-spring-ai": ("reasoning_tokens",),
    "node-official-and-openllmetry": ("cache_read_tokens", "reasoning_tokens"),
    "node-official-openai": ("cache_read_tokens", "reasoning_tokens"),
    "node-openinference-anthropic": ("reasoning_tokens",),
    "node-openllmetry-anthropic": ("reasoning_tokens",),
    "node-openllmetry-openai": ("cache_read_tokens", "reasoning_tokens"),
    "node-vercel-5": ("cache_read_tokens", "reasoning_tokens"),
    "node-vercel-7": ("reasoning_tokens",),
    "openinference-openai-agents": ("cache_read_tokens",),
    "openlit-anthropic": ("reasoning_tokens",),
    "openlit-openai": ("reasoning_tokens",),
    "openllmetry-anthropic": ("reasoning_tokens",),
    "openllmetry-langchain": ("reasoning_tokens", "cache_write_tokens"),
    "openllmetry-langchain-and-anthropic-sdk": ("reasoning_tokens",),
    "openllmetry-openai": ("reasoning_tokens",),
    "semantic-kernel": ("cache_read_tokens", "reasoning_tokens"),
    "strands": ("reasoning_tokens",),
    "traceverde-anthropic": ("reasoning_tokens",),
    "traceverde-openai": ("cache_read_tokens", "reasoning_tokens"),
}
# Calls that nothing tells the usage of, though the provider told it: streams, and embeddings of frameworks that only
# look at chats.
UNTOLD = {
    "mlflow-anthropic": 6,
    "node-official-and-openllmetry": 4,
    "node-openinference-openai": 4,
    "node-openllmetry-openai": 5,
    "official-langchain": 1,
    "openinference-langchain": 1,
    "openllmetry-langchain": 1,
    "openllmetry-langchain-and-anthropic-sdk": 1,
    "semantic-kernel": 1,
    # OpenLLMetry adds the first event's output tokens to the last one's in streams of Anthropic, and TraceVerde leaves
    # out of one what was read from the cache, which is most of its input.
    "openllmetry-anthropic": 6,
    "traceverde-anthropic": 1,
}
# Figures that no provider told: streams whose tokens an instrumentation counted by itself.
COUNTED_BY_ITSELF = {"litellm", "litellm-and-openinference", "ours-and-litellm", "openlit-openai"}


def understood(capture: Capture) -> list[UsageRecord]:
    return [
        record
        for body in capture.requests
        for record in dialects.understand(otlp.decode(body, dialects.RESOURCE_ATTRIBUTES).spans).records
    ]


def figures(of: Any) -> dict[str, int]:
    return {name: getattr(of, name) or 0 for name in CLASSES}


def tells(record: UsageRecord, call: TallyCall, unsaid: tuple[str, ...]) -> bool:
    """Tell whether a record has a call's figures, but for the classes that its instrumentation does not say."""
    said, true = figures(record.usage), figures(call)
    skipped = {name for name in (*unsaid, *LIFETIMES) if said[name] == 0}
    if record.response_id and call.response_id and record.profile.dialect != "litellm":  # which makes up ids
        return record.response_id == call.response_id and all(
            said[name] == true[name] for name in CLASSES if name not in skipped
        )
    return all(said[name] == true[name] for name in CLASSES if name not in skipped)


def told(capture: Capture) -> Iterator[TallyCall]:
    """Yield the calls whose usage the provider told."""
    for call in capture.calls:
        if call.stated and call.outcome != "error":
            yield call


@pytest.mark.parametrize("name", captures.names())
def test_every_call_is_understood_with_the_provider_s_own_figures(name: str) -> None:
    capture = captures.load(name)
    records = understood(capture)
    unsaid = UNSAID.get(name, ())
    missed = [call for call in told(capture) if not any(tells(record, call, unsaid) for record in records)]
    assert len(missed) == UNTOLD.get(name, 0), missed


@pytest.mark.parametrize("name", captures.names())
def test_no_record_has_figures_that_the_provider_did_not_tell(name: str) -> None:
    capture = captures.load(name)
    inputs = {call.input_tokens for call in capture.calls}
    outputs = {call.output_tokens for call in capture.calls}
    if name in {"openllmetry-anthropic", "openllmetry-and-anthropic-sdk"}:
        outputs |= {call.output_tokens + 1 for call in capture.calls if call.stream}
    invented = [
        record
        for record in understood(capture)
        if record.usage.input_tokens not in {*inputs, None} or record.usage.output_tokens not in {*outputs, None}
    ]
    assert len(invented) == (name in COUNTED_BY_ITSELF), invented


@pytest.mark.parametrize("name", captures.names())
def test_no_parent_or_step_is_counted(name: str) -> None:
    """Each call is in as many records as there are instrumentations that report it, at most."""
    capture = captures.load(name)
    reporters = 2 if "-and-" in name else 1
    assert len(understood(capture)) <= len(capture.calls) * reporters


def test_every_capture_has_one_dialect_for_each_instrumentation() -> None:
    found = {record.profile.dialect for name in captures.names() for record in understood(captures.load(name))}
    assert found >= {
        "anthropic_sdk", "langfuse", "langsmith", "litellm", "logfire", "mlflow", "openinference", "openlit",
        "openllmetry", "otel", "otel_legacy", "pydantic_ai", "semantic_kernel", "spanledger", "spring_ai", "strands",
        "traceverde", "vercel", "vercel_v4",
    }  # fmt: skip
