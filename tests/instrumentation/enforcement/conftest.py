"""A lease server, and an instrumentation that enforces its budgets; all fresh for each test."""

from collections.abc import Iterator

import pytest

from spanledger_instrumentation import fence
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.enforcement import lease_server
from tests.instrumentation.enforcement.lease_server import LeaseServer


@pytest.fixture
def lender() -> Iterator[LeaseServer]:
    """A lease server."""
    with lease_server.running() as running:
        yield running


@pytest.fixture
def spans(lender: LeaseServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """The spans of a process whose budgets are enforced; at the end no fence may have held anything back."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT", lender.url)
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT", "10")
    fence.FAILURES.clear()
    found = Spans()
    with instrumented(found.provider):
        yield found
    assert not fence.FAILURES
    found.provider.shutdown()
