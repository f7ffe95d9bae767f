"""The bytes of an answer, as they come from the network -> an Answer, be they plain JSON or an event stream."""

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.encoding import Decoder, decoders
from spanledger_instrumentation.excerpt import Excerpt
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.sse import EventReader
from spanledger_instrumentation.usage import Answer

__all__ = ["Body", "read"]

_SPACE = b" \t\r\n\xef\xbb\xbf"


class Body:
    """Push the raw bytes of a successful answer in, read the Answer that they make so far."""

    __slots__ = ("_changed", "_decoders", "_events", "_excerpt", "_stream", "_wire", "answer")

    def __init__(self, wire: Wire, *, content_type: str, content_encoding: str) -> None:
        self._wire = wire
        self._decoders: list[Decoder] = decoders(content_encoding) if content_encoding else []
        self._events: EventReader | None = None
        self._excerpt: Excerpt | None = Excerpt()
        self._stream = None if wire.stream is None else wire.stream()
        self._changed = False
        self.answer = Answer() if self._stream is None else self._stream.answer
        if content_type.startswith("text/event-stream"):
            self._open_events()

    def feed(self, raw: bytes) -> bool:
        """Take the next bytes; tell whether the answer changed."""
        self._changed = False
        if self._decoders:
            self._decode(raw, 0)
        else:
            self._take(raw)
        return self._changed

    def finish(self) -> None:
        """Take the end of the bytes."""
        if self._events is not None:
            self._events.finish()
        elif self._excerpt is not None and len(self._excerpt):
            self._read(Document(self._excerpt.head, self._excerpt.tail))

    def close(self) -> None:
        """Take that nobody reads on: a JSON body may be complete all the same."""
        if self._excerpt is not None and not self._excerpt.is_cut and not self.answer.done:
            document = Document(self._excerpt.head)
            if document.is_object:
                self._read(document)

    def _read(self, document: Document) -> None:
        self.answer = self._wire.read_answer(document)
        self.answer.done = True

    def _decode(self, data: bytes, step: int) -> None:
        if step == len(self._decoders):
            self._take(data)
            return
        for piece in self._decoders[step].decode(data):
            self._decode(piece, step + 1)

    def _take(self, data: bytes) -> None:
        if self._events is not None:
            self._events.feed(data)
        elif self._excerpt is not None:
            was_blank = not len(self._excerpt)
            self._excerpt.append(data.lstrip(_SPACE) if was_blank else data)
            # Event streams have come labelled as JSON: what begins with neither { nor [ is read as one.
            if was_blank and len(self._excerpt) and self._excerpt.head[:1] not in b"{[":
                self._open_events()

    def _open_events(self) -> None:
        begun, self._excerpt = self._excerpt, None
        if self._stream is not None:
            self._events = EventReader(self._event)
            if begun is not None and len(begun):
                self._events.feed(begun.head)

    def _event(self, data: bytes, tail: bytes) -> None:
        if self._stream is not None and not self.answer.done and self._stream.event(data, tail):
            self._changed = True


def read(wire: Wire, content: bytes, content_type: str) -> Answer:
    """Read a whole body that is already there and decoded."""
    if content_type.startswith("text/event-stream") or content.lstrip(_SPACE)[:1] not in (b"{", b"["):
        body = Body(wire, content_type=content_type, content_encoding="")
        body.feed(content)
        body.finish()
        return body.answer
    answer = wire.read_answer(Document.of(content, wire.answer_bytes_max))
    answer.done = True
    return answer
