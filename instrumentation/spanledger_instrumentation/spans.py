"""Calls -> spans. The only module that makes spans and sets the context.

1. Inside another call of ours with the same body (one client built on another): nothing, the outer call counts.
2. Under somebody else's span of the same operation, which has no call yet: that span gets what it lacks, at the moment
   that it is known. Where it ends before its figures are known, they go on a span of our own below it.
3. Under `suppress_instrumentation`: nothing. It is a request to be silent, and an outer span of case 2 still speaks.
4. Else a CLIENT span of our own, current while the request is sent and held by no context afterwards.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from spanledger_instrumentation import __version__, outer, reaper, util_genai
from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.memory import Memory
from spanledger_instrumentation.metrics import Instruments, Metrics
from spanledger_instrumentation.outer import SCOPE, Outer, attributes_of
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.util_genai import Published

__all__ = ["LatePlace", "Place", "Spans", "Target"]

_FIGURES: Final = frozenset({names.USAGE_INPUT_TOKENS, "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"})
"""Any of these on an outer span: it knows the call's figures. A second span with figures would count them twice."""
_OF_ONE_ATTEMPT: Final = frozenset({names.ERROR_TYPE, names.HTTP_RESPONSE_STATUS_CODE, names.HTTP_REQUEST_RESEND_COUNT})
"""What is said of one HTTP attempt, and would be wrong on an outer span that goes on to retry."""
_CALL_KEY: Final = context.create_key("spanledger-call")
WHOSE_CHARS_MAX: Final = 512
"""Of a service's name and an environment's: as much as the exporter keeps."""


class Target(Protocol):
    """Where the attributes of a call go."""

    eager: bool
    """Whether attributes must be written as soon as they are known, because the span may end before the call."""
    recording: bool
    """Whether there is any use in reading the answer."""
    instruments: Instruments | None
    """Where the call is measured, unless nobody wants to know or somebody else measures it."""

    def write(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Write attributes."""
        ...

    def end(self, *, failed: bool) -> None:
        """End the call."""
        ...

    def enter(self) -> object:
        """Make it current while the request is sent; gives a token for `leave`."""
        ...

    def leave(self, token: object) -> None:
        """Undo `enter`."""
        ...

    def sends(self, body: bytes) -> None:
        """Take that this body is sent in place of the request's own: a client below sees that one."""
        ...


class _Sending:
    """Marks the context while a call is sent. Mutable: a task that inherits the context may outlive the sending."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body: bytes | None = body

    def is_for(self, body: bytes) -> bool:
        """Tell whether a request with this body is the same call; one that cannot be read is taken for it."""
        return self.body is not None and (not body or not self.body or body == self.body)


class _Current:
    """Holds the context of a call while its request is sent."""

    __slots__ = ("_before", "_context", "_sending")

    def __init__(self, span: Span | None, operation: str, body: bytes, before: Context) -> None:
        self._sending = _Sending(body)
        self._before = before
        values: dict[str, object] = {**self._before, _CALL_KEY: self._sending}
        if span is not None:
            util_genai.mark(values, str(outer.family(operation)))
        bare = Context(values)
        self._context: Context = bare if span is None else trace.set_span_in_context(span, bare)

    def enter(self) -> object:
        return context.attach(self._context)

    def sends(self, body: bytes) -> None:
        self._sending.body = body

    def leave(self, token: Any) -> None:
        # 1. The usual case. 2. A hook or a transport attached a context of its own and left it there: theirs stays,
        # ours goes. 3. A coroutine that is collected while it waits is closed in another context: not our business.
        self._sending.body = None
        current = context.get_current()
        if current is self._context:
            context.detach(token)
        elif context.get_value(_CALL_KEY, current) is self._sending:
            context.attach(self._without_us(current))

    def _without_us(self, current: Context) -> Context:
        freed = context.set_value(_CALL_KEY, context.get_value(_CALL_KEY, self._before), current)
        if trace.get_current_span(current) is not trace.get_current_span(self._context):
            return freed
        return trace.set_span_in_context(trace.get_current_span(self._before), freed)


class OwnSpan(_Current):
    """A span of our own: attributes are written in one go before it ends.

    Where it is not sampled it is current all the same, for those who propagate it, and nothing is read for it.
    """

    __slots__ = ("_span", "instruments", "recording")
    eager = False

    def __init__(
        self, span: Span, operation: str, body: bytes, before: Context, instruments: Instruments | None
    ) -> None:
        super().__init__(span if span.get_span_context().is_valid else None, operation, body, before)
        self._span = span
        self.instruments = instruments
        self.recording = instruments is not None or span.is_recording()

    def write(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Write attributes."""
        self._span.set_attributes(attributes)

    def end(self, *, failed: bool) -> None:
        """End the span."""
        _end(self._span, failed=failed)


class OuterSpan(_Current):
    """Somebody else's span: it gets what it lacks, never an attempt's error, and its end is not ours.

    Nothing is written before the answer is known to be a success, so that after a failed attempt another one, perhaps
    with another provider, finds the span as it was.
    """

    eager = True
    recording = True

    def __init__(
        self,
        claim: "_Claim",
        request: Mapping[str, AttributeValue],
        start_own: partial[Span] | None,
        body: bytes,
        before: Context,
        instruments: Instruments | None,
    ) -> None:
        super().__init__(None, "", body, before)
        self.instruments = instruments
        self._claim = claim
        self._span = claim.span
        self._known = dict(request)
        self._written: dict[str, AttributeValue] = {}
        self._start_own = start_own
        self._answered = False

    def write(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Write the attributes that the span lacks, or that it has from us."""
        self._known.update(attributes)
        self._answered = True
        said = {name: value for name, value in self._known.items() if name not in _OF_ONE_ATTEMPT}
        if self._claim.invocation is not None:
            self._claim.invocation.write(said)
        if self._span is None:
            self._written = said
        elif self._span.is_recording():
            self._fill(self._span, said)

    def _fill(self, span: Span, said: Mapping[str, AttributeValue]) -> None:
        present, written = attributes_of(span), self._written
        for name, value in said.items():
            if name in written and written[name] == value:
                continue
            if name not in present or (name in written and present[name] == written[name]):
                span.set_attribute(name, value)
                written[name] = value

    def end(self, *, failed: bool) -> None:
        """Give the span back if it has nothing of this call; report apart what it ended too early for."""
        if failed and not self._written:
            self._claim.release()
        if self._start_own is not None and self._span is not None and self._is_lost(self._span):
            _end(self._start_own(attributes=self._known), failed=failed)

    def _is_lost(self, span: Span) -> bool:
        present = attributes_of(span)
        if not self._answered or span.is_recording() or not _FIGURES.isdisjoint(present):
            return False
        return names.USAGE_STATUS not in present or not _FIGURES.isdisjoint(self._known)


_Claims = WeakKeyDictionary[Span, object]
"""The outer spans that have their call. One span tells of one call, also where two begin at once."""


class _Claim:
    """One call's right to an outer span, to an invocation of util-genai, or to both."""

    __slots__ = ("_claims", "_token", "invocation", "span")

    def __init__(self, span: Span | None, invocation: Published | None, claims: _Claims) -> None:
        self.span = span
        self.invocation = invocation
        self._claims = claims
        self._token = object()  # not the claim itself, which would keep the span alive

    def take(self) -> bool:
        """Take it, unless another call has."""
        # By `setdefault`, which is atomic, and not under a lock, which a fork could leave locked for ever.
        if self.span is not None and self._claims.setdefault(self.span, self._token) is not self._token:
            return False
        if self.invocation is not None and not self.invocation.claim():
            self.invocation = None
        return self.span is not None or self.invocation is not None

    def release(self) -> None:
        """Give it back."""
        if self.span is not None:
            self._claims.pop(self.span, None)
        if self.invocation is not None:
            self.invocation.release()


class Place:
    """Where a call takes place: under an outer span, or where a span of our own is to be started."""

    __slots__ = ("_body", "_claims", "_current", "_instruments", "_operation", "_outer", "_suppressed", "_tracer")

    def __init__(
        self,
        operation: str,
        body: bytes,
        *,
        current: Context,
        tracer: Tracer | None,
        instruments: Instruments | None,
        outer: Outer | None,
        suppressed: bool,
        claims: _Claims,
    ) -> None:
        self._operation = operation
        self._body = body
        self._current = current
        self._tracer = tracer
        self._instruments = instruments
        self._outer = outer
        self._suppressed = suppressed
        self._claims = claims

    def open(self, name: str, attributes: Mapping[str, AttributeValue]) -> Target | None:
        """Begin the call with the attributes of its request, so that samplers see them."""
        if self._outer is not None:
            target = self._under(self._outer, name, attributes)
            if target is not None:
                return target
        if self._suppressed:
            return None
        span = (
            trace.INVALID_SPAN
            if self._tracer is None
            # With its context, which the SDK would else look up, again and again.
            else self._tracer.start_span(name, context=self._current, kind=SpanKind.CLIENT, attributes=attributes)
        )
        if self._instruments is None and not span.get_span_context().is_valid:
            return None
        return OwnSpan(span, self._operation, self._body, self._current, self._instruments)

    def _under(self, around: Outer, name: str, attributes: Mapping[str, AttributeValue]) -> Target | None:
        streams = names.REQUEST_STREAM in attributes
        span = around.span if streams or around.enclosing is None else around.enclosing
        claim = _Claim(span, around.invocation, self._claims)
        if not claim.take():
            return None
        start = None if self._tracer is None else partial(self._tracer.start_span, name, kind=SpanKind.CLIENT)
        measured = None if around.measures or self._suppressed else self._instruments
        return OuterSpan(claim, attributes, _below(span, start), self._body, self._current, measured)


class LatePlace(_Current):
    """Where the result of an earlier call is fetched: its span is made only once it is known that there is one.

    It goes on no outer span: whatever is around the fetching tells of something else.
    """

    __slots__ = ("_started_ns", "_tracer")

    def __init__(self, tracer: Tracer) -> None:
        super().__init__(None, "", b"", context.get_current())
        self._tracer = tracer
        self._started_ns = time.time_ns()

    def report(self, name: str, attributes: Mapping[str, AttributeValue], *, failed: bool) -> None:
        """Make a span that began with the request and ends now."""
        span = self._tracer.start_span(
            name,
            context=self._before,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=self._started_ns,
        )
        _end(span, failed=failed)


class Spans:
    """Find the place of a call."""

    __slots__ = ("_claims", "_given", "_known", "_metrics", "memory")

    def __init__(self, tracer_provider: TracerProvider | None = None, metrics: Metrics | None = None) -> None:
        self._given = tracer_provider
        self._known: tuple[TracerProvider | None, Tracer | None] = (None, None)
        self._claims: _Claims = WeakKeyDictionary()
        self._metrics = metrics
        self.memory = Memory()
        """Which results were reported, since some may come more than once."""

    def whose(self) -> dict[str, str]:
        """Say of which service and environment the process is, as its spans say."""
        resource: Any = getattr(self._given or trace.get_tracer_provider(), "resource", None)  # the SDK's alone
        found: Mapping[str, Any] = getattr(resource, "attributes", None) or {}
        environment = found.get("deployment.environment.name") or found.get("deployment.environment")
        said = {"service": found.get("service.name"), "environment": environment}
        return {name: value[:WHOSE_CHARS_MAX] for name, value in said.items() if isinstance(value, str) and value}

    def late_place(self) -> LatePlace | None:
        """Say where a result that is about to be fetched would belong; `None`: it is not reported."""
        sending = context.get_value(_CALL_KEY)
        if (isinstance(sending, _Sending) and sending.is_for(b"")) or not is_instrumentation_enabled():
            return None
        tracer = self._tracer_of(self._given or trace.get_tracer_provider())
        return None if tracer is None else LatePlace(tracer)

    def place(self, operation: str, body: bytes) -> Place | None:
        """Say where a call that is about to be sent belongs; `None`: it is not reported."""
        current = context.get_current()
        provider = self._given or trace.get_tracer_provider()
        found: Outer | None = None
        suppressed = False
        if current:  # a call that nothing is around is spared all this
            sending = current.get(_CALL_KEY)
            if isinstance(sending, _Sending) and sending.is_for(body):
                return None
            suppressed = not is_instrumentation_enabled()
            found = outer.find(current, provider, operation, suppressed=suppressed)
        if found is None and suppressed:
            return None
        tracer = self._tracer_of(provider)
        instruments = None if self._metrics is None else self._metrics.instruments()
        if found is None and tracer is None and instruments is None:
            return None
        return Place(
            operation,
            body,
            current=current,
            tracer=tracer,
            instruments=instruments,
            outer=found,
            suppressed=suppressed,
            claims=self._claims,
        )

    def _tracer_of(self, provider: TracerProvider) -> Tracer | None:
        known, tracer = self._known  # read and written as one: other threads begin calls meanwhile
        if provider is not known:  # the SDK may be set up after us
            silent = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
            tracer = None if silent else provider.get_tracer(SCOPE, __version__)
            tracer = None if isinstance(tracer, trace.NoOpTracer) else tracer
            self._known = (provider, tracer)
            reaper.register()
        return tracer


def _below(outer: Span | None, start: partial[Span] | None) -> partial[Span] | None:
    if outer is None or start is None:
        return None
    return partial(start, context=trace.set_span_in_context(outer), start_time=time.time_ns())


def _end(span: Span, *, failed: bool) -> None:
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end()
