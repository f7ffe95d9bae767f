"""The headers by which providers tell of their rate limits -> attributes.

What a provider does not say is absent. Times are taken at the moment that the head of the answer came. Each header's
meaning is known from its name alone, but for bare numbers: see `_UNITS_S` and `read`.

Source: recorded answers of 2025 and 2026 and the providers' pages, read in November 2026; each row says which.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.rate_limit_policies import read_policies
from spanledger_instrumentation.reset_times import number, reset_at_s, retry_after_s

__all__ = ["FIELDS", "Field", "read", "reported"]

_LIMIT: Final = "limit"
_REMAINING: Final = "remaining"
_RESET: Final = "reset"
_RENEWAL: Final = "renewalperiod"
_COUNT_MAX: Final = 2**63 - 1
_MINUTE_S: Final = 60.0
_DAY_S: Final = 86_400.0
_MILLISECONDS: Final = 1e-3
_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Say what one header tells of one limit."""

    part: str
    limit: str
    """The attribute of the limit, and so on: made once, since this is read on every call."""
    remaining: str
    reset_at: str
    window: str
    window_s: float | None = None
    unit_s: float | None = None
    """What a bare number of a reset counts; `None`: nothing but a time."""
    renews: bool = False
    """Whether the provider says no reset, so that the window's length from now is the latest."""


def _field(
    part: str, kind: str, *, window_s: float | None = None, unit_s: float | None = None, renews: bool = False
) -> Field:
    return Field(
        part=part,
        limit=names.RATE_LIMIT_LIMIT.format(kind=kind),
        remaining=names.RATE_LIMIT_REMAINING.format(kind=kind),
        reset_at=names.RATE_LIMIT_RESET_AT.format(kind=kind),
        window=names.RATE_LIMIT_WINDOW_S.format(kind=kind),
        window_s=window_s,
        unit_s=unit_s,
        renews=renews,
    )


def _rows(
    pattern: str,
    kinds: Mapping[str, str],
    parts: Iterable[str],
    *,
    window_s: float | None = None,
    unit_s: float | None = None,
    renews: bool = False,
) -> Iterator[tuple[str, Field]]:
    for their, ours in kinds.items():
        for part in parts:
            header = pattern.format(part=part, kind=their)
            yield header, _field(part, ours, window_s=window_s, unit_s=unit_s, renews=renews)


_COUNTS: Final = (_LIMIT, _REMAINING)
_ALL: Final = (_LIMIT, _REMAINING, _RESET)
FIELDS: Final[Mapping[str, Field]] = dict(
    chain(
        # OpenAI, Groq, xAI, Azure and Fireworks (recorded, but for Fireworks' and the usage-based ones). OpenAI's
        # window is a minute or, for some models, a day, and is not told.
        _rows(
            "x-ratelimit-{part}-{kind}",
            {
                "requests": "requests",
                "tokens": "tokens",
                "input-images": "input_images",
                "tokens_usage_based": "usage_based_tokens",
                "project-requests": "project_requests",
                "project-tokens": "project_tokens",
                "tokens-prompt": "input_tokens",
                "tokens-cache-adjusted-prompt": "cache_adjusted_input_tokens",
                "tokens-generated": "output_tokens",
            },
            (*_ALL, _RENEWAL),
        ),
        # Anthropic (recorded; the priority tier's documented): token buckets of a minute.
        _rows(
            "anthropic-ratelimit-{kind}-{part}",
            {
                "requests": "requests",
                "tokens": "tokens",
                "input-tokens": "input_tokens",
                "output-tokens": "output_tokens",
            },
            _ALL,
            window_s=_MINUTE_S,
        ),
        _rows(
            "anthropic-priority-{kind}-{part}",
            {"input-tokens": "priority_input_tokens", "output-tokens": "priority_output_tokens"},
            _ALL,
            window_s=_MINUTE_S,
        ),
        # Anthropic's plans (observed): shares of a limit that is not told, and when it resets.
        _rows("anthropic-ratelimit-unified-{kind}-{part}", {"5h": "plan_5h"}, (_RESET,), window_s=5 * 3600.0),
        _rows("anthropic-ratelimit-unified-{kind}-{part}", {"7d": "plan_7d"}, (_RESET,), window_s=7 * _DAY_S),
        # Mistral (recorded): the name has the window, and no reset is told. Cerebras (observed) has seconds.
        _rows("x-ratelimit-{part}-{kind}", {"req-minute": "requests"}, _COUNTS, window_s=_MINUTE_S, renews=True),
        _rows("x-ratelimit-{part}-{kind}", {"req-10-second": "requests"}, _COUNTS, window_s=10.0, renews=True),
        _rows("x-ratelimit-{part}-{kind}", {"tokens-minute": "tokens"}, _COUNTS, window_s=_MINUTE_S, renews=True),
        _rows("x-ratelimit-{part}-{kind}", {"tokens-month": "tokens_month"}, _COUNTS),
        _rows("x-ratelimit-{part}-{kind}", {"tokens-minute": "tokens"}, (_RESET,), window_s=_MINUTE_S, unit_s=_SECONDS),
        _rows("x-ratelimit-{part}-{kind}", {"requests-day": "requests"}, _ALL, window_s=_DAY_S, unit_s=_SECONDS),
        # Cohere's trial keys (recorded): calls in a minute, and calls in a month.
        _rows("x-trial-endpoint-call-{part}", {"": "requests"}, _COUNTS, window_s=_MINUTE_S),
        _rows("x-endpoint-monthly-call-{part}", {"": "requests_month"}, _COUNTS),
        # Together (recorded) in seconds, OpenRouter in milliseconds since 1970; Replicate (recorded) and others by the
        # IETF draft's older form, in seconds.
        _rows("x-ratelimit-{part}", {"": "requests"}, _ALL, unit_s=_SECONDS),
        _rows("x-tokenlimit-{part}", {"": "tokens"}, _ALL, unit_s=_SECONDS),
        _rows("ratelimit-{part}", {"": "requests"}, _ALL, unit_s=_SECONDS),
    )
)
_WINDOWS_S: Final[Mapping[str, tuple[tuple[Field, float], ...]]] = {
    # Documented by the provider, under headers that do not say so.
    "groq": ((_field(_LIMIT, "requests"), _DAY_S), (_field(_LIMIT, "tokens"), _MINUTE_S)),
    "x_ai": ((_field(_LIMIT, "requests"), 1.0), (_field(_LIMIT, "tokens"), _MINUTE_S)),
    "together": ((_field(_LIMIT, "requests"), 1.0), (_field(_LIMIT, "tokens"), 1.0)),
}
_AZURE: Final = "azure.ai.openai"


def read(
    said: Sequence[tuple[Field, str]], head: Mapping[str, str], provider: str, now_s: float
) -> dict[str, AttributeValue]:
    """Read the limits of an answer: its fields of the table above, and the draft's and the retry headers of its head.

    `provider` is who answers on the host, or the owner of the wire format.
    """
    found: dict[str, AttributeValue] = {}
    if said:
        # Azure alone has bare milliseconds, also behind a gateway that passes its headers on.
        azure = _MILLISECONDS if provider == _AZURE or "apim-request-id" in head else None
        for field, value in said:
            _take(found, field, value, now_s, field.unit_s or azure)
        for field, window_s in _WINDOWS_S.get(provider, ()):
            if field.limit in found or field.remaining in found:
                found.setdefault(field.window, window_s)
    if "ratelimit" in head or "ratelimit-policy" in head:
        found = {**read_policies(head.get("ratelimit-policy", ""), head.get("ratelimit", ""), now_s), **found}
    if ("retry-after" in head or "retry-after-ms" in head) and (retry := retry_after_s(head, now_s)) is not None:
        found[names.RATE_LIMIT_RETRY_AFTER_S] = retry
    return found


def reported(kind: str, **parts: float | None) -> dict[str, AttributeValue]:
    """Give the attributes of a limit of this kind; what is `None` was not said."""
    field = _field(_LIMIT, kind)
    pairs = (
        (field.limit, parts.get("limit")),
        (field.remaining, parts.get("remaining")),
        (field.reset_at, parts.get("reset_at")),
        (field.window, parts.get("window_s")),
    )
    return {name: value for name, value in pairs if value is not None}


def _take(found: dict[str, AttributeValue], field: Field, value: str, now_s: float, unit_s: float | None) -> None:
    window_s = field.window_s
    if window_s is not None and found.setdefault(field.window, window_s) != window_s:
        return  # a second window of the same kind: the first one counts, whole
    part = field.part
    if part == _RESET:
        if (at := reset_at_s(value, now_s, unit_s)) is not None:
            found[field.reset_at] = at
    elif part == _RENEWAL:
        if period_s := number(value):
            found[field.window] = period_s
    elif (count := _count(value)) is not None:
        found[field.limit if part == _LIMIT else field.remaining] = count
        if field.renews and window_s is not None:
            _renew(found, field, now_s + window_s, never=count == 0 and part == _LIMIT)


def _renew(found: dict[str, AttributeValue], field: Field, at: float, *, never: bool) -> None:
    # Mistral's limit of 0: the model or the plan is not enabled, and no waiting will change it.
    if not never and found.get(field.limit) != 0:
        found.setdefault(field.reset_at, at)
    else:
        found.pop(field.reset_at, None)


def _count(value: str) -> int | None:
    """Read a count; of a list, as older drafts of the IETF have it, the first."""
    if value.isdecimal() and value.isascii() and len(value) < 19:  # the usual case
        return int(value)
    found = number(value.partition(",")[0].strip())
    return int(found) if found is not None and found.is_integer() and found <= _COUNT_MAX else None
