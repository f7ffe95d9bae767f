"""Cohere's first API for chat and for text completions: request, answer and stream.

Shape: chat {"response_id", "generation_id", "finish_reason", "meta": {"billed_units", "tokens"}}; completions {"id",
       "generations": [{"finish_reason"}], "meta"}; streamed line by line, or as server-sent events on request:
       {"is_finished": false, "event_type": "text-generation", ...}, ...,
       {"is_finished": true, "event_type": "stream-end", "finish_reason", "response": the whole}.
Source: cohere 7.3 raw_base_client.py, types/chat_stream_end_event.py, types/generate_stream_end.py; recorded answers
(November 2026).
"""

from dataclasses import replace
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import cohere
from spanledger_instrumentation.providers.cohere_chat import take_reason
from spanledger_instrumentation.providers.openai_request import choice_count
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    attributes,
    entries,
    finish_reason,
    members,
    text,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["COMPLETIONS", "WIRE", "EventStream", "read_answer", "read_request"]

_REQUEST: Final[tuple[Row, ...]] = (
    *cohere.COMMON,
    (names.REQUEST_CHOICE_COUNT, ("num_generations",), choice_count),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return attributes(request.document, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    answer = Answer(begun=document.is_object, usage_final=True)
    _take(answer, document)
    return answer


def _take(answer: Answer, document: Document) -> None:
    answer.id = text(document.read("response_id")) or text(document.read("id")) or answer.id
    take_reason(answer, document.read("finish_reason"))
    reasons = [finish_reason(each.get("finish_reason")) for each in entries(document.read("generations"))]
    if found := tuple(reason for reason in reasons if reason is not None):
        answer.finish_reasons, answer.choices = found, len(reasons)
    cohere.take_usage(answer, members(document.read("meta")))


class EventStream:
    """Read the events of a stream; only the last one has figures, behind the whole conversation."""

    def __init__(self) -> None:
        self.answer = Answer()

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event."""
        begun, self.answer.begun = self.answer.begun, True
        if b'"stream-end"' not in data and b'"stream-end"' not in tail:
            return not begun
        document = Document(data, tail)
        if document.read("event_type") != "stream-end":
            return not begun
        take_reason(self.answer, document.read("finish_reason"))
        _take(self.answer, document.under("response"))
        self.answer.done = self.answer.usage_final = True
        return True


WIRE: Final = Wire(
    provider="cohere",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=cohere.read_error,
    stream=EventStream,
)
COMPLETIONS: Final = replace(WIRE, operation="text_completion")
