"""The exporter's own pages: `/metrics` for Prometheus, `/healthz` and `/readyz` for whatever keeps it running."""

import asyncio
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from spanledger_exporter.errors import DeniedError, UnavailableError
from spanledger_exporter.receiving.tokens import Gate


def admin(
    registry: CollectorRegistry,
    ping: Callable[[], None],
    gate: Gate,
    beside: Sequence[Route] = (),
    *,
    scraped: Callable[[float], None] = lambda _seconds: None,
) -> Starlette:
    """Return the ASGI application, with what else is to be found on its port.

    `ping` raises `UnavailableError` while the ledger does not answer. `scraped` is told how many seconds each page of
    metrics took to make; it shows on the next one. The two that only say how the exporter is ask for no token: what
    keeps it running seldom has one.
    """

    def metrics(request: Request) -> Response:
        try:
            gate(request.headers.get("authorization"), "read")
        except DeniedError as exc:
            return denied(exc)
        started_s = time.perf_counter()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        page = encode(registry)
        scraped(time.perf_counter() - started_s)
        return Response(page, headers={"content-type": content_type})

    def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        try:
            await asyncio.to_thread(ping)
        except UnavailableError as exc:
            return PlainTextResponse(f"not ready: {exc}\n", 503)
        return PlainTextResponse("ready\n")

    return Starlette(
        routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz), *beside],
    )


def denied(error: DeniedError) -> Response:
    """Return the answer to whoever may not read this."""
    headers = {} if error.known else {"www-authenticate": "Bearer"}
    return PlainTextResponse(f"{error}\n", 403 if error.known else 401, headers)
