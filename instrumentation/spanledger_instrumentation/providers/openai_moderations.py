"""OpenAI moderations, also as Mistral speaks them: free of charge at OpenAI, billed by tokens at Mistral.

Shape: {"id", "model", "results"}; Mistral's may have {"usage": as a chat's}
Source: openai 3.54 types/moderation_create_response.py; developers.openai.com/api/docs/guides/moderation, which says
that it is free; mistralai 3.7 models/moderationresponse.py (November 2026).
"""

from dataclasses import replace
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_chat import read_head
from spanledger_instrumentation.providers.openai_request import read, read_error
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.providers.values import AttributeValue, Row, members, text
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["FREE", "WIRE", "read_answer", "read_request"]

_REQUEST: Final[tuple[Row, ...]] = ((names.REQUEST_MODEL, ("model",), text),)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return read(request, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    usage = members(document.read("usage"))
    return Answer(
        id=text(document.read("id")),
        model=text(document.read("model")),
        usage=read_usage(usage, input_only=True) if usage else None,
        usage_final=True,
        begun=True,
    )


def _read_free(document: Document) -> Answer:
    answer = read_answer(document)
    answer.free = True
    return answer


WIRE: Final = Wire(
    provider="openai",
    operation="moderation",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    read_head=read_head,
)
FREE: Final = replace(WIRE, read_answer=_read_free)
"""As on OpenAI's and Azure's own hosts, where nothing is billed for it."""
