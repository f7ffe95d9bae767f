"""What is fetched late -> the answers in it that are new: a batch's results, or an answer made in the background."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation import body
from spanledger_instrumentation.batches import BatchFormat, BatchResults
from spanledger_instrumentation.encoding import Decoder, decoded, decoders
from spanledger_instrumentation.memory import Memory
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["Downloaded", "Fetched", "Result", "Retrieved"]


_PIECE_BYTES: Final = 64 * 1024  # of what is in memory already: after the first one it may turn out to be no batch


class Result(NamedTuple):
    """What was seen for the first time."""

    wire: Wire
    operation: str
    answer: Answer


class Fetched(Protocol):
    """Reads the body of what is fetched."""

    @property
    def over(self) -> bool:
        """Whether it needs no more bytes."""
        ...

    def read(self, content: bytes, content_type: str, /) -> None:
        """Take a decoded body that is all there."""
        ...

    def begin(self, content_type: str, content_encoding: str, /) -> None:
        """Take the head of a body that is to come."""
        ...

    def feed(self, raw: bytes) -> None:
        """Take the next bytes."""
        ...

    def finish(self) -> None:
        """Take the end of the body."""
        ...

    def results(self, memory: Memory) -> Sequence[Result]:
        """Give what is new in it, as far as it can be relied on."""
        ...


class Retrieved:
    """One answer, whole or as a stream."""

    def __init__(self, wire: Wire, host: str) -> None:
        self._wire = wire
        self._host = host
        self._body: body.Body | None = None
        self._answer = Answer()

    @property
    def over(self) -> bool:
        """Whether it needs no more bytes."""
        return self._answer.done

    def read(self, content: bytes, content_type: str) -> None:
        """Take a decoded body that is all there."""
        self._answer = body.read(self._wire, content, content_type)

    def begin(self, content_type: str, content_encoding: str) -> None:
        """Take the head of a body that is to come."""
        self._body = body.Body(self._wire, content_type=content_type, content_encoding=content_encoding)

    def feed(self, raw: bytes) -> None:
        """Take the next bytes."""
        if self._body is not None and self._body.feed(raw):
            self._answer = self._body.answer

    def finish(self) -> None:
        """Take the end of the body."""
        if self._body is not None:
            self._body.finish()
            self._answer = self._body.answer

    def results(self, memory: Memory) -> Sequence[Result]:
        """Give the answer, if it is finished, has figures, and nobody has told of them."""
        answer = self._answer
        key = (self._host, answer.id)
        if not answer.done or answer.id is None or answer.pending:
            return ()
        if answer.usage is None or not answer.usage.known():
            return ()
        if not (answer.background or memory.expects(key)) or not memory.first(key):
            return ()
        return (Result(self._wire, self._wire.operation, answer),)


class Downloaded:
    """The results of a batch, which count only as a whole: a download that is broken off says nothing."""

    def __init__(self, wire: Wire, batch_format: BatchFormat, host: str, batch_id: str) -> None:
        self._wire = wire
        self._host = host
        self._batch_id = batch_id
        self._lines = BatchResults(batch_format, batch_id)
        self._decoders: list[Decoder] = []
        self._whole = False

    @property
    def over(self) -> bool:
        """Whether it needs no more bytes."""
        return self._lines.refused

    def read(self, content: bytes, _: str) -> None:
        """Take a decoded body that is all there."""
        for start in range(0, len(content), _PIECE_BYTES):
            if self._lines.refused:
                return
            self._lines.feed(content[start : start + _PIECE_BYTES])
        self.finish()

    def begin(self, _: str, content_encoding: str) -> None:
        """Take the head of a body that is to come."""
        self._decoders = decoders(content_encoding) if content_encoding else []

    def feed(self, raw: bytes) -> None:
        """Take the next bytes."""
        for piece in decoded(self._decoders, raw):
            if self._lines.refused:
                return
            self._lines.feed(piece)

    def finish(self) -> None:
        """Take the end of the body."""
        self._lines.finish()
        self._whole = True

    def results(self, memory: Memory) -> Sequence[Result]:
        """Give the totals of a file that has come to its end for the first time."""
        totals = self._lines.totals() if self._whole else ()
        if not totals or not memory.first((self._host, self._batch_id)):
            return ()
        answers = [total.answer(self._batch_id) for total in totals]
        if failed := self._lines.failed_requests:  # of no model, so on one of the answers
            answers[0].details[names.BATCH_FAILED_REQUESTS] = failed
        operations = (total.operation for total in totals)
        return [Result(self._wire, *each) for each in zip(operations, answers, strict=True)]
