"""The entries -> what they count under budgets: so that one that is made now knows what was already spent.

The database sums the entries by profile and by stretches of time, as long as the budgets' days allow; only these sums
come here. What is done with them is what is done with new calls (charges.py).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, case, func, literal, select
from sqlalchemy.sql import Select

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.charges import (
    CALL_NS_MAX,
    NO_BUDGETS,
    RATED_TOKENS_MAX,
    Charges,
    Matched,
    Place,
    Rules,
    Sum,
)
from spanledger_exporter.budgets.periods import QUARTER_S, Bounds, Period
from spanledger_exporter.budgets.scopes import Facets, asks, never_sent
from spanledger_exporter.ledger.schema import ledger_entries, profiles
from spanledger_exporter.money import PUSD_PER_MICRO_USD

_NS_PER_S: Final = 10**9
_HISTORY_S: Final = 35 * 86_400
"""How far back the days are counted that forecasts are made from."""
_PROFILES_NAMED_MAX: Final = 500
_ROWS_AT_ONCE: Final = 5000


def counted_from(period: Period, now_s: int, floor_ns: int, *, rollover: bool) -> int:
    """Return since when a budget is to be counted that is made now.

    It is the beginning of a period: of this one, or of the one 35 days ago, or of the one before this where what is
    left of it rolls over; or it is where retention has deleted what was before. Units: Unix seconds, nanoseconds.
    """
    current = period.bounds(now_s)
    starts = [begins_s for begins_s in (period.begins_s(),) if begins_s is not None]
    if current is not None:
        starts.append(current.start_s)
        if (earlier := period.bounds(now_s - _HISTORY_S)) is not None:
            starts.append(earlier.start_s)
        if rollover and (before := period.before(current)) is not None:
            starts.append(before.start_s)
    return max(min(starts), floor_s(floor_ns))


def floor_s(floor_ns: int) -> int:
    """Return the quarter of an hour from which on retention has deleted nothing. Units: Unix seconds, nanoseconds."""
    return -(-floor_ns // (_NS_PER_S * QUARTER_S)) * QUARTER_S


def counted(connection: Connection, stored: Sequence[StoredBudget]) -> dict[Place, Sum]:
    """Return what the entries count under budgets, each since it is counted.

    Every value has room here; see groups.py for what is stored.
    """
    if not stored:
        return {}
    if connection.dialect.name == "postgresql":  # a large ledger takes its time
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    rules = Rules(stored)
    matched = _matched(connection, rules)
    if not matched:
        return {}
    since_s = min(each.counted_from_s for each in stored)
    personal = {name: any(asks(each, name) for each in stored) for name in ("user", "session")}
    charges = Charges(rules)
    base_s, grain_s = _grain(connection, stored, since_s)
    query = _sums(connection, since_s, base_s, grain_s, matched, personal)
    streamed = connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE})
    for row in map(tuple, streamed):
        profile_id, bucket, user, session = row[:4]
        found = matched.get(profile_id)
        if found is not None:
            calls, input_, output, micro_usd, rest_pusd, rated_input, rated_output = map(int, row[4:])
            cost = micro_usd * PUSD_PER_MICRO_USD + rest_pusd
            moved = [calls, input_ + output, cost, rated_input, rated_output]
            charges.add_sums(found, (base_s + int(bucket) * grain_s) // QUARTER_S, user, session, moved)
    return charges.summed()


def _matched(connection: Connection, rules: Rules) -> dict[int, Matched]:
    """Return the budgets of each profile that has any."""
    here = profiles.c
    names = Facets._fields[:-1]
    query: Select[Any] = select(here.profile_id, here.price_status, here.error_type, *(here[name] for name in names))
    rows: Iterator[tuple[Any, ...]] = map(tuple, connection.execute(query))  # a row types no unpacking of the rest
    found: dict[int, Matched] = {}
    for profile_id, price_status, error_type, *shared in rows:
        if never_sent(error_type, price_status):
            continue
        matched = rules.of(Facets(*shared, unpriced=price_status == "unpriced"))
        if matched != NO_BUDGETS:
            found[profile_id] = matched
    return found


def _grain(connection: Connection, stored: Iterable[StoredBudget], since_s: int) -> tuple[int, int]:
    """Return a beginning, and how long stretches from it on may be so that each is within one day of every budget."""
    last_ns = connection.execute(select(func.max(ledger_entries.c.end_ns))).scalar() or 0
    until_s = max(last_ns // _NS_PER_S, since_s) + 1
    marks = {each.counted_from_s for each in stored if each.counted_from_s < until_s}
    if any(each.budget.period.kind == "hour" for each in stored):
        return since_s // QUARTER_S * QUARTER_S, QUARTER_S
    for timezone in {each.budget.period.timezone for each in stored}:
        days = Period(kind="day", timezone=timezone).days_of(Bounds(since_s, until_s))
        marks.update(time_s for day in days for time_s in day)
    base_s = min(marks)
    return base_s, math.gcd(*(mark - base_s for mark in marks)) or QUARTER_S


def _sums(
    connection: Connection,
    since_s: int,
    base_s: int,
    grain_s: int,
    matched: Mapping[int, Matched],
    personal: Mapping[str, bool],
) -> Select[*tuple[Any, ...]]:  # some of the columns are there only if they are asked for
    here = ledger_entries.c
    made_ns = case((here.start_ns.between(here.end_ns - CALL_NS_MAX, here.end_ns), here.start_ns), else_=here.end_ns)
    bucket = (made_ns - base_s * _NS_PER_S) // (grain_s * _NS_PER_S)
    input_, output = func.coalesce(here.input_tokens, 0), func.coalesce(here.output_tokens, 0)
    cost = func.coalesce(here.cost_pusd, 0)
    figures = (
        input_,
        output,
        cost // PUSD_PER_MICRO_USD,
        cost % PUSD_PER_MICRO_USD,
        _least(input_, RATED_TOKENS_MAX),
        _least(output, RATED_TOKENS_MAX),
    )
    own = [column if personal[name] else literal(None) for name, column in
           (("user", here.user_id), ("session", here.session_id))]  # fmt: skip
    groups = [here.profile_id, bucket, *(column for name, column in
              (("user", here.user_id), ("session", here.session_id)) if personal[name])]  # fmt: skip
    query = (
        select(here.profile_id, bucket, *own, func.count(), *(func.sum(figure) for figure in figures))
        .where(made_ns >= since_s * _NS_PER_S)
        .group_by(*groups)
    )
    first_ns = connection.execute(select(func.min(here.end_ns))).scalar() or 0
    if first_ns < since_s * _NS_PER_S:  # else all of them are asked for, and the index would be a detour
        query = query.where(here.end_ns >= since_s * _NS_PER_S)
    if len(matched) <= _PROFILES_NAMED_MAX:
        query = query.where(here.profile_id.in_(sorted(matched)))
    return query


def _least(figure: ColumnElement[int], most: int) -> ColumnElement[int]:
    return case((figure < most, figure), else_=most)
