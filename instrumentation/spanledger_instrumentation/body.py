"""The bytes of an answer, as they come from the network -> an Answer, be they plain JSON or an event stream."""

from collections.abc import Callable

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.encoding import Decoder, decoded, decoders
from spanledger_instrumentation.excerpt import Excerpt
from spanledger_instrumentation.framing import FRAMINGS, Framing
from spanledger_instrumentation.json_array import ElementReader
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.quiet import Quiet
from spanledger_instrumentation.sse import EventReader
from spanledger_instrumentation.usage import Answer

__all__ = ["Body", "read"]

_SPACE = b" \t\r\n\xef\xbb\xbf"
_BINARY = ("audio/", "image/", "video/", "application/octet-stream")
"""What an answer is itself, speech for one, and says nothing about: it is passed on unread."""
_MakeFraming = Callable[[Callable[[bytes, bytes], None]], Framing]


class Body:
    """Push the raw bytes of a successful answer in, read the Answer that they make so far."""

    __slots__ = (
        "_changed",
        "_decoders",
        "_events",
        "_excerpt",
        "_quiet",
        "_reader",
        "_stream",
        "_wire",
        "answer",
        "received_bytes",
    )

    def __init__(self, wire: Wire, *, content_type: str, content_encoding: str) -> None:
        self._wire = wire
        self._decoders: list[Decoder] = decoders(content_encoding) if content_encoding else []
        self._events: Framing | None = None
        self._reader: EventReader | None = None  # of plain events: the same as `_events`
        self._quiet: Quiet | None = Quiet()
        self._excerpt: Excerpt | None = Excerpt()
        self._stream = None if wire.stream is None else wire.stream()
        self._changed = False
        self.received_bytes = 0
        """Of the body, decoded."""
        self.answer = Answer() if self._stream is None else self._stream.answer
        framing = FRAMINGS.get(media_type(content_type))
        if framing is not None:
            self._open_events(framing)
        elif content_type.startswith(_BINARY):
            self._excerpt = None

    def feed(self, raw: bytes) -> bool:
        """Take the next bytes; tell whether the answer changed."""
        self._changed = False
        reader, quiet = self._reader, self._quiet
        if reader is None:
            for piece in decoded(self._decoders, raw):
                self._take(piece)
            return self._changed
        self.received_bytes += len(raw)
        if quiet is None:
            reader.feed(raw)
        elif not reader.between or not quiet.knows(raw):
            self._feed_loud(reader, quiet, raw)
        return self._changed

    def _feed_loud(self, reader: EventReader, quiet: Quiet, raw: bytes) -> None:
        begins = reader.between
        reader.feed(raw)
        if begins and reader.between and not self._changed:
            quiet.learn(raw)
            if not quiet.is_useful:
                self._quiet = None

    @property
    def passes(self) -> Callable[[bytes], bool] | None:
        """What tells that the next chunk says nothing, so that it need not be fed: `None` if nothing can.

        Not once an answer begins to end, since then it matters where each event does. Chunks that are not fed are
        missing from `received_bytes`.
        """
        reader, quiet = self._reader, self._quiet
        if reader is None or quiet is None or not reader.between or not quiet.is_learned or self.answer.finish_reasons:
            return None
        return quiet.knows

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

    def _take(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if self._events is not None:
            self._events.feed(data)
        elif self._excerpt is not None:
            if not len(self._excerpt):
                data = data.lstrip(_SPACE)
                if data and (framing := self._unlabelled(data[:1])) is not None:
                    self._open_events(framing)
                    self._take(data)
                    return
            self._excerpt.append(data)

    def _unlabelled(self, first: bytes) -> _MakeFraming | None:
        # Streams have come labelled as JSON. What begins with neither { nor [ is one of server-sent events; Google's
        # APIs stream an array.
        if first == b"[":
            return None if self._stream is None else ElementReader
        return None if first == b"{" else EventReader

    def _open_events(self, framing: _MakeFraming) -> None:
        self._excerpt = None
        if self._stream is not None:
            self._events = framing(self._event)
            if isinstance(self._events, EventReader) and not self._decoders:
                self._reader = self._events

    def _event(self, data: bytes, tail: bytes) -> None:
        stream = self._stream
        if stream is not None and not self.answer.done and stream.event(data, tail):
            self._changed = True


def media_type(content_type: str) -> str:
    """Leave out the parameters of a content type."""
    return content_type.partition(";")[0].strip()


def read(wire: Wire, content: bytes, content_type: str) -> Answer:
    """Read a whole body that is already there and decoded."""
    plain = (b"{", b"[") if wire.stream is None else (b"{",)
    if media_type(content_type) in FRAMINGS or content.lstrip(_SPACE)[:1] not in plain:
        body = Body(wire, content_type=content_type, content_encoding="")
        body.feed(content)
        body.finish()
        return body.answer
    answer = wire.read_answer(Document.of(content, wire.answer_bytes_max))
    answer.done = True
    return answer
