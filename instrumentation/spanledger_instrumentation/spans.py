"""Calls -> spans. The only module that touches OpenTelemetry's traces and context.

1. Inside another call of ours with the same body (one client built on another): nothing, the outer call counts.
2. Under somebody else's span of the same operation, which has no call yet: that span gets what it lacks, at the moment
   that it is known. Where it ends before its figures are known, they go on a span of our own below it.
3. Under `suppress_instrumentation`: nothing. It is a request to be silent, and an outer span of case 2 still speaks.
4. Else a CLIENT span of our own, current while the request is sent and held by no context afterwards.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Protocol, cast
from weakref import WeakKeyDictionary

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from spanledger_instrumentation import __version__, reaper
from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.providers.values import AttributeValue

__all__ = ["Place", "Spans", "Target"]

SCOPE: Final = "spanledger"
_OPERATIONS: Final[Mapping[object, str]] = {
    **dict.fromkeys(("chat", "generate_content", "text_completion", "completion", "unknown", "LLM"), "chat"),
    **dict.fromkeys(("embeddings", "embedding", "EMBEDDING"), "embeddings"),
}
"""What the conventions, OpenLLMetry and OpenInference call a model call -> our operation. An agent run is none."""
_FIGURES: Final = frozenset({names.USAGE_INPUT_TOKENS, "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"})
"""Any of these on an outer span: it knows the call's figures. A second span with figures would count them twice."""
_OF_ONE_ATTEMPT: Final = frozenset({names.ERROR_TYPE, names.HTTP_RESPONSE_STATUS_CODE, names.HTTP_REQUEST_RESEND_COUNT})
"""What is said of one HTTP attempt, and would be wrong on an outer span that goes on to retry."""
_CALL_KEY: Final = context.create_key("spanledger-call")


class Target(Protocol):
    """Where the attributes of a call go."""

    eager: bool
    """Whether attributes must be written as soon as they are known, because the span may end before the call."""
    recording: bool
    """Whether there is any use in reading the answer."""

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

    def __init__(self, span: Span | None, body: bytes) -> None:
        self._sending = _Sending(body)
        self._before = context.get_current()
        bare = context.set_value(_CALL_KEY, self._sending)
        self._context: Context = bare if span is None else trace.set_span_in_context(span, bare)

    def enter(self) -> object:
        return context.attach(self._context)

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

    eager = False

    def __init__(self, span: Span, body: bytes) -> None:
        super().__init__(span, body)
        self._span = span
        self.recording = span.is_recording()

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
        span: Span,
        claims: "_Claims",
        request: Mapping[str, AttributeValue],
        start_own: partial[Span] | None,
        body: bytes,
    ) -> None:
        super().__init__(None, body)
        self._span = span
        self._claims = claims
        self._known = dict(request)
        self._written: dict[str, AttributeValue] = {}
        self._start_own = start_own
        self._answered = False

    def write(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Write the attributes that the span lacks, or that it has from us."""
        self._known.update(attributes)
        self._answered = True
        if not self._span.is_recording():
            return
        present = _attributes_of(self._span)
        for name, value in self._known.items():
            if name in _OF_ONE_ATTEMPT or self._written.get(name) == value:
                continue
            if name not in present or (name in self._written and present[name] == self._written[name]):
                self._span.set_attribute(name, value)
                self._written[name] = value

    def end(self, *, failed: bool) -> None:
        """Give the span back if it has nothing of this call; report apart what it ended too early for."""
        if failed and not self._written:
            self._claims.pop(self._span, None)
        if self._start_own is not None and self._is_lost():
            _end(self._start_own(attributes=self._known), failed=failed)

    def _is_lost(self) -> bool:
        present = _attributes_of(self._span)
        if not self._answered or self._span.is_recording() or not _FIGURES.isdisjoint(present):
            return False
        return names.USAGE_STATUS not in present or not _FIGURES.isdisjoint(self._known)


_Claims = WeakKeyDictionary[Span, object]
"""The outer spans that have their call. One span tells of one call, also where two begin at once."""


class Place:
    """Where a call takes place: under an outer span, or where a span of our own is to be started."""

    def __init__(self, tracer: Tracer | None, outer: Span | None, claims: _Claims, body: bytes) -> None:
        self._tracer = tracer
        self._outer = outer
        self._claims = claims
        self._body = body

    def open(self, name: str, attributes: Mapping[str, AttributeValue]) -> Target | None:
        """Begin the call with the attributes of its request, so that samplers see them."""
        start = None if self._tracer is None else partial(self._tracer.start_span, name, kind=SpanKind.CLIENT)
        # Claimed by `setdefault`, which is atomic, and not under a lock, which a fork could leave locked for ever.
        claim = object()
        if self._outer is not None and self._claims.setdefault(self._outer, claim) is claim:
            return OuterSpan(self._outer, self._claims, attributes, _below(self._outer, start), self._body)
        if start is None:
            return None
        span = start(attributes=attributes)
        return OwnSpan(span, self._body) if span.get_span_context().is_valid else None


class Spans:
    """Find the place of a call."""

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._given = tracer_provider
        self._known: tuple[TracerProvider | None, Tracer | None] = (None, None)
        self._claims: _Claims = WeakKeyDictionary()

    def place(self, operation: str, body: bytes) -> Place | None:
        """Say where a call that is about to be sent belongs; `None`: it is not reported."""
        sending = context.get_value(_CALL_KEY)
        if isinstance(sending, _Sending) and sending.is_for(body):
            return None
        provider = self._given or trace.get_tracer_provider()
        outer = _outer(provider, operation)
        tracer = self._tracer_of(provider) if is_instrumentation_enabled() else None
        return None if outer is None and tracer is None else Place(tracer, outer, self._claims, body)

    def _tracer_of(self, provider: TracerProvider) -> Tracer | None:
        known, tracer = self._known  # read and written as one: other threads begin calls meanwhile
        if provider is not known:  # the SDK may be set up after us
            silent = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
            tracer = None if silent else provider.get_tracer(SCOPE, __version__)
            tracer = None if isinstance(tracer, trace.NoOpTracer) else tracer
            self._known = (provider, tracer)
            reaper.register()
        return tracer


def _below(outer: Span, start: partial[Span] | None) -> partial[Span] | None:
    if start is None:
        return None
    return partial(start, context=trace.set_span_in_context(outer), start_time=time.time_ns())


def _end(span: Span, *, failed: bool) -> None:
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _outer(provider: TracerProvider, operation: str) -> Span | None:
    span = trace.get_current_span()
    if not span.is_recording() or _operation_of(_attributes_of(span)) != operation:
        return None
    if _is_ours(span):  # the stream of a call that was sent in this context is still open: this is another call
        return None
    # A span of another provider (some SDKs keep a private one) goes where our user will never look.
    ours: object = getattr(provider, "resource", None)
    theirs: object = getattr(span, "resource", None)
    return span if ours is None or theirs is None or ours is theirs else None


def _is_ours(span: Span) -> bool:
    scope: object = getattr(span, "instrumentation_scope", None)
    return getattr(scope, "name", None) == SCOPE


def _attributes_of(span: Span) -> Mapping[str, object]:
    # The API has no way to read a span; the SDK's spans have `attributes`. Of another implementation nothing is known.
    attributes: object = getattr(span, "attributes", None)
    return cast("Mapping[str, object]", attributes) if isinstance(attributes, Mapping) else {}


def _operation_of(attributes: Mapping[str, object]) -> str | None:
    """Recognise one model call by the marks of the conventions, OpenInference and OpenLLMetry."""
    operation = attributes.get(names.OPERATION_NAME)
    if operation is not None:
        return _OPERATIONS.get(operation)
    kind = _OPERATIONS.get(attributes.get("openinference.span.kind"))
    return kind or _OPERATIONS.get(attributes.get("llm.request.type"))
