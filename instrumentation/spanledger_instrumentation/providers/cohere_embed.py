"""Cohere's embeddings and rerankings, in both APIs, and its reading of documents: request and answer.

Shape: {"id", "embeddings" | "results" | "pages",
       "meta": {"billed_units": {"input_tokens" | "images", ... | "search_units" | "pages"}}}
Source: cohere 7.3 raw_base_client.py, v2/raw_client.py, types/api_meta.py; recorded answers (November 2026).
"""

from dataclasses import replace
from typing import Final, cast

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX
from spanledger_instrumentation.providers import cohere
from spanledger_instrumentation.providers.values import AttributeValue, Row, attributes, integer, members, text, word
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["PARSE", "RERANK", "WIRE", "read_answer", "read_request"]

_FORMATS_MAX: Final = 8


def _encoding_formats(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    formats = map(word, cast("list[object]", value)[:_FORMATS_MAX])
    return tuple(each for each in formats if each is not None) or None


_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_ENCODING_FORMATS, ("embedding_types",), _encoding_formats),
    (names.EMBEDDINGS_DIMENSION_COUNT, ("output_dimension",), integer),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return attributes(request.document, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    answer = Answer(id=text(document.read("id")), begun=document.is_object, usage_final=True)
    cohere.take_usage(answer, members(document.read("meta")))
    return answer


WIRE: Final = Wire(
    provider="cohere",
    operation="embeddings",
    read_request=read_request,
    read_answer=read_answer,
    read_error=cohere.read_error,
    answer_bytes_max=WHOLE_BYTES_MAX,  # the figures stand behind the vectors
)
RERANK: Final = replace(WIRE, operation="rerank")
PARSE: Final = replace(WIRE, operation="ocr")
