"""The IETF's RateLimit and RateLimit-Policy headers -> attributes.

Shape: RateLimit-Policy: "permin";q=50;w=60, "perhr";q=1000;w=3600
       RateLimit: "permin";r=49;t=30
Source: draft-ietf-httpapi-ratelimit-headers-10, which are Lists of RFC 9651 (November 2026). The items of the two are
told from each other by name.
"""

import re
from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.providers.values import AttributeValue

__all__ = ["read_policies"]

_CHARS_MAX: Final = 2048
_ITEMS_MAX: Final = 16
_STRING: Final = r'"(?:[^"\\]|\\.)*+"'
_NAME: Final = r"[a-z*][a-z0-9_.*-]*"
_VALUE: Final = rf'(?:{_STRING}|[^\s;,"]+)'
_ITEM: Final = re.compile(rf'\s*({_STRING}|[A-Za-z*][^\s;,"=]*)((?:\s*;\s*{_NAME}(?:={_VALUE})?)*+)\s*(?:,|\Z)')
_PARAMETER: Final = re.compile(rf";\s*({_NAME})(?:=({_VALUE}))?")
_KINDS: Final[Mapping[str, str]] = {
    "requests": "requests",
    "content-bytes": "content_bytes",
    "concurrent-requests": "concurrent_requests",
}
_DIGITS_MAX: Final = 15
"""Of an Integer of RFC 9651."""


def read_policies(policies: str, limits: str, now_s: float) -> dict[str, AttributeValue]:
    """Read both headers; of several limits of one kind the one with the least left counts."""
    known, current = _items(policies), _items(limits)
    tightest: dict[str, tuple[float, dict[str, AttributeValue]]] = {}
    for name in current | known:
        policy, limit = known.get(name, {}), current.get(name, {})
        kind = _KINDS.get(policy.get("qu", "requests").strip('"'))
        if kind is None:
            continue
        found = _attributes(kind, policy, limit, now_s)
        left = found.get(names.RATE_LIMIT_REMAINING.format(kind=kind))
        rank = float(left) if isinstance(left, int) else float("inf")
        if kind not in tightest or rank < tightest[kind][0]:
            tightest[kind] = rank, found
    return {name: value for _, found in tightest.values() for name, value in found.items()}


def _attributes(
    kind: str, policy: Mapping[str, str], limit: Mapping[str, str], now_s: float
) -> dict[str, AttributeValue]:
    resets_s, window_s = _integer(limit.get("t")), _integer(policy.get("w"))
    pairs = (
        (names.RATE_LIMIT_LIMIT, _integer(policy.get("q"))),
        (names.RATE_LIMIT_REMAINING, _integer(limit.get("r"))),
        (names.RATE_LIMIT_RESET_AT, None if resets_s is None else now_s + resets_s),
        (names.RATE_LIMIT_WINDOW_S, None if window_s is None else float(window_s)),
    )
    return {name.format(kind=kind): value for name, value in pairs if value is not None}


def _items(value: str) -> dict[str, dict[str, str]]:
    """Read a list; from what is none of it on, nothing."""
    found: dict[str, dict[str, str]] = {}
    at, end = 0, min(len(value), _CHARS_MAX)
    while at < end and len(found) < _ITEMS_MAX and (item := _ITEM.match(value, at, end)):
        found[item[1]] = dict(_PARAMETER.findall(item[2]))
        at = item.end()
    return found


def _integer(value: str | None) -> int | None:
    return int(value) if value and value.isdecimal() and value.isascii() and len(value) <= _DIGITS_MAX else None
