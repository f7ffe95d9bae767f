"""What spans say of rate limits: the attributes as they lie in a span -> limits.

Nearly every span of our own instrumentation has some, and of thousands of calls only what the newest was told matters.
So a record carries their bytes, and they are read once it is known that nothing newer was said.

Source: docs/span-attributes.md, "How close the limits are".
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from spanledger_exporter.receiving import keyvalues
from spanledger_exporter.receiving.figures import count
from spanledger_exporter.receiving.keyvalues import AttributeValue

RATE_LIMIT_KINDS: Final = (
    "requests", "tokens", "input_tokens", "output_tokens", "cache_adjusted_input_tokens", "input_images",
    "usage_based_tokens", "project_requests", "project_tokens", "priority_input_tokens", "priority_output_tokens",
    "requests_month", "tokens_month", "plan_5h", "plan_7d", "content_bytes", "concurrent_requests",
)  # fmt: skip
_PARTS: Final = ("limit", "remaining", "reset_at", "window_s")
_PLACES: Final = {f"spanledger.rate_limit.{kind}.{part}": (kind, part) for kind in RATE_LIMIT_KINDS for part in _PARTS}
RATE_LIMIT_ATTRIBUTES: Final = frozenset(_PLACES)
_LATEST_S: Final = 253_402_300_800.0  # the year 10000: no time of anything


class RateLimit(NamedTuple):
    """One limit as an answer told of it.

    Units: `reset_at_s` Unix time, `window_s` seconds, `limit` and `remaining` what the kind counts.
    """

    kind: str
    limit: int | None
    remaining: int | None
    reset_at_s: float | None
    window_s: float | None


def read_limits(said: Sequence[bytes]) -> Sequence[RateLimit]:
    """Return what a span says of each limit; a figure that cannot be is left out."""
    found: dict[str, dict[str, AttributeValue | None]] = {}
    for raw in said:
        try:
            key, value = keyvalues.read(raw)
        except (DecodeError, ValueError):
            continue
        if key in _PLACES:
            kind, part = _PLACES[key]
            found.setdefault(kind, {})[part] = value
    return [
        RateLimit(
            kind,
            count(parts.get("limit")),
            count(parts.get("remaining")),
            _seconds(parts.get("reset_at")),
            _seconds(parts.get("window_s")),
        )
        for kind, parts in found.items()
    ]


def _seconds(value: AttributeValue | None) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0 <= value < _LATEST_S else None
