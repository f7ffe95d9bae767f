"""The context of a call -> somebody else's span that tells of this call already, or the lack of one.

Several can be nested, an official instrumentation's around the SDK's own, for one: the innermost is meant, since only
that one can be reached. An agent's run, a tool or a workflow is none: it holds calls.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, TracerProvider

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation import util_genai
from spanledger_instrumentation.util_genai import Published

__all__ = ["SCOPE", "Outer", "attributes_of", "family", "find"]

SCOPE: Final = "spanledger"
"""The instrumentation scope of our own spans and metrics."""
_FAMILIES: Final[Mapping[object, str]] = {
    **dict.fromkeys(("chat", "generate_content", "text_completion", "completion", "LLM"), "chat"),
    **dict.fromkeys(("embeddings", "embedding", "EMBEDDING"), "embeddings"),
    **dict.fromkeys(("rerank", "RERANKER"), "rerank"),
}
"""What the conventions, OpenLLMetry and OpenInference call a model call -> one word for calls of the same kind."""
_NATIVE: Final = ("com.anthropic.sdk.python", "mistralai_sdk_tracer", "openinference.", "logfire")
"""Scopes whose spans may lie inside those of an instrumentation that is built on util-genai."""
_MEASURING: Final = ("opentelemetry.instrumentation.openai", "opentelemetry.instrumentation.anthropic")
"""Scopes of OpenLLMetry, which records metrics of the conventions itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """Somebody else's account of the call: a span, an invocation of util-genai that waits to be told, or both."""

    span: Span | None
    invocation: Published | None
    measures: bool
    """Whether it records the call's metrics, too."""
    enclosing: Span | None = None
    """A span around it, which speaks for a call that is no stream, because the inner one will not be exported."""


def family(operation: object) -> object:
    """Name the kind of call; what nobody knows by another name stands for itself."""
    return _FAMILIES.get(operation, operation)


def find(current: Context, provider: TracerProvider, operation: str, *, suppressed: bool) -> Outer | None:
    """Find who tells of a call of this operation that is about to be sent in this context."""
    kind = family(operation)
    invocation = util_genai.published(current, str(kind))
    span = _calling(trace.get_current_span(current), provider, kind)
    if span is None and invocation is None:
        return None
    scope = _scope_of(span)
    return Outer(
        span=span,
        invocation=None if scope.startswith(_NATIVE) else invocation,
        measures=invocation is not None or scope.startswith(_MEASURING),
        enclosing=_enclosing(span, kind) if suppressed and span is not None else None,
    )


def _calling(span: Span, provider: TracerProvider, kind: object) -> Span | None:
    if not span.is_recording() or _kind_of(attributes_of(span)) != kind:
        return None
    if _scope_of(span) == SCOPE:  # the stream of a call that was sent in this context is still open: this is another
        return None
    return span if _is_of(span, provider) else None


def _is_of(span: Span, provider: TracerProvider) -> bool:
    # A span of another provider (some SDKs keep a private one) goes where our user will never look. The SDK's spans
    # have their provider's processor; where somebody wraps either of the two, the resource has to do.
    for of_provider, of_span in (("_active_span_processor", "_span_processor"), ("resource", "resource")):
        ours: object = getattr(provider, of_provider, None)
        theirs: object = getattr(span, of_span, None)
        if ours is not None and theirs is not None:
            return ours is theirs
    return True


def _enclosing(span: Span, kind: object) -> Span | None:
    # Logfire suppresses what is started and ended below its own span, and keeps the parents of open spans.
    find_parent: object = getattr(sys.modules.get("logfire._internal.tracer"), "get_parent_span", None)
    if not callable(find_parent):
        return None
    parent = cast("Callable[[Span], Span | None]", find_parent)(span)
    return parent if parent is not None and _kind_of(attributes_of(parent)) == kind else None


def _scope_of(span: Span | None) -> str:
    scope: object = getattr(span, "instrumentation_scope", None)
    return str(getattr(scope, "name", None) or "")


def attributes_of(span: Span) -> Mapping[str, object]:
    """Give the attributes of a span.

    The API has no way to read them; the SDK's spans have `attributes`. Of another implementation nothing is known.
    """
    attributes: object = getattr(span, "attributes", None)
    return cast("Mapping[str, object]", attributes) if isinstance(attributes, Mapping) else {}


def _kind_of(attributes: Mapping[str, object]) -> object:
    """Recognise a model call by the marks of the conventions, OpenInference and OpenLLMetry."""
    operation = attributes.get(names.OPERATION_NAME)
    if operation is not None:
        return family(operation)
    kind = _FAMILIES.get(attributes.get("openinference.span.kind"))
    if kind is not None:
        return kind
    older = attributes.get("llm.request.type")
    return "chat" if older == "unknown" else _FAMILIES.get(older)
