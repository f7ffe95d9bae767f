"""One LLM call, from the request to the end of its answer. Knows no HTTP library: the clients are thin shells over it.

Every method that a client calls is fenced: it never raises. The end happens once, whoever comes first: the provider's
last event, the end of the body, close, an error or the garbage collector.
"""

import threading
import time
from collections.abc import Callable, Mapping

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation import body, late, reaper, report, response_head
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.encoding import decoded_head
from spanledger_instrumentation.estimate import Estimate
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.gated import Gated
from spanledger_instrumentation.injection import Injection
from spanledger_instrumentation.memory import Memory
from spanledger_instrumentation.metrics import Ended, Instruments
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.rate_limit_refusals import STATUS_CODES, read_refusal
from spanledger_instrumentation.refusals import ERROR_TYPE
from spanledger_instrumentation.spans import Target
from spanledger_instrumentation.usage import Answer, Usage, UsageStatus, usage_status

__all__ = ["Call"]

ERROR_BYTES_MAX = 64 * 1024
"""Body of a refusal that is looked at."""

_ENTER, _READ, _FEED, _END = Fence("enter"), Fence("read"), Fence("feed"), Fence("end")
_HEAD, _WRITE = Fence("head"), Fence("write")
_NEVER_SENT = frozenset(
    {
        *("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"),
        *("ClientConnectorError", "ClientConnectorDNSError", "ClientConnectorSSLError", "ConnectionTimeoutError"),
        *("ClientConnectorCertificateError", "ClientProxyConnectionError", "InvalidSchema", "InvalidURL"),
        *("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "EmptyPoolError"),
    }
)
"""Exceptions of the clients before the request has left. After any other one the provider may have worked, and bill.
Those in which requests and urllib3 wrap what went wrong (`ConnectionError`, `MaxRetryError`) may be either."""
_TIMED_OUT = frozenset({408, 499, 504, 524})
"""What a gateway answers when it stops to wait: without an error of the provider's own, which may work on and bill."""


class Call(Gated):
    """Follow one call and write what its answer says."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_at_end",
        "_body",
        "_broken",
        "_feeding",
        "_first_chunk_s",
        "_head",
        "_head_attributes",
        "_injection",
        "_memory",
        "_once",
        "_passes",
        "_process",
        "_refusal",
        "_request",
        "_started_s",
        "_status_code",
        "_streaming",
        "_succeeded",
        "_target",
        "_timed_out",
        "_wire",
        "estimate",
        "replacement",
        "replacement_headers",
    )

    def __init__(
        self,
        wire: Wire,
        target: Target,
        request: Mapping[str, AttributeValue],
        memory: Memory,
        *,
        streaming: bool,
        asked: Usage | None,
    ) -> None:
        super().__init__(recording=target.recording)
        self._wire = wire
        self._target = target
        self._request = request
        self._memory = memory
        self._streaming = streaming
        self._asked = asked
        self._started_s = time.perf_counter()
        self._first_chunk_s: float | None = None
        self._status_code: int | None = None
        self._succeeded = False
        self._head: Mapping[str, str] = {}
        self._head_attributes: dict[str, AttributeValue] = {}
        self._body: body.Body | None = None
        self._feeding: body.Body | None = None  # the same, as long as what it is fed can be understood
        self._passes: Callable[[bytes], bool] | None = None  # whether a chunk surely says nothing, and may pass
        self._injection: Injection | None = None
        self.estimate: Estimate | None = None
        self._refusal: bytearray | None = None
        self._at_end = False
        self._broken = False
        self._timed_out = False
        self._once = threading.Lock()
        self._process = reaper.process
        self.replacement: bytes | None = None
        self.replacement_headers: Mapping[str, str] = {}
        reaper.follow(self)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do: it has ended, or this is a fork and the call is its parent's."""
        return self._once.locked() or reaper.process is not self._process

    @property
    def hides(self) -> bool:
        """Whether bytes of the answer whose head was taken may be kept from the app."""
        return self._injection is not None and self._injection.hides

    def enter(self) -> object:
        """Make the call current while its request is sent."""
        try:  # here and below no `with`, on the path of every call
            return self._target.enter()
        except Exception as error:  # noqa: BLE001 - the fence
            _ENTER.caught(error)
            return None

    def leave(self, token: object) -> None:
        """Undo `enter`."""
        try:
            if token is not None:
                self._target.leave(token)
        except Exception as error:  # noqa: BLE001 - the fence
            _ENTER.caught(error)

    def send_instead(self, injection: Injection | None) -> None:
        """Send this body in place of the app's own, if there is one and any use in it."""
        if injection is None or not self.recording:
            return
        self._injection = injection
        self.replacement = injection.replacement
        self.replacement_headers = injection.replacement_headers
        self._target.sends(injection.replacement)

    def answered(self, status_code: int, headers: Mapping[str, str]) -> None:
        """Take the head of an answer whose body is to follow."""
        with _READ:
            self._take_head(status_code, headers)
            if not self._succeeded:
                self._refusal = bytearray()
                return
            if self._injection is not None:
                self._injection.answered(headers)
            if self._target.eager:  # should the outer span end now, and nothing more come: the loss is visible
                self._write({**self._head_attributes, names.USAGE_STATUS: "unreported"})
            self._body = self._feeding = body.Body(
                self._wire,
                content_type=headers.get("content-type", "").lower(),
                content_encoding=headers.get("content-encoding", ""),
            )

    def read(self, status_code: int, headers: Mapping[str, str], content: bytes) -> bytes:
        """Take an answer that is all there, and end the call."""
        answer, passed = Answer(), content
        self._at_end = True
        try:
            self._take_head(status_code, headers)
            if not self._succeeded:
                answer = self._refused(content)
            elif self.recording:
                answer = body.read(self._wire, content, headers.get("content-type", "").lower())
                if self._injection is not None:
                    passed = self._injection.read(content, answer)
        except Exception as error:  # noqa: BLE001 - the fence
            _READ.caught(error)
        self._end(answer)
        return passed

    def _take_head(self, status_code: int, headers: Mapping[str, str]) -> None:
        self._status_code = status_code
        self._succeeded = 200 <= status_code < 300
        self._head = headers
        if self.recording:
            try:
                provider = str(self._request[names.PROVIDER_NAME])
                self._head_attributes = response_head.read(headers, provider, time.time())
            except Exception as error:  # noqa: BLE001 - the fence
                _HEAD.caught(error)

    def feed(self, chunk: bytes) -> bytes:
        """Take the next raw bytes of the body, before the app gets them; give those that it is to get."""
        # Written for speed: this is all that nearly every chunk passes through.
        try:
            passes = self._passes
            if passes is not None and passes(chunk):
                return chunk
            following = self._feeding
            if following is not None:
                return self._feed(following, chunk)
        except Exception as error:  # noqa: BLE001 - the fence
            _FEED.caught(error)
            self._feeding = self._passes = None  # what follows cannot be understood either
            self._broken = True
            return chunk if self._injection is None else self._injection.release() + chunk
        if self._refusal is not None:
            self._refusal += chunk[: ERROR_BYTES_MAX - len(self._refusal)]
        elif self._injection is not None:  # it has failed, and the app reads on all the same
            return self._injection.release() + chunk
        return chunk

    def _feed(self, following: body.Body, chunk: bytes) -> bytes:
        if self._first_chunk_s is None:
            self._first_chunk_s = time.perf_counter() - self._started_s
        if following.feed(chunk):
            self._changed(following.answer)
        if self.estimate is None and not self._is_held:
            self._passes = following.passes
        return chunk if self._injection is None else self._injection.feed(chunk, following.answer)

    def _changed(self, answer: Answer) -> None:
        if answer.done:
            self._end(answer)
        elif self._target.eager:
            self._write(self._answer_attributes(answer))

    def _write(self, attributes: Mapping[str, AttributeValue]) -> None:
        with _WRITE:  # a span that cannot be written on is no reason to stop reading, and hiding, what the app gets
            self._target.write(attributes)

    def finish(self) -> bytes:
        """Take the end of the body; give what was held back."""
        if not self.ended:
            self._at_end = True
            with _READ:
                if self._feeding is not None:
                    self._feeding.finish()
            self.close()
        return self.release()

    def release(self) -> bytes:
        """Give what was held back, and hide nothing any more."""
        if self._injection is not None:
            with _FEED:
                return self._injection.finish()
        return b""

    def close(self) -> None:
        """End the call, wherever it stands."""
        if not self.ended:
            answer = Answer()
            with _READ:
                if self._refusal is not None:
                    answer = self._refused(self._refusal_content(bytes(self._refusal)))
                elif self._body is not None:
                    self._body.close()
                    answer = self._body.answer
            self._end(answer)

    def _refusal_content(self, raw: bytes) -> bytes:
        with _READ:  # what cannot be decoded is a refusal all the same, whose body says nothing
            return decoded_head(self._head.get("content-encoding", ""), raw, ERROR_BYTES_MAX)
        return b""

    def fail(self, error: BaseException) -> None:
        """End the call with the exception that the app is about to see."""
        if not self.ended:
            self._error_type = type(error).__qualname__
            self.close()

    def _refused(self, content: bytes) -> Answer:
        if self._injection is not None:
            self._injection.refused(self._status_code, content)
        if self._status_code in STATUS_CODES:
            with _HEAD:
                self._head_attributes = read_refusal(content[:ERROR_BYTES_MAX], self._head_attributes, time.time())
        error = self._wire.read_error(Document(content[:ERROR_BYTES_MAX]))
        if error is None and self._wire.read_error_head is not None:
            error = self._wire.read_error_head(self._head)
        if error is None and self._status_code in _TIMED_OUT:
            self._timed_out = True
            self._error_type = self._error_type or str(self._status_code)
            return Answer()
        return Answer(error_type=error or str(self._status_code))

    def _end(self, answer: Answer) -> None:
        if self.ended or not self._once.acquire(blocking=False):
            return
        reaper.forget(self)
        try:
            self._complete(answer)
        except Exception as error:  # noqa: BLE001 - the fence
            _END.caught(error)
        error_type = answer.error_type or self._error_type
        target = self._target
        try:
            # A failed attempt says nothing of an outer call; a refusal does, for nobody tries again.
            if self._succeeded or self._unsent or not target.eager:
                target.write(self._last_attributes(answer, error_type))
        except Exception as error:  # noqa: BLE001 - the fence
            _END.caught(error)
        self._give_back(answer)
        self._body = self._feeding = self._passes = None
        try:
            target.end(failed=error_type is not None or not self._succeeded)
        except Exception as error:  # noqa: BLE001 - the fence
            _END.caught(error)
        try:
            if target.instruments is not None:
                self._measure(target.instruments, answer, error_type)
        except Exception as error:  # noqa: BLE001 - the fence
            _END.caught(error)

    def _last_attributes(self, answer: Answer, error_type: str | None) -> dict[str, AttributeValue]:
        found = self._answer_attributes(answer)
        if error_type is not None:
            found[names.ERROR_TYPE] = error_type
        if self.refused:
            found[names.REFUSAL] = ERROR_TYPE  # an outer span has another one: what the SDK made of our answer
        if self.estimate is not None:
            received = None if self._body is None else self._body.received_bytes
            found.update(self.estimate.settle(found[names.USAGE_STATUS], answer.usage, received))
        return found

    def _give_back(self, answer: Answer) -> None:
        if not self.gated:
            return
        with _END:
            received = self._body.received_bytes if self._body is not None and self._streaming else None
            reports = self._succeeded or not self._target.eager
            self._settle(answer.usage, self._usage_status(answer), received, reports=reports)

    def _measure(self, instruments: Instruments, answer: Answer, error_type: str | None) -> None:
        instruments.add(
            Ended(
                request=self._request,
                response_model=answer.model,
                usage=answer.usage,
                duration_s=time.perf_counter() - self._started_s,
                first_chunk_s=self._first_chunk_s if self._streaming else None,
                error_type=error_type,
                head=self._head_attributes,
            )
        )

    def _complete(self, answer: Answer) -> None:
        """Add what an answer that came to its end does not say itself, and note what is still to come."""
        if self._succeeded and answer.error_type is None and self._error_type is None:
            if self._wire.read_head is not None:
                self._wire.read_head(self._head, answer)
            if answer.usage is None:
                answer.usage = self._asked
        if answer.pending or answer.background:
            late.remember(self._memory, self._request, answer)

    def _answer_attributes(self, answer: Answer) -> dict[str, AttributeValue]:
        early = self._ended_early(answer)
        found = report.of_answer(answer, self._wire.provider)
        if self._head_attributes:
            found = {**self._head_attributes, **found}
        if self._status_code is not None:
            found[names.HTTP_RESPONSE_STATUS_CODE] = self._status_code
        if self._streaming and self._first_chunk_s is not None:
            found[names.RESPONSE_TIME_TO_FIRST_CHUNK] = self._first_chunk_s
        found[names.USAGE_STATUS] = self._usage_status(answer)
        if self._admission is not None and (lease_ids := self._admission.lease_ids):
            found[names.BUDGET_LEASES] = lease_ids
        if self.ended or answer.complete():
            reasons = answer.finish_reasons or (("error",) if early else None)
            if reasons is not None:
                found[names.RESPONSE_FINISH_REASONS] = reasons
        return found

    def _usage_status(self, answer: Answer) -> UsageStatus:
        whole = not self._ended_early(answer) and (answer.complete() or not self._broken)
        return usage_status(answer, whole=whole, sent=self._may_be_billed)

    def _ended_early(self, answer: Answer) -> bool:
        # What cannot be read (an unknown shape or encoding) cannot be said to have ended early either.
        looked_at = (self._body is not None or self._at_end) and not self._broken
        readable = looked_at and (answer.begun or not self._at_end)
        return readable and not answer.complete()

    @property
    def _may_be_billed(self) -> bool:
        if self._unsent:
            return False
        if self._status_code is None:
            return self._error_type not in _NEVER_SENT
        return self._succeeded or self._timed_out
