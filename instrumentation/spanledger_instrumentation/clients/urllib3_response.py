"""A body that urllib3 has not read yet, shown to the call as it is read, below the decoding.

The response becomes an instance of a subclass of its own class, so that every way to read it goes through here, and so
that nothing new refers to it: a response that is dropped is collected, and its connection closed, as ever. Each byte
passes either `_fp_read`, for plain reads, or `_handle_chunk`, for chunks; both stand in urllib3 1.26 and 2. Where
something may have to be hidden, plain reads have another file below them.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from spanledger_instrumentation import reaper
from spanledger_instrumentation.clients.urllib3_file import ShownFile, is_closed
from spanledger_instrumentation.following import Following

__all__ = ["can_hide", "tap"]


def can_hide() -> bool:
    """Tell whether anything can be kept from the app: not with urllib3's trial of HTTP/2, which answers otherwise."""
    pools: Any = sys.modules.get("urllib3.connectionpool")
    return pools is not None and not pools.HTTPSConnectionPool.ConnectionCls.__module__.startswith("urllib3.http2")


def tap(response: Any, headers: Mapping[str, str], call: Following) -> bool:  # Any: a response of urllib3
    """Follow a body that is still to be read; tell whether there is one that can be followed."""
    kind: Any = cast("Any", type(response))
    known = hasattr(kind, "_fp_read") and hasattr(kind, "_handle_chunk") and not issubclass(kind, _Tapped)
    if not known or getattr(response, "_fp", None) is None:
        return False
    tapped = _tapped(kind)
    call.answered(response.status, headers)
    response._spanledger_call = call  # noqa: SLF001 - ours
    if call.hides:
        response._fp = ShownFile(response._fp, call)  # noqa: SLF001 - what it reads from
    response.__class__ = tapped
    return True


@functools.lru_cache(maxsize=16)
def _tapped(kind: type[Any]) -> type[Any]:
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    # urllib3 1.26 has no `read1`, and `io` looks for it.
    members = {"read1": _read1} if hasattr(kind, "read1") else {}
    return type(kind.__name__, (_Tapped, kind), {**named, **members, "_spanledger_own": kind})


class _Tapped:
    """What a response does besides; `self` is `Any`, since it is of its own class too."""

    _spanledger_own: Any
    """That class."""
    _spanledger_call: Following
    _spanledger_reads = 0
    """How many reads are under way, one inside the other: what they close, they close because of an error."""

    def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _guarded(self, self._spanledger_own.read, self, *args, **kwargs)

    def read_chunked(self: Any, amt: int | None = None, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        chunks = self._spanledger_own.read_chunked(self, amt, *args, **kwargs)
        cuts = amt if amt is not None and amt > 0 and isinstance(self._fp, ShownFile) else sys.maxsize
        while True:
            try:
                chunk = _guarded(self, next, chunks, None)
            except Exception:
                yield from _pieces(self._spanledger_call.finish(), cuts)
                raise
            if chunk is None:
                break
            if len(chunk) <= cuts:
                yield chunk
            else:  # what was held back has come with it
                yield from _pieces(chunk, cuts)
        yield from _pieces(self._spanledger_call.finish(), cuts)

    def close(self: Any) -> None:
        call = self.__dict__.get("_spanledger_call")
        if call is not None and not self._spanledger_reads:
            call.close()
        self._spanledger_own.close(self)

    def __del__(
        self: Any,
        # Bound here, since the modules' globals are gone when the interpreter collects the last objects.
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
        abandon: Callable[[Following], None] = reaper.abandon,
    ) -> None:
        call = self.__dict__.pop("_spanledger_call", None)  # what follows closes the response, not the call
        if not is_finalizing() and call is not None and not call.ended:
            abandon(call)
        self._spanledger_own.__del__(self)

    def _fp_read(self: Any, *args: Any, **kwargs: Any) -> Any:
        data = self._spanledger_own._fp_read(self, *args, **kwargs)  # noqa: SLF001 - of our own class
        call, file = self._spanledger_call, self._fp
        if isinstance(file, ShownFile):  # which has fed it
            if self.length_remaining is not None:
                self.length_remaining -= file.take_hidden()
        elif data and not call.ended:
            call.feed(data)
        if not call.ended and _is_last(self, data, *args, **kwargs):
            call.finish()
        return data

    def _handle_chunk(self: Any, *args: Any, **kwargs: Any) -> Any:
        data = self._spanledger_own._handle_chunk(self, *args, **kwargs)  # noqa: SLF001
        shown = self._spanledger_call.feed(data)
        return shown if isinstance(self._fp, ShownFile) else data


def _read1(self: Any, *args: Any, **kwargs: Any) -> Any:
    return _guarded(self, self._spanledger_own.read1, self, *args, **kwargs)


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _guarded(response: Any, read: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    response._spanledger_reads += 1  # noqa: SLF001 - ours
    try:
        return read(*args, **kwargs)
    except BaseException as error:
        response._spanledger_call.fail(error)  # noqa: SLF001
        raise
    finally:
        response._spanledger_reads -= 1  # noqa: SLF001


def _is_last(response: Any, data: bytes, amount: int | None = None, *, read1: bool = False) -> bool:
    """Tell whether the body has come to its end, not short of the length that was announced."""
    remaining: int | None = response.length_remaining
    if remaining is not None:
        return remaining <= len(data)
    everything = amount is None and not read1
    return everything or (not data and amount != 0) or is_closed(response._fp)  # noqa: SLF001 - what it reads from
