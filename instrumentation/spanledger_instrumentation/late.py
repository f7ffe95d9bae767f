"""Requests that fetch what an earlier call made: the results of a batch, an answer made in the background.

Most of them tell nothing new: a poll says that the work goes on, a retrieved answer repeats figures that its call has
reported. So a span is made only at the end, and only where figures are seen for the first time. `POST`, polls and
downloads of one result share their response id, by which the exporter counts once what several processes saw.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation import identity, reaper, report
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.fetched import Downloaded, Fetched, Result, Retrieved
from spanledger_instrumentation.following import Outgoing
from spanledger_instrumentation.memory import Memory
from spanledger_instrumentation.providers import hosts
from spanledger_instrumentation.providers.routes import Route, segments
from spanledger_instrumentation.providers.values import AttributeValue, text
from spanledger_instrumentation.settings import Settings
from spanledger_instrumentation.spans import LatePlace, Spans
from spanledger_instrumentation.usage import Answer, usage_status

__all__ = ["Late", "begin", "remember"]

_ENTER, _READ, _FEED, _END = Fence("enter"), Fence("read"), Fence("feed"), Fence("end")
INLINE_BYTES_MAX: Final = 256 * 1024
"""What is read while the app waits, perhaps in its event loop; a longer body is read in a thread of its own."""
_NO_BODY: Final = Document(b"")


class Late:
    """Follow one such request, and make its spans at the end. Nothing is left of it if there is nothing to count."""

    __slots__ = (
        "__weakref__",
        "_fetched",
        "_memory",
        "_once",
        "_place",
        "_process",
        "_request",
        "gated",
        "recording",
        "replacement",
        "replacement_headers",
    )

    def __init__(
        self, fetched: Fetched, request: Mapping[str, AttributeValue], place: LatePlace, memory: Memory
    ) -> None:
        self._fetched = fetched
        self._request = request
        self._place = place
        self._memory = memory
        self._once = threading.Lock()
        self._process = reaper.process
        self.recording = True
        self.gated = False
        self.replacement: bytes | None = None
        self.replacement_headers: Mapping[str, str] = {}

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do: it has ended, or this is a fork and the request is its parent's."""
        return self._once.locked() or reaper.process is not self._process

    @property
    def hides(self) -> bool:
        """Whether bytes of the answer may be kept from the app: none is ever asked for."""
        return False

    def admit(self) -> None:
        """Let it pass: what is fetched is spent already."""

    async def admit_async(self) -> None:
        """Let it pass."""

    def notice(self) -> str:
        """Say nothing."""
        return ""

    def enter(self) -> object:
        """Make the request current while it is sent."""
        with _ENTER:
            return self._place.enter()
        return None

    def leave(self, token: object) -> None:
        """Undo `enter`."""
        with _ENTER:
            if token is not None:
                self._place.leave(token)

    def answered(self, status_code: int, headers: Mapping[str, str]) -> None:
        """Take the head of an answer whose body is to follow."""
        with _READ:
            if status_code == 200:  # a part of it (206) is not the whole
                self._fetched.begin(headers.get("content-type", "").lower(), headers.get("content-encoding", ""))
                return
        self._drop()

    def read(self, status_code: int, headers: Mapping[str, str], content: bytes) -> bytes:
        """Take an answer that is all there, its body decoded, and end."""
        with _READ:
            if status_code == 200:
                read = partial(self._read, content, headers.get("content-type", "").lower())
                if len(content) <= INLINE_BYTES_MAX:
                    read()
                else:  # the program waits for it at its end, before its spans are flushed
                    threading.Thread(target=read, name="spanledger-late").start()
                return content
        self._drop()
        return content

    def _read(self, content: bytes, content_type: str) -> None:
        with _READ:
            self._fetched.read(content, content_type)
            self.close()
            return
        self._drop()

    def feed(self, chunk: bytes) -> bytes:
        """Take the next raw bytes of the body, before the app gets them."""
        if not self._once.locked():
            with _FEED:
                self._fetched.feed(chunk)
                if self._fetched.over:
                    self.close()
                return chunk
            self._drop()  # what follows cannot be understood either
        return chunk

    def finish(self) -> bytes:
        """Take the end of the body."""
        if not self.ended:
            with _READ:
                self._fetched.finish()
                self.close()
            self._drop()
        return self.release()

    def release(self) -> bytes:
        """Give what was held back: nothing ever is."""
        return b""

    def close(self) -> None:
        """End, wherever it stands, and report what is new."""
        if not self.ended and self._once.acquire(blocking=False):
            results: Sequence[Result] = ()
            with _END:
                results = self._fetched.results(self._memory)
            for result in results:
                with _END:
                    self._report(result)

    def fail(self, error: BaseException) -> None:  # noqa: ARG002 - which one it is says nothing more
        """End with an exception: what came before it is not the whole."""
        self._drop()

    def _drop(self) -> None:
        self._once.acquire(blocking=False)

    def _report(self, result: Result) -> None:
        answer = result.answer
        found = {name: value for name, value in _answer_attributes(result) if value is not None}
        name = f"{result.operation} {answer.model}" if answer.model else result.operation
        self._place.report(name, {**self._request, **found}, failed=answer.error_type is not None)


def _answer_attributes(result: Result) -> Iterator[tuple[str, AttributeValue | None]]:
    answer = result.answer
    yield names.OPERATION_NAME, result.operation
    yield names.HTTP_RESPONSE_STATUS_CODE, 200
    yield from report.of_answer(answer, result.wire.provider).items()
    yield names.RESPONSE_FINISH_REASONS, answer.finish_reasons or None
    yield names.ERROR_TYPE, answer.error_type
    yield names.USAGE_STATUS, usage_status(answer, whole=True, sent=True)


def begin(routes: Sequence[Route], outgoing: Outgoing, spans: Spans, settings: Settings) -> Late | None:
    """Begin to follow what is fetched from a host that is believed, or what this process waits for from any other."""
    if settings.excludes(outgoing.host):
        return None
    provider = settings.provider_of(outgoing.host) or hosts.provider_of(outgoing.host)
    path = segments(outgoing.target.partition(b"?")[0])
    for route in routes:
        named = text(path[route.path.index(None) - len(route.path)])
        awaited = route.batch is None and spans.memory.expects((outgoing.host, named))
        if named is not None and (awaited or route.leads(provider and provider.name, _NO_BODY)):
            break
    else:
        return None
    place = spans.late_place()
    if place is None:
        return None
    fetched = (
        Retrieved(route.wire, outgoing.host)
        if route.batch is None
        else Downloaded(route.wire, route.batch, outgoing.host, named)
    )
    request = _request_attributes(outgoing, route.wire.provider if provider is None else provider.name, settings)
    return Late(fetched, request, place, spans.memory)


def _request_attributes(outgoing: Outgoing, provider: str, settings: Settings) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        names.PROVIDER_NAME: provider,
        names.SERVER_ADDRESS: outgoing.host,
        **identity.of_request(outgoing, _NO_BODY, settings),
    }
    if outgoing.port is not None:
        found[names.SERVER_PORT] = outgoing.port
    return found


def remember(memory: Memory, request: Mapping[str, AttributeValue], answer: Answer) -> None:
    """Note what a call's own answer says of the background: that its result is to come, or that it has come."""
    if answer.id is None:
        return
    key = (request[names.SERVER_ADDRESS], answer.id)
    if answer.pending:
        memory.expect(key)
    elif answer.usage is not None and answer.usage.known():
        memory.first(key)
