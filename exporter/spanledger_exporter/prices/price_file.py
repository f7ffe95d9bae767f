"""A TOML file of a user's own prices -> the layers of a price book's document, or every problem at once.

Shape: docs/prices.md, "Your own prices".
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

from spanledger_exporter.errors import ConfigError
from spanledger_exporter.prices.layers import ACCOUNT_FIELDS
from spanledger_exporter.prices.pricing import PRICE_KEYS

_DAYS = {name: number for number, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), 1)}
_HOURS = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)-((?:[01]\d|2[0-3]):[0-5]\d)")
_WHEN_KEYS = ("from", "until", "hours", "weekdays")
_DECIMALS_MAX = 24
# Any below: what a TOML document holds is not known before it was looked at.


def read(path: str) -> dict[str, Any]:
    """Return the layers that a file declares; none for an empty path.

    Raises:
        ConfigError: with every problem of the file.
    """
    if not path:
        return {}
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as exc:
        raise ConfigError([f"price file {path}: {exc.strerror}"]) from exc
    except (
        ValueError,
        RecursionError,
    ) as exc:  # also a number of too many digits, or too deep a nesting
        raise ConfigError([f"price file {path}: not TOML: {exc}"]) from exc
    reader = _Reader(path)
    layers = reader.layers(document)
    if reader.problems:
        raise ConfigError(reader.problems)
    return layers


class _Reader:
    """Reads one document, and gathers what is wrong with it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._where = ""
        self.problems: list[str] = []

    def layers(self, document: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in document.items():
            kind = _KINDS.get(key)
            if kind is None or not isinstance(value, list):
                self.problems.append(f"{self._path}: {key} is not one of [[override]], [[model]], [[deployment]]")
                continue
            layer, parse = kind
            found[layer] = [
                self._one(key, number, each, parse) for number, each in enumerate(cast("list[Any]", value), 1)
            ]
            self._require_different(key, layer, found[layer])
        return found

    def _one(self, key: str, number: int, each: Any, parse: "_Parse") -> dict[str, Any]:
        said = cast("dict[str, Any]", each) if isinstance(each, dict) else {}
        self._where = f"{self._path}: [[{key}]] {number}"
        if isinstance(said.get("name"), str):
            self._where += f" ({said['name']})"
        return parse(self, dict(said))

    def _require_different(self, key: str, layer: str, found: list[dict[str, Any]]) -> None:
        identity = ("provider", "name") if layer == "deployments" else ("name",)
        names = [tuple(each.get(name) for name in identity) for each in found]
        for name in dict.fromkeys(name for name in names if names.count(name) > 1 and all(name)):
            self.problems.append(f"{self._path}: [[{key}]] {'/'.join(map(str, name))} stands there more than once")

    def override(self, said: dict[str, Any]) -> dict[str, Any]:
        found = self._texts(said, ("name",), ("provider", "model", "tier", *ACCOUNT_FIELDS))
        found |= self._when(said)
        if ("multiplier" in said) == ("prices" in said):
            self._problem("give either multiplier or prices")
        if "multiplier" in said:
            found["multiplier"] = self._amount("multiplier", said.pop("multiplier"))
        if "prices" in said:
            found["prices"] = self._prices("prices", said.pop("prices"))
        self._refuse(said, ("name", "provider", "model", "tier", *ACCOUNT_FIELDS, *_WHEN_KEYS, "multiplier", "prices"))
        return found

    def model(self, said: dict[str, Any]) -> dict[str, Any]:
        found = self._texts(said, ("name", "provider"), ())
        match = said.pop("match", [found.get("name", "")])
        if not isinstance(match, list) or not all(isinstance(each, str) and each for each in cast("list[Any]", match)):
            self._problem("match must be a list of names, in which * stands for any characters")
            match = []
        found["match"] = match
        if "prices" not in said:
            self._problem("prices are missing")
        found["prices"] = [{"prices": self._prices("prices", said.pop("prices", {}))}]
        for change in self._tables("change", said.pop("change", [])):
            condition = self._when(change)
            if not condition:
                self._problem(f"change: say when it holds ({', '.join(_WHEN_KEYS)})")
            found["prices"].append({"prices": self._prices("change.prices", change.pop("prices", {})), **condition})
            self._refuse(change, (*_WHEN_KEYS, "prices"))
        found["variants"] = self._tiers(said.pop("tiers", {}))
        self._refuse(said, ("name", "provider", "match", "prices", "change", "tiers"))
        return found

    def deployment(self, said: dict[str, Any]) -> dict[str, Any]:
        found = self._texts(said, ("provider", "name", "model"), ())
        self._refuse(said, ("provider", "name", "model"))
        return found

    def _texts(self, said: dict[str, Any], needed: tuple[str, ...], others: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in (*needed, *others):
            if name in said:
                value = said.pop(name)
                if not isinstance(value, str) or not value:
                    self._problem(f"{name} must be a text, not {value!r}")
                else:
                    found[name] = value
            elif name in needed:
                self._problem(f"{name} is missing")
        return found

    def _when(self, said: dict[str, Any]) -> dict[str, Any]:
        when: dict[str, Any] = {name: self._date(name, said.pop(name)) for name in ("from", "until") if name in said}
        start, end = when.get("from"), when.get("until")
        if start is not None and end is not None and end <= start:
            self._problem("until must be later than from")
        if "hours" in said:
            when |= self._hours(said.pop("hours"))
        if "weekdays" in said:
            when["weekdays"] = self._weekdays(said.pop("weekdays"))
        return {"when": when} if when else {}

    def _date(self, name: str, value: Any) -> str | None:
        if isinstance(value, datetime) or not isinstance(value, date):
            self._problem(f"{name} must be a date such as 2026-01-31, not {value!r}")
            return None
        return value.isoformat()

    def _hours(self, value: Any) -> dict[str, str]:
        hours = _HOURS.fullmatch(value) if isinstance(value, str) else None
        if hours is None or hours[1] == hours[2]:
            self._problem(f"hours must be such as 16:30-00:30 in UTC, not {value!r}")
            return {}
        return {"start": f"{hours[1]}:00", "end": f"{hours[2]}:00"}

    def _weekdays(self, days: Any) -> list[int]:
        if not isinstance(days, list) or not days or any(day not in [*_DAYS] for day in cast("list[Any]", days)):
            self._problem(f"weekdays must be a list of {', '.join(_DAYS)}, not {days!r}")
            return []
        return sorted({_DAYS[day] for day in cast("list[str]", days)})

    def _tiers(self, tiers: Any) -> list[dict[str, Any]]:
        if not isinstance(tiers, dict):
            self._problem("tiers must be a table of prices by tier")
            return []
        found: list[dict[str, Any]] = []
        for tier, prices in cast("dict[str, Any]", tiers).items():
            name, equals, value = tier.partition("=")
            context = {name: value} if equals else {"processing" if tier == "batch" else "service_tier": tier}
            found.append({"context": context, "prices": self._prices(f"tiers.{tier}", prices)})
        return found

    def _prices(self, name: str, prices: Any) -> dict[str, Any]:
        if not isinstance(prices, dict) or not prices:
            self._problem(f"{name} must be a table of prices such as {{ input_mtok = 2.5, output_mtok = 10 }}")
            return {}
        found: dict[str, Any] = {}
        for key, price in cast("dict[str, Any]", prices).items():
            if key not in PRICE_KEYS:
                self._problem(f"{name}: unknown price key {key}; known are {', '.join(sorted(PRICE_KEYS))}")
            elif isinstance(price, dict):
                found[key] = self._tiered(f"{name}.{key}", cast("dict[str, Any]", price))
            else:
                found[key] = self._amount(f"{name}.{key}", price)
        return found

    def _tiered(self, name: str, price: dict[str, Any]) -> dict[str, Any]:
        said = price.get("tiers")
        tiers: list[Any] = cast("list[Any]", said) if isinstance(said, list) else [said]
        if set(price) != {"base", "tiers"} or not all(map(_is_pair, tiers)):
            self._problem(f"{name} must be such as {{ base = 1.25, tiers = [[200000, 2.5]] }}")
            return {"base": "0", "tiers": []}
        starts = [start for start, _ in tiers]
        if any(type(start) is not int or start < 1 for start in starts) or starts != sorted(set(starts)):
            self._problem(f"{name}: the tiers' numbers of input tokens must be whole and ascend")
        return {
            "base": self._amount(name, price["base"]),
            "tiers": [[start, self._amount(name, amount)] for start, amount in tiers],
        }

    def _amount(self, name: str, value: Any) -> str:
        """Return an exact decimal as text."""
        try:
            amount = Decimal(value) if isinstance(value, int | str | Decimal) and not isinstance(value, bool) else None
        except InvalidOperation:
            amount = None
        if amount is None or not amount.is_finite() or amount < 0 or abs(amount.adjusted()) > _DECIMALS_MAX:
            self._problem(f"{name} must be a number of 0 or more, not {value!r}")
            return "0"
        return f"{amount.normalize():f}"

    def _tables(self, name: str, value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in cast("list[Any]", value)):
            self._problem(f"{name} must be tables, [[model.{name}]]")
            return []
        return [dict(each) for each in cast("list[dict[str, Any]]", value)]

    def _refuse(self, rest: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for name in rest:
            self._problem(f"unknown key {name}; known are {', '.join(known)}")

    def _problem(self, text: str) -> None:
        self.problems.append(f"{self._where}: {text}")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(cast("list[Any]", value)) == 2


_Parse = Callable[[_Reader, dict[str, Any]], dict[str, Any]]
_KINDS: Mapping[str, tuple[str, _Parse]] = {
    "override": ("overrides", _Reader.override),
    "model": ("models", _Reader.model),
    "deployment": ("deployments", _Reader.deployment),
}
