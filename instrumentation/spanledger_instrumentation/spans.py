"""Calls -> spans. The only module that touches OpenTelemetry's traces and context.

1. Inside another call of ours (one client built on another): nothing, the outer call is the one that counts.
2. Under somebody else's inference span: that span gets what it lacks, at the moment that it is known.
3. Under `suppress_instrumentation`: nothing. It is a request to be silent, and an outer span of case 2 still speaks.
4. Else a CLIENT span of our own, current while the request is sent and held by no context afterwards.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, cast
from weakref import WeakSet

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from spanledger_instrumentation import __version__
from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.providers.values import AttributeValue

__all__ = ["Place", "Spans", "Target"]

SCOPE: Final = "spanledger"
_INFERENCE_OPERATIONS: Final = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
_OPENINFERENCE_KINDS: Final = frozenset({"LLM", "EMBEDDING", "RERANKER"})
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


class _Current:
    """Holds the context of a call while its request is sent."""

    def __init__(self, span: Span | None) -> None:
        # Mutable: a task that was started while the request was sent inherits the context and may outlive it.
        self._sending = [True]
        bare = context.set_value(_CALL_KEY, self._sending)
        self._context: Context = bare if span is None else trace.set_span_in_context(span, bare)

    def enter(self) -> object:
        return context.attach(self._context)

    def leave(self, token: Any) -> None:
        self._sending[0] = False
        # A coroutine that is collected while it waits is closed in another context, where the token is not valid.
        if context.get_current() is self._context:
            context.detach(token)


class OwnSpan(_Current):
    """A span of our own: attributes are written in one go before it ends.

    Where it is not sampled it is current all the same, for those who propagate it, and nothing is read for it.
    """

    eager = False

    def __init__(self, span: Span) -> None:
        super().__init__(span)
        self._span = span
        self.recording = span.is_recording()

    def write(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Write attributes."""
        self._span.set_attributes(attributes)

    def end(self, *, failed: bool) -> None:
        """End the span."""
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OuterSpan(_Current):
    """Somebody else's span: it gets what it lacks, never an attempt's error, and its end is not ours."""

    eager = True
    recording = True

    def __init__(self, span: Span, enriched: "WeakSet[Span]") -> None:
        super().__init__(None)
        self._span = span
        self._enriched = enriched
        self._written: dict[str, AttributeValue] = {}

    def write(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Write the attributes that the span lacks, or that it has from us."""
        present = _attributes_of(self._span)
        for name, value in attributes.items():
            if name in _OF_ONE_ATTEMPT:
                continue
            if name not in present or (name in self._written and present[name] == self._written[name]):
                self._span.set_attribute(name, value)
                self._written[name] = value

    def end(self, *, failed: bool) -> None:
        """Remember that this span has its call: a second one under it gets a span of its own."""
        if not failed:
            self._enriched.add(self._span)


class Place:
    """Where a call takes place: under an outer span, or where a span of our own is to be started."""

    def __init__(self, tracer: Tracer | None, outer: Span | None, enriched: "WeakSet[Span]") -> None:
        self._tracer = tracer
        self._outer = outer
        self._enriched = enriched

    def open(self, name: str, attributes: Mapping[str, AttributeValue]) -> Target | None:
        """Begin the call with the attributes of its request, so that samplers see them."""
        if self._outer is not None:
            target = OuterSpan(self._outer, self._enriched)
            target.write(attributes)
            return target
        if self._tracer is None:
            return None
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        return OwnSpan(span) if span.get_span_context().is_valid else None


class Spans:
    """Find the place of a call."""

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._given = tracer_provider
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        self._enriched: WeakSet[Span] = WeakSet()

    def place(self) -> Place | None:
        """Say where a call that is about to be sent belongs; `None`: it is not reported."""
        sending = context.get_value(_CALL_KEY)
        if isinstance(sending, list) and sending[0]:
            return None
        provider = self._given or trace.get_tracer_provider()
        outer = self._outer(provider)
        if outer is not None:
            return Place(None, outer, self._enriched)
        tracer = self._tracer_of(provider)
        if tracer is None or not is_instrumentation_enabled():
            return None
        return Place(tracer, None, self._enriched)

    def _tracer_of(self, provider: TracerProvider) -> Tracer | None:
        if provider is not self._provider:  # the SDK may be set up after us
            self._provider = provider
            silent = isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)
            tracer = None if silent else provider.get_tracer(SCOPE, __version__)
            self._tracer = None if isinstance(tracer, trace.NoOpTracer) else tracer
        return self._tracer

    def _outer(self, provider: TracerProvider) -> Span | None:
        span = trace.get_current_span()
        if not span.is_recording() or span in self._enriched or not _is_inference(_attributes_of(span)):
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


def _is_inference(attributes: Mapping[str, object]) -> bool:
    """Recognise one model call by the marks of the conventions, OpenInference and OpenLLMetry. An agent run is none."""
    operation = attributes.get(names.OPERATION_NAME)
    if operation is not None:
        return operation in _INFERENCE_OPERATIONS
    if attributes.get("openinference.span.kind") in _OPENINFERENCE_KINDS:
        return True
    return isinstance(attributes.get("llm.request.type"), str | Sequence)
