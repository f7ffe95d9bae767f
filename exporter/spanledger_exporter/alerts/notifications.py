"""What budgets have come to, and what was said before -> what is to be said now.

A message is due once for a budget, one of its groups, a threshold, a period and a limit. Only the highest threshold
that is crossed counts, so what jumps past several is one message, and one that falls back and crosses again was told.
Between two messages about the same budget and group lies an interval, unless the later one escalates.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from spanledger_exporter.budgets.budget import Budget, Unit, matches
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.budgets.texts import exact

Answer = Literal["due", "below", "told", "waiting", "unwanted", "over"]
LATE_S: Final = 86_400
"""How long after its period has ended a message is still worth sending."""
SECOND_NS: Final = 10**9


class Key(NamedTuple):
    """What is said once."""

    budget_id: int
    group_key: str
    period_start_s: int
    threshold: int
    limit_text: str


class Told(NamedTuple):
    """A message that was made before."""

    key: Key
    made_ns: int


class Rules(NamedTuple):
    """How seldom messages are made, of which budgets, and where they lead; `*` in a name stands for any characters.

    Units: `interval_ns` between two messages about the same budget and group of which the later one is no graver.
    """

    interval_ns: int
    names: tuple[str, ...] = ("*",)
    link: str = ""


class Verdict(NamedTuple):
    """Whether a message about a budget is due, and why.

    `threshold` is the highest one that is crossed, 0 where none is. Answers: `due`; `below` every threshold; `told`
    already, in this period and under this limit; `waiting` until `until_ns`, for another message was made of late;
    `unwanted`, as the configuration names other budgets; the period is `over` for a day.
    """

    state: BudgetState
    threshold: int
    answer: Answer
    until_ns: int = 0


def crossed(state: BudgetState) -> int:
    """Return the highest threshold that a budget has reached, 0 for none; nothing spent reaches nothing."""
    reached = (each for each in state.stored.budget.thresholds if state.spent > 0 and state.reached(each))
    return max(reached, default=0)


def key_of(state: BudgetState, threshold: int) -> Key:
    """Return what a message about a budget is known by.

    The limit is the one that is declared: what rollover adds to it moves with every late call of the last period.
    """
    stored = state.stored
    return Key(stored.budget_id, state.group_key, state.bounds.start_s, threshold, limit_text(stored.budget))


def limit_text(budget: Budget) -> str:
    """Return a budget's declared limit, in USD, tokens or calls: `100 usd`."""
    return f"{exact(budget.limit, budget.unit)} {budget.unit}"


def judge(state: BudgetState, told: Iterable[Told], rules: Rules, now_ns: int) -> Verdict:
    """Return whether a message about a budget is due; `told` is what was said of this budget and group before."""
    threshold = crossed(state)
    if not threshold:
        return Verdict(state, threshold, "below")
    if not matches(rules.names, state.stored.budget.name):
        return Verdict(state, threshold, "unwanted")
    if now_ns >= (state.bounds.end_s + LATE_S) * SECOND_NS:
        return Verdict(state, threshold, "over")
    key = key_of(state, threshold)
    before = list(told)
    if any(_same(key, each.key) and each.key.threshold >= threshold for each in before):
        return Verdict(state, threshold, "told")
    held = [each for each in before if each.made_ns > now_ns - rules.interval_ns and not _escalates(key, each.key)]
    if held:
        return Verdict(state, threshold, "waiting", max(each.made_ns for each in held) + rules.interval_ns)
    return Verdict(state, threshold, "due")


def _same(one: Key, other: Key) -> bool:
    return one.period_start_s == other.period_start_s and one.limit_text == other.limit_text


def _escalates(new: Key, old: Key) -> bool:
    """Tell whether one message is graver than another.

    It is so at a higher threshold; and in the same period also at more than what was told of, for a limit that was
    raised and is reached again is no old news.
    """
    if new.threshold > old.threshold:
        return True
    if new.period_start_s != old.period_start_s:
        return False
    (new_amount, new_unit), (old_amount, old_unit) = _reached(new), _reached(old)
    return new_unit == old_unit and new_amount > old_amount


def _reached(key: Key) -> tuple[Decimal, Unit | str]:
    amount, _, unit = key.limit_text.partition(" ")
    return key.threshold * Decimal(amount), unit
