"""Budgets, and what a call is -> the budgets that hold it, and under which of their values.

Most budgets ask only what many calls have in common; they are found once for each combination of it (charges.py). Those
that ask for a user or a session are found by what the others have, and finished for each call.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from spanledger_exporter.budgets.budget import CALL_DIMENSIONS, PROFILE_DIMENSIONS, StoredBudget, matches
from spanledger_exporter.records import OTHER, Profile

_VALUE_BYTES_MAX: Final = 200
"""Of a value that calls are counted apart by, as of the texts of a cell."""
_WRITTEN_BYTES_MAX: Final = 220
"""Of such a value in JSON: eight of them fit into a row of an index, whatever had to be escaped."""


class Facets(NamedTuple):
    """What budgets ask of a profile."""

    service: str | None = None
    environment: str | None = None
    tenant: str | None = None
    team: str | None = None
    project: str | None = None
    feature: str | None = None
    provider: str | None = None
    response_model: str | None = None
    request_model: str | None = None
    api_key_hash: str | None = None
    organization: str | None = None
    unpriced: bool = False

    def names(self, dimension: str) -> tuple[str, ...]:
        """Return what a scope may name it by: of a model, the one that answered and the one that was asked for."""
        if dimension == "model":
            return self.response_model or "", self.request_model or ""
        return (getattr(self, PROFILE_DIMENSIONS[dimension]) or "",)

    def value(self, dimension: str) -> str | None:
        """Return what calls are counted apart by.

        Of a model, the one that was asked for where that is known: leases are of calls that are not answered yet, and
        the one that answers, often a dated name of it, is known to nobody then.
        """
        if dimension == "model":
            return self.request_model or self.response_model or None
        return getattr(self, PROFILE_DIMENSIONS[dimension]) or None


def never_sent(error_type: str | None, price_status: str) -> bool:
    """Tell whether calls were refused by a budget in their service: the provider never saw them, and none counts."""
    return error_type == "budget_exceeded" and price_status == "none"


def facets_of(profile: Profile, price_status: str) -> Facets:
    """Return what budgets ask of a profile."""
    return Facets(
        profile.service,
        profile.environment,
        profile.tenant,
        profile.team,
        profile.project,
        profile.feature,
        profile.provider,
        profile.response_model,
        profile.request_model,
        profile.api_key_hash,
        profile.organization,
        price_status == "unpriced",
    )


class Target(NamedTuple):
    """A budget that holds calls, and under which of its values."""

    stored: StoredBudget
    group_key: str


class PersonalTarget(NamedTuple):
    """A budget that may hold calls, by their user or session; `values` are those that are known without them."""

    stored: StoredBudget
    values: tuple[str | None, ...]

    def group(self, user: str | None, session: str | None) -> str | None:
        """Return under which value it holds the calls of a user and a session; `None` where it does not."""
        budget = self.stored.budget
        own = {"user": user, "session": session}
        for name, value in own.items():
            patterns = budget.scope.get(name)
            if patterns is not None and not matches(patterns, value):
                return None
        if not budget.per:
            return ""
        values = (own.get(name, value) or None for name, value in zip(budget.per, self.values, strict=True))
        return group_key(values)


class _Held(NamedTuple):
    """A budget, and what of it is asked for every combination of what calls have in common."""

    stored: StoredBudget
    scope: tuple[tuple[str, tuple[str, ...]], ...]
    per: tuple[str, ...]
    personal: bool

    def holds(self, facets: Facets) -> bool:
        """Tell whether calls that have this in common may be its own."""
        return all(matches(patterns, *facets.names(name)) for name, patterns in self.scope)

    def values(self, facets: Facets) -> tuple[str | None, ...]:
        """Return what it is per, as far as that is known."""
        return tuple(facets.value(name) if name in PROFILE_DIMENSIONS else None for name in self.per)


class Scopes:
    """Finds the budgets of calls; those whose scope names exact values are not looked at for others."""

    def __init__(self, stored: Sequence[StoredBudget]) -> None:
        self._everywhere: list[_Held] = []
        self._by_value: dict[tuple[str, str], list[_Held]] = {}
        for each in stored:
            scope = tuple(item for item in each.budget.scope.items() if item[0] in PROFILE_DIMENSIONS)
            held = _Held(each, scope, each.budget.per, is_personal(each))
            exact = next((item for item in scope if not any("*" in pattern for pattern in item[1])), None)
            if exact is None:
                self._everywhere.append(held)
                continue
            for value in dict.fromkeys(exact[1]):
                self._by_value.setdefault((exact[0], value), []).append(held)
        self._indexed = sorted({dimension for dimension, _ in self._by_value})

    def of(self, facets: Facets) -> tuple[list[Target], list[PersonalTarget]]:
        """Return the budgets of calls that have this in common: those that hold them all, and those that may."""
        shared: list[Target] = []
        personal: list[PersonalTarget] = []
        for held in self._candidates(facets):
            if held.scope and not held.holds(facets):
                continue
            values = held.values(facets) if held.per else ()
            if held.personal:
                personal.append(PersonalTarget(held.stored, values))
            else:
                shared.append(Target(held.stored, group_key(values) if values else ""))
        return shared, personal

    def _candidates(self, facets: Facets) -> Iterator[_Held]:
        yield from self._everywhere
        found: dict[int, _Held] = {}
        for dimension in self._indexed:
            for value in facets.names(dimension):
                for held in self._by_value.get((dimension, value), ()):
                    found[held.stored.budget_id] = held
        yield from found.values()


def is_personal(stored: StoredBudget) -> bool:
    """Tell whether a budget asks for something that each call has of its own."""
    return asks(stored, "user") or asks(stored, "session")


def asks(stored: StoredBudget, dimension: str) -> bool:
    """Tell whether a budget asks for a dimension."""
    assert dimension in CALL_DIMENSIONS, "the others are always known"
    return dimension in stored.budget.scope or dimension in stored.budget.per


def group_key(values: Iterable[str | None]) -> str:
    """Return the key of calls that have these values: a JSON array; a value that was not reported is null."""
    return json.dumps([None if value is None else _cut(value) for value in values], separators=(",", ":"),
                      ensure_ascii=False)  # fmt: skip


def other_key(stored: StoredBudget) -> str:
    """Return the key of the calls for whose values there was no room."""
    return group_key([OTHER] * len(stored.budget.per))


def _cut(value: str) -> str:
    text = value.encode()[:_VALUE_BYTES_MAX].decode(errors="ignore")
    while len(json.dumps(text, ensure_ascii=False).encode()) > _WRITTEN_BYTES_MAX:
        text = text[: len(text) * 3 // 4]
    return text
