"""What the request bodies of each wire format put on a span."""

from typing import Any

import pytest

from spanledger_instrumentation.providers import anthropic_messages, openai_chat, openai_embeddings, openai_responses
from spanledger_instrumentation.providers.wire import Wire
from tests.instrumentation.providers.wires import request


def read(wire: Wire, **members: Any) -> dict[str, Any]:
    return wire.read_request(request(members))


def test_chat() -> None:
    found = read(
        openai_chat.WIRE,
        model="gpt-5",
        messages=[{"role": "user", "content": "CANARY"}],
        max_completion_tokens=100,
        max_tokens=7,
        temperature=1,
        top_p=0.5,
        top_k=4,
        frequency_penalty=-1,
        presence_penalty=0.25,
        seed=42,
        n=2,
        reasoning_effort="low",
        response_format={"type": "json_schema"},
        service_tier="flex",
        user="CANARY",
        metadata={"a": "CANARY"},
    )
    assert found == {
        "gen_ai.request.model": "gpt-5",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.top_k": 4,
        "gen_ai.request.frequency_penalty": -1.0,
        "gen_ai.request.presence_penalty": 0.25,
        "gen_ai.request.seed": 42,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.output.type": "json",
        "openai.request.service_tier": "flex",
    }
    assert read(openai_chat.WIRE, max_tokens=7, n=1) == {"gen_ai.request.max_tokens": 7}


def test_responses() -> None:
    found = read(
        openai_responses.WIRE,
        model="gpt-5",
        input="CANARY",
        instructions="CANARY",
        max_output_tokens=100,
        temperature=0.1,
        top_p=1,
        reasoning={"effort": "high"},
        text={"format": {"type": "text"}},
        service_tier="priority",
    )
    assert found == {
        "gen_ai.request.model": "gpt-5",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.1,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.reasoning.level": "high",
        "gen_ai.output.type": "text",
        "openai.request.service_tier": "priority",
    }


def test_embeddings() -> None:
    found = read(openai_embeddings.WIRE, model="e", input="CANARY", encoding_format="base64", dimensions=256)
    assert found == {
        "gen_ai.request.model": "e",
        "gen_ai.request.encoding_formats": ("base64",),
        "gen_ai.embeddings.dimension.count": 256,
    }


@pytest.mark.parametrize(
    "json_format", [{"output_config": {"format": {"type": "json_schema"}}}, {"output_format": {"type": "json_schema"}}]
)
def test_messages(json_format: dict[str, Any]) -> None:
    found = read(
        anthropic_messages.WIRE,
        model="claude",
        max_tokens=100,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        service_tier="auto",
        system="CANARY",
        **json_format,
    )
    assert found == {
        "gen_ai.request.model": "claude",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 40,
        "gen_ai.output.type": "json",
        "anthropic.request.service_tier": "auto",
    }


@pytest.mark.parametrize(
    "wire", [openai_chat.WIRE, openai_responses.WIRE, openai_embeddings.WIRE, anthropic_messages.WIRE]
)
def test_members_of_another_type_are_left_out(wire: Wire) -> None:
    wrong = dict.fromkeys(["temperature", "max_tokens", "top_k", "seed", "n", "dimensions"], True)
    found = read(wire, model=5, service_tier="x" * 300, reasoning="x", text=[], response_format="json", **wrong)
    assert found == {}
