"""A model's match rule -> the models of a provider that a name belongs to.

The rules are genai-prices' (equals, starts_with, ends_with, contains, regex, and, or); the first model that matches
wins. One thing is stricter, on purpose: what a rule leaves of a name must be a date, a version or a release word.
`claude-sonnet-4-5` is the start of `claude-sonnet-4-5-20250929` and of `claude-sonnet-4-55`, a model that nobody knows.

Source: genai-prices 0.2.3, `types.py`, the `Clause` classes.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Rule = Callable[[str], bool]

# What may follow the text of a rule: release words, and numbers of two digits or more or behind v, r or a colon:
# `-20250929`, `-2025-09-29`, `-0528`, `-001`, `-v1:0`, `:300k`, `@default`. A single digit behind a dash is the next
# version (`claude-opus-4` is not `claude-opus-4-1`), and another word may be another model at another price
# (`gemini-3.8-flash-cyber` costs twice what `gemini-3.8-flash` does).
# Every name that genai-prices 0.2.3 and LiteLLM 1.110.2 list for these rules still matches, but for that one.
_WORDS = (
    *("latest", "default", "stable", "nightly", "preview", "exp", "experimental", "beta", "instruct", "vision"),
    *("thinking", "extended-thinking", "customtools", "native-audio"),
)
_REST = re.compile(rf"(?:[-@:_.]?(?:{'|'.join(_WORDS)})|[-@:_]\d{{2,}}[a-z]?|[-@:_][vr]\d+(?:\.\d+)*|:\d+[a-z]*)*")
_GENERATION = re.compile(r"[a-z]+-\d")
_DATE_OR_REVISION = re.compile(r"[-@](?:20\d\d-?\d\d-?\d\d|0\d\d)(?!\d)")
_SEPARATORS = frozenset("-@/:._")


def rule_of(document: Mapping[str, Any]) -> Rule:
    """Return a match rule of a price book as a function of a name in lower case.

    Shape: `{"equals": "gpt-5"}`, `{"or": [{"starts_with": "gpt-5-"}, {"regex": "^gpt-5"}]}`
    """
    ((kind, argument),) = document.items()
    return _RULES[kind](argument)


def exact_names(document: Mapping[str, Any]) -> Iterator[str] | None:
    """Return the names that a rule lists, or None where it does more than to list names."""
    ((kind, argument),) = document.items()
    if kind == "equals":
        return iter((argument.lower(),))
    if kind != "or" or any(next(iter(part)) != "equals" for part in argument):
        return None
    return (part["equals"].lower() for part in argument)


class Matcher:
    """Finds the first of many rules that a name satisfies, without asking those that only list names."""

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        self._listed: dict[str, int] = {}
        self._others: list[tuple[int, Rule]] = []
        for number, document in enumerate(rules):
            names = exact_names(document)
            if names is None:
                self._others.append((number, rule_of(document)))
            else:
                for name in names:
                    self._listed.setdefault(name, number)

    def first(self, name: str) -> int | None:
        """Return the number of the first rule that the name satisfies."""
        listed = self._listed.get(name)
        for number, rule in self._others:
            if listed is not None and number > listed:
                break
            if rule(name):
                return number
        return listed


def _equals(text: str) -> Rule:
    lower = text.lower()
    return lambda name: name == lower


def _starts_with(text: str) -> Rule:
    lower = text.lower()
    return lambda name: name.startswith(lower) and _ends_well(lower, name[len(lower) :])


def _ends_with(text: str) -> Rule:
    lower = text.lower()
    return lambda name: name.endswith(lower) and not _fine_tuned(name) and _begins_well(name[: -len(lower)])


def _contains(text: str) -> Rule:
    lower = text.lower()

    def contains(name: str) -> bool:
        before, found, after = name.partition(lower)
        return bool(found) and not _fine_tuned(name) and _begins_well(before) and _ends_well(lower, after)

    return contains


def _regex(pattern: str) -> Rule:
    compiled = re.compile(pattern)
    return lambda name: compiled.search(name) is not None and not _fine_tuned(name)


def _any(parts: Sequence[Mapping[str, Any]]) -> Rule:
    rules = tuple(map(rule_of, parts))
    return lambda name: any(rule(name) for rule in rules)


def _all(parts: Sequence[Mapping[str, Any]]) -> Rule:
    rules = tuple(map(rule_of, parts))
    return lambda name: all(rule(name) for rule in rules)


_RULES: Mapping[str, Callable[[Any], Rule]] = {
    "equals": _equals,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "contains": _contains,
    "regex": _regex,
    "or": _any,
    "and": _all,
}


def _fine_tuned(name: str) -> bool:
    """Tell whether a name is that of a fine-tuned model, whose price is never that of its base model."""
    return name.startswith("ft:")


def _begins_well(before: str) -> bool:
    return not before or before[-1] in _SEPARATORS


def _ends_well(text: str, after: str) -> bool:
    if not after or text[-1] in _SEPARATORS:
        return True
    if text.startswith("ft:"):  # what follows a fine-tuned model's base are its owner's own names
        return after[0] in ":-" or after[0].isdigit()
    if text[-1].isdigit() and after[0].isdigit():  # a rule may end within a date, as `claude-sonnet-4-2025` does
        begun = re.search(r"[-@][^-@]*$", text)
        return begun is not None and _DATE_OR_REVISION.match(begun[0] + after) is not None
    if _GENERATION.fullmatch(text) is not None and after[0] == ".":
        after = re.sub(r"^\.\d+", "", after)  # `claude-2` stands for 2.0 and 2.1
    return _REST.fullmatch(after) is not None
