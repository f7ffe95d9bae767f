"""How budgets stand -> which of them are over, and what would be said about it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from spanledger_exporter.alerts.notifications import Answer, Rules, Verdict
from spanledger_exporter.alerts.notifier import judge_all
from spanledger_exporter.budgets.budget import UNIT_NAMES, StoredBudget
from spanledger_exporter.budgets.document import group_values
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.budgets.texts import (
    amount_text,
    calls_text,
    exact,
    groups_text,
    name_text,
    percent_text,
)
from spanledger_exporter.ledger.database import Database

Document = dict[str, Any]


class Checked(NamedTuple):
    """A state, and whether it is over what was asked for: by what was spent, or by what is likely to be."""

    state: BudgetState
    spent: bool
    projected: bool

    @property
    def over(self) -> bool:
        """Whether it is over in either way."""
        return self.spent or self.projected


_SAID: Final[Mapping[Answer, str]] = {
    "due": "would be sent",
    "told": "was sent before",
    "waiting": "waits, as the last message is too recent",
}
"""What becomes of a message, where a threshold is crossed that messages are wanted of."""


def check(states: Iterable[BudgetState], percent: int, *, forecast: bool) -> list[Checked]:
    """Return of each state whether it is over so many percent of its limit; a period that is not running is not.

    The pace of the first minutes stops nobody: before a day, or hour, is over there is no forecast.
    """
    return [
        Checked(
            state,
            state.running and state.reached(percent),
            forecast
            and state.running
            and state.forecast is not None
            and state.forecast.middle * 100 >= state.limit * percent,
        )
        for state in states
    ]


def due(database: Database, states: Iterable[BudgetState], rules: Rules, now_ns: int) -> list[Verdict]:
    """Return what the notifier would say now of states that have reached a threshold, and what it has said before."""
    running = [state for state in states if state.running]
    with database.read() as connection:
        return [verdict for verdict in judge_all(connection, running, rules, now_ns) if verdict.answer in _SAID]


def check_text(
    stored: Sequence[StoredBudget],
    checked: Sequence[Checked],
    over: Mapping[int, int],
    percent: int,
    messages: Sequence[Verdict] | None,
) -> Iterator[str]:
    """Return a line for each budget, and for each of its groups that is over."""
    if not stored:
        yield "no budgets"
    for each in stored:
        states = [one for one in checked if one.state.stored.budget_id == each.budget_id]
        if each.budget.per:
            count = over.get(each.budget_id, 0)
            said = f"{groups_text(count)} at {percent} % or more"
            yield f"{'OVER' if count else 'ok  '} {each.budget.name}: {said}"
        for one in states:
            if one.over or not each.budget.per:
                yield _line(one, indent="     " if each.budget.per else "")
    for message in messages or ():
        unit = message.state.stored.budget.unit
        yield (
            f"{_SAID[message.answer]}: {name_text(message.state)} has reached {message.threshold} % of "
            f"{amount_text(message.state.limit, unit)} {UNIT_NAMES[unit]}"
        )
    if messages is not None and not messages:
        yield "no message would be sent"


def _line(one: Checked, *, indent: str) -> str:
    state, unit = one.state, one.state.stored.budget.unit
    said = f"{percent_text(state)} of {amount_text(state.limit, unit)} {UNIT_NAMES[unit]} spent"
    if one.projected and state.forecast is not None:
        said += f", {amount_text(state.forecast.middle, unit)} {UNIT_NAMES[unit]} projected"
    if state.unpriced_calls:
        said += f"; {calls_text(state.unpriced_calls)} of unknown price"
    return f"{indent}{'OVER' if one.over else 'ok  '} {name_text(state)}: {said}"


def check_document(
    stored: Sequence[StoredBudget],
    checked: Sequence[Checked],
    over: Mapping[int, int],
    percent: int,
    messages: Sequence[Verdict] | None,
) -> Document:
    """Return the same as JSON.

    Shape: `{"at": percent, "over": bool, "budgets": [{"budget", "groups_over", "states": [{"group", "over",
    "projected", "limit_usd", "spent_usd", "used_ratio", "unpriced_calls"}]}]}`, and `"messages"` for a dry run.
    """
    document: Document = {
        "at": percent,
        "over": any(one.over for one in checked) or any(over.values()),
        "budgets": [
            {
                "budget": each.budget.name,
                "groups_over": over.get(each.budget_id, 0) if each.budget.per else None,
                "states": [_checked(one) for one in checked if one.state.stored.budget_id == each.budget_id],
            }
            for each in stored
        ],
    }
    if messages is not None:
        document["messages"] = [
            {
                "budget": message.state.stored.budget.name,
                "group": group_values(message.state.stored.budget, message.state.group_key),
                "threshold": message.threshold,
                "answer": message.answer,
            }
            for message in messages
        ]
    return document


def _checked(one: Checked) -> Document:
    state, budget = one.state, one.state.stored.budget
    return {
        "group": group_values(budget, state.group_key),
        "over": one.over,
        "projected": one.projected,
        f"limit_{budget.unit}": exact(state.limit, budget.unit),
        f"spent_{budget.unit}": exact(state.spent, budget.unit),
        "used_ratio": state.spent / state.limit if state.limit else None,
        "unpriced_calls": state.unpriced_calls,
    }
