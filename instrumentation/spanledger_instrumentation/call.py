"""One LLM call, from the request to the end of its answer. Knows no HTTP library: the clients are thin shells over it.

Every method that a client calls is fenced: it never raises. The end happens once, whoever comes first: the provider's
last event, the end of the body, close, an error or the garbage collector.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation import body, reaper
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.providers.routes import Route
from spanledger_instrumentation.providers.values import AttributeValue, integer
from spanledger_instrumentation.settings import Settings
from spanledger_instrumentation.spans import Spans, Target
from spanledger_instrumentation.usage import Answer, Usage, usage_status

__all__ = ["Call", "Outgoing", "begin"]

REQUEST_BYTES_MAX = 256 * 1024
"""Body of a request that is parsed as a whole, in the app's event loop; of a longer one only head and tail are read."""
ERROR_BYTES_MAX = 64 * 1024
"""Body of a refusal that is looked at."""

_USAGE_ATTRIBUTES: Mapping[str, str] = {
    "input_tokens": names.USAGE_INPUT_TOKENS,
    "output_tokens": names.USAGE_OUTPUT_TOKENS,
    "cache_read_input_tokens": names.USAGE_CACHE_READ,
    "cache_write_input_tokens": names.USAGE_CACHE_WRITE,
    "cache_write_5m_input_tokens": names.USAGE_CACHE_WRITE_5M,
    "cache_write_1h_input_tokens": names.USAGE_CACHE_WRITE_1H,
    "cache_write_30m_input_tokens": names.USAGE_CACHE_WRITE_30M,
    "cache_write_12h_input_tokens": names.USAGE_CACHE_WRITE_12H,
    "reasoning_output_tokens": names.USAGE_REASONING,
    "audio_input_tokens": names.USAGE_AUDIO_INPUT,
    "audio_output_tokens": names.USAGE_AUDIO_OUTPUT,
    "image_input_tokens": names.USAGE_IMAGE_INPUT,
    "web_search_requests": names.USAGE_WEB_SEARCH_REQUESTS,
    "compaction_input_tokens": names.COMPACTION_INPUT_TOKENS,
    "compaction_output_tokens": names.COMPACTION_OUTPUT_TOKENS,
}
_ENTER, _READ, _FEED, _END = Fence("enter"), Fence("read"), Fence("feed"), Fence("end")
_NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"})
"""httpx's exceptions before the request has left. After any other one the provider may have worked, and will bill."""
_TIMED_OUT = frozenset({408, 499, 504, 524})
"""What a gateway answers when it stops to wait: without an error of the provider's own, which may work on and bill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request, as far as the core wants to know it."""

    host: str
    port: int | None
    """Absent where the URL has none and its scheme no usual one."""
    content: bytes
    """The body, or nothing where it cannot be read without consuming it."""
    retry: str | None
    """The x-stainless-retry-count header of the SDKs of OpenAI and Anthropic."""


class Call:
    """Follow one call and write what its answer says."""

    __slots__ = (
        "__weakref__",
        "_at_end",
        "_body",
        "_broken",
        "_error_type",
        "_first_chunk_s",
        "_once",
        "_pid",
        "_refusal",
        "_route",
        "_started_s",
        "_status_code",
        "_streaming",
        "_target",
        "_timed_out",
        "recording",
    )

    def __init__(self, route: Route, target: Target, *, streaming: bool) -> None:
        self._route = route
        self._target = target
        self._streaming = streaming
        self._started_s = time.perf_counter()
        self._first_chunk_s: float | None = None
        self._status_code: int | None = None
        self._body: body.Body | None = None
        self._refusal: bytearray | None = None
        self._at_end = False
        self._broken = False
        self._timed_out = False
        self._error_type: str | None = None
        self._once = threading.Lock()
        self._pid = os.getpid()
        self.recording = target.recording
        reaper.follow(self)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do: it has ended, or this is a fork and the call is its parent's."""
        return self._once.locked() or os.getpid() != self._pid

    def enter(self) -> object:
        """Make the call current while its request is sent."""
        with _ENTER:
            return self._target.enter()
        return None

    def leave(self, token: object) -> None:
        """Undo `enter`."""
        with _ENTER:
            if token is not None:
                self._target.leave(token)

    def answered(self, status_code: int, header: Callable[[str], str | None]) -> None:
        """Take the head of an answer whose body is to follow."""
        with _READ:
            self._status_code = status_code
            if not self._succeeded:
                self._refusal = bytearray()
                return
            if self._target.eager:  # should the outer span end now, and nothing more come: the loss is visible
                self._target.write({names.USAGE_STATUS: "unreported"})
            self._body = body.Body(
                self._route.wire,
                content_type=(header("content-type") or "").lower(),
                content_encoding=header("content-encoding") or "",
            )

    def read(self, status_code: int, content: bytes, content_type: str | None) -> None:
        """Take an answer that is all there, and end the call."""
        answer = Answer()
        with _READ:
            self._status_code = status_code
            if not self._succeeded:
                answer = self._refused(content)
            elif self.recording:
                answer = body.read(self._route.wire, content, (content_type or "").lower())
        self._end(answer)

    def feed(self, chunk: bytes) -> None:
        """Take the next raw bytes of the body, before the app gets them."""
        following = self._body
        if following is None or self._broken:
            if self._refusal is not None:
                self._refusal += chunk[: ERROR_BYTES_MAX - len(self._refusal)]
            return
        with _FEED:
            if self._first_chunk_s is None:
                self._first_chunk_s = time.perf_counter() - self._started_s
            if following.feed(chunk):
                if following.answer.done:
                    self._end(following.answer)
                elif self._target.eager:
                    self._target.write(self._answer_attributes(following.answer))
            return
        self._broken = True  # what follows cannot be understood either

    def finish(self) -> None:
        """Take the end of the body."""
        if not self.ended:
            self._at_end = True
            with _READ:
                if self._body is not None and not self._broken:
                    self._body.finish()
            self.close()

    def close(self) -> None:
        """End the call, wherever it stands."""
        if not self.ended:
            answer = Answer()
            with _READ:
                if self._refusal is not None:
                    answer = self._refused(bytes(self._refusal))
                elif self._body is not None:
                    self._body.close()
                    answer = self._body.answer
            self._end(answer)

    def fail(self, error: BaseException) -> None:
        """End the call with the exception that the app is about to see."""
        if not self.ended:
            self._error_type = type(error).__qualname__
            self.close()

    @property
    def _succeeded(self) -> bool:
        return self._status_code is not None and 200 <= self._status_code < 300

    def _refused(self, content: bytes) -> Answer:
        error = self._route.wire.read_error(Document(content[:ERROR_BYTES_MAX]))
        if error is None and self._status_code in _TIMED_OUT:
            self._timed_out = True
            self._error_type = self._error_type or str(self._status_code)
            return Answer()
        return Answer(error_type=error or str(self._status_code))

    def _end(self, answer: Answer) -> None:
        if self.ended or not self._once.acquire(blocking=False):
            return
        reaper.forget(self)
        error_type = answer.error_type or self._error_type
        failed = error_type is not None or not self._succeeded
        with _END:
            if self._succeeded or not self._target.eager:  # a failed attempt says nothing of an outer call
                found = self._answer_attributes(answer)
                if error_type is not None:
                    found[names.ERROR_TYPE] = error_type
                self._target.write(found)
        self._body = None
        with _END:
            self._target.end(failed=failed)

    def _answer_attributes(self, answer: Answer) -> dict[str, AttributeValue]:
        early = self._ended_early(answer)
        candidates: dict[str, AttributeValue | None] = {
            names.HTTP_RESPONSE_STATUS_CODE: self._status_code,
            names.RESPONSE_ID: answer.id,
            names.RESPONSE_MODEL: answer.model,
            names.RESPONSE_TIME_TO_FIRST_CHUNK: self._first_chunk_s if self._streaming else None,
            f"{self._route.wire.provider}.response.service_tier": answer.service_tier,
            names.ANTHROPIC_RESPONSE_INFERENCE_GEO: answer.inference_geo,
            names.ANTHROPIC_RESPONSE_SPEED: answer.speed,
            names.USAGE_STATUS: usage_status(answer, whole=not early, sent=self._may_be_billed),
        }
        if self.ended or answer.complete():
            candidates[names.RESPONSE_FINISH_REASONS] = answer.finish_reasons or (("error",) if early else None)
        found = {name: value for name, value in candidates.items() if value is not None}
        if answer.usage is not None:
            found.update(_usage_attributes(answer.usage))
        return found

    def _ended_early(self, answer: Answer) -> bool:
        # What cannot be read (an unknown shape or encoding) cannot be said to have ended early either.
        readable = self._body is not None and not self._broken and (answer.begun or not self._at_end)
        return readable and not answer.complete()

    @property
    def _may_be_billed(self) -> bool:
        if self._status_code is None:
            return self._error_type not in _NEVER_SENT
        return self._succeeded or self._timed_out


def _usage_attributes(usage: Usage) -> dict[str, AttributeValue]:
    figures = ((name, getattr(usage, field)) for field, name in _USAGE_ATTRIBUTES.items())
    return {name: figure for name, figure in figures if figure is not None}


def begin(route: Route, request: Outgoing, spans: Spans, settings: Settings) -> Call | None:
    """Begin the call that this request is, or find that it is none, or none to be reported."""
    if settings.excludes(request.host):
        return None
    place = spans.place(route.wire.operation, request.content)
    if place is None:
        return None
    document = Document.of(request.content, REQUEST_BYTES_MAX)
    if not route.leads(request.host, document):
        return None
    wire = route.wire
    streaming = document.read("stream") is True
    attributes: dict[str, AttributeValue] = {
        names.OPERATION_NAME: wire.operation,
        names.PROVIDER_NAME: wire.provider,
        names.SERVER_ADDRESS: request.host,
        **wire.read_request(document),
    }
    if request.port is not None:
        attributes[names.SERVER_PORT] = request.port
    if streaming:
        attributes[names.REQUEST_STREAM] = True
    if request.retry is not None and request.retry.isdecimal() and (resend := integer(int(request.retry[:4]))):
        attributes[names.HTTP_REQUEST_RESEND_COUNT] = resend
    model = attributes.get(names.REQUEST_MODEL)
    target = place.open(f"{wire.operation} {model}" if model else wire.operation, attributes)
    return None if target is None else Call(route, target, streaming=streaming)
