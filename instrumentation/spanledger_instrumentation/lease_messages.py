"""What the exporter answers about leases, as JSON -> values; and what it is asked, as JSON (docs/enforcement.md).

What has not the shape that it should have is an answer like none at all: it raises, and the caller takes the exporter
for one that cannot be reached.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from spanledger_instrumentation.bound import OUTPUT_TOKENS, Rates

__all__ = ["Denied", "Grant", "Granted", "Reply", "Terms", "read_reply"]

T = TypeVar("T")
UNITS: Final = ("usd", "tokens", "calls")
_INTEGER_MAX: Final = 2**63 - 1
_NAME_CHARS_MAX: Final = 512
"""Of the names of budgets, groups and leases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a hard budget is, as far as the service that it holds needs to know.

    Units: `limit` and `safe_allowance` micro-USD, tokens or calls; times Unix seconds.
    """

    budget: str
    group: str
    unit: str
    limit: int
    on_unpriced: str
    on_unreachable: str
    safe_allowance: int
    period_start_s: int
    period_end_s: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease that the exporter grants."""

    lease_id: str
    terms: Terms
    granted: int
    ttl_s: float
    """How long it lives unless it is reported."""
    granted_s: int | None = None
    """When it was granted, by the exporter's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What is granted to one question: a lease of each hard budget, or none where none holds such calls."""

    leases: tuple[Grant, ...]
    rates: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A budget that is used up or, of a soft one, nearly so."""

    budget: str
    group: str
    unit: str
    limit: int
    spent: int
    leased: int
    period_end_s: int
    reason: str
    threshold: int | None = None
    """Percent: of a soft budget, the highest that it is over."""
    needed: int = 0
    """The most that the calls can count under it, by the exporter's rates."""
    terms: Terms | None = None
    """Of a hard budget, what it wants of those who hold no lease of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer, by the position of each question."""

    revision: int
    dimensions: tuple[str, ...] | None = None
    """Those that any budget looks at; `None`: all may matter."""
    granted: Mapping[int, Granted] = field(default_factory=dict[int, Granted])
    denied: Mapping[int, Denied] = field(default_factory=dict[int, Denied])
    soft: Mapping[int, tuple[Denied, ...]] = field(default_factory=dict[int, tuple[Denied, ...]])
    gone: frozenset[str] = frozenset()
    """Leases that are to be used no more: closed, revoked or not known."""


def read_reply(document: Any) -> Reply:
    """Read an answer.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(document, dict):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004 - of what came, not of a mistake
    answer = cast("Mapping[str, Any]", document)
    ttl_s = _integer(answer, "ttl_s")
    soft: dict[int, tuple[Denied, ...]] = {}
    for entry in _objects(answer, "soft"):
        want = _integer(entry, "want")
        soft[want] = (*soft.get(want, ()), _denied(entry))
    return Reply(
        revision=_integer(answer, "revision"),
        dimensions=_dimensions(answer.get("dimensions")),
        granted=_by_want(answer, "granted", lambda entry: _granted(entry, ttl_s)),
        denied=_by_want(answer, "denied", _denied),
        soft=soft,
        gone=frozenset(_text(each, "lease") for each in _objects(answer, "renewed") if each.get("state") != "open"),
    )


def _by_want(answer: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any]], T]) -> dict[int, T]:
    found: dict[int, T] = {}
    for entry in _objects(answer, name):
        found.setdefault(_integer(entry, "want"), read(entry))  # of several that deny, the first one is named
    return found


def _granted(entry: Mapping[str, Any], ttl_s: int) -> Granted:
    leases = tuple(_grant(lease, ttl_s) for lease in _objects(entry, "leases"))
    if len({(lease.terms.budget, lease.terms.group, lease.terms.unit) for lease in leases}) != len(leases):
        raise ValueError("two leases of one budget to one question")
    rates = entry.get("rates")
    return Granted(
        leases=leases, rates=_rates(cast("Mapping[str, Any]", rates)) if isinstance(rates, dict) else Rates()
    )


def _grant(entry: Mapping[str, Any], ttl_s: int) -> Grant:
    granted_s = None if entry.get("expires_s") is None else _integer(entry, "expires_s") - ttl_s
    granted = _integer(entry, "granted")
    return Grant(_text(entry, "lease"), _terms(entry), granted=granted, ttl_s=ttl_s, granted_s=granted_s)


def _terms(entry: Mapping[str, Any]) -> Terms:
    return Terms(
        budget=_text(entry, "budget"),
        group=_text(entry, "group", ""),
        unit=_unit(entry),
        limit=_integer(entry, "limit"),
        on_unpriced=_text(entry, "on_unpriced", "alert"),
        on_unreachable=_text(entry, "on_unreachable", "open"),
        safe_allowance=_integer(entry, "safe_allowance", 0),
        period_start_s=_integer(entry, "period_start_s"),
        period_end_s=_integer(entry, "period_end_s"),
    )


def _denied(entry: Mapping[str, Any]) -> Denied:
    return Denied(
        budget=_text(entry, "budget"),
        group=_text(entry, "group", ""),
        unit=_unit(entry),
        limit=_integer(entry, "limit"),
        spent=_integer(entry, "spent", 0),
        leased=_integer(entry, "leased", 0),
        period_end_s=_integer(entry, "period_end_s"),
        reason=_text(entry, "reason", "exhausted"),
        threshold=None if entry.get("threshold") is None else _integer(entry, "threshold"),
        needed=_integer(entry, "needed", 0),
        terms=_terms(entry) if entry.get("on_unreachable") else None,
    )


def _rates(entry: Mapping[str, Any]) -> Rates:
    """Read the rates; a model whose price is not known has none, and what holds it then says `on_unpriced`."""
    found = {name: max(_integer(entry, name, 0), 0) for name in ("input_pusd", "output_pusd", "request_pusd")}
    return Rates(**found, output_tokens=max(_integer(entry, "output_tokens", OUTPUT_TOKENS), 0))


def _dimensions(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(name for name in cast("list[object]", value) if isinstance(name, str))


def _objects(entry: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    listed: object = entry.get(name) or []
    if not isinstance(listed, list):
        raise ValueError(f"{name} is no list")  # noqa: TRY004
    for each in cast("list[object]", listed):
        if not isinstance(each, dict):
            raise ValueError(f"{name} holds what is no object")  # noqa: TRY004
        yield cast("Mapping[str, Any]", each)


def _integer(entry: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = entry.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _INTEGER_MAX:
        raise ValueError(f"{name} is no integer: {value!r:.64}")
    return value


def _text(entry: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = entry.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or len(value) > _NAME_CHARS_MAX:
        raise ValueError(f"{name} is no text: {value!r:.64}")
    return value


def _unit(entry: Mapping[str, Any]) -> str:
    unit = _text(entry, "unit")
    if unit not in UNITS:
        raise ValueError(f"unit is none of {', '.join(UNITS)}: {unit!r:.64}")
    return unit
