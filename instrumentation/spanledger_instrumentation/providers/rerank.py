"""Rerankers that are billed by tokens (Voyage, Jina, Together, OpenRouter, vLLM): request and answer.

Shape: {"id", "model", "results" | "data", "usage": {"total_tokens"}}; Together's usage has all members of a chat's,
       OpenRouter's a cost. A gateway may answer as Cohere: {"results", "meta": {"billed_units": {"search_units"}}}.
Source: docs.voyageai.com/reference/reranker-api; api.jina.ai/docs; docs.together.ai/reference/rerank; vLLM's
entrypoints/pooling/score/protocol.py; LiteLLM's types/rerank.py (November 2026).
"""

from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_chat import read_head
from spanledger_instrumentation.providers.openai_request import read, read_error
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.providers.values import AttributeValue, Row, count, members, text
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["WIRE", "read_answer", "read_request"]

_REQUEST: Final[tuple[Row, ...]] = ((names.REQUEST_MODEL, ("model",), text),)
_BILLED: Final = ("meta", "billed_units", "search_units")


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return read(request, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    said = members(document.read("usage"))
    usage = read_usage(said, input_only=True) if said else None
    units = count(document.read(*_BILLED))
    units = count(said.get("search_units")) if units is None else units
    if units is not None:
        usage = usage or Usage()
        usage.search_units = units
    return Answer(
        id=text(document.read("id")),
        model=text(document.read("model")),
        usage=usage,
        usage_final=True,
        begun=document.is_object,
    )


WIRE: Final = Wire(
    provider="cohere",  # whose format it is; on a host that nobody knows
    operation="rerank",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    read_head=read_head,
)
