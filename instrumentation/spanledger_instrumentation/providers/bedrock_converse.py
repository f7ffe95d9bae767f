"""Amazon Bedrock's Converse: request, answer and stream, for whatever vendor's model.

Shape: {"output", "stopReason", "usage": {"inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens",
       "cacheWriteInputTokens", "cacheDetails": [{"ttl": "5m" | "1h", "inputTokens"}]}, "serviceTier": {"type"}};
       streamed as messageStart, contentBlock*, messageStop {"stopReason"}, metadata {"usage", "serviceTier"}.
Source: botocore 1.44 data/bedrock-runtime/2023-09-30/service-2.json (November 2026). `inputTokens` leaves the cache
out: in the recordings of opentelemetry-instrumentation-bedrock 0.62.4 `totalTokens` is the sum of all four. They
spell the cache's members in two ways, `cacheReadInputTokens` and `cacheReadInputTokenCount`.

The model is the id of the path as it is, also where it is an inference profile or an ARN: that is what AWS bills by.
Text units of guardrails, which AWS bills apart and which are no tokens, are not reported.
"""

from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import hosts
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    attributes,
    count,
    entries,
    error_type,
    finish_reason,
    integer,
    members,
    number,
    text,
    word,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = [
    "WIRE",
    "ConverseStream",
    "read_answer",
    "read_error",
    "read_error_head",
    "read_exception",
    "read_place",
    "read_request",
    "read_usage",
    "streams",
    "total_input",
]

_TTL: Final = ("5m", "1h")
_RETRY: Final = "attempt="
_OUTPUT: Final = (b'{":event-type":"contentBlock', b'{":event-type":"messageStart')


def _output_type(value: object) -> str | None:
    return "json" if value == "json_schema" else None


_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MAX_TOKENS, ("inferenceConfig", "maxTokens"), integer),
    (names.REQUEST_TEMPERATURE, ("inferenceConfig", "temperature"), number),
    (names.REQUEST_TOP_P, ("inferenceConfig", "topP"), number),
    (names.REQUEST_TOP_K, ("additionalModelRequestFields", "top_k"), integer),
    (names.REQUEST_REASONING_LEVEL, ("outputConfig", "effort"), word),
    (names.OUTPUT_TYPE, ("outputConfig", "textFormat", "type"), _output_type),
)


def streams(request: Request) -> bool:
    """Tell whether a request asks for a stream: its path says so."""
    return request.segments[-1].endswith("-stream")


def read_place(request: Request) -> dict[str, AttributeValue]:
    """Read what all requests say outside their bodies: model, region and which retry of botocore it is.

    Source: botocore 1.44 retryhandler.py and retries/standard.py, header `amz-sdk-request: attempt=2; max=5`.
    """
    found: dict[str, AttributeValue] = {}
    if (model := text(request.segments[-2])) is not None:
        found[names.REQUEST_MODEL] = model
    if (region := hosts.region_of(request.host)) is not None:
        found[names.REGION] = region
    for part in request.headers.get("amz-sdk-request", "")[:64].split(";"):
        attempt = part.strip().removeprefix(_RETRY)
        if attempt.isdecimal() and part.strip().startswith(_RETRY) and int(attempt) > 1:
            found[names.HTTP_REQUEST_RESEND_COUNT] = int(attempt) - 1
    return found


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return {**read_place(request), **attributes(request.document, _REQUEST)}


def read_error(document: Document) -> str | None:
    """Read why a request was refused, where the body says it.

    Shape: {"message": ...}, with `__type` from some gateways.
    Source: botocore 1.44 parsers.py, BaseJSONParser._do_error_parse (November 2026).
    """
    return read_exception(document.read("__type"))


def read_error_head(head: Mapping[str, str]) -> str | None:
    """Read why a request was refused, where the header says it, as AWS does."""
    return read_exception(head.get("x-amzn-errortype"))


def read_exception(value: object) -> str | None:
    """Read the name of an exception: headers put a URL behind it, namespaces stand before it, streams begin it small.

    Shape: "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/".
    """
    if not isinstance(value, str):
        return None
    name = value.partition(":")[0].rpartition("#")[2]
    return error_type(name[:1].upper() + name[1:])


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    usage = members(document.read("usage"))
    reason = finish_reason(document.read("stopReason"))
    return Answer(
        finish_reasons=() if reason is None else (reason,),
        service_tier=word(document.read("serviceTier", "type")),
        usage=read_usage(usage) if usage else None,
        usage_final=True,
        begun=document.is_object,
    )


class ConverseStream:
    """Read the events of a stream; `metadata` is the last one, and the only one with usage."""

    def __init__(self) -> None:
        self.answer = Answer()

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event."""
        if data.startswith(_OUTPUT):
            self.answer.begun = True
            return False
        document = Document(data, tail)
        kind = document.read(":event-type")
        if kind == "messageStop":
            self._take_reason(document.read("stopReason"))
        elif kind == "metadata":
            self._take_metadata(document)
        elif kind is None:
            self.answer.error_type = read_exception(document.read(":exception-type")) or "_OTHER"
        else:
            return False
        return True

    def _take_reason(self, value: object) -> None:
        if reason := finish_reason(value):
            self.answer.finish_reasons = (reason,)

    def _take_metadata(self, document: Document) -> None:
        if usage := members(document.read("usage")):
            self.answer.usage = read_usage(usage)
            self.answer.usage_final = True
        self.answer.service_tier = word(document.read("serviceTier", "type"))
        self.answer.begun = self.answer.done = True


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Read the usage object; the total of the input is made here, since it has only its parts."""
    cache_read = _of(usage, "cacheReadInputTokens", "cacheReadInputTokenCount")
    cache_write = _of(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    of_5m, of_1h = (_written(usage.get("cacheDetails"), ttl) for ttl in _TTL)
    return Usage(
        input_tokens=total_input(_of(usage, "inputTokens", "inputTokenCount"), cache_read, cache_write),
        output_tokens=_of(usage, "outputTokens", "outputTokenCount"),
        cache_read_input_tokens=cache_read,
        cache_write_input_tokens=cache_write,
        cache_write_5m_input_tokens=of_5m,
        cache_write_1h_input_tokens=of_1h,
    )


def total_input(uncached: int | None, cache_read: int | None, cache_write: int | None) -> int | None:
    """Add up the parts of the input, as far as they were reported."""
    return None if uncached is None else uncached + (cache_read or 0) + (cache_write or 0)


def _of(usage: Mapping[str, object], *spellings: str) -> int | None:
    return next((found for name in spellings if (found := count(usage.get(name))) is not None), None)


def _written(details: object, ttl: str) -> int | None:
    written = [count(entry.get("inputTokens")) or 0 for entry in entries(details) if entry.get("ttl") == ttl]
    return sum(written) if written else None


WIRE: Final = Wire(
    provider="aws.bedrock",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    read_error_head=read_error_head,
    stream=ConverseStream,
    streams=streams,
)
