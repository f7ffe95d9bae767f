"""Gemini's embedContent and batchEmbedContents: request and answer.

Shape: {"embeddings": [...] | "embedding": {...}, "usageMetadata": {"promptTokenCount", "promptTokenDetails":
       [{"modality", "tokenCount"}]}}; older models report no usage.
Source: recorded answers; google-genai 3.4 models.py, types.py `EmbedContentResponse` (November 2026).
"""

from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX
from spanledger_instrumentation.providers.gemini import read_usage
from spanledger_instrumentation.providers.google import read_error, read_place
from spanledger_instrumentation.providers.values import AttributeValue, entries, integer, members, text
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["WIRE", "read_answer", "read_request"]


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request; of a batch, the first one speaks for all."""
    found = read_place(request)
    document = request.document
    first = next(entries(document.read("requests")), members(None))
    for said in (
        document.read("outputDimensionality"),
        document.read("embedContentConfig", "outputDimensionality"),
        first.get("outputDimensionality"),
        members(first.get("embedContentConfig")).get("outputDimensionality"),
    ):
        if (dimensions := integer(said)) is not None:
            found[names.EMBEDDINGS_DIMENSION_COUNT] = dimensions
    return found


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    usage = members(document.read("usageMetadata"))
    model = text(document.read("modelVersion"))
    return Answer(
        model=None if model is None else model.removeprefix("models/"),
        usage=read_usage(usage) if usage else None,
        usage_final=True,
        begun=document.is_object,
    )


WIRE: Final = Wire(
    provider="gcp.gemini",
    operation="embeddings",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    streams=lambda _: False,
    answer_bytes_max=WHOLE_BYTES_MAX,  # the usage stands behind the vectors
)
