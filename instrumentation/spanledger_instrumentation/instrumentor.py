"""The entry point of `opentelemetry-instrument`: installs the import hooks, and takes everything back."""

import sys
from collections.abc import Collection
from typing import Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from wrapt import register_post_import_hook

from spanledger_instrumentation import settings
from spanledger_instrumentation.client import MODULES, Patches
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.spans import Spans

__all__ = ["SpanledgerInstrumentor"]

_IMPORT: Final = Fence("import")


class SpanledgerInstrumentor(BaseInstrumentor):
    """Report each LLM call that httpx or httpx2 sends as a span."""

    _patches: Patches | None = None
    _hooked = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """Depend on nothing: the clients are patched when, and if, the app imports them."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        self._patches = Patches(Spans(kwargs.get("tracer_provider")), settings.load())
        for name in MODULES:
            if not self._hooked:
                register_post_import_hook(self._imported, name)
            elif name in sys.modules:
                self._imported(sys.modules[name])
        self._hooked = True

    def _uninstrument(self, **_: Any) -> None:
        patches, self._patches = self._patches, None
        if patches is not None:
            patches.revert()

    def _imported(self, module: Any) -> None:
        # An exception here would make the app's import fail. Without patches (uninstrumented) the hook does nothing.
        with _IMPORT:
            if self._patches is not None:
                self._patches.apply(module)
