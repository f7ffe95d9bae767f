"""OpenAI's Responses.

Source: the types of the openai SDK 3.54 (`openai/types/responses`), and
https://platform.openai.com/docs/api-reference/responses-streaming for the order of events, as known in November 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spanledger_demo.provider import openai
from spanledger_demo.provider.cache import Block
from spanledger_demo.provider.draft import Ask, Draft
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


def _parse(body: Json) -> Ask:
    model = required(body, "model")
    inputs = required(body, "input")
    items = [inputs] if isinstance(inputs, str) else [item.get("content", item) for item in inputs]
    instructions = [Block(text=text)] if (text := body.get("instructions")) else []
    return Ask(
        model=model,
        blocks=(*tool_blocks(body), *instructions, *(Block(text=text_of(item)) for item in items)),
        stream=bool(body.get("stream")),
        output_tokens_max=positive(body, "max_output_tokens"),
        reasons=openai.reasons(model, child(body, "reasoning").get("effort")),
        cache="implicit",
        tiers=openai.tiers(body),
    )


def _usage(draft: Draft) -> Json:
    figures = draft.figures
    return {
        "input_tokens": figures.input_tokens,
        "input_tokens_details": {"cached_tokens": figures.cache_read_tokens, "cache_write_tokens": 0},
        "output_tokens": figures.output_tokens,
        "output_tokens_details": {"reasoning_tokens": figures.reasoning_tokens},
        "total_tokens": figures.input_tokens + figures.output_tokens,
    }


def _response(draft: Draft, status: str, output: list[Json]) -> Json:
    """Shape the response object as it stands at one moment of its life."""
    final = status in ("completed", "incomplete")
    return {
        "id": f"resp_{draft.id}",
        "object": "response",
        "created_at": draft.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": draft.ask.output_tokens_max,
        "model": draft.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium" if draft.ask.reasons else None, "summary": None},
        # While the answer is under way the tier is not known, and OpenAI says `auto`.
        "service_tier": draft.tier if final else "auto",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _usage(draft) if final else None,
        "metadata": {},
    }


def _reasoning(draft: Draft) -> Json:
    return {"id": f"rs_{draft.id}", "type": "reasoning", "summary": []}


def _message(draft: Draft, status: str, content: list[Json]) -> Json:
    return {"id": f"msg_{draft.id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _part(text: str) -> Json:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _status(draft: Draft) -> str:
    return "incomplete" if draft.truncated else "completed"


def _output(draft: Draft) -> list[Json]:
    reasoning = [_reasoning(draft)] if draft.figures.reasoning_tokens else []
    return [*reasoning, _message(draft, _status(draft), [_part(draft.text)])]


def _answer(draft: Draft) -> Json:
    return _response(draft, _status(draft), _output(draft))


@dataclass(slots=True)
class _Numbered:
    """Number the events of one stream, which the type repeats in the event's name."""

    number: int = -1

    def event(self, kind: str, **fields: object) -> bytes:
        self.number += 1
        return sse({"type": kind, "sequence_number": self.number, **fields}, name=kind)


def _events(draft: Draft) -> Iterator[Event]:
    event = _Numbered().event
    for kind in ("created", "in_progress"):
        yield Event(data=event(f"response.{kind}", response=_response(draft, "in_progress", [])))
    index = 0
    if draft.figures.reasoning_tokens:
        for kind in ("added", "done"):
            data = event(f"response.output_item.{kind}", output_index=index, item=_reasoning(draft))
            yield Event(data=data)
        index += 1
    for data in _message_events(draft, event=event, index=index):
        yield Event(data=data)
    status = _status(draft)
    data = event(f"response.{status}", response=_response(draft, status, _output(draft)))
    yield Event(data=data, said=draft.figures, last=True)


def _message_events(draft: Draft, *, event: Callable[..., bytes], index: int) -> Iterator[bytes]:
    place = {"item_id": f"msg_{draft.id}", "output_index": index, "content_index": 0}
    item = _message(draft, "in_progress", [])
    yield event("response.output_item.added", output_index=index, item=item)
    yield event("response.content_part.added", **place, part=_part(""))
    for piece in pieces(draft):
        yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
    yield event("response.output_text.done", **place, text=draft.text, logprobs=[])
    yield event("response.content_part.done", **place, part=_part(draft.text))
    done = _message(draft, _status(draft), [_part(draft.text)])
    yield event("response.output_item.done", output_index=index, item=done)


def _error_event(failure: Failure) -> bytes:
    error = openai.error(failure)["error"]
    fields = {"code": error["code"] or error["type"], "message": error["message"], "param": None}
    return sse({"type": "error", "sequence_number": 0, **fields}, name="error")


RESPONSES = Wire(
    provider=openai.PROVIDER,
    id_prefix="resp_",
    parse=_parse,
    answer=_answer,
    events=_events,
    error=openai.error,
    error_event=_error_event,
    headers=openai.headers,
    credential=openai.credential,
)
