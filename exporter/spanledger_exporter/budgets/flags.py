"""The flags of `budgets set` -> the document of a budget, with what was said before where a flag says nothing.

What a flag says is not judged here: the document is, whole, so that every problem is named at once.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from spanledger_exporter.budgets.budget import DIMENSIONS, MODES, ON_UNPRICED, ON_UNREACHABLE, UNITS
from spanledger_exporter.budgets.periods import ALL_ANCHORS, KINDS

Document = dict[str, Any]  # what a document holds is not known before it was looked at


class Field(NamedTuple):
    """One key of a document, and its flag. `read` turns the flag's text into what the document has."""

    key: str
    metavar: str
    text: str
    read: Callable[[str], Any]  # as above

    @property
    def flag(self) -> str:
        """The flag."""
        return f"--{self.key.replace('_', '-')}"

    def add_to(self, command: argparse.ArgumentParser) -> None:
        """Add the flag to a command."""
        action = "append" if self.key == "scope" else "store"
        command.add_argument(
            self.flag, dest=f"set_{self.key}", action=action, metavar=self.metavar, help=self.text.replace("%", "%%")
        )


def _text(text: str) -> str:
    return text


def _number(text: str) -> Any:  # a whole number, or what the document will refuse
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[Any]:  # as `_number`
    return [_number(part.removesuffix("%")) for part in _names(text)]


def _switch(text: str) -> Any:  # true, false, or what the document will refuse
    return {"true": True, "false": False}.get(text, text)


def _rates(text: str) -> Any:  # as above
    rates = text.split(",")
    return dict(zip(("input_mtok", "output_mtok"), rates, strict=True)) if len(rates) == 2 else text


def _one_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


FIELDS: Final = (
    Field("limit_usd", "USD", "at most so much in a period, such as 250 or 0.5", _text),
    Field("limit_tokens", "N", "at most so many tokens instead, input and output", _number),
    Field("limit_calls", "N", "at most so many calls instead", _number),
    Field(
        "scope",
        "DIMENSION=NAMES",
        f"only calls of these, comma-separated, * for any characters; once for each of {', '.join(DIMENSIONS)}; "
        "DIMENSION= for all again",
        _text,
    ),
    Field("per", "DIMENSIONS", "a limit for each value of these, comma-separated, such as user or team,model", _names),
    Field("period", "KIND", f"{_one_of(KINDS)} (default month)", _text),
    Field("timezone", "NAME", "whose calendar, such as Europe/Berlin (default UTC)", _text),
    Field("weekday", "DAY", "the first day of a week: mon to sun", _text),
    Field("day", "N", "the day of the month on which a month, quarter or year begins", _number),
    Field("month", "N", "the month in which a quarter or year begins, 1 to 12", _number),
    Field("days", "N", "how many days a period of days has", _number),
    Field("since", "DATE", "the first day of a range, or of some period of days", _text),
    Field("until", "DATE", "the first day that is not in a range any more", _text),
    Field("rollover", "true|false", "add what the last period left to this one's limit", _switch),
    Field("rollover_max_usd", "USD", "at most so much of it", _text),
    Field("rollover_max_tokens", "N", "at most so many tokens of it", _number),
    Field("rollover_max_calls", "N", "at most so many calls of it", _number),
    Field("mode", "MODE", f"{_one_of(MODES)}: only say so, or refuse calls where services enforce budgets", _text),
    Field(
        "thresholds",
        "PERCENTS",
        "when to say so, in percent of the limit, comma-separated (default 75,90,100)",
        _numbers,
    ),
    Field("on_unpriced", "WHAT", f"of calls whose price is not known: {_one_of(ON_UNPRICED)} (default alert)", _text),
    Field("default_rate", "IN,OUT", "USD for a million tokens of input and output, for --on-unpriced rate", _rates),
    Field(
        "on_unreachable",
        "WHAT",
        f"of a service that cannot reach the exporter: {_one_of(ON_UNREACHABLE)} (default open)",
        _text,
    ),
    Field("safe_usd", "USD", "what a process may spend then, for --on-unreachable safe", _text),
    Field("safe_tokens", "N", "likewise, in tokens", _number),
    Field("safe_calls", "N", "likewise, in calls", _number),
    Field("description", "TEXT", "whose it is, and what for", _text),
)


def document_of(arguments: argparse.Namespace, before: Mapping[str, Any]) -> Document:
    """Return the document of a budget: what the flags say, and else what was said before.

    What belongs to another unit, or to another kind of period, than the flags say now is not taken over.
    """
    said = {field.key: field.read(text) for field in FIELDS if isinstance(text := _of(arguments, field), str)}
    kept = {key: value for key, value in before.items() if key not in _outdated(before, said)}
    scopes: list[str] | None = arguments.set_scope
    if scopes is not None:
        kept["scope"] = _scope(kept.get("scope", {}), scopes)
    return {**kept, **said, "name": arguments.name}


def _of(arguments: argparse.Namespace, field: Field) -> object:
    return getattr(arguments, f"set_{field.key}")


def _outdated(before: Mapping[str, Any], said: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    units = {unit for unit in UNITS if f"limit_{unit}" in said}
    if units:
        others = {f"{kind}_{unit}" for kind in ("limit", "rollover_max", "safe") for unit in {*UNITS} - units}
        found |= others
    if said.get("period", before.get("period")) != before.get("period"):
        found |= {*ALL_ANCHORS}
    if said.get("rollover") is False:
        found |= {f"rollover_max_{unit}" for unit in UNITS}
    if said.get("on_unpriced", "rate") != "rate":
        found.add("default_rate")
    if said.get("on_unreachable", "safe") != "safe":
        found |= {f"safe_{unit}" for unit in UNITS}
    return found


def _scope(before: Mapping[str, Any], said: list[str]) -> Document:
    """Return the scope with what was said of some dimensions; the first of several times begins anew."""
    scope, fresh = dict(before), set[str]()
    for text in said:
        dimension, _, names = text.partition("=")
        if dimension not in fresh:
            scope.pop(dimension, None)
            fresh.add(dimension)
        if names or "=" not in text:
            scope[dimension] = [*scope.get(dimension, []), *_names(names)]
    return scope
