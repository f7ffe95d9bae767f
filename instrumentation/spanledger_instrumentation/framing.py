"""How a streamed answer is cut into events, by its content type."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from spanledger_instrumentation.eventstream import MessageReader
from spanledger_instrumentation.ndjson import LineReader
from spanledger_instrumentation.sse import EventReader

__all__ = ["FRAMINGS", "Framing"]


class Framing(Protocol):
    """Push bytes in, get each event's data called back as (whole, b"") or, beyond the limit, as (head, tail)."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        ...

    def finish(self) -> None:
        """Take the end of the stream."""
        ...


FRAMINGS: Final[Mapping[str, Callable[[Callable[[bytes, bytes], None]], Framing]]] = {
    "text/event-stream": EventReader,
    "application/vnd.amazon.eventstream": MessageReader,
    "application/x-ndjson": LineReader,
    "application/stream+json": LineReader,
}
"""Content type, without its parameters -> what makes the reader of such a stream, given whom to call with an event."""
