"""What a recorded answer says of its usage, read a second time: from the whole body, without any of our parsers."""

import gzip
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.eventstream import EventStreamBuffer

from tests.recordings import Interaction

Figures = dict[str, Any]
"""Attribute -> figure, `None` where the answer does not say."""

INPUT, OUTPUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
CACHE_READ, CACHE_WRITE = "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_write.input_tokens"
REASONING = "gen_ai.usage.reasoning.output_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One wire format: which POSTs speak it, and how its answers are read."""

    operation: str
    url: str
    """A pattern that host and path match from the beginning."""
    usage: Callable[[Interaction], Mapping[str, Any]]
    """The answer -> the provider's usage object, `{}` where there is none."""
    figures: Callable[[Mapping[str, Any]], Figures]
    """That object -> what must stand on the span."""


def decoded(interaction: Interaction) -> bytes:
    """Give the body as an app sees it."""
    encoded = interaction.headers.get("content-encoding") == "gzip"
    return gzip.decompress(interaction.response) if encoded else interaction.response


def failed(interaction: Interaction) -> bool:
    """Tell a refusal, also where it came with a status of 200 (Azure's content filter)."""
    return not 200 <= interaction.status < 300 or decoded(interaction).lstrip().startswith(b'{ "error"')


def streamed(interaction: Interaction) -> bool:
    """Tell whether the answer is a stream."""
    kind = interaction.headers.get("content-type", "")
    return any(name in kind for name in ("event-stream", "eventstream", "ndjson", "stream+json"))


# -- the usage objects -------------------------------------------------------------------------------------------------


def documents(interaction: Interaction) -> Iterator[dict[str, Any]]:
    """Give the answer's JSON objects, one or as many as were streamed."""
    body = decoded(interaction)
    if "vnd.amazon.eventstream" in interaction.headers.get("content-type", ""):
        yield from _messages(body)
        return
    text = body.decode()
    if re.match(r"\s*(?:data|event|id|:)", text):
        for line in text.splitlines():
            if line.startswith("data:") and line[5:].strip() not in ("[DONE]", ""):
                yield json.loads(line[5:])
    elif streamed(interaction):
        yield from map(json.loads, filter(None, text.splitlines()))
    else:
        yield json.loads(text)


def _messages(body: bytes) -> Iterator[dict[str, Any]]:
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    for message in buffer:
        document = json.loads(message.payload)
        yield json.loads(b64decode(document["bytes"])) if set(document) <= {"bytes", "p"} else document


def last(*path: str) -> Callable[[Interaction], Mapping[str, Any]]:
    """Make a reader of the last usage object that stands at this path; later members replace earlier ones."""

    def read(interaction: Interaction) -> Mapping[str, Any]:
        merged: dict[str, Any] = {}
        for document in documents(interaction):
            value: Any = document
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            merged.update({name: figure for name, figure in (value or {}).items() if figure is not None})
        return merged

    return read


def either(*readers: Callable[[Interaction], Mapping[str, Any]]) -> Callable[[Interaction], Mapping[str, Any]]:
    """Make a reader that takes the first of several that finds anything."""
    return lambda interaction: next(filter(None, (read(interaction) for read in readers)), {})


def both(*readers: Callable[[Interaction], Mapping[str, Any]]) -> Callable[[Interaction], Mapping[str, Any]]:
    """Make a reader that puts together what several find."""

    def read(interaction: Interaction) -> Mapping[str, Any]:
        return {name: figure for reader in readers for name, figure in reader(interaction).items()}

    return read


def headers(prefix: str) -> Callable[[Interaction], Mapping[str, Any]]:
    """Make a reader of the headers that begin so and hold a number."""

    def read(interaction: Interaction) -> Mapping[str, Any]:
        found = {name: value for name, value in interaction.headers.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): int(value) for name, value in found.items() if value.isdigit()}

    return read


# -- their figures -----------------------------------------------------------------------------------------------------


def chat(usage: Mapping[str, Any]) -> Figures:
    prompt = usage.get("prompt_tokens_details") or usage.get("prompt_token_details") or {}
    completion = usage.get("completion_tokens_details") or usage.get("completion_token_details") or {}
    return {
        INPUT: usage.get("prompt_tokens"),
        OUTPUT: usage.get("completion_tokens"),
        CACHE_READ: prompt.get("cached_tokens"),
        CACHE_WRITE: prompt.get("cache_write_tokens"),
        REASONING: completion.get("reasoning_tokens"),
        "gen_ai.usage.text.input_tokens": prompt.get("text_tokens"),
        "gen_ai.usage.audio.input_tokens": prompt.get("audio_tokens"),
        "gen_ai.usage.image.input_tokens": prompt.get("image_tokens"),
        "gen_ai.usage.text.output_tokens": completion.get("text_tokens"),
        "gen_ai.usage.audio.output_tokens": completion.get("audio_tokens"),
    }


def responses(usage: Mapping[str, Any]) -> Figures:
    details = usage.get("input_tokens_details") or {}
    return {
        INPUT: usage.get("input_tokens"),
        OUTPUT: usage.get("output_tokens"),
        CACHE_READ: details.get("cached_tokens"),
        CACHE_WRITE: details.get("cache_write_tokens"),
        REASONING: (usage.get("output_tokens_details") or {}).get("reasoning_tokens"),
    }


def images(usage: Mapping[str, Any]) -> Figures:
    details = usage.get("input_tokens_details") or {}
    return {
        INPUT: usage.get("input_tokens"),
        OUTPUT: usage.get("output_tokens"),
        "gen_ai.usage.text.input_tokens": details.get("text_tokens"),
        "gen_ai.usage.image.input_tokens": details.get("image_tokens"),
        "spanledger.usage.output_images": usage.get("images"),
    }


def image_usage(interaction: Interaction) -> Mapping[str, Any]:
    (document,) = documents(interaction)
    return {**(document.get("usage") or {}), "images": len(document.get("data") or [])}


def messages(usage: Mapping[str, Any]) -> Figures:
    lifetimes = usage.get("cache_creation") or {}
    parts = [usage.get(name) for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")]
    return {
        INPUT: sum(part or 0 for part in parts) if usage else None,
        OUTPUT: usage.get("output_tokens"),
        CACHE_READ: usage.get("cache_read_input_tokens"),
        CACHE_WRITE: usage.get("cache_creation_input_tokens"),
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": lifetimes.get("ephemeral_5m_input_tokens"),
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": lifetimes.get("ephemeral_1h_input_tokens"),
        "spanledger.usage.web_search_requests": (usage.get("server_tool_use") or {}).get("web_search_requests"),
    }


def cohere(usage: Mapping[str, Any]) -> Figures:
    return {
        INPUT: usage.get("input_tokens"),
        OUTPUT: usage.get("output_tokens"),
        "spanledger.usage.search_units": usage.get("search_units"),
    }


def ollama(usage: Mapping[str, Any]) -> Figures:
    return {INPUT: usage.get("prompt_eval_count"), OUTPUT: usage.get("eval_count")}


def gemini(usage: Mapping[str, Any]) -> Figures:
    thoughts, candidates = usage.get("thoughtsTokenCount"), usage.get("candidatesTokenCount")
    answered = None if thoughts is None and candidates is None else (thoughts or 0) + (candidates or 0)
    prompt = usage.get("promptTokenCount")
    return {
        INPUT: None if prompt is None else prompt + (usage.get("toolUsePromptTokenCount") or 0),
        OUTPUT: answered,
        CACHE_READ: usage.get("cachedContentTokenCount"),
        REASONING: thoughts,
        **_modalities(usage, ("promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails"), "input"),
        **_modalities(usage, ("candidatesTokensDetails",), "output"),
    }


def _modalities(
    usage: Mapping[str, Any], members: tuple[str, ...], direction: str, count: str = "tokenCount"
) -> Figures:
    found: Figures = {}
    for entry in (entry for member in members for entry in usage.get(member) or ()):
        name = f"gen_ai.usage.{entry['modality'].lower()}.{direction}_tokens"
        found[name] = found.get(name, 0) + entry[count]
    return found


def interactions(usage: Mapping[str, Any]) -> Figures:
    thoughts, answered = usage.get("total_thought_tokens"), usage.get("total_output_tokens")
    total = usage.get("total_input_tokens")
    return {
        INPUT: None if total is None else total + (usage.get("total_tool_use_tokens") or 0),
        OUTPUT: None if answered is None else answered + (thoughts or 0),
        CACHE_READ: usage.get("total_cached_tokens"),
        REASONING: thoughts,
        **_modalities(usage, ("input_tokens_by_modality", "tool_use_tokens_by_modality"), "input", "tokens"),
        **_modalities(usage, ("output_tokens_by_modality",), "output", "tokens"),
    }


def converse(usage: Mapping[str, Any]) -> Figures:
    read, written = (
        usage.get(f"cache{kind}InputTokens", usage.get(f"cache{kind}InputTokenCount")) for kind in ("Read", "Write")
    )
    uncached = usage.get("inputTokens")
    return {
        INPUT: None if uncached is None else uncached + (read or 0) + (written or 0),
        OUTPUT: usage.get("outputTokens"),
        CACHE_READ: read,
        CACHE_WRITE: written,
    }


def invoked(usage: Mapping[str, Any]) -> Figures:
    """The answer's own usage, in whichever vendor's words; what it lacks as Bedrock itself counted it."""
    vendor = converse if "inputTokens" in usage else chat if "prompt_tokens" in usage else messages
    own = vendor(usage) if {"inputTokens", "prompt_tokens", "input_tokens"} & usage.keys() else {}
    counted = {
        INPUT: usage.get("input-token-count", usage.get("inputTokenCount", usage.get("inputTextTokenCount"))),
        OUTPUT: usage.get("output-token-count", usage.get("outputTokenCount", usage.get("totalOutputTextTokenCount"))),
        CACHE_READ: usage.get("cache-read-input-token-count"),
        CACHE_WRITE: usage.get("cache-write-input-token-count"),
    }
    return {**counted, **{name: figure for name, figure in own.items() if figure is not None}}


MESSAGES = either(both(last("message", "usage"), last("usage")), last("usage"))
FORMATS = (
    Format(
        operation="generate_content", url=r".*:(?:streamG|g)enerateContent", usage=last("usageMetadata"), figures=gemini
    ),
    Format(operation="embeddings", url=r".*:(?:batchE|e)mbedContents?", usage=last("usageMetadata"), figures=gemini),
    Format(
        operation="generate_content",
        url=r"generativelanguage\.googleapis\.com/v1beta/interactions$",
        usage=either(last("usage"), last("interaction", "usage")),
        figures=interactions,
    ),
    Format(operation="chat", url=r"bedrock-runtime.*/converse(?:-stream)?$", usage=last("usage"), figures=converse),
    Format(
        operation="chat",
        url=r"bedrock-runtime.*/invoke(?:-with-response-stream)?$",
        usage=both(
            last("amazon-bedrock-invocationMetrics"),
            headers("x-amzn-bedrock-"),
            either(MESSAGES, last("metadata", "usage"), last()),
        ),
        figures=invoked,
    ),
    Format(
        operation="chat",
        url=r"api\.cohere\.com/v2/chat$",
        usage=either(last("usage", "billed_units"), last("delta", "usage", "billed_units")),
        figures=cohere,
    ),
    Format(
        operation="chat",
        url=r"api\.cohere\.com/v1/chat$",
        usage=either(last("meta", "billed_units"), last("response", "meta", "billed_units")),
        figures=cohere,
    ),
    Format(
        operation="text_completion",
        url=r"api\.cohere\.com/v1/generate$",
        usage=last("meta", "billed_units"),
        figures=cohere,
    ),
    Format(
        operation="rerank", url=r"api\.cohere\.com/v[12]/rerank$", usage=last("meta", "billed_units"), figures=cohere
    ),
    Format(
        operation="embeddings", url=r"api\.cohere\.com/v[12]/embed$", usage=last("meta", "billed_units"), figures=cohere
    ),
    Format(operation="chat", url=r"[^/]*/api/chat$", usage=last(), figures=ollama),
    Format(operation="text_completion", url=r"[^/]*/api/generate$", usage=last(), figures=ollama),
    Format(operation="embeddings", url=r"[^/]*/api/(?:embeddings|embed)$", usage=last(), figures=ollama),
    Format(operation="chat", url=r"api\.writer\.com/v1/chat$", usage=last("usage"), figures=chat),
    Format(
        operation="chat",
        url=r".*/chat/completions$",
        usage=either(last("usage"), last("x_groq", "usage")),
        figures=chat,
    ),
    Format(
        operation="text_completion",
        url=r"(?!api\.writer\.com).*/v1/completions$",
        usage=last("usage"),
        figures=chat,
    ),
    Format(operation="embeddings", url=r".*/embeddings$", usage=last("usage"), figures=chat),
    Format(operation="image_generation", url=r".*/images/generations$", usage=image_usage, figures=images),
    Format(
        operation="chat",
        url=r".*/responses$",
        usage=either(last("response", "usage"), last("usage")),
        figures=responses,
    ),
    Format(operation="chat", url=r"api\.anthropic\.com/v1/messages$", usage=MESSAGES, figures=messages),
)


def format_of(interaction: Interaction) -> Format | None:
    """Find the format of a recorded request; `None` where it is none that is supported."""
    if interaction.method != "POST":
        return None
    url = interaction.host + interaction.path
    return next((each for each in FORMATS if re.match(each.url, url)), None)


def expected(interaction: Interaction) -> Figures:
    """Say which usage attributes the answer must make."""
    found = format_of(interaction)
    assert found is not None
    usage = {} if failed(interaction) else found.usage(interaction)
    return {name: figure for name, figure in found.figures(usage).items() if figure is not None} if usage else {}
