"""opentelemetry-util-genai, on which the official instrumentations are built: how calls meet across it.

An invocation of that package puts an object into the context; whoever finds it there makes no span and writes what it
knows into the object instead, and the invocation adds that to its span, metrics and event when it finishes. The package
is beta and no dependency: where the app has not loaded it nobody can have put anything there.

Source: opentelemetry-util-genai 1.3b0, `_invocation.py` (`_ContextData.merge`) and `_inference_invocation.py`.
"""

import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

from opentelemetry.context import Context

from spanledger_instrumentation.providers.values import AttributeValue

__all__ = ["Published", "mark", "published"]

_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "chat": ("opentelemetry.genai.client.inference.context", "InferenceData"),
    "embeddings": ("opentelemetry.genai.client.embedding.context", "EmbeddingData"),
}
"""Operation -> key in the context, and the class of what stands there."""
_MODULE: Final = "opentelemetry.util.genai.invocation"
_CLAIM: Final = "_spanledger_claim"


class Published:
    """What one invocation waits to be told."""

    __slots__ = ("_data", "_state")

    def __init__(self, data: Any) -> None:  # Any: a dataclass of a package that need not be there
        self._data = data
        self._state: dict[str, object] = vars(data)

    def claim(self) -> bool:
        """Take it for this call; one invocation tells of one call."""
        return self._state.setdefault(_CLAIM, self) is self

    def release(self) -> None:
        """Give it back for the next attempt."""
        self._state.pop(_CLAIM, None)

    def write(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Tell attributes: the invocation's own values win, ours fill what it lacks."""
        data = self._data
        known = {each.name for each in fields(data)}
        for name, value in attributes.items():
            field = name.removeprefix("gen_ai.").replace(".", "_")
            if field in known:
                setattr(data, field, list(value) if isinstance(value, tuple) else value)
            else:
                data.attributes[name] = value


def published(current: Context, operation: str) -> Published | None:
    """Find the invocation of this operation that waits in the context."""
    key = _KEYS.get(operation)
    data = None if key is None else current.get(key[0])
    kind = None if data is None or key is None else _loaded(key[1])
    return Published(data) if kind is not None and isinstance(data, kind) and is_dataclass(data) else None


def mark(context: dict[str, object], operation: str) -> None:
    """Make an instrumentation that is built on the package silent below a call of ours: the wire tells us all."""
    if _MODULE not in sys.modules:  # nearly always
        return
    key = _KEYS.get(operation)
    kind = None if key is None else _loaded(key[1])
    if key is not None and kind is not None:
        data = kind()
        setattr(data, _CLAIM, data)  # a task may inherit it and outlive us: for our own calls it is never an outer one
        context[key[0]] = data


def _loaded(name: str) -> type | None:
    module = sys.modules.get(_MODULE)
    kind: object = getattr(module, name, None)
    return kind if isinstance(kind, type) else None
