"""OTLP/HTTP -> the pipeline: `POST /v1/traces` with binary protobuf, plain or gzip, answered after the commit."""

import asyncio
import logging
import zlib
from typing import Final

from google.rpc.code_pb2 import INVALID_ARGUMENT, OK, RESOURCE_EXHAUSTED, UNAVAILABLE
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from spanledger_exporter import answers
from spanledger_exporter.errors import RejectedError, UnavailableError
from spanledger_exporter.metrics import IngestMetrics
from spanledger_exporter.pipeline import Pipeline

_logger = logging.getLogger(__name__)
_PROTOBUF: Final = "application/x-protobuf"
_HTTP_STATUS: dict[int, int] = {OK: 200, INVALID_ARGUMENT: 400, RESOURCE_EXHAUSTED: 413, UNAVAILABLE: 503}
_GZIP_WBITS = 31  # zlib: a gzip header and trailer, the largest window


class _TooLargeError(Exception):
    pass


def http_receiver(pipeline: Pipeline, metrics: IngestMetrics, *, request_bytes_max: int) -> Starlette:
    """Return the ASGI application that receives OTLP/HTTP.

    Units: `request_bytes_max` bytes of one body, as sent and as inflated.
    """

    async def export(request: Request) -> Response:
        try:
            body = await _body(request, request_bytes_max)
            answer = answers.success(await asyncio.wrap_future(pipeline.accept(body)))
        except _TooLargeError:
            answer = answers.too_large(request_bytes_max)
        except (RejectedError, UnavailableError) as exc:
            answer = answers.failure(exc)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it; the half-sent request was never accepted
        except Exception as exc:
            # The fence of Export: 500 is no retryable status, and the sender would drop what a retry could save.
            _logger.exception("an HTTP request failed")
            answer = answers.failure(exc)
        metrics.answered("http", answer.name)
        return _response(answer)

    async def ignore(request: Request) -> Response:
        # An SDK that is pointed at us sends its metrics and logs too, unless told not to.
        async for _ in request.stream():
            pass
        metrics.answered("http", "ignored")
        return Response(b"", media_type=_PROTOBUF)

    ignored = [Route(f"/v1/{signal}", ignore, methods=["POST"]) for signal in ("metrics", "logs")]
    return Starlette(routes=[Route("/v1/traces", export, methods=["POST"]), *ignored])


def _response(answer: answers.Answer) -> Response:
    headers = {"retry-after": str(answers.RETRY_DELAY_S)} if answer.code == UNAVAILABLE else {}
    return Response(answer.body, _HTTP_STATUS[answer.code], headers, media_type=_PROTOBUF)


async def _body(request: Request, limit: int) -> bytes:
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != _PROTOBUF:
        raise RejectedError(f"content-type {content_type!r} is not supported; send {_PROTOBUF}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise RejectedError(f"content-encoding {encoding!r} is not supported; send gzip or identity")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _TooLargeError
        chunks.append(chunk)
    body = b"".join(chunks)
    return _inflated(body, limit) if encoding == "gzip" else body


def _inflated(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP_WBITS)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as exc:
        raise RejectedError(f"the body ({len(body)} bytes) is not gzip, as content-encoding says: {exc}") from exc
    if len(inflated) > limit:
        raise _TooLargeError
    if not inflater.eof:
        raise RejectedError(f"the gzip body ({len(body)} bytes) ends before its end")
    return inflated
