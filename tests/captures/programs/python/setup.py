"""What the programs share. They run in the environment of a row, where nothing else of the project is."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import instrumentations
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

QUESTION = "What is the capital of France?"
# Over the 1,024 tokens below which neither vendor caches a prompt.
MANUAL = "Answer in one word, and say please. " * 130


def activate(names: list[str]) -> None:
    """Activate the instrumentations of these names, in this order, on an OpenTelemetry SDK of which one sets up."""
    if not any(name in instrumentations.BRING_AN_SDK for name in names):
        instrumentations.opentelemetry_sdk()
    for name in names:
        getattr(instrumentations, name)()


def fail_next(*statuses: int) -> None:
    """Let the provider answer the next calls with these errors."""
    body = json.dumps({"next_errors": statuses}).encode()
    url = f"{os.environ['PROVIDER_URL']}/control"
    urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"})).close()


@contextmanager
def request_handled() -> Iterator[None]:
    """Stand for an app's own span around its calls."""
    with trace.get_tracer("app").start_as_current_span("POST /orders"):
        yield


def flush() -> None:
    """Send what is not yet sent; whoever does not use OpenTelemetry's global provider does so at the process's end."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.force_flush()
