"""Anthropic's messages.

Source: the types of the anthropic SDK 2.12 (`anthropic/types/usage.py`, `raw_message_stream_event.py`,
`shared/error_object.py`), https://platform.claude.com/docs/en/build-with-claude/streaming for the order of events and
https://platform.claude.com/docs/en/api/errors for errors, as known in November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from spanledger_demo.provider.cache import Block, Ttl
from spanledger_demo.provider.draft import Ask, Draft, RequestError
from spanledger_demo.provider.figures import Figures
from spanledger_demo.provider.wire import (
    Event,
    Failure,
    Json,
    Wire,
    child,
    pieces,
    positive,
    required,
    sse,
    text_of,
    tool_blocks,
)

PROVIDER = "anthropic"
REQUESTS_LIMIT = 4_000
TOKENS_LIMIT = 2_000_000

# Status -> (type, message).
_ERRORS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request was invalid."),
    401: ("authentication_error", "invalid x-api-key"),
    404: ("not_found_error", "The requested resource could not be found."),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit of requests per minute."),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}


def _parse(body: Json) -> Ask:
    limit = positive(body, "max_tokens")
    if limit is None:
        raise RequestError("max_tokens: Field required", param="max_tokens")
    blocks = [*tool_blocks(body), *_blocks(body.get("system"))]
    for message in required(body, "messages"):
        blocks += _blocks(message.get("content"))
    return Ask(
        model=required(body, "model"),
        blocks=tuple(blocks),
        stream=bool(body.get("stream")),
        output_tokens_max=limit,
        reasons=child(body, "thinking").get("type") in ("enabled", "adaptive"),
        cache="explicit",
        tiers=("standard",),
    )


def _blocks(content: Any) -> list[Block]:  # Any: JSON, a text or a list of parts
    if content is None:
        return []
    parts: list[Json] = [{"text": content}] if isinstance(content, str) else content
    return [Block(text=text_of(part), ttl=_ttl(part.get("cache_control"))) for part in parts]


def _ttl(mark: Json | None) -> Ttl | None:
    if mark is None:
        return None
    ttl = mark.get("ttl", "5m")
    if ttl not in ("5m", "1h"):
        raise RequestError(f"cache_control.ttl: Input should be '5m' or '1h', got '{ttl}'")
    return ttl


def _usage(draft: Draft, *, output_tokens: int) -> Json:
    """Shape the usage; input tokens exclude what the cache read and wrote, as everywhere at Anthropic."""
    figures = draft.figures
    return {
        "input_tokens": figures.uncached_input_tokens,
        "cache_creation_input_tokens": figures.cache_write_tokens,
        "cache_read_input_tokens": figures.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": figures.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": figures.cache_write_1h_tokens,
        },
        "output_tokens": output_tokens,
        "service_tier": draft.tier,
        "inference_geo": "not_available",
    }


def _thinking_details(draft: Draft) -> Json:
    if not draft.ask.reasons:
        return {}
    return {"output_tokens_details": {"thinking_tokens": draft.figures.reasoning_tokens}}


def _message(draft: Draft, content: list[Json], stop_reason: str | None, usage: Json) -> Json:
    return {
        "id": f"msg_{draft.id}",
        "type": "message",
        "role": "assistant",
        "model": draft.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _stop_reason(draft: Draft) -> str:
    return "max_tokens" if draft.truncated else "end_turn"


def _answer(draft: Draft) -> Json:
    thinking = {"type": "thinking", "thinking": "Let me look at the order.", "signature": draft.id}
    text = {"type": "text", "text": draft.text}
    content = [thinking, text] if draft.ask.reasons else [text]
    usage = {**_usage(draft, output_tokens=draft.figures.output_tokens), **_thinking_details(draft)}
    return _message(draft, content, _stop_reason(draft), usage)


def _event(kind: str, **fields: object) -> bytes:
    return sse({"type": kind, **fields}, name=kind)


def _events(draft: Draft) -> Iterator[Event]:
    begun = replace(draft.figures, output_tokens=1, reasoning_tokens=0)  # the first output token is there already
    message = _message(draft, [], None, _usage(draft, output_tokens=1))
    yield Event(data=_event("message_start", message=message), said=begun)
    for data in _block_events(draft):
        yield Event(data=data)
    yield Event(data=_message_delta(draft, draft.figures), said=draft.figures)
    yield Event(data=_event("message_stop"), last=True)


def _message_delta(draft: Draft, figures: Figures) -> bytes:
    usage = {
        "input_tokens": figures.uncached_input_tokens,
        "cache_creation_input_tokens": figures.cache_write_tokens,
        "cache_read_input_tokens": figures.cache_read_tokens,
        "output_tokens": figures.output_tokens,
        **_thinking_details(draft),
    }
    return _event("message_delta", delta={"stop_reason": _stop_reason(draft), "stop_sequence": None}, usage=usage)


def _block_events(draft: Draft) -> Iterator[bytes]:
    index = 0
    if draft.ask.reasons:
        deltas: list[Json] = [
            {"type": "thinking_delta", "thinking": "Let me look at the order."},
            {"type": "signature_delta", "signature": draft.id},
        ]
        block = {"type": "thinking", "thinking": "", "signature": ""}
        yield from _content_block(index, block, deltas)
        index += 1
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces(draft)]
    yield from _content_block(index, {"type": "text", "text": ""}, deltas)


def _content_block(index: int, block: Json, deltas: list[Json]) -> Iterator[bytes]:
    yield _event("content_block_start", index=index, content_block=block)
    if index == 0:
        yield _event("ping")
    for delta in deltas:
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _error(failure: Failure) -> Json:
    kind, message = _ERRORS.get(failure.status, _ERRORS[500])
    return {"type": "error", "error": {"type": kind, "message": failure.message or message}, "request_id": None}


def _error_event(failure: Failure) -> bytes:
    return sse(_error(failure), name="error")


def _headers(number: int, used: float) -> Mapping[str, str]:
    reset = (datetime.now(UTC) + timedelta(seconds=60 * used)).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = {"request-id": f"req_{number:024x}", "anthropic-organization-id": "00000000-0000-0000-0000-000000000000"}
    takes = {"requests": 1, "input-tokens": 150, "output-tokens": 50, "tokens": 200}
    for what, each in takes.items():
        limit = REQUESTS_LIMIT if what == "requests" else TOKENS_LIMIT
        in_use = max(each * (number % REQUESTS_LIMIT), round(used * limit))
        headers |= {
            f"anthropic-ratelimit-{what}-limit": str(limit),
            f"anthropic-ratelimit-{what}-remaining": str(limit - in_use),
            f"anthropic-ratelimit-{what}-reset": reset,
        }
    return headers


def _credential(request_headers: Mapping[str, str]) -> str:
    bearer = request_headers.get("authorization", "").removeprefix("Bearer ").strip()
    return request_headers.get("x-api-key", "") or bearer


MESSAGES = Wire(
    provider=PROVIDER,
    id_prefix="msg_",
    parse=_parse,
    answer=_answer,
    events=_events,
    error=_error,
    error_event=_error_event,
    headers=_headers,
    credential=_credential,
)
