"""OpenAI embeddings: request and answer.

Shape: {"data": [...], "model", "usage": {"prompt_tokens", "total_tokens"}}; vLLM's usage has all members of a chat's.
Source: openai 3.54 types/create_embedding_response.py (November 2026).
"""

from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX
from spanledger_instrumentation.providers.openai_chat import read_usage
from spanledger_instrumentation.providers.openai_request import read_error
from spanledger_instrumentation.providers.values import AttributeValue, Row, attributes, integer, members, text, word
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["WIRE", "read_answer", "read_request"]


def _encoding_formats(value: object) -> tuple[str, ...] | None:
    found = word(value)
    return None if found is None else (found,)


_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_ENCODING_FORMATS, ("encoding_format",), _encoding_formats),
    (names.EMBEDDINGS_DIMENSION_COUNT, ("dimensions",), integer),
)


def read_request(request: Document) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return attributes(request, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    usage = members(document.read("usage"))
    return Answer(
        id=text(document.read("id")),
        model=text(document.read("model")),
        usage=read_usage(usage) if usage else None,
        usage_final=True,
        begun=True,
    )


WIRE: Final = Wire(
    provider="openai",
    operation="embeddings",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=None,
    answer_bytes_max=WHOLE_BYTES_MAX,  # beyond it the vectors are skipped: their floats are slow to parse
)
