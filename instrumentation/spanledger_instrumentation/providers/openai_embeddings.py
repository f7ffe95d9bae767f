"""OpenAI embeddings, also of those who speak its format (Mistral, Voyage, Jina): request and answer.

Shape: {"data": [...], "model", "usage": {"prompt_tokens", "total_tokens"}}; vLLM's usage has all members of a chat's;
       Voyage's only {"total_tokens"}, and for its multimodal models {"text_tokens", "image_pixels", "total_tokens"}.
Source: openai 3.54 types/create_embedding_response.py; docs.voyageai.com/reference/embeddings-api,
reference/multimodal-embeddings-api, reference/contextualized-embeddings-api; api.jina.ai/docs (November 2026).
"""

from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX
from spanledger_instrumentation.providers.openai_chat import read_head
from spanledger_instrumentation.providers.openai_request import read, read_error
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.providers.values import AttributeValue, Row, count, integer, members, text, word
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["WIRE", "read_answer", "read_request"]


def _encoding_formats(value: object) -> tuple[str, ...] | None:
    found = word(value)
    return None if found is None else (found,)


_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_ENCODING_FORMATS, ("encoding_format",), _encoding_formats),
    (names.EMBEDDINGS_DIMENSION_COUNT, ("dimensions",), integer),
    (names.EMBEDDINGS_DIMENSION_COUNT, ("output_dimension",), integer),  # Mistral, Voyage
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return read(request, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    said = members(document.read("usage"))
    usage = read_usage(said, input_only=True) if said else None
    if usage is not None and usage.text_input_tokens is None:
        usage.text_input_tokens = count(said.get("text_tokens"))
    return Answer(
        id=text(document.read("id")),
        model=text(document.read("model")),
        usage=usage,
        usage_final=True,
        begun=True,
    )


WIRE: Final = Wire(
    provider="openai",
    operation="embeddings",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    read_head=read_head,
    answer_bytes_max=WHOLE_BYTES_MAX,  # beyond it the vectors are skipped: their floats are slow to parse
)
