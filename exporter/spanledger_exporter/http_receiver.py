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
        answer = await _answer(request, pipeline, request_bytes_max)
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


async def _answer(request: Request, pipeline: Pipeline, limit: int) -> answers.Answer:
    try:
        body = await _body(request, pipeline, limit)
        return answers.success(await asyncio.wrap_future(pipeline.accept(body)))
    except _TooLargeError:
        return answers.too_large(limit)
    except ClientDisconnect:
        return answers.failure(RejectedError("the request was cut off"))  # nobody reads it, and nothing was accepted
    except (RejectedError, UnavailableError) as exc:
        return answers.failure(exc)
    except asyncio.CancelledError:
        # The grace of a shutdown has ended. Let go, this would become 500, and the sender would drop the request.
        return answers.failure(UnavailableError("the exporter is shutting down"))
    except Exception as exc:
        # The fence of Export: 500 is no retryable status, and the sender would drop what a retry could save.
        _logger.exception("an HTTP request failed")
        return answers.failure(exc)


def _response(answer: answers.Answer) -> Response:
    headers = {"retry-after": str(answers.RETRY_DELAY_S)} if answer.code == UNAVAILABLE else {}
    return Response(answer.body, _HTTP_STATUS[answer.code], headers, media_type=_PROTOBUF)


async def _body(request: Request, pipeline: Pipeline, limit: int) -> bytes:
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != _PROTOBUF:
        raise RejectedError(f"content-type {content_type!r} is not supported; send {_PROTOBUF}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise RejectedError(f"content-encoding {encoding!r} is not supported; send gzip or identity")
    body = bytearray()
    try:
        async for chunk in request.stream():
            if len(body) + len(chunk) > limit:
                raise _TooLargeError
            pipeline.hold(len(chunk))
            body += chunk
        return _inflated(bytes(body), limit) if encoding == "gzip" else bytes(body)
    finally:
        pipeline.release(len(body))


def _inflated(body: bytes, limit: int) -> bytes:
    """Inflate a gzip body of one member or several (RFC 1952, 2.2), and never more than the limit."""
    members: list[bytes] = []
    room = limit
    while body:
        inflater = zlib.decompressobj(_GZIP_WBITS)
        try:
            member = inflater.decompress(body, room + 1)
        except zlib.error as exc:
            raise RejectedError(f"the body is not gzip, as content-encoding says: {exc}") from exc
        room -= len(member)
        if room < 0:
            raise _TooLargeError
        if not inflater.eof:
            raise RejectedError("the gzip body ends before its end")
        members.append(member)
        body = inflater.unused_data
    return b"".join(members)
