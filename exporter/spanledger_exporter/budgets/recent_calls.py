"""The ledger's latest calls -> what each of them came to under the budgets that hold it.

They are read once for all budgets, and at most so many: what a budget's calls cost is a matter of its latest ones.

Units: pico-USD for a budget in USD, tokens for one in tokens; calls without a known price are left out of the former.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, select

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.scopes import Facets, PersonalTarget, Scopes, Target
from spanledger_exporter.budgets.sums import rows
from spanledger_exporter.ledger.schema import ledger_entries, profiles

CALLS_MAX: Final = 2000
_FACETS: Final = tuple(profiles.c[name] for name in Facets._fields[:-1])


def recent_amounts(
    connection: Connection, stored: Sequence[StoredBudget], *, calls_max: int = CALLS_MAX
) -> dict[tuple[int, str], list[int]]:
    """Return what the latest calls came to, by budget and group."""
    held = [each for each in stored if each.budget.unit != "calls"]
    if not held:
        return {}
    here = ledger_entries.c
    query = (
        select(here.user_id, here.session_id, here.input_tokens, here.output_tokens, here.cost_pusd, *_FACETS)
        .join(profiles, profiles.c.profile_id == here.profile_id)
        .order_by(here.end_ns.desc(), here.span_id.desc())
        .limit(calls_max)
    )
    scopes, known = Scopes(held), dict[tuple[Any, ...], tuple[list[Target], list[PersonalTarget]]]()
    found: dict[tuple[int, str], list[int]] = {}
    for user, session, input_tokens, output_tokens, cost_pusd, *facets in rows(connection, query):
        shared = tuple(facets)
        targets = known.get(shared)
        if targets is None:
            targets = known[shared] = scopes.of(Facets(*facets))
        for each, group_key in _held(*targets, user, session):
            amount = cost_pusd if each.budget.unit == "usd" else (input_tokens or 0) + (output_tokens or 0)
            if amount:  # one that failed, or was refused, says nothing of the next
                found.setdefault((each.budget_id, group_key), []).append(amount)
    return found


def _held(
    shared: Iterable[Target], personal: Iterable[PersonalTarget], user: str | None, session: str | None
) -> Iterator[tuple[StoredBudget, str]]:
    yield from shared
    for target in personal:
        group = target.group(user, session)
        if group is not None:
            yield target.stored, group
