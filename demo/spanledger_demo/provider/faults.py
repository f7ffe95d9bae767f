"""What goes wrong, and when: a plan that can be changed while the provider runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

# The errors that a vendor's servers make by themselves; 529 is Anthropic's overload, 503 is OpenAI's.
SPONTANEOUS: dict[str, tuple[int, ...]] = {"openai": (429, 500, 503), "anthropic": (429, 500, 529)}
CUT_EVENTS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Say where a stream breaks off, and how: the connection is closed, or an error event is sent first."""

    after_events: int
    how: Literal["close", "error"] = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """Hold what goes wrong. The rates are shares of all calls, thrown with the provider's seed.

    `limits_used` is the share of each rate limit that answers say is in use, at least.
    """

    error_rate: float = 0.0
    cut_rate: float = 0.0
    latency_s: float = 0.0
    event_interval_s: float = 0.0
    limits_used: float = 0.0
    next_errors: tuple[int, ...] = ()
    next_cuts: tuple[Cut, ...] = ()


class Faults:
    """Decide for each call what goes wrong with it. Safe to use from several threads."""

    def __init__(self, plan: FaultPlan, *, seed: int) -> None:
        self._plan = plan
        self._dice = random.Random(seed)
        self._lock = threading.Lock()

    @property
    def plan(self) -> FaultPlan:
        """Give the plan as it stands."""
        return self._plan

    def change(self, changes: Mapping[str, Any]) -> None:
        """Replace the named parts of the plan.

        Shape: {"error_rate": 0.1, "next_errors": [429, 500], "next_cuts": [{"after_events": 3, "how": "error"}]}
        Raises: ValueError, with what is wrong, for the caller to correct.
        """
        parsed = parse_changes(changes)
        with self._lock:
            self._plan = replace(self._plan, **parsed)

    def error_for(self, provider: str) -> int | None:
        """Take the status that this call fails with, or `None`."""
        with self._lock:
            if self._plan.next_errors:
                status, *rest = self._plan.next_errors
                self._plan = replace(self._plan, next_errors=tuple(rest))
                return status
            if self._dice.random() < self._plan.error_rate:
                return self._dice.choice(SPONTANEOUS[provider])
        return None

    def cut_for_stream(self) -> Cut | None:
        """Take where this stream breaks off, or `None`."""
        with self._lock:
            if self._plan.next_cuts:
                cut, *rest = self._plan.next_cuts
                self._plan = replace(self._plan, next_cuts=tuple(rest))
                return cut
            if self._dice.random() < self._plan.cut_rate:
                how: Literal["close", "error"] = "close" if self._dice.random() < 0.5 else "error"
                return Cut(after_events=self._dice.randint(1, CUT_EVENTS_MAX), how=how)
        return None


def parse_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Turn JSON into parts of a plan.

    Raises: ValueError, with what is wrong, for the caller to correct.
    """
    known = [field.name for field in fields(FaultPlan)]
    parsed: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise ValueError(f"unknown key {name!r}; known are {', '.join(known)}")
        parsed[name] = _PARSERS.get(name, _seconds)(name, value)
    return parsed


def _seconds(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 600:
        raise ValueError(f"{name} must be between 0 and 600 seconds, got {value!r}")
    return float(value)


def _rate(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}")
    return float(value)


def _statuses(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(s, int) and 400 <= s <= 599 for s in value):  # pyright: ignore[reportUnknownVariableType]  # JSON
        raise ValueError(f"{name} must be a list of statuses from 400 to 599, got {value!r}")
    return tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # JSON


def _cuts(name: str, value: Any) -> tuple[Cut, ...]:
    try:
        cuts = tuple(Cut(**cut) for cut in value)
    except TypeError as exc:
        raise ValueError(f"{name} must be a list of {{after_events, how}}, got {value!r}") from exc
    for cut in cuts:
        if cut.how not in ("close", "error") or cut.after_events < 0:
            raise ValueError(f"{name}: after_events from 0, how `close` or `error`; got {value!r}")
    return cuts


_PARSERS = {"error_rate": _rate, "cut_rate": _rate, "limits_used": _rate, "next_errors": _statuses, "next_cuts": _cuts}
