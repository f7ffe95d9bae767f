"""An app sees the same with and without us: bytes, chunks, headers and exceptions, over every client."""

import pytest
from hypothesis import given, note

from spanledger_instrumentation import fence
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fuzz.apps import APPS, App, Exchange
from tests.instrumentation.fuzz.exchanges import bounded, exchanges


def see_both(app: App, exchange: Exchange, **environment: str) -> Spans:
    """Hold what an app sees with us to what it sees without us."""
    without = app(exchange)
    spans = Spans()
    fence.FAILURES.clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(f"OTEL_INSTRUMENTATION_SPANLEDGER_{name}", value)
        with instrumented(spans.provider):
            within = app(exchange)
    note(f"without: {without!r:.2000}")
    assert within == without
    return spans


@pytest.mark.parametrize("app", APPS)
def test_an_app_sees_the_same_whatever_comes(app: str) -> None:
    @bounded(120)
    @given(exchanges())
    def holds(exchange: Exchange) -> None:
        spans = see_both(APPS[app], exchange, INCLUDE_USAGE="off")
        encoded = b"content-encoding:" in b"".join(exchange.pieces)
        # The one thing that may fail is to decode what cannot be decoded.
        assert not fence.FAILURES or (encoded and set(fence.FAILURES) <= {"feed", "read"}), fence.FAILURES
        assert len(spans()) <= 1
        fence.FAILURES.clear()

    holds()
