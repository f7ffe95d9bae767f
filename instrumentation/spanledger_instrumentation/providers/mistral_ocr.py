"""Mistral OCR: documents to text, billed by page.

Shape: {"pages": [...], "model", "document_annotation", "usage_info": {"pages_processed", "doc_size_bytes"}}
Source: mistralai 3.7 models/ocrresponse.py, ocrusageinfo.py, ocrrequest.py (November 2026).
"""

from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_request import read, read_error
from spanledger_instrumentation.providers.values import AttributeValue, Row, count, members, text
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["WIRE", "read_answer", "read_request"]


def _annotated(value: object) -> bool | None:
    return True if value else None


_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_ANNOTATED, ("document_annotation_format",), _annotated),
    (names.REQUEST_ANNOTATED, ("bbox_annotation_format",), _annotated),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request. Pages that are annotated, too, cost more than others."""
    return {**read(request, _REQUEST), names.OUTPUT_TYPE: "text"}


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    # Read as one: of a long answer, of which only the tail is there, no deeper member is.
    pages = count(members(document.read("usage_info")).get("pages_processed"))
    return Answer(
        model=text(document.read("model")),
        usage=None if pages is None else Usage(pages=pages),
        usage_final=True,
        begun=document.has("pages") or pages is not None,
    )


WIRE: Final = Wire(
    provider="mistral_ai",
    operation="ocr",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
)
