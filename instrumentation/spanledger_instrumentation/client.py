"""httpx and httpx2: `Client.send` and `AsyncClient.send`, wrapped. The only module that knows these clients.

`send` is the outermost step of every request (the verbs, `stream`, and the SDKs all end there), outside redirects,
authentication and transports: one call, one wrapper, and whatever instruments the transport becomes its child. The
modules are given by import hooks and never imported here. Their objects are `Any`: two libraries, one shape, neither a
dependency.
"""

import functools
from collections.abc import Callable
from typing import Any, Final

from spanledger_instrumentation.call import Call, Outgoing, begin
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.providers import routes
from spanledger_instrumentation.settings import Settings
from spanledger_instrumentation.spans import Spans
from spanledger_instrumentation.stream import AsyncTee, SyncTee, tees

__all__ = ["MODULES", "Patches"]

MODULES: Final = ("httpx", "httpx2")
_BEGIN: Final = Fence("begin")
_FOLLOW: Final = Fence("follow")
_PORTS: Final = {"http": 80, "https": 443}


class Patches:
    """Hold what was put in place, so that it can be taken back."""

    def __init__(self, spans: Spans, settings: Settings) -> None:
        self._spans = spans
        self._settings = settings
        self._active = True
        self._originals: list[tuple[Any, Any, Any]] = []

    def apply(self, module: Any) -> None:
        """Patch the clients of a module; twice, or under an alias, is once."""
        if any(client is module.Client for client, _, _ in self._originals):
            return
        sync_tee, async_tee = tees(module)
        self._replace(module.Client, self._sync_send(module.Client.send, sync_tee))
        self._replace(module.AsyncClient, self._async_send(module.AsyncClient.send, async_tee))

    def revert(self) -> None:
        """Restore every client. Where somebody has patched over us, our part stays in place and does nothing."""
        self._active = False
        for client, original, replacement in self._originals:
            if client.__dict__.get("send") is replacement:
                client.send = original
        self._originals.clear()

    def _replace(self, client: Any, replacement: Any) -> None:
        self._originals.append((client, client.send, replacement))
        client.send = replacement

    def _begin(self, request: Any) -> Call | None:
        with _BEGIN:
            if request.method != "POST" or not self._active:
                return None
            url = request.url
            route = routes.find(url.raw_path)
            if route is not None:
                return begin(route, _outgoing(request, url), self._spans, self._settings)
        return None

    def _sync_send(self, original: Callable[..., Any], tee: type[SyncTee]) -> Callable[..., Any]:
        @functools.wraps(original)
        def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            call = begin_call(request)
            if call is None:
                return original(self, request, *args, **kwargs)
            token = call.enter()
            try:
                response = original(self, request, *args, **kwargs)
            except BaseException as error:
                call.fail(error)
                raise
            finally:
                call.leave(token)
            _follow(response, call, tee)
            return response

        begin_call = self._begin
        return send

    def _async_send(self, original: Callable[..., Any], tee: type[AsyncTee]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            call = begin_call(request)
            if call is None:
                return await original(self, request, *args, **kwargs)
            token = call.enter()
            try:
                response = await original(self, request, *args, **kwargs)
            except BaseException as error:
                call.fail(error)
                raise
            finally:
                call.leave(token)
            _follow(response, call, tee)
            return response

        begin_call = self._begin
        return send


def _outgoing(request: Any, url: Any) -> Outgoing:
    try:
        content = request.content
    except RuntimeError:  # RequestNotRead: the body is a generator, which only the transport may consume
        content = b""
    return Outgoing(
        host=url.host,
        port=url.port or _PORTS.get(url.scheme),
        content=content,
        retry=request.headers.get("x-stainless-retry-count"),
    )


def _follow(response: Any, call: Call, tee: type[SyncTee | AsyncTee]) -> None:
    with _FOLLOW:
        content = _content(response) if call.recording else b""
        if content is not None:
            call.read(response.status_code, content, response.headers.get("content-type"))
        else:
            call.answered(response.status_code, response.headers.get)
            response.stream = tee(response.stream, call)
        return
    call.close()


def _content(response: Any) -> bytes | None:
    try:
        return response.content
    except RuntimeError:  # ResponseNotRead: the app asked for a stream
        return None
