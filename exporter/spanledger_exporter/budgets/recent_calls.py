"""The ledger's latest calls -> what each of them came to under the budgets that hold it.

They are read once for all budgets, and at most so many: what a budget's calls cost is a matter of its latest ones.

A call of which that is not known is left out, and so is one that a budget refused: it was never made. A call that is
known to have come to nothing is none of these.

Units: pico-USD for a budget in USD, tokens for one in tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, select

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.scopes import Facets, PersonalTarget, Scopes, Target, never_sent
from spanledger_exporter.budgets.sums import rows
from spanledger_exporter.ledger.schema import ledger_entries, profiles

CALLS_MAX: Final = 2000
_PROFILE: Final = (profiles.c.error_type, profiles.c.price_status, *(profiles.c[name] for name in Facets._fields[:-1]))


def recent_amounts(
    connection: Connection, stored: Sequence[StoredBudget], *, calls_max: int = CALLS_MAX
) -> dict[tuple[int, str], list[int]]:
    """Return what the latest calls came to, by budget and group."""
    held = [each for each in stored if each.budget.unit != "calls"]
    if not held:
        return {}
    here = ledger_entries.c
    query = (
        select(here.user_id, here.session_id, here.input_tokens, here.output_tokens, here.cost_pusd, *_PROFILE)
        .join(profiles, profiles.c.profile_id == here.profile_id)
        .order_by(here.end_ns.desc(), here.span_id.desc())
        .limit(calls_max)
    )
    scopes, known = Scopes(held), dict[tuple[Any, ...], tuple[list[Target], list[PersonalTarget]]]()
    found: dict[tuple[int, str], list[int]] = {}
    for user, session, input_tokens, output_tokens, cost_pusd, error_type, price_status, *facets in rows(
        connection, query
    ):
        if never_sent(error_type, price_status):
            continue
        tokens = None if input_tokens is None and output_tokens is None else (input_tokens or 0) + (output_tokens or 0)
        shared = tuple(facets)
        targets = known.get(shared)
        if targets is None:
            targets = known[shared] = scopes.of(Facets(*facets))
        for each, group_key in _held(*targets, user, session):
            amount = cost_pusd if each.budget.unit == "usd" else tokens
            if amount is not None:
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
