"""The entry point of `opentelemetry-instrument`: installs the import hooks, and takes everything back."""

import atexit
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from wrapt import register_post_import_hook

from spanledger_instrumentation import reaper, settings
from spanledger_instrumentation.clients import aiohttp, httpx, requests, urllib3
from spanledger_instrumentation.clients.patches import Patches
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.lease_address import LeaseAddress
from spanledger_instrumentation.metrics import Metrics
from spanledger_instrumentation.spans import Spans

if TYPE_CHECKING:
    from spanledger_instrumentation.enforcement import Enforcer

__all__ = ["SpanledgerInstrumentor"]

_IMPORT: Final = Fence("import")
_CLIENTS: Final[Mapping[str, Callable[[Any, Patches], None]]] = {
    "httpx": httpx.apply,
    "httpx2": httpx.apply,
    "urllib3": urllib3.apply,
    "requests": requests.apply,
    "aiohttp": aiohttp.apply,
}
"""The modules of clients, and what patches each."""


class SpanledgerInstrumentor(BaseInstrumentor):
    """Report each LLM call that one of the clients sends as a span."""

    _patches: Patches | None = None
    _enforcer: "Enforcer | None" = None
    _hooked = False

    def instrumentation_dependencies(self) -> Collection[str]:
        """Depend on nothing: the clients are patched when, and if, the app imports them."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        chosen = settings.load()
        metrics = Metrics(kwargs.get("meter_provider"), old_names=chosen.old_metrics)
        spans = Spans(kwargs.get("tracer_provider"), metrics)
        self._enforcer = None if chosen.budgets is None else _enforcer(chosen.budgets, spans)
        self._patches = Patches(spans, chosen, self._enforcer)
        for name in _CLIENTS:
            if not self._hooked:
                register_post_import_hook(self._imported, name)
            elif name in sys.modules:
                self._imported(sys.modules[name])
        self._hooked = True

    def _uninstrument(self, **_: Any) -> None:
        patches, self._patches = self._patches, None
        if patches is not None:
            patches.revert()
        enforcer, self._enforcer = self._enforcer, None
        if enforcer is not None:
            atexit.unregister(enforcer.stop)
            enforcer.stop()

    def _imported(self, module: Any) -> None:
        # An exception here would make the app's import fail. Without patches (uninstrumented) the hook does nothing.
        with _IMPORT:
            if self._patches is not None:
                _CLIENTS[module.__name__](module, self._patches)


def _enforcer(address: LeaseAddress, spans: Spans) -> "Enforcer":
    from spanledger_instrumentation.enforcement import Enforcer  # loaded where budgets are enforced

    enforcer = Enforcer(address, spans.whose)
    atexit.register(enforcer.stop)
    reaper.register()  # first at the end: what is open then is settled before all is given back
    return enforcer
