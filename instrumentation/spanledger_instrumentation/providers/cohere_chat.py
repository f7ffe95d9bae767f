"""Cohere's second chat API: request, answer and stream.

Shape: {"id", "finish_reason", "usage": {"billed_units", "tokens", "cached_tokens"}};
       streamed as message-start {"id"}, ..., message-end {"delta": {"finish_reason", "usage", "error"}}, [DONE].
Source: cohere 7.3 v2/raw_client.py, types/chat_message_end_event_delta.py; recorded answers (November 2026).
"""

from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import cohere
from spanledger_instrumentation.providers.openai_request import output_type
from spanledger_instrumentation.providers.values import AttributeValue, Row, attributes, finish_reason, members, text
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["WIRE", "MessageStream", "read_answer", "read_request", "take_reason"]

_REQUEST: Final[tuple[Row, ...]] = (*cohere.COMMON, (names.OUTPUT_TYPE, ("response_format", "type"), output_type))
_ERRORS: Final = ("ERROR", "TIMEOUT")


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return attributes(request.document, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    answer = Answer(id=text(document.read("id")), begun=document.is_object, usage_final=True)
    take_reason(answer, document.read("finish_reason"))
    cohere.take_usage(answer, members(document.read("usage")))
    return answer


def take_reason(answer: Answer, value: object) -> None:
    """Take why the answer ended, of which an error may be a part."""
    if (reason := finish_reason(value)) is not None:
        answer.finish_reasons = (reason,)
        if reason.startswith(_ERRORS):
            answer.error_type = reason


class MessageStream:
    """Read the events of a stream; the text in between is not parsed."""

    def __init__(self) -> None:
        self.answer = Answer()

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event."""
        if b'"message-' not in data[:80] and b'"message-' not in data[-80:]:
            return False
        document = Document(data, tail)
        answer = self.answer
        answer.id = answer.id or text(document.read("id"))
        answer.begun = True
        if document.read("type") == "message-end":
            delta = document.under("delta")
            take_reason(answer, delta.read("finish_reason"))
            cohere.take_usage(answer, members(delta.read("usage")))
            answer.done = answer.usage_final = True
        return True


WIRE: Final = Wire(
    provider="cohere",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=cohere.read_error,
    stream=MessageStream,
)
