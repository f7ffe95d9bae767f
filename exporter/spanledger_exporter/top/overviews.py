"""`GET /v1/overview?window=1h` -> an overview in JSON, read once for all who ask at the same time.

Shape: docs/top.md. A token must be for `read`.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from spanledger_exporter.errors import DeniedError, UnavailableError
from spanledger_exporter.receiving.admin import denied
from spanledger_exporter.receiving.tokens import Gate
from spanledger_exporter.top.documents import to_document
from spanledger_exporter.top.overview import WINDOW, WINDOWS, Overview, Window

PATH: Final = "/v1/overview"
_KEPT_S: Final = 1.0
_REST_PARTS: Final = 9


class _Kept(NamedTuple):
    body: bytes
    until_s: float


class Overviews:
    """Answers with overviews, in one event loop; `clock_s` is a monotonic clock.

    An answer is kept for a second, and for nine times as long as it took to make: however many ask, and however large
    the ledger is, the database has nine tenths of its time for others.
    """

    def __init__(
        self,
        read: Callable[[Window, int], Overview],
        *,
        clock_s: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._clock_s = clock_s
        self._now_s = now_s
        self._turn = asyncio.Lock()
        self._kept: dict[Window, _Kept] = {}
        self._reading: dict[Window, asyncio.Task[bytes]] = {}

    def route(self, gate: Gate) -> Route:
        """Return where the overviews are found."""

        async def answer(request: Request) -> Response:
            try:
                gate(request.headers.get("authorization"), "read")
            except DeniedError as exc:
                return denied(exc)
            window = request.query_params.get("window", WINDOW)
            if window not in WINDOWS:
                return PlainTextResponse(f"window must be one of {', '.join(WINDOWS)}\n", 400)
            try:
                body = await self.get(window)
            except UnavailableError as exc:
                return PlainTextResponse(f"{exc}\n", 503)
            return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

        return Route(PATH, answer)

    async def get(self, window: Window) -> bytes:
        """Return the overview of a window in JSON.

        Raises: `UnavailableError` when the database does not answer.
        """
        kept = self._kept.get(window)
        if kept is not None and self._clock_s() < kept.until_s:
            return kept.body
        task = self._reading.get(window)
        if task is None:
            task = self._reading[window] = asyncio.create_task(self._renew(window))
            task.add_done_callback(lambda _: self._reading.pop(window))
        # Whoever hangs up meanwhile takes nothing from the others who wait for the same answer.
        return await asyncio.shield(task)

    async def _renew(self, window: Window) -> bytes:
        # One at a time, so that never more than one thread waits for the database here.
        async with self._turn:
            began_s = self._clock_s()
            body = await asyncio.to_thread(self._made, window)
            ended_s = self._clock_s()
        self._kept[window] = _Kept(body, ended_s + max(_KEPT_S, _REST_PARTS * (ended_s - began_s)))
        return body

    def _made(self, window: Window) -> bytes:
        return json.dumps(to_document(self._read(window, int(self._now_s()))), ensure_ascii=False).encode()
