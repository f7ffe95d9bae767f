"""The content of aiohttp's response, shown to the call as the app reads it, in the pieces that the app gets.

Where something may have to be hidden, the stream below has shown it to the call already, as it came.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

from spanledger_instrumentation import reaper
from spanledger_instrumentation.following import Following

__all__ = ["content_type"]

_READS: Final = ("read", "readany", "readline", "readuntil", "readexactly", "readchunk")
_OVER_READS: Final = frozenset({"iter_chunked", "iter_any", "iter_chunks"})
"""What is made of reads, and is left as it is."""


def content_type(base: type[Any]) -> type[Any]:  # Any: aiohttp.StreamReader
    """Make the kind of content for this module; it must be a `StreamReader`, which may be sent on as a body."""
    members: dict[str, Any] = {"__module__": base.__module__, "__qualname__": base.__qualname__}
    for name in dir(base):
        if name in _READS:
            members[name] = _reading(name)
        elif not name.startswith("_") and name not in _OVER_READS and callable(getattr(base, name)):
            members.setdefault(name, _passing(name))
    members.update({name: member for name, member in vars(_Content).items() if name in _OWN})
    return type(base.__name__, (base,), members)


def _reading(name: str) -> Callable[..., Any]:
    async def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            data = await getattr(self._spanledger_stream, name)(*args, **kwargs)
        except asyncio.CancelledError:
            self._spanledger_cancelled = True  # the app may go on to read, or not
            raise
        except asyncio.IncompleteReadError as error:  # the body has come to its end, short of what the app wanted
            self._spanledger_take(error.partial)
            raise
        except BaseException as error:
            self._spanledger_call.fail(error)
            raise
        self._spanledger_take(data[0] if name == "readchunk" else data)
        return data

    read.__name__ = name
    return read


def _passing(name: str) -> Callable[..., Any]:
    def passed(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._spanledger_stream, name)(*args, **kwargs)

    passed.__name__ = name
    return passed


class _Content:
    """The members of such a content."""

    _spanledger_stream: Any
    _spanledger_call: Following
    _spanledger_cancelled: bool
    _spanledger_is_fed: bool
    _spanledger_error: BaseException | None
    """What the stream is about to raise."""

    def __init__(self, stream: Any, call: Following, *, is_fed: bool) -> None:
        self._spanledger_is_fed = is_fed
        self._spanledger_error = None
        self._spanledger_stream = stream
        self._spanledger_call = call
        self._spanledger_cancelled = False

    def __getattr__(self, name: str) -> Any:
        # The slots of a `StreamReader` are never filled: what is read of them is the stream's.
        if name.startswith("_spanledger"):
            raise AttributeError(name)
        return getattr(self._spanledger_stream, name)

    def __repr__(self) -> str:
        return repr(self._spanledger_stream)

    def __del__(
        self,
        # Bound here, since the modules' globals are gone when the interpreter collects the last objects.
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
        abandon: Callable[[Following], None] = reaper.abandon,
    ) -> None:
        call = self.__dict__.get("_spanledger_call")
        if not is_finalizing() and call is not None and not call.ended:
            abandon(call)

    def read_nowait(self, n: int = -1) -> bytes:
        data: bytes = self._spanledger_stream.read_nowait(n)
        self._spanledger_take(data)
        return data

    def set_exception(self, *args: Any, **kwargs: Any) -> None:
        # aiohttp's protocol knows only the stream itself. Here the response ends, because it was released or closed.
        call = self._spanledger_call
        if self._spanledger_cancelled:
            call.fail(asyncio.CancelledError())
        call.close()
        self._spanledger_stream.set_exception(*args, **kwargs)

    def _spanledger_take(self, data: bytes) -> None:
        call = self._spanledger_call
        if call.ended:
            return
        self._spanledger_cancelled = False
        if data and not self._spanledger_is_fed:
            call.feed(data)
        if self._spanledger_stream.at_eof():
            call.finish()


_OWN: Final = ("__init__", "__getattr__", "__repr__", "__del__", "read_nowait", "set_exception", "_spanledger_take")
