"""The exporter's own pages: `/metrics` for Prometheus, `/healthz` and `/readyz` for whatever keeps it running."""

import asyncio
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from spanledger_exporter.errors import DeniedError, UnavailableError
from spanledger_exporter.receiving.tokens import Gate


def admin(registry: CollectorRegistry, ping: Callable[[], None], gate: Gate, beside: Sequence[Route] = ()) -> Starlette:
    """Return the ASGI application, with what else is to be found on its port.

    `ping` raises `UnavailableError` while the ledger does not answer. The two that only say how the exporter is ask for
    no token: what keeps it running seldom has one.
    """

    def metrics(request: Request) -> Response:
        try:
            gate(request.headers.get("authorization"), "read")
        except DeniedError as exc:
            return denied(exc)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

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
