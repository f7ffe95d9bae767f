"""The body of a response, passed on byte for byte and chunk for chunk while the call gets to see it.

The body is wrapped below the client's decoding (`response.stream`), so that every way to read a response goes through
it: raw, decoded, by lines, all at once, or through an SDK. A chunk is shown to the call, then yielded; only where the
call has asked for something that the app did not, it may keep that back.
"""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

from spanledger_instrumentation import reaper
from spanledger_instrumentation.following import Following

__all__ = ["AsyncTee", "SyncTee", "tees"]


class _Tee:
    """What the sync and the async body have in common."""

    def __init__(self, stream: Any, call: Following) -> None:  # Any: a byte stream of httpx or httpx2
        self._stream = stream
        self._call = call

    def __getattr__(self, name: str) -> Any:
        # Clients and other wrappers look for more than the protocol (httpx2: `elapsed`).
        if name in ("_stream", "_call"):
            raise AttributeError(name)
        return getattr(self._stream, name)

    def __del__(
        self,
        # Bound here, since the modules' globals are gone when the interpreter collects the last objects.
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
        abandon: Callable[[Following], None] = reaper.abandon,
    ) -> None:
        # The app may drop a response without reading or closing it.
        call = self.__dict__.get("_call")
        if not is_finalizing() and call is not None and not call.ended:
            abandon(call)


class SyncTee(_Tee):
    """The body of a sync client's response."""

    def __iter__(self) -> Iterator[bytes]:
        call = self._call
        feed = call.feed
        try:
            for chunk in self._stream:
                passed = feed(chunk)
                if passed or not chunk:
                    yield passed
        except GeneratorExit:  # the app stopped reading; that it closes the body, or drops it, is still to come
            raise
        except BaseException as error:
            call.fail(error)
            if isinstance(error, Exception) and (held := call.finish()):
                yield held
            raise
        if held := call.finish():
            yield held

    def close(self) -> None:
        """End the call, then close the body."""
        self._call.close()
        self._stream.close()


class AsyncTee(_Tee):
    """The body of an async client's response."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _AsyncChunks(self._stream.__aiter__(), self._call)

    async def aclose(self) -> None:
        """End the call, then close the body."""
        self._call.close()
        await self._stream.aclose()


class _AsyncChunks:
    """The chunks of an async body.

    No generator: one that the app leaves half-read would be closed by the event loop, some time later and with a
    warning of its own, or never.
    """

    __slots__ = ("_call", "_chunks", "_error", "_feed")

    def __init__(self, chunks: AsyncIterator[bytes], call: Following) -> None:
        self._chunks = chunks
        self._call = call
        self._feed = call.feed
        self._error: BaseException | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._error is not None:
            raise self._error
        while True:
            try:
                chunk = await self._chunks.__anext__()
            except GeneratorExit:  # the coroutine was dropped; that somebody closes the body, or drops it, is to come
                raise
            except BaseException as error:  # noqa: BLE001 - it is raised, now or in the next step
                return self._end(error)
            passed = self._feed(chunk)
            if passed or not chunk:
                return passed

    def _end(self, error: BaseException) -> bytes:
        """Give what was held back, before the end or the error that the next step then raises; else raise it now."""
        if not isinstance(error, StopAsyncIteration):
            self._call.fail(error)
        held = self._call.finish() if isinstance(error, Exception) else b""
        if not held:
            raise error
        self._error = error
        return held


def tees(client: Any) -> tuple[type[SyncTee], type[AsyncTee]]:  # Any: the module httpx or httpx2
    """Make the two kinds of body for this client, which insists on its own base classes."""
    sync = type("SyncTee", (SyncTee, client.SyncByteStream), {})
    asynchronous = type("AsyncTee", (AsyncTee, client.AsyncByteStream), {})
    return cast("type[SyncTee]", sync), cast("type[AsyncTee]", asynchronous)
