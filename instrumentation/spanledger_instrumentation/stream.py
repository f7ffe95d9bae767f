"""The body of a response, passed on byte for byte and chunk for chunk while the call gets to see it.

The body is wrapped below the client's decoding (`response.stream`), so that every way to read a response goes through
it: raw, decoded, by lines, all at once, or through an SDK. Nothing is kept back: a chunk is shown to the call, then
yielded.
"""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

from spanledger_instrumentation import reaper
from spanledger_instrumentation.call import Call

__all__ = ["AsyncTee", "SyncTee", "tees"]


class _Tee:
    """What the sync and the async body have in common."""

    def __init__(self, stream: Any, call: Call) -> None:  # Any: a byte stream of httpx or httpx2
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
        abandon: Callable[[Call], None] = reaper.abandon,
    ) -> None:
        # The app may drop a response without reading or closing it.
        call = self.__dict__.get("_call")
        if not is_finalizing() and call is not None and not call.ended:
            abandon(call)


class SyncTee(_Tee):
    """The body of a sync client's response."""

    def __iter__(self) -> Iterator[bytes]:
        call = self._call
        try:
            for chunk in self._stream:
                call.feed(chunk)
                yield chunk
        except GeneratorExit:  # the app stopped reading; that it closes the body, or drops it, is still to come
            raise
        except BaseException as error:
            call.fail(error)
            raise
        call.finish()

    def close(self) -> None:
        """End the call, then close the body."""
        self._call.close()
        self._stream.close()


class AsyncTee(_Tee):
    """The body of an async client's response."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        call = self._call
        chunks = self._stream.__aiter__()
        try:
            async for chunk in chunks:
                call.feed(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            # A generator that is left half-read is closed here, in the task that read it, not later by the event loop.
            if hasattr(chunks, "aclose"):
                await chunks.aclose()
        call.finish()

    async def aclose(self) -> None:
        """End the call, then close the body."""
        self._call.close()
        await self._stream.aclose()


def tees(client: Any) -> tuple[type[SyncTee], type[AsyncTee]]:  # Any: the module httpx or httpx2
    """Make the two kinds of body for this client, which insists on its own base classes."""
    sync = type("SyncTee", (SyncTee, client.SyncByteStream), {})
    asynchronous = type("AsyncTee", (AsyncTee, client.AsyncByteStream), {})
    return cast("type[SyncTee]", sync), cast("type[AsyncTee]", asynchronous)
