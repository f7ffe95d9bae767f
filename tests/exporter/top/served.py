"""Calls that are made now, sent to a running exporter."""

import time
import urllib.request

from tests.exporter.otlp_requests import CHAT, body, span
from tests.servers.exporter import Exporter


def send(exporter: Exporter, count: int, *, model: str = "gpt-4o-mini", token: str | None = None) -> None:
    """Send so many calls that have just ended, and wait until they are committed."""
    made = {**CHAT, "gen_ai.request.model": model, "gen_ai.response.model": model}
    del made["gen_ai.response.id"]
    content = body(*(span(made, end_ns=time.time_ns()) for _ in range(count)))
    headers = {"content-type": "application/x-protobuf"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"http://{exporter.http}/v1/traces", data=content, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
