"""An ASGI application -> a server on a socket, with TLS and with patience that ends."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

# A sender with a kept connection that we close as it sends loses a request; so it is the one to close first.
_KEEP_ALIVE_S = 120
_CONNECTIONS_MAX = 2000


class WebServer:
    """One uvicorn server, whose signal handlers are left out: the command decides when to stop.

    Units: `head_timeout_s` seconds that a request's head may take, `grace_s` seconds that requests have at the end.
    """

    def __init__(
        self, application: Starlette, *, tls: ssl.SSLContext | None, head_timeout_s: float, grace_s: int
    ) -> None:
        class Impatient(_Impatient):
            timeout_s = head_timeout_s

        config = uvicorn.Config(
            application,
            http=Impatient,
            log_config=None,
            access_log=False,
            lifespan="off",
            limit_concurrency=_CONNECTIONS_MAX,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=grace_s,
            server_header=False,
        )
        config.load()
        config.ssl = tls  # uvicorn's own would be read once, from files
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Serve on a listening socket.

        Raises:
            RuntimeError: it cannot be served on.
        """
        task = self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not task.done():  # noqa: ASYNC110 -- uvicorn offers no event to wait for
            await asyncio.sleep(0.005)
        if task.done():
            raise RuntimeError(str(task.exception()))

    async def stop(self) -> None:
        """Take no more requests, and wait for those that were taken."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Impatient(H11Protocol):
    """uvicorn's HTTP/1.1, which would wait for ever for the rest of a request's head, hanging up instead."""

    timeout_s: float
    _hang_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] -- uvicorn's own signature
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.trailing_data[0]:  # the next head has begun to arrive already
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Hang up later if a head is under way or still to come, or a body that was answered without being read."""
        if self.conn.their_state is not h11.IDLE and self.conn.our_state is not h11.DONE:
            self._forget()
        elif self._hang_up is None:
            self._hang_up = self.loop.call_later(self.timeout_s, self.transport.close)

    def _forget(self) -> None:
        if self._hang_up is not None:
            self._hang_up.cancel()
            self._hang_up = None
