"""The keys of a budget's document -> a budget, or every problem at once; what is hostile is a problem like any other.

Shape: docs/budgets.md.
"""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, Final, cast

from spanledger_exporter.budgets.budget import (
    DIMENSIONS,
    MICRO_USD_PER_USD,
    MODES,
    NAME,
    ON_UNPRICED,
    ON_UNREACHABLE,
    THRESHOLDS,
    UNITS,
    Budget,
)
from spanledger_exporter.budgets.periods import ALL_ANCHORS, ANCHORS, KINDS, Period, known_timezone

# Any below: what a document holds is not known before it was looked at.
Document = Mapping[str, Any]
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RATE_KEYS: Final = ("input_mtok", "output_mtok")
AMOUNT_MAX: Final = 10**18
"""Micro-USD, tokens or calls: two of them, and what calls under way come to, are within 64 bits."""
RATE_PUSD_MAX: Final = 10**10
"""10,000 USD for a million tokens."""
THRESHOLD_MAX: Final = 1000
_THRESHOLDS_MAX: Final = 20
_PER_MAX: Final = 8
"""So many values, cut to what is kept of each, stay within what a row of an index can hold."""
_NAMES_MAX: Final = 1000
_TEXT_CHARS_MAX: Final = 512
_SHOWN_CHARS_MAX: Final = 60
_DECIMALS_READ_MAX: Final = 40
_DAYS_MAX: Final = 3660
_FIRST_DAY, _LAST_DAY = date(1970, 1, 1), date(2999, 12, 31)
PUSD_PER_TOKEN: Final = 10**6
"""One USD for a million tokens is so many pico-USD for one."""
KEYS: Final = (
    *("name", "description", "limit_usd", "limit_tokens", "limit_calls", "scope", "per"),
    *("period", "timezone", *ALL_ANCHORS, "rollover", "rollover_max_usd", "rollover_max_tokens", "rollover_max_calls"),
    *("mode", "thresholds", "on_unpriced", "default_rate", "on_unreachable"),
    *("safe_usd", "safe_tokens", "safe_calls"),
)
"""Every key that a document may have."""


class Reader:
    """Reads one document, and gathers what is wrong with it."""

    def __init__(self, document: Document) -> None:
        self._said = dict(document)
        self.problems: list[str] = []

    def budget(self) -> Budget | None:
        """Return the budget; `None` where there are problems."""
        name = self._name()
        unit, limit = self._limit()
        found: dict[str, Any] = {
            "name": name,
            "description": self._text("description", "") or "",
            "limit": limit,
            "unit": unit,
            "scope": self._scope(),
            "per": self._per(),
            "period": self._period(),
            "rollover": self._switch("rollover"),
            "rollover_max": self._amount_of("rollover_max", unit),
            "mode": self._choice("mode", MODES, "soft"),
            "thresholds": self._thresholds(),
            "on_unpriced": self._choice("on_unpriced", ON_UNPRICED, "alert"),
            **self._rates(),
            "on_unreachable": self._choice("on_unreachable", ON_UNREACHABLE, "open"),
            "safe_allowance": self._amount_of("safe", unit) or 0,
        }
        for key in self._said:
            self._problem(f"unknown key {shown(key)}; known are {', '.join(KEYS)}")
        self._contradictions(found)
        return None if self.problems else Budget(**found)

    def _contradictions(self, found: Mapping[str, Any]) -> None:
        if found["rollover_max"] is not None and not found["rollover"]:
            self._problem("rollover_max belongs to rollover = true")
        if (found["on_unpriced"] == "rate") != ("input_rate_pusd" in found):
            self._problem('on_unpriced = "rate" and default_rate belong together')
        if found["on_unpriced"] == "rate" and found["unit"] not in (None, "usd"):
            self._problem('on_unpriced = "rate" is for a limit in USD')
        if (found["on_unreachable"] == "safe") != bool(found["safe_allowance"]):
            self._problem('on_unreachable = "safe" and a safe allowance of more than 0 belong together')
        period = found["period"]
        if found["rollover"] and period is not None and period.kind == "range":
            self._problem("a fixed range has no period before it, so that nothing rolls over")

    def _name(self) -> str:
        if "name" not in self._said:
            self._problem("name is missing")
            return ""
        name = self._said.pop("name")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            self._problem(
                "name must be of 1 to 63 small letters, digits, points, hyphens and underscores, the first of them "
                f"a letter or a digit, not {shown(name)}"
            )
            return ""
        return name

    def _limit(self) -> tuple[str | None, int | None]:
        units = [unit for unit in UNITS if f"limit_{unit}" in self._said]
        if len(units) != 1:
            names = ", ".join(f"limit_{unit}" for unit in UNITS)
            self._problem(f"give one of {names}{'' if not units else ', and no other'}")
            for unit in units:
                del self._said[f"limit_{unit}"]
            return None, None
        limit = self._amount(f"limit_{units[0]}", units[0], least=1)
        return units[0], limit

    def _amount_of(self, kind: str, unit: str | None) -> int | None:
        """Return an amount in the limit's own unit; in another one it makes no sense."""
        found: int | None = None
        for each in UNITS:
            key = f"{kind}_{each}"
            if key in self._said and unit in (None, each):
                found = self._amount(key, each, least=0)
            elif key in self._said:
                del self._said[key]
                self._problem(f"{key} is of another unit than limit_{unit}")
        return found

    def _amount(self, key: str, unit: str, *, least: int) -> int | None:
        value = self._said.pop(key)
        scale, decimals = (MICRO_USD_PER_USD, 6) if unit == "usd" else (1, 0)
        found = self._scaled(key, value, scale, decimals, AMOUNT_MAX)
        if found is not None and found < least:
            self._problem(f"{key} must be more than 0, not {shown(value)}")
            return None
        return found

    def _scaled(self, key: str, value: Any, scale: int, decimals: int, most: int) -> int | None:
        """Return an exact decimal as a whole number of its smallest part."""
        exact = _decimal(value)
        if exact is None or exact < 0:
            self._problem(f"{key} must be a number of 0 or more, not {shown(value)}")
            return None
        # The bounds first: an exponent may name more digits than memory holds.
        if exact > most // scale or cast("int", exact.as_tuple().exponent) < -_DECIMALS_READ_MAX:
            self._problem(f"{key} must be at most {most // scale}, of at most {decimals} decimals, not {shown(value)}")
            return None
        whole = Fraction(exact) * scale  # not in decimals, whose context would round
        if whole.denominator != 1:
            said = f"of at most {decimals} decimals" if decimals else "a whole number"
            self._problem(f"{key} must be {said}, not {shown(value)}")
            return None
        return int(whole)

    def _scope(self) -> dict[str, tuple[str, ...]]:
        scope = self._said.pop("scope", {})
        if not isinstance(scope, dict):
            self._problem(f'scope must be a table such as {{ team = "search" }}, not {shown(scope)}')
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for name, value in cast("dict[str, Any]", scope).items():
            if name not in DIMENSIONS:
                self._problem(f"scope: unknown dimension {shown(name)}; known are {', '.join(DIMENSIONS)}")
                continue
            patterns = self._texts(f"scope.{name}", value, "names, in which * stands for any characters")
            if patterns is not None:
                found[name] = patterns
        return found

    def _per(self) -> tuple[str, ...]:
        names = self._texts("per", self._said.pop("per", []), "dimensions", empty=True) or ()
        for name in names:
            if name not in DIMENSIONS:
                self._problem(f"per: unknown dimension {shown(name)}; known are {', '.join(DIMENSIONS)}")
        if len(set(names)) != len(names):
            self._problem("per names a dimension more than once")
        if len(names) > _PER_MAX:
            self._problem(f"per must be of at most {_PER_MAX} dimensions")
        return names

    def _texts(self, key: str, value: Any, what: str, *, empty: bool = False) -> tuple[str, ...] | None:
        values = cast("list[Any]", value) if isinstance(value, list) else [value]
        if not all(_is_text(each) for each in values):
            self._problem(f"{key} must be a text or a list of {what}, not {shown(value)}")
            return None
        if not (values or empty) or len(values) > _NAMES_MAX:
            self._problem(f"{key} must be of 1 to {_NAMES_MAX} {what}")
            return None
        return tuple(cast("list[str]", values))

    def _period(self) -> Period | None:
        kind = self._choice("period", KINDS, "month")
        timezone = self._text("timezone", "UTC")
        if timezone is not None and not known_timezone(timezone):
            self._problem(f"timezone {shown(timezone)} is no name of the IANA database such as Europe/Berlin or UTC")
            timezone = None
        anchors = self._anchors(kind)
        if kind is None or timezone is None or anchors is None:
            return None
        return Period(kind=cast("Any", kind), timezone=timezone, **anchors)

    def _anchors(self, kind: str | None) -> dict[str, Any] | None:
        """Return what begins a period, as far as its kind asks for it."""
        before = len(self.problems)
        known = ALL_ANCHORS if kind is None else ANCHORS.get(kind, ())
        found: dict[str, Any] = {}
        for name in [each for each in ALL_ANCHORS if each in self._said]:
            value = self._said.pop(name)
            if name in known:
                found[name] = self._anchor(name, value)
            else:
                self._problem(f"{name} does not belong to a period of one {kind}")
        needed = {"days": ("days",), "range": ("since", "until")}.get(kind or "", ())
        for name in needed:
            if name not in found:
                self._problem(f"a period of {kind} needs {name}")
        since, until = found.get("since"), found.get("until")
        if since is not None and until is not None and until <= since:
            self._problem("until must be later than since")
        return found if len(self.problems) == before else None

    def _anchor(self, name: str, value: Any) -> Any:
        match name:
            case "weekday":
                if isinstance(value, str) and value in WEEKDAYS:
                    return WEEKDAYS.index(value) + 1
                self._problem(f"weekday must be one of {', '.join(WEEKDAYS)}, not {shown(value)}")
                return None
            case "day":
                return self._whole(name, value, 1, 31)
            case "month":
                return self._whole(name, value, 1, 12)
            case "days":
                return self._whole(name, value, 1, _DAYS_MAX)
            case _:
                return self._date(name, value)

    def _date(self, name: str, value: Any) -> date | None:
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = date.fromisoformat(value)
        if isinstance(value, datetime) or not isinstance(value, date) or not _FIRST_DAY <= value <= _LAST_DAY:
            self._problem(f"{name} must be a date such as 2026-01-31, not {shown(value)}")
            return None
        return value

    def _thresholds(self) -> tuple[int, ...]:
        value = self._said.pop("thresholds", list(THRESHOLDS))
        said = cast("list[Any]", value) if isinstance(value, list) else [None]
        if not all(type(each) is int and 1 <= each <= THRESHOLD_MAX for each in said) or len(said) > _THRESHOLDS_MAX:
            self._problem(
                f"thresholds must be at most {_THRESHOLDS_MAX} whole numbers of percent from 1 to {THRESHOLD_MAX}, "
                f"not {shown(value)}"
            )
            return THRESHOLDS
        return tuple(sorted(set(cast("list[int]", said))))

    def _rates(self) -> dict[str, int]:
        if "default_rate" not in self._said:
            return {}
        value = self._said.pop("default_rate")
        rates = dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else {}
        if set(rates) != set(RATE_KEYS):
            self._problem(
                "default_rate must be USD for a million tokens, such as { input_mtok = 5, output_mtok = 25 }, "
                f"not {shown(value)}"
            )
            return {"input_rate_pusd": 0, "output_rate_pusd": 0}
        found = [
            self._scaled(f"default_rate.{name}", rates[name], PUSD_PER_TOKEN, 6, RATE_PUSD_MAX) for name in RATE_KEYS
        ]
        return {"input_rate_pusd": found[0] or 0, "output_rate_pusd": found[1] or 0}

    def _whole(self, key: str, value: Any, least: int, most: int) -> int | None:
        if type(value) is not int or not least <= value <= most:
            self._problem(f"{key} must be a whole number from {least} to {most}, not {shown(value)}")
            return None
        return value

    def _switch(self, key: str) -> bool:
        value = self._said.pop(key, False)
        if not isinstance(value, bool):
            self._problem(f"{key} must be true or false, not {shown(value)}")
            return False
        return value

    def _choice(self, key: str, known: Sequence[str], default: str) -> str | None:
        value = self._said.pop(key, default)
        if not isinstance(value, str) or value not in known:
            self._problem(f"{key} must be one of {', '.join(known)}, not {shown(value)}")
            return None
        return value

    def _text(self, key: str, default: str) -> str | None:
        value = self._said.pop(key, default)
        if not _is_text(value):
            self._problem(f"{key} must be a text of at most {_TEXT_CHARS_MAX} characters, not {shown(value)}")
            return None
        return value

    def _problem(self, text: str) -> None:
        self.problems.append(text)


def _is_text(value: Any) -> bool:
    """Tell whether a value is a text that every database and page can hold."""
    return isinstance(value, str) and len(value) <= _TEXT_CHARS_MAX and value.isprintable()


def _decimal(value: Any) -> Decimal | None:
    """Return what a number says exactly; a float stands for the shortest decimal that rounds to it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        found = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, ValueError):
        return None
    return found if found.is_finite() else None


def shown(value: Any) -> str:
    """Return a value as a message may quote it: never longer than is of use, whatever it is."""
    try:
        text = repr(str(value) if isinstance(value, Decimal | date) else value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes, or a nest
        return "a value that is too large to be shown"
    return text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "..."
