"""Ollama's own API for chat, text completions and embeddings: request, answer and stream.

Shape: {"model", "message" | "response", "done": true, "done_reason", "prompt_eval_count", "eval_count"}; streamed
       line by line, unless the request says `"stream": false`, with figures in the last line, that is `done`.
       Embeddings {"model", "embeddings", "prompt_eval_count"}; those of the older /api/embeddings have no figures.
Source: ollama 0.6 _types.py, _client.py; recorded answers (November 2026). A prompt that Ollama has evaluated before
has no `prompt_eval_count`: that is no zero.
"""

from dataclasses import replace
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    attributes,
    count,
    error_type,
    finish_reason,
    integer,
    number,
    text,
    word,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["COMPLETIONS", "EMBEDDINGS", "WIRE", "LineStream", "read_answer", "read_request"]


def _output_type(value: object) -> str | None:
    return "json" if value == "json" or isinstance(value, dict) else None


_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_MAX_TOKENS, ("options", "num_predict"), integer),
    (names.REQUEST_TEMPERATURE, ("options", "temperature"), number),
    (names.REQUEST_TOP_P, ("options", "top_p"), number),
    (names.REQUEST_TOP_K, ("options", "top_k"), integer),
    (names.REQUEST_FREQUENCY_PENALTY, ("options", "frequency_penalty"), number),
    (names.REQUEST_PRESENCE_PENALTY, ("options", "presence_penalty"), number),
    (names.REQUEST_SEED, ("options", "seed"), integer),
    (names.REQUEST_REASONING_LEVEL, ("think",), word),
    (names.EMBEDDINGS_DIMENSION_COUNT, ("dimensions",), integer),
    (names.OUTPUT_TYPE, ("format",), _output_type),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return attributes(request.document, _REQUEST)


def streams(request: Request) -> bool:
    """Tell whether a request asks for a stream: it does unless it says no."""
    return request.document.read("stream") is not False


def _never(_: Request) -> bool:
    return False


def read_error(document: Document) -> str | None:
    """Read why a request was refused: Ollama only says it in a text.

    Shape: {"error": "model 'x' not found"}
    """
    return error_type(document.read("error"))


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    stream = LineStream()
    stream.take(document)
    stream.answer.usage_final = True
    return stream.answer


class LineStream:
    """Read the lines of a stream; the text in between is not parsed."""

    def __init__(self) -> None:
        self.answer = Answer()

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take a line."""
        if self.answer.begun and not tail and b'"done":false' in data[-64:]:
            return False
        self.take(Document(data, tail))
        return True

    def take(self, document: Document) -> None:
        """Take a line or a whole answer."""
        answer = self.answer
        if document.has("error"):
            answer.error_type = read_error(document) or "_OTHER"
            return
        answer.begun = answer.begun or document.is_object
        answer.model = answer.model or text(document.read("model"))
        usage = Usage(
            input_tokens=count(document.read("prompt_eval_count")), output_tokens=count(document.read("eval_count"))
        )
        answer.usage = usage if usage.known() else answer.usage
        if document.read("done") is True:
            reason = finish_reason(document.read("done_reason"))
            answer.finish_reasons = () if reason is None else (reason,)
            answer.done = answer.usage_final = True


WIRE: Final = Wire(
    provider="ollama",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=LineStream,
    streams=streams,
)
COMPLETIONS: Final = replace(WIRE, operation="text_completion")
EMBEDDINGS: Final = replace(WIRE, operation="embeddings", stream=None, streams=_never, answer_bytes_max=WHOLE_BYTES_MAX)
