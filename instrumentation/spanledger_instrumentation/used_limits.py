"""What answers say of rate limits -> how much of each is in use.

What was said last counts. When a limit is whole again and no answer has said anything since, nothing of it is in use;
where a provider does not say when that is, its window is taken, else a minute.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.providers.values import AttributeValue

__all__ = ["LIMITS_MAX", "UsedLimits"]

LIMITS_MAX: Final = 200
"""Limits that are told apart, each of a provider, a model and a kind; further ones are not told."""
_KIND: Final = "spanledger.rate_limit.kind"
_BEFORE_KIND, _AFTER_KIND = names.RATE_LIMIT_REMAINING.split("{kind}")
_OF: Final = (names.PROVIDER_NAME, names.REQUEST_MODEL)
_WINDOW_S: Final = 60.0

_Series = tuple[tuple[str, AttributeValue], ...]


class UsedLimits:
    """The limits that answers spoke of, and how much of each is in use. One thread at a time may call."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said: dict[_Series, tuple[float, float]] = {}

    def clear(self) -> None:
        """Forget all of them."""
        self._said.clear()

    def take(self, request: Mapping[str, AttributeValue], head: Mapping[str, AttributeValue], now_s: float) -> None:
        """Take what the head of an answer says, by the attributes that its span has."""
        for name, remaining in head.items():
            if not (name.startswith(_BEFORE_KIND) and name.endswith(_AFTER_KIND)):
                continue
            kind = name[len(_BEFORE_KIND) : -len(_AFTER_KIND)]
            limit = head.get(names.RATE_LIMIT_LIMIT.format(kind=kind))
            if isinstance(limit, int) and isinstance(remaining, int) and limit > 0:
                series = (*((each, request[each]) for each in _OF if each in request), (_KIND, kind))
                if series in self._said or len(self._said) < LIMITS_MAX:
                    used = min(max(1 - remaining / limit, 0.0), 1.0)
                    self._said[series] = used, _whole_again_s(head, kind, now_s)

    def used(self, now_s: float) -> Iterator[tuple[float, dict[str, AttributeValue]]]:
        """Give which part of each limit is in use, from 0 to 1, and the attributes of the limit."""
        for series, (used, until_s) in self._said.items():
            yield used if now_s < until_s else 0.0, dict(series)


def _whole_again_s(head: Mapping[str, AttributeValue], kind: str, now_s: float) -> float:
    reset_at = head.get(names.RATE_LIMIT_RESET_AT.format(kind=kind))
    if isinstance(reset_at, int | float):
        return float(reset_at)
    window_s = head.get(names.RATE_LIMIT_WINDOW_S.format(kind=kind))
    return now_s + (float(window_s) if isinstance(window_s, int | float) else _WINDOW_S)
