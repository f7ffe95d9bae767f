"""Calls -> what they move budgets by: added, or taken away, and written in the transaction of their entries.

A call counts in the period in which it was made, which is when it was let through, and not when it ended: what is
granted at a period's end is spent in that period. Calls are summed first by what they have in common and the quarter of
an hour in which they were made; only these sums are charged to the budgets that hold them. So a budget costs something
for each commit, and nearly nothing for each call.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from spanledger_exporter.budgets.budget import Budget, StoredBudget
from spanledger_exporter.budgets.periods import QUARTER_S, Period
from spanledger_exporter.budgets.scopes import Facets, PersonalTarget, Scopes, Target, asks, facets_of, never_sent
from spanledger_exporter.records import PricedRecord, UsageRecord

_NS_PER_QUARTER: Final = QUARTER_S * 10**9
_PROFILES_KNOWN_MAX: Final = 50_000
_TARGETS_KNOWN_MAX: Final = 2_000_000
_PLACES_KNOWN_MAX: Final = 20_000
CALL_NS_MAX: Final = 24 * 3600 * 10**9
"""How long a call may take: no provider answers for longer, and a start before that was dated by a wrong clock."""
RATED_TOKENS_MAX: Final = 10**9
"""Tokens of a call that count at a default rate; more than any real call has, and few enough for 64 bits."""


class Sum(NamedTuple):
    """What calls count under a budget. Units: calls, tokens, calls, pico-USD."""

    calls: int = 0
    tokens: int = 0
    unpriced_calls: int = 0
    cost_pusd: int = 0

    def plus(self, other: "Sum") -> "Sum":
        """Return the sum of both."""
        return Sum(self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3])

    def minus(self, other: "Sum") -> "Sum":
        """Return the difference of both."""
        return Sum(self[0] - other[0], self[1] - other[1], self[2] - other[2], self[3] - other[3])


NOTHING: Final = Sum()


class Place(NamedTuple):
    """Where a sum counts: under which budget and value, in which period, on which of its days. Units: Unix seconds."""

    budget_id: int
    period_start_s: int
    group_key: str
    day_s: int


class Calendar:
    """When calls count, for budgets that are alike in that."""

    def __init__(self, period: Period, counted_from_s: int) -> None:
        self.period = period
        self.counted_from_s = counted_from_s
        self._places: dict[int, tuple[int, int] | None] = {}

    def place(self, quarter: int) -> tuple[int, int] | None:
        """Return the beginnings of the period and the day that a quarter of an hour is in; `None` for one before."""
        try:
            return self._places[quarter]
        except KeyError:
            if len(self._places) >= _PLACES_KNOWN_MAX:
                self._places.clear()
            found = self._places[quarter] = self._find(quarter * QUARTER_S)
            return found

    def _find(self, moment_s: int) -> tuple[int, int] | None:
        if moment_s < self.counted_from_s:
            return None
        bounds = self.period.bounds(moment_s)
        return None if bounds is None else (bounds.start_s, self.period.day_of(moment_s))


class _Shared:
    """Calls that the same budgets hold, whatever else they are; told apart by identity."""

    __slots__ = ("by_calendar", "unpriced")

    def __init__(self, by_calendar: "Sequence[tuple[Calendar, Sequence[_Share]]]", *, unpriced: bool) -> None:
        self.by_calendar = by_calendar
        self.unpriced = unpriced


class _Share(NamedTuple):
    budget_id: int
    group_key: str
    rates: tuple[int, int] | None  # pico-USD for a token of input and output, of calls without a price


class _Personal:
    """Calls that the same budgets may hold, by user and session."""

    __slots__ = ("asks_session", "asks_user", "targets", "unpriced")

    def __init__(self, targets: Sequence[tuple[Calendar, PersonalTarget]], *, unpriced: bool) -> None:
        self.targets = targets
        self.unpriced = unpriced
        self.asks_user = any(asks(target.stored, "user") for _, target in targets)
        self.asks_session = any(asks(target.stored, "session") for _, target in targets)


Matched = tuple[_Shared | None, _Personal | None]
NO_BUDGETS: Final[Matched] = (None, None)


class Rules:
    """The budgets that apply, and which calls they hold."""

    def __init__(self, stored: Iterable[StoredBudget]) -> None:
        self.budgets: Mapping[int, StoredBudget] = {each.budget_id: each for each in stored}
        self._scopes = Scopes(list(self.budgets.values()))
        self._calendars: dict[tuple[Period, int], Calendar] = {}
        self.of_profile: dict[int, Matched] = {}
        self._of_facets: dict[Facets, Matched] = {}
        self._shared: dict[object, _Shared] = {}
        self._personal: dict[object, _Personal] = {}
        self._targets_known = 0

    def learn(self, profile_id: int, priced: PricedRecord) -> Matched:
        """Find the budgets of the calls of a profile, and remember them."""
        if len(self.of_profile) >= _PROFILES_KNOWN_MAX:
            self.of_profile.clear()
        profile, status = priced.record.profile, priced.price.status
        found = NO_BUDGETS if never_sent(profile.error_type, status) else self.of(facets_of(profile, status))
        self.of_profile[profile_id] = found
        return found

    def forget_profiles(self) -> None:
        """Forget the numbers of profiles: those of a transaction that was undone are given to others."""
        self.of_profile.clear()

    def of(self, facets: Facets) -> Matched:
        """Return the budgets of calls that have this in common."""
        found = self._of_facets.get(facets)
        if found is None:
            if len(self._of_facets) >= _PROFILES_KNOWN_MAX or self._targets_known >= _TARGETS_KNOWN_MAX:
                self._forget()
            shared, personal = self._scopes.of(facets)
            found = self._shared_of(shared, facets.unpriced), self._personal_of(personal, facets.unpriced)
            self._of_facets[facets] = found
        return found

    def calendar(self, stored: StoredBudget) -> Calendar:
        """Return when a budget's calls count."""
        key = (stored.budget.period, stored.counted_from_s)
        if key not in self._calendars:
            self._calendars[key] = Calendar(*key)
        return self._calendars[key]

    def _forget(self) -> None:
        self.of_profile.clear()
        self._of_facets.clear()
        self._shared.clear()
        self._personal.clear()
        self._targets_known = 0

    def _shared_of(self, targets: Sequence[Target], unpriced: bool) -> _Shared | None:
        if not targets:
            return None
        key = (unpriced, *((target.stored.budget_id, target.group_key) for target in targets))
        found = self._shared.get(key)
        if found is None:
            by_calendar: dict[Calendar, list[_Share]] = {}
            for stored, group_key in targets:
                share = _Share(stored.budget_id, group_key, _rates(stored.budget) if unpriced else None)
                by_calendar.setdefault(self.calendar(stored), []).append(share)
            found = self._shared[key] = _Shared(list(by_calendar.items()), unpriced=unpriced)
            self._targets_known += len(targets)
        return found

    def _personal_of(self, targets: Sequence[PersonalTarget], unpriced: bool) -> _Personal | None:
        if not targets:
            return None
        key = (unpriced, *((target.stored.budget_id, target.values) for target in targets))
        found = self._personal.get(key)
        if found is None:
            placed = [(self.calendar(target.stored), target) for target in targets]
            found = self._personal[key] = _Personal(placed, unpriced=unpriced)
            self._targets_known += len(targets)
        return found


def _rates(budget: Budget) -> tuple[int, int] | None:
    return (budget.input_rate_pusd, budget.output_rate_pusd) if budget.on_unpriced == "rate" else None


class Charges:
    """What one transaction moves budgets by; gathered first, and then summed up at once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        # By what calls have in common and their quarter of an hour: calls, tokens, cost, and the tokens of each side
        # that count at a default rate.
        self._shared: dict[tuple[_Shared, int], list[int]] = {}
        self._own: dict[tuple[_Personal, int, str | None, str | None], list[int]] = {}
        self.under_leases: list[tuple[PricedRecord, int]] = []
        """Calls that name leases: 1 with each that was added, -1 with each that was taken away."""

    def add(self, profile_id: int, priced: PricedRecord, figures: Sequence[int]) -> None:
        """Add a call, whose `figures` are those of a rollup."""
        record = priced[0]
        end_ns, start_ns = record[0], record[3]
        shared, personal = self._rules.of_profile.get(profile_id) or self._rules.learn(profile_id, priced)
        # When it was made; a start that cannot be, as that of a clock which counts from the boot, is none.
        quarter = (start_ns if end_ns - CALL_NS_MAX <= start_ns <= end_ns else end_ns) // _NS_PER_QUARTER
        input_, output = figures[1], figures[2]
        if shared is not None:
            sums = self._shared.get((shared, quarter))
            if sums is None:
                sums = self._shared[shared, quarter] = [0, 0, 0, 0, 0]
            _move(sums, 1, input_, output, figures[6], shared.unpriced)
        if personal is not None:
            self._add_own(personal, quarter, record.user_id, record.session_id, (1, input_, output, figures[6]))
        if record[15]:
            self.under_leases.append((priced, 1))

    def take_away(self, profile_id: int, priced: PricedRecord, figures: Sequence[int]) -> None:
        """Take a call away from where it was added."""
        record = priced[0]
        end_ns, start_ns = record[0], record[3]
        shared, personal = self._rules.of_profile.get(profile_id) or self._rules.learn(profile_id, priced)
        quarter = (start_ns if end_ns - CALL_NS_MAX <= start_ns <= end_ns else end_ns) // _NS_PER_QUARTER
        moved = (-1, -figures[1], -figures[2], -figures[6])
        if shared is not None:
            _move(self._shared.setdefault((shared, quarter), [0, 0, 0, 0, 0]), *moved, shared.unpriced)
        if personal is not None:
            self._add_own(personal, quarter, record.user_id, record.session_id, moved)
        if record[15]:
            self.under_leases.append((priced, -1))

    def add_sums(self, matched: Matched, quarter: int, user: str | None, session: str | None, sums: list[int]) -> None:
        """Add calls that were summed up before: calls, tokens, cost, and rated tokens of input and output."""
        shared, personal = matched
        if shared is not None:
            _plus(self._shared.setdefault((shared, quarter), [0, 0, 0, 0, 0]), sums)
        if personal is not None:
            _plus(self._own.setdefault(_own_key(personal, quarter, user, session), [0, 0, 0, 0, 0]), sums)

    def _add_own(
        self, personal: _Personal, quarter: int, user: str | None, session: str | None, moved: tuple[int, int, int, int]
    ) -> None:
        key = _own_key(personal, quarter, user, session)
        sums = self._own.get(key)
        if sums is None:
            sums = self._own[key] = [0, 0, 0, 0, 0]
        _move(sums, *moved, personal.unpriced)

    def summed(self) -> dict[Place, Sum]:
        """Return by what each budget is moved, and where."""
        found: dict[Place, Sum] = {}
        by_shared: dict[_Shared, list[tuple[int, list[int]]]] = {}
        for (shared, quarter), sums in self._shared.items():
            by_shared.setdefault(shared, []).append((quarter, sums))
        for shared, parts in by_shared.items():
            for calendar, shares in shared.by_calendar:
                for (start_s, day_s), sums in _by_day(calendar, parts).items():
                    _charge(found, shares, start_s, day_s, sums, unpriced=shared.unpriced)
        for (personal, quarter, user, session), sums in self._own.items():
            for calendar, target in personal.targets:
                place = calendar.place(quarter)
                group = None if place is None else target.group(user, session)
                if place is None or group is None:
                    continue
                rates = _rates(target.stored.budget) if personal.unpriced else None
                share = _Share(target.stored.budget_id, group, rates)
                _charge(found, (share,), *place, sums, unpriced=personal.unpriced)
        return {place: moved for place, moved in found.items() if any(moved)}


assert UsageRecord._fields[15] == "leases", "it is read by position: every call comes here"


def charges_of(rules: Rules, profile_id: int, priced: PricedRecord, figures: Sequence[int]) -> dict[Place, Sum]:
    """Return what one call counts, and where."""
    charges = Charges(rules)
    charges.add(profile_id, priced, figures)
    return charges.summed()


def _own_key(
    personal: _Personal, quarter: int, user: str | None, session: str | None
) -> tuple[_Personal, int, str | None, str | None]:
    return personal, quarter, user if personal.asks_user else None, session if personal.asks_session else None


def _move(sums: list[int], calls: int, input_: int, output: int, cost: int, unpriced: bool) -> None:
    sums[0] += calls
    sums[1] += input_ + output
    sums[2] += cost
    if unpriced:
        sums[3] += max(min(input_, RATED_TOKENS_MAX), -RATED_TOKENS_MAX)
        sums[4] += max(min(output, RATED_TOKENS_MAX), -RATED_TOKENS_MAX)


def _plus(sums: list[int], others: Sequence[int]) -> None:
    for place, other in enumerate(others):
        sums[place] += other


def _by_day(calendar: Calendar, parts: Iterable[tuple[int, Sequence[int]]]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = {}
    for quarter, sums in parts:
        place = calendar.place(quarter)
        if place is not None:
            if place in found:
                _plus(found[place], sums)
            else:
                found[place] = list(sums)
    return found


def _charge(
    found: dict[Place, Sum], shares: Iterable[_Share], start_s: int, day_s: int, sums: Sequence[int], *, unpriced: bool
) -> None:
    calls, tokens, cost, rated_input, rated_output = sums
    plain = Sum(calls, tokens, calls if unpriced else 0, cost)
    for budget_id, group_key, rates in shares:
        moved = plain
        if rates is not None:
            moved = plain._replace(cost_pusd=cost + rated_input * rates[0] + rated_output * rates[1])
        place = Place(budget_id, start_s, group_key, day_s)
        before = found.get(place)
        found[place] = moved if before is None else before.plus(moved)
