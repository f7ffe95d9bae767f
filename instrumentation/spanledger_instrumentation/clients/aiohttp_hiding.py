"""The stream that aiohttp's parser fills, made to take only what the app is to get.

What is hidden is taken out before it is buffered, so that every way to read finds nothing of it: by any size, by lines,
by chunks or all at once, with its ends, counts and timeouts. The stream becomes an instance of a subclass of its own
class. It has slots and room for nothing more, so its call is found by its content, which the app reads from.
"""

# ruff: noqa: SLF001 - aiohttp has no public way to what its stream keeps

import functools
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast
from weakref import WeakValueDictionary

from spanledger_instrumentation.following import Following

__all__ = ["can_hide", "hide"]

_MEMBERS: Final = ("feed_data", "feed_eof", "set_exception", "_wait")
_STATE: Final = ("_buffer", "_buffer_offset", "_cursor", "_size", "_http_chunk_splits", "_waiter", "_loop", "_eof")
_CONTENTS: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()
"""By the id of the stream, which lives as long as its content."""


def can_hide(kind: Any) -> bool:
    """Tell whether streams of this kind are as they are known here: aiohttp 3.9 to 3.14."""
    return all(hasattr(kind, name) for name in _MEMBERS) and (
        not hasattr(kind, "__slots__") or all(hasattr(kind, name) for name in _STATE)
    )


def hide(stream: Any, content: Any, call: Following) -> None:
    """Take out what is hidden from now on, and of what has come already."""
    stream.__class__ = _hiding(cast("Any", type(stream)))
    _CONTENTS[id(stream)] = content
    _refill(stream, call)


@functools.lru_cache(maxsize=16)
def _hiding(kind: type[Any]) -> type[Any]:
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    members = {"feed_data": _feeding, "feed_eof": _ending, "set_exception": _failing, "_wait": _waiting}
    made = {name: make(getattr(kind, name)) for name, make in members.items()}
    return type(kind.__name__, (kind,), {**named, **made, "__slots__": ()})


def _call(stream: Any) -> Following | None:
    content = _CONTENTS.get(id(stream))
    return None if content is None else content._spanledger_call


def _feeding(own: Callable[..., Any]) -> Callable[..., Any]:
    def feed_data(self: Any, data: bytes, *args: Any) -> Any:
        call = _call(self) if data else None
        return own(self, data if call is None else call.feed(data), *args)

    return feed_data


def _ending(own: Callable[..., Any]) -> Callable[..., Any]:
    def feed_eof(self: Any) -> None:
        call = _call(self)
        if call is not None and (held := call.finish()):
            self.feed_data(held)  # which the call, at its end, passes on
        own(self)

    return feed_eof


def _failing(own: Callable[..., Any]) -> Callable[..., Any]:
    def set_exception(self: Any, error: Any, *args: Any) -> None:
        call = _call(self)
        held = b"" if call is None else call.release()
        if not held or self._waiter is None:  # an error goes before what nobody has read yet
            own(self, error, *args)
            return
        self.feed_data(held)  # who waits is woken, and would have had it before
        _CONTENTS[id(self)]._spanledger_error = error
        self._loop.call_soon(own, self, error, *args)

    return set_exception


def _waiting(own: Callable[..., Any]) -> Callable[..., Any]:
    async def _wait(self: Any, *args: Any) -> None:
        content = _CONTENTS.get(id(self))
        if content is not None and content._spanledger_error is not None:
            raise content._spanledger_error
        await own(self, *args)

    return _wait


def _refill(stream: Any, call: Following) -> None:
    """Show the call what is buffered, and leave what it passes on; chunks still end where they did."""
    splits, cursor = stream._http_chunk_splits, stream._cursor
    shown: deque[bytes] = deque()
    ends: deque[int] = deque()
    at = length = cursor
    for piece in _pieces(stream):
        begin = 0
        while splits and splits[0] <= at + len(piece):
            end = splits.popleft() - at
            length += _append(shown, call.feed(piece[begin:end]) if end > begin else b"")
            if length != (ends[-1] if ends else 0):  # as aiohttp does: nothing has no end of its own
                ends.append(length)
            begin = end
        length += _append(shown, call.feed(piece[begin:]) if begin < len(piece) else b"")
        at += len(piece)
    if stream._eof:
        length += _append(shown, call.finish())
    stream._buffer, stream._buffer_offset, stream._size = shown, 0, length - cursor
    stream.total_bytes = length
    if splits is not None:
        ends.extend(splits)
        stream._http_chunk_splits = ends


def _pieces(stream: Any) -> list[bytes]:
    pieces = list(stream._buffer)
    if pieces and stream._buffer_offset:
        pieces[0] = pieces[0][stream._buffer_offset :]
    return pieces


def _append(shown: deque[bytes], data: bytes) -> int:
    if data:
        shown.append(data)
    return len(data)
