"""What became of a request -> the answer that OTLP prescribes, for gRPC and HTTP alike.

Retryable trouble must look retryable and nothing else may: a collector drops data for good on UNKNOWN, on
INVALID_ARGUMENT and on RESOURCE_EXHAUSTED without RetryInfo.

Source: opentelemetry-proto docs/specification.md, "OTLP/gRPC Response" and "OTLP/HTTP Response", 2026-08.
"""

from typing import NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.rpc.code_pb2 import (
    INVALID_ARGUMENT,
    OK,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from spanledger_exporter.errors import DeniedError, RejectedError, UnavailableError
from spanledger_exporter.records import Receipt

# The Python SDK gives up on a batch after about 10 s in all, so a longer delay would make it drop what a retry
# could save.
RETRY_DELAY_S = 1


class Answer(NamedTuple):
    """One answer: its name in metrics, its google.rpc code, and the message's bytes.

    Shape: `body` is an ExportTraceServiceResponse when `code` is OK, else a google.rpc.Status.
    """

    name: str
    code: int
    message: str
    body: bytes


IGNORED = Answer("ignored", OK, "", b"")  # an empty response of any service: all is well


def success(receipt: Receipt) -> Answer:
    """Return the answer to a request that was committed, with what was rejected in it."""
    if not receipt.rejected:
        return Answer("ok", OK, "", ExportTraceServiceResponse().SerializeToString())
    partial = ExportTracePartialSuccess(rejected_spans=receipt.rejected, error_message=receipt.message)
    return Answer("partial", OK, "", ExportTraceServiceResponse(partial_success=partial).SerializeToString())


def failure(error: BaseException) -> Answer:
    """Return the answer to a request that was not committed; an error that nobody foresaw is worth a retry."""
    if isinstance(error, RejectedError):
        return _failure("rejected", INVALID_ARGUMENT, str(error))
    if isinstance(error, UnavailableError):
        return _failure("unavailable", UNAVAILABLE, str(error))
    if isinstance(error, DeniedError):
        return _failure("denied", PERMISSION_DENIED if error.known else UNAUTHENTICATED, str(error))
    return _failure("unavailable", UNAVAILABLE, "internal error; see the exporter's log")


def as_json(answer: Answer) -> bytes:
    """Return an answer's body in OTLP's JSON, for a sender that sent JSON."""
    message = (ExportTraceServiceResponse if answer.code == OK else Status).FromString(answer.body)
    return MessageToJson(message, indent=None).encode()


def too_large(limit_bytes: int) -> Answer:
    """Return the answer to a request over the size limit; sending it again cannot help, smaller ones can."""
    return _failure(
        "too_large", RESOURCE_EXHAUSTED, f"the request is over the limit of {limit_bytes} bytes; send less at once"
    )


def _failure(name: str, code: int, message: str) -> Answer:
    status = Status(code=code, message=message)
    if code == UNAVAILABLE:
        detail = AnyMessage()
        detail.Pack(retry_info())
        status.details.append(detail)
    return Answer(name, code, message, status.SerializeToString())


def retry_info() -> RetryInfo:
    """Return how long a sender should wait before it tries again."""
    return RetryInfo(retry_delay=Duration(seconds=RETRY_DELAY_S))
