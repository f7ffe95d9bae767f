"""Mistral conversations, with a model or an agent: request, answer and stream.

Shape: {"conversation_id", "outputs": [{"type": "message.output", "model"}], "usage": {"prompt_tokens",
       "completion_tokens", "total_tokens", "connector_tokens", "connectors": {"web_search": 1}}}; streamed as
       conversation.response.started {"conversation_id"}, message.output.delta {"model"}, ...,
       conversation.response.done {"usage"} or conversation.response.error {"code", "message"}.
Source: mistralai 3.7 models/conversationresponse.py, conversationusageinfo.py, conversationevents.py (November 2026).
"""

from collections.abc import Mapping
from typing import Final, cast

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_request import output_type, read, read_error
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.providers.values import AttributeValue, Row, integer, members, number, text
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["WIRE", "ConversationStream", "read_answer", "read_request"]

OUTPUTS_MAX: Final = 128
"""Outputs of one answer that are looked at for the model."""
_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_MAX_TOKENS, ("completion_args", "max_tokens"), integer),
    (names.REQUEST_TEMPERATURE, ("completion_args", "temperature"), number),
    (names.REQUEST_TOP_P, ("completion_args", "top_p"), number),
    (names.REQUEST_FREQUENCY_PENALTY, ("completion_args", "frequency_penalty"), number),
    (names.REQUEST_PRESENCE_PENALTY, ("completion_args", "presence_penalty"), number),
    (names.REQUEST_SEED, ("completion_args", "random_seed"), integer),
    (names.OUTPUT_TYPE, ("completion_args", "response_format", "type"), output_type),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return read(request, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer. It has no id of its own: that of the conversation is the same in all of its turns."""
    answer = Answer(usage_final=True, begun=document.has("outputs") or document.has("conversation_id"))
    outputs = document.read("outputs")
    if isinstance(outputs, list):
        models = (members(output).get("model") for output in cast("list[object]", outputs)[:OUTPUTS_MAX])
        answer.model = next(filter(None, map(text, models)), None)
    _take(answer, document)
    return answer


class ConversationStream:
    """Read the events of a stream; the text in between is not parsed once the model is known."""

    def __init__(self) -> None:
        self.answer = Answer()

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event."""
        answer = self.answer
        if (
            answer.model is not None
            and b'"conversation.response.' not in data
            and b'"conversation.response.' not in tail
        ):
            return False
        document = Document(data, tail)
        kind = document.read("type")
        answer.begun = answer.begun or isinstance(kind, str)
        if kind == "message.output.delta":
            answer.model = text(document.read("model"))
        elif kind == "conversation.response.error":
            code = integer(document.read("code"))
            answer.error_type = "_OTHER" if code is None else str(code)
        elif kind in ("conversation.response.started", "conversation.response.done"):
            _take(answer, document)
            answer.done = answer.usage_final = kind == "conversation.response.done"
        else:
            return False
        return True


def _take(answer: Answer, document: Document) -> None:
    if (conversation := text(document.read("conversation_id"))) is not None:
        answer.details[names.CONVERSATION_ID] = conversation
    usage: Mapping[str, object] = members(document.read("usage"))
    if usage:
        answer.usage = read_usage(usage)


WIRE: Final = Wire(
    provider="mistral_ai",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=ConversationStream,
)
