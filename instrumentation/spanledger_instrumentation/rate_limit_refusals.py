"""The body of a refusal for a limit -> attributes of the limit that was hit.

1. Google's Gemini API and Vertex AI have no headers, and tell all in the details of the error.
2. OpenAI and Groq name in the message which of the limits it was, of which some are in no header.
3. OpenRouter repeats in the body the headers of whoever refused: of its own limits, or of the provider behind it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, cast

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.providers.values import AttributeValue, members
from spanledger_instrumentation.rate_limits import FIELDS, read, reported
from spanledger_instrumentation.reset_times import duration_s, number, pacific_midnight_s

__all__ = ["STATUS_CODES", "read_refusal"]

STATUS_CODES: Final = frozenset({413, 429})
"""Groq answers 413 to a request that is larger than the limit of a minute."""
_DETAILS_MAX: Final = 16
_HEADERS_MAX: Final = 64
_DAY_S: Final = 86_400.0
_WINDOWS_S: Final = {"PerDay": _DAY_S, "PerHour": 3600.0, "PerMinute": 60.0, "PerSecond": 1.0}
_KINDS: Final = {"InputToken": "input_tokens", "OutputToken": "output_tokens", "Token": "tokens", "Request": "requests"}

_ABBREVIATED: Final = {"R": "requests", "T": "tokens", "IT": "input_tokens", "OT": "output_tokens"}
_PERIODS_S: Final = {"M": 60.0, "D": _DAY_S}
_MESSAGE: Final = re.compile(
    rb"\((R|T|IT|OT)P(M|D)\): Limit (\d{1,15})(?:, Used (\d{1,15}))?(?:, Requested \d{1,15})?"
    rb"(?:\. Please try again in ([0-9hms.]{1,24}s)\b)?"
)


def read_refusal(content: bytes, head: Mapping[str, AttributeValue], now_s: float) -> dict[str, AttributeValue]:
    """Add the limit that was hit to what the head of the answer said; of the same kind it is the one that counts."""
    hit = _hit(content, now_s)
    kinds = {name.rpartition(".")[0] for name in hit}
    return {**{name: value for name, value in head.items() if name.rpartition(".")[0] not in kinds}, **hit}


def _hit(content: bytes, now_s: float) -> dict[str, AttributeValue]:
    """Read the limit that was hit.

    Shape: {"error": {"message": "Rate limit reached for model `x` in organization `y` service tier `on_demand` on
           tokens per minute (TPM): Limit 6000, Used 4093, Requested 3531. Please try again in 16.239999999s. ...",
           "type": "tokens", "code": "rate_limit_exceeded"}}
    Source: Groq's and OpenAI's answers as their users quote them (read in November 2026).
    """
    if b"google.rpc." in content:
        return _google(content, now_s)
    hit = _MESSAGE.search(content)
    if hit is None:
        return _headers(content, now_s) if b'"headers"' in content else {}
    kind, period, limit, used, again = hit.groups()
    wait_s = None if again is None else duration_s(again.decode())
    return reported(
        _ABBREVIATED[kind.decode()],
        limit=int(limit),
        remaining=None if used is None else max(int(limit) - int(used), 0),
        reset_at=None if wait_s is None else now_s + wait_s,
        window_s=_PERIODS_S[period.decode()],
    )


def _headers(content: bytes, now_s: float) -> dict[str, AttributeValue]:
    """Read the headers that OpenRouter hands on.

    Shape: {"error": {"message": "Rate limit exceeded: free-models-per-day. ...", "code": 429, "metadata": {"headers":
           {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1775001600000"}}}};
           of the provider behind it {"headers": {"Retry-After": "17"}}
    Source: answers as users quote them, github.com/Gitlawb/openclaude/issues/936 for one (read in November 2026).
    """
    headers = members(members(members(members(_json(content)).get("error")).get("metadata")).get("headers"))
    pairs = islice(headers.items(), _HEADERS_MAX)
    head = {name.lower(): value for name, value in pairs if isinstance(value, str)}
    return read([(FIELDS[name], value) for name, value in head.items() if name in FIELDS], head, "openrouter", now_s)


def _google(content: bytes, now_s: float) -> dict[str, AttributeValue]:
    """Read Google's details.

    Shape: {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [
           {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [
             {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}]},
           {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.2s"}]}}; in an array where a stream
           was asked for; or ErrorInfo {"metadata": {"quota_limit", "quota_limit_value"}}.
    Source: googleapis google/rpc/error_details.proto; answers of the Gemini API (November 2026).
    """
    details = list(_details(content))
    delay = next((text for each in details if isinstance(text := each.get("retryDelay"), str)), None)
    wait_s = None if delay is None else duration_s(delay)
    found: dict[str, AttributeValue] = {}
    daily = False
    for quota, value in _quotas(details):
        kind = next((ours for theirs, ours in _KINDS.items() if theirs in quota), None)
        window_s = next((window for theirs, window in _WINDOWS_S.items() if theirs in quota), None)
        daily = daily or window_s == _DAY_S
        if kind is not None:
            limit = number(value) if isinstance(value, str) else None
            reset_at = _reset_at(window_s, wait_s, now_s)
            found |= reported(kind, limit=None if limit is None else int(limit), reset_at=reset_at, window_s=window_s)
    if wait_s is not None and not daily:  # of a day's quota that is spent it says a few seconds
        found[names.RATE_LIMIT_RETRY_AFTER_S] = wait_s
    return found


def _reset_at(window_s: float | None, wait_s: float | None, now_s: float) -> float | None:
    if window_s == _DAY_S:
        return pacific_midnight_s(now_s)
    return None if wait_s is None else now_s + wait_s


def _quotas(details: list[Mapping[str, object]]) -> Iterator[tuple[str, object]]:
    for detail in details:
        for violation in _objects(detail.get("violations")):
            if isinstance(quota := violation.get("quotaId"), str):
                yield quota, violation.get("quotaValue")
        metadata = members(detail.get("metadata"))
        if isinstance(quota := metadata.get("quota_limit"), str):
            yield quota, metadata.get("quota_limit_value")


def _details(content: bytes) -> Iterator[Mapping[str, object]]:
    body = _json(content)
    if isinstance(body, list):
        body = next(iter(cast("list[object]", body)), None)
    error = members(members(body).get("error"))
    message = error.get("message")
    if "details" not in error and isinstance(message, str) and message.startswith("{"):
        error = members(members(_json(message)).get("error"))  # an error of an error, as proxies hand it on
    return _objects(error.get("details"))


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    listed = cast("list[object]", value) if isinstance(value, list) else []
    return (members(each) for each in listed[:_DETAILS_MAX])


def _json(text: bytes | str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
