"""OTLP/HTTP -> the pipeline: `POST /v1/traces` in binary protobuf or JSON, plain or gzip, answered after the commit.

An answer is in the encoding of its request, an error among them: google.rpc.Status.
"""

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from google.rpc.code_pb2 import (
    INVALID_ARGUMENT,
    OK,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from spanledger_exporter import dialects
from spanledger_exporter.errors import DeniedError, RejectedError, UnavailableError
from spanledger_exporter.metrics.metrics import IngestMetrics
from spanledger_exporter.receiving import answers, otlp_json
from spanledger_exporter.receiving.dead_letters import DeadLetter, Sender, bounded
from spanledger_exporter.receiving.pipeline import Pipeline
from spanledger_exporter.receiving.tokens import Gate

_logger = logging.getLogger(__name__)
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_HTTP_STATUS: dict[int, int] = {
    OK: 200,
    INVALID_ARGUMENT: 400,
    UNAUTHENTICATED: 401,
    PERMISSION_DENIED: 403,
    RESOURCE_EXHAUSTED: 413,
    UNAVAILABLE: 503,
}
_GZIP_WBITS = 31  # zlib: a gzip header and trailer, the largest window
_GZIP_MEMBERS_MAX = 1000
_PIECE_BYTES = 64 * 1024


class _TooLargeError(Exception):
    pass


class HttpReceiver:
    """The ASGI application that receives OTLP/HTTP.

    Units: `request_bytes_max` bytes of one body, as sent and as inflated; `read_timeout_s` seconds that it may take.
    """

    def __init__(
        self, pipeline: Pipeline, metrics: IngestMetrics, gate: Gate, *, request_bytes_max: int, read_timeout_s: float
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._gate = gate
        self._request_bytes_max = request_bytes_max
        self._read_timeout_s = read_timeout_s

    def application(self, beside: Sequence[Route] = ()) -> Starlette:
        """Return the application, with what else is to be found on its port."""
        ignored = [Route(f"/v1/{signal}", self._ignore, methods=["POST"]) for signal in ("metrics", "logs")]
        return Starlette(routes=[Route("/v1/traces", self._export, methods=["POST"]), *ignored, *beside])

    async def _export(self, request: Request) -> Response:
        answer = await self._fenced(self._exported, request)
        self._metrics.answered("http", answer.name)
        return _response(request, answer)

    async def _ignore(self, request: Request) -> Response:
        # An SDK that is pointed at us sends its metrics and logs too, unless told not to.
        answer = await self._fenced(self._ignored, request)
        self._metrics.answered("http", "ignored" if answer.code == OK else answer.name)
        return _response(request, answer)

    async def _fenced(self, take: Callable[[Request], Awaitable[answers.Answer]], request: Request) -> answers.Answer:
        try:
            return await take(request)
        except _TooLargeError:
            return answers.too_large(self._request_bytes_max)
        except ClientDisconnect:
            error: Exception = RejectedError("the request was cut off")  # nobody reads the answer
        except TimeoutError:
            error = UnavailableError(f"the request did not arrive within {self._read_timeout_s:g} s")
        except (RejectedError, UnavailableError, DeniedError) as exc:
            error = exc
        except asyncio.CancelledError:
            # The grace of a shutdown has ended. Let go, this would become 500, and the sender would drop the request.
            error = UnavailableError("the exporter is shutting down")
        except Exception as exc:
            # The fence of Export: 500 is no retryable status, and the sender would drop what a retry could save.
            _logger.exception("an HTTP request failed")
            error = exc
        return answers.failure(error)

    async def _exported(self, request: Request) -> answers.Answer:
        sender = Sender("http", self._gate(request.headers.get("authorization"), "ingest").tenant)
        kind = _content_type(request)
        if kind not in {_PROTOBUF, _JSON}:
            raise RejectedError(f"content-type {kind!r:.80} is not supported; send {_PROTOBUF} or {_JSON}")
        body = await self._body(request)
        refused: list[DeadLetter] = []
        if kind == _JSON:
            converted = otlp_json.convert(body, dialects.READ, dialects.WANTED_RESOURCE)
            self._metrics.unreadable(converted.unreadable)
            body = converted.body
            refused = bounded(
                DeadLetter(sender, "malformed_span", each.detail, 1, each.digest, each.size, None)
                for each in converted.refused
            )
        receipt = self._pipeline.accept(body, sender, refused=refused)
        return answers.success(await asyncio.wrap_future(receipt))

    async def _ignored(self, request: Request) -> answers.Answer:
        self._gate(request.headers.get("authorization"), "ingest")
        async with asyncio.timeout(self._read_timeout_s):
            async for _ in request.stream():
                pass
        return answers.IGNORED

    async def _body(self, request: Request) -> bytes:
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip"}:
            raise RejectedError(f"content-encoding {encoding!r:.80} is not supported; send gzip or identity")
        limit = self._request_bytes_max
        body = bytearray()
        try:
            async with asyncio.timeout(self._read_timeout_s):
                chunks = request.stream()
                async for chunk in chunks:
                    if len(body) + len(chunk) > limit:
                        await _pass_over(chunks, limit)
                        raise _TooLargeError
                    self._pipeline.hold(len(chunk))
                    body += chunk
            return _inflated(bytes(body), limit) if encoding == "gzip" else bytes(body)
        finally:
            self._pipeline.release(len(body))


async def _pass_over(chunks: AsyncIterator[bytes], size: int) -> None:
    """Read some bytes more and forget them: hung up on while it sends, a sender would not see the answer, and retry."""
    async for chunk in chunks:
        size -= len(chunk)
        if size < 0:
            return


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _response(request: Request, answer: answers.Answer) -> Response:
    headers: dict[str, str] = {}
    if answer.code == UNAVAILABLE:
        headers["retry-after"] = str(answers.RETRY_DELAY_S)
    if answer.code == UNAUTHENTICATED:
        headers["www-authenticate"] = "Bearer"
    status = _HTTP_STATUS[answer.code]
    if _content_type(request) == _JSON:
        return Response(answers.as_json(answer), status, headers, media_type=_JSON)
    return Response(answer.body, status, headers, media_type=_PROTOBUF)


def _inflated(body: bytes, limit: int) -> bytes:
    """Inflate a gzip body of one member or several (RFC 1952, 2.2), and never more than the limit.

    Piece by piece: what a member leaves over is copied, and a body of a million empty members would copy itself as
    often.
    """
    whole, members = bytearray(), 0
    left = memoryview(body)
    while left:
        members += 1
        if members > _GZIP_MEMBERS_MAX:
            raise RejectedError(f"the gzip body has more than {_GZIP_MEMBERS_MAX} members")
        inflater = zlib.decompressobj(_GZIP_WBITS)
        while not inflater.eof:
            piece = inflater.unconsumed_tail or left[:_PIECE_BYTES]
            if not piece:
                raise RejectedError("the gzip body ends before its end")
            if not inflater.unconsumed_tail:
                left = left[len(piece) :]
            try:
                whole += inflater.decompress(piece, limit + 1 - len(whole))
            except zlib.error as exc:
                raise RejectedError(f"the body is not gzip, as content-encoding says: {exc}") from exc
            if len(whole) > limit:
                raise _TooLargeError
        left = memoryview(body)[len(body) - len(left) - len(inflater.unused_data) :]
    return bytes(whole)
