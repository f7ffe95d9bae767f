"""The provider's HTTP application: the vendors' endpoints, and its own to look into it and to make it fail."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from spanledger_demo.provider import anthropic, openai, responses
from spanledger_demo.provider.endpoint import Books, BrokenOffError, endpoint
from spanledger_demo.provider.wire import Wire

WIRES: dict[str, Wire] = {
    "/v1/chat/completions": openai.CHAT,
    "/v1/responses": responses.RESPONSES,
    "/v1/embeddings": openai.EMBEDDINGS,
    "/v1/messages": anthropic.MESSAGES,
}


def build(books: Books) -> ASGIApp:
    """Make the application on these books."""
    routes = [
        *(Route(path, endpoint(wire, books), methods=["POST"]) for path, wire in WIRES.items()),
        Route("/healthz", _healthz, methods=["GET"]),
        *_control_routes(books),
    ]
    return _close_when_broken_off(Starlette(routes=routes))


async def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _control_routes(books: Books) -> list[Route]:
    async def tally(_: Request) -> Response:
        return JSONResponse(books.tally.as_dict())

    async def answers(_: Request) -> Response:
        return JSONResponse(books.tally.answers())

    async def control(request: Request) -> Response:
        try:
            books.faults.change(await request.json())
        except (ValueError, AttributeError) as exc:
            return JSONResponse({"error": str(exc)}, status_code=400)
        return Response(status_code=204)

    return [
        Route("/tally", tally, methods=["GET"]),
        Route("/answers", answers, methods=["GET"]),
        Route("/control", control, methods=["POST"]),
    ]


def _close_when_broken_off(app: ASGIApp) -> ASGIApp:
    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except BrokenOffError:
            return  # an answer left unfinished: uvicorn closes the connection under it

    return outermost
