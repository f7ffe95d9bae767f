"""`POST /v1/budgets/leases`: what a service may spend, asked over HTTP and answered in JSON once it is on disk.

docs/leases.md describes it. Everything that can be wrong with a request is answered with a status, a reason and no
trace of what was sent; trouble of ours is 503, after which a service asks again.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from spanledger_exporter.errors import DeniedError, RejectedError, UnavailableError
from spanledger_exporter.leases.lending import Ask
from spanledger_exporter.leases.lessor import Lessor
from spanledger_exporter.leases.messages import BODY_BYTES_MAX, Decided, LeaseRequest, decode, encode
from spanledger_exporter.receiving import answers
from spanledger_exporter.receiving.tokens import Gate

_logger = logging.getLogger(__name__)
PATH: Final = "/v1/budgets/leases"
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of requests that wait for the ledger; read, each takes some times its bytes of memory."""
_JSON: Final = "application/json"


class LeaseApi:
    """The endpoint, to be mounted beside the receiver of spans.

    `answered` is told how each request was answered, `decided` what services say that they have decided.
    Units: `read_timeout_s` seconds that a body may take; `waiting_bytes_max` bytes of requests that wait for an answer.
    """

    def __init__(
        self,
        lessor: Lessor,
        gate: Gate,
        *,
        read_timeout_s: float,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
        answered: Callable[[str], None] = lambda _answer: None,
        decided: Callable[[Sequence[Decided]], None] = lambda _decisions: None,
    ) -> None:
        self._lessor = lessor
        self._gate = gate
        self._read_timeout_s = read_timeout_s
        self._waiting_bytes_max = waiting_bytes_max
        self._waiting_bytes = 0  # in the event loop alone
        self._answered = answered
        self._decided = decided

    def route(self) -> Route:
        """Return where it is found."""
        return Route(PATH, self._lease, methods=["POST"])

    async def _lease(self, request: Request) -> Response:
        error: BaseException
        try:
            response = await self._leased(request)
        except (DeniedError, RejectedError, ClientDisconnect, UnavailableError) as exc:
            error = exc
        except TimeoutError:
            error = UnavailableError(f"the request did not arrive within {self._read_timeout_s:g} s")
        except asyncio.CancelledError:
            error = UnavailableError("the exporter is shutting down")
        except Exception:  # the fence: a service goes on asking, and its calls with what their budgets say of that
            _logger.exception("a request for leases failed")
            error = UnavailableError("internal error; see the exporter's log")
        else:
            self._answered("ok")
            return response
        answer, response = _failed(error)
        self._answered(answer)
        return response

    async def _leased(self, request: Request) -> Response:
        tenant = self._gate(request.headers.get("authorization"), "ingest").tenant
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != _JSON:
            raise RejectedError(f"content-type {kind!r:.80} is not supported; send {_JSON}")
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise RejectedError(f"content-encoding {encoding!r:.80} is not supported; send it plain")
        body = await self._body(request)
        if self._waiting_bytes and self._waiting_bytes + len(body) > self._waiting_bytes_max:
            raise UnavailableError(
                f"{self._waiting_bytes} bytes of requests for leases wait already; try again shortly"
            )
        self._waiting_bytes += len(body)
        try:
            asked: LeaseRequest = decode(body)
            answer = await asyncio.wrap_future(self._lessor.submit(Ask(asked, tenant)))
        finally:
            self._waiting_bytes -= len(body)
        self._decided(asked.decisions)
        return Response(encode(answer), media_type=_JSON)

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async with asyncio.timeout(self._read_timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise _TooLargeError(f"the request is over the limit of {BODY_BYTES_MAX} bytes")
        return bytes(body)


class _TooLargeError(RejectedError):
    pass


def _failed(error: BaseException) -> tuple[str, Response]:
    """Return what a request that was not served is counted as, and its answer."""
    if isinstance(error, UnavailableError):
        return "unavailable", _error(503, str(error), {"retry-after": str(answers.RETRY_DELAY_S)})
    if isinstance(error, DeniedError):
        headers = {} if error.known else {"www-authenticate": "Bearer"}
        return "denied", _error(403 if error.known else 401, str(error), headers)
    return "rejected", _error(413 if isinstance(error, _TooLargeError) else 400, str(error), {})


def _error(status: int, message: str, headers: Mapping[str, str]) -> Response:
    return Response(msgspec.json.encode({"error": message}), status, headers, media_type=_JSON)
