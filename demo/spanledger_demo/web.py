"""What the demo asks its own processes over HTTP: the provider's tally, and the exporter's metrics."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from spanledger_demo.processes import DemoError
from spanledger_demo.reconciliation import Metrics

TIMEOUT_S = 5.0

# Loopback only: whatever proxy the user has is not asked.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def is_up(url: str) -> bool:
    """Tell whether something answers there, with success."""
    try:
        _get(url)
    except DemoError:
        return False
    return True


def get_json(url: str) -> Any:
    """Read a JSON document.

    Raises: DemoError where nobody answers.
    """
    return json.loads(_get(url))


def get_metrics(url: str) -> Metrics:
    """Read what the exporter's counters add up to, over all labels.

    Raises: DemoError where nobody answers.
    """
    sums = {"genai_calls_total": 0.0, "genai_cost_usd_total": 0.0}
    for family in text_string_to_metric_families(_get(url)):
        for sample in family.samples:
            if sample.name in sums:
                sums[sample.name] += sample.value
    return Metrics(calls=sums["genai_calls_total"], cost_usd=sums["genai_cost_usd_total"])


def _get(url: str) -> str:
    try:
        with _opener.open(url, timeout=TIMEOUT_S) as response:
            return response.read().decode()
    except (urllib.error.URLError, OSError) as exc:
        raise DemoError(f"No answer from {url}: {exc}") from exc
