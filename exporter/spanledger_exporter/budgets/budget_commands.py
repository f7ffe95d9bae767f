"""`spanledger budgets`: how budgets stand, what they are, and a gate for scripts."""

import argparse
import getpass
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from spanledger_exporter.budgets.budget import UNIT_NAMES
from spanledger_exporter.budgets.flags import FIELDS, document_of
from spanledger_exporter.command_line import Commands, config_of, help_of, print_json, sentence
from spanledger_exporter.errors import LedgerError
from spanledger_exporter.settings import SETTINGS

if TYPE_CHECKING:
    from spanledger_exporter.budgets.budget import Budget, StoredBudget
    from spanledger_exporter.budgets.states import BudgetState
    from spanledger_exporter.ledger.database import Database

_Read = TypeVar("_Read")
OVER_STATUS: Final = 3
"""The exit status of `budgets check` where a budget is over."""
_PERCENT_MAX: Final = 1000
_GROUPS_LISTED: Final = 5
_GROUPS_SHOWN: Final = 20
_GROUPS_MAX: Final = 100_000
_LEDGER: Final = next(setting for setting in SETTINGS if setting.field == "ledger_url")
_EXAMPLES: Final = """examples:
  spanledger budgets set company --limit-usd 5000
  spanledger budgets set search --limit-usd 250 --scope team=search --scope 'model=gpt-*,claude-*' --mode hard
  spanledger budgets set users --limit-usd 10 --per user --timezone Europe/Berlin
  spanledger budgets set tokens --limit-tokens 2000000 --period day --thresholds 80,100"""


class _Found(NamedTuple):
    """Budgets, how they stand, and how many of their groups have reached which threshold."""

    stored: "list[StoredBudget]"
    states: "list[BudgetState]"
    groups: Mapping[int, Mapping[int, int]]


def add_budget_commands(commands: Commands) -> None:
    """Add `budgets` and what it is divided into."""
    text = "how budgets stand, and where they are going; set, check and remove them"
    budgets = commands.add_parser("budgets", help=text, description=sentence(text))
    _add_ledger(budgets, inner=False)
    budgets.add_argument("--json", action="store_true", help="one JSON object with exact figures")
    _add_groups(budgets, _GROUPS_LISTED)
    budgets.set_defaults(run=_list)
    actions = budgets.add_subparsers(title="commands", metavar="COMMAND")
    _add_show(actions)
    _add_set(actions)
    _add_remove(actions)
    _add_check(actions)
    _add_release(actions)


def _add_ledger(command: argparse.ArgumentParser, *, inner: bool = True) -> None:
    """Add the options that name a ledger; one that is not given within does not undo the one that was given before."""
    default = argparse.SUPPRESS if inner else None
    command.add_argument(
        "--config", default=default, metavar="FILE", help="TOML file with settings (else SPANLEDGER_CONFIG names one)"
    )
    command.add_argument("--ledger", dest="ledger_url", default=default, metavar="URL", help=help_of(_LEDGER))


def _add_json(command: argparse.ArgumentParser, text: str = "one JSON object with exact figures") -> None:
    command.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=text)


def _add_groups(command: argparse.ArgumentParser, most: int) -> None:
    command.add_argument(
        "--groups",
        type=_count,
        metavar="N",
        default=most,
        help=f"of a budget with groups at most so many, the most used first (default {most})",
    )


def _inner(actions: Commands, name: str, text: str, more: str = "") -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=text, description=f"{sentence(text)}{more}")
    _add_ledger(command)
    return command


def _add_show(actions: Commands) -> None:
    text = "everything about one budget: its state by group, its forecast, leases, alerts and changes"
    show = _inner(actions, "show", text)
    show.add_argument("name", metavar="NAME", help="a budget; `spanledger budgets` lists them")
    _add_groups(show, _GROUPS_SHOWN)
    _add_json(show)
    show.set_defaults(run=_show)


def _add_set(actions: Commands) -> None:
    text = "make a budget, or change what is said of one; what is not said stays as it is"
    setting = _inner(actions, "set", text, " A change applies at once, in the middle of a period too, and is recorded.")
    setting.formatter_class = argparse.RawDescriptionHelpFormatter
    setting.epilog = _EXAMPLES
    setting.add_argument("name", metavar="NAME", help="small letters, digits, points, hyphens and underscores")
    for field in FIELDS:
        field.add_to(setting)
    setting.add_argument(
        "--anew", action="store_true", help="forget what was said of it before: all else is as by default"
    )
    setting.add_argument("--dry-run", action="store_true", help="only say what the budget would be")
    _add_json(setting, "one JSON object: the budget before and after")
    setting.set_defaults(run=_set)


def _add_remove(actions: Commands) -> None:
    remove = _inner(actions, "remove", "remove a budget, with what it has counted; the record of its changes stays")
    remove.add_argument("name", metavar="NAME", help="a budget that was set by command")
    _add_json(remove, "one JSON object: what was removed")
    remove.set_defaults(run=_remove)


def _add_check(actions: Commands) -> None:
    text = f"a gate for scripts: exit status {OVER_STATUS} where a budget, or one of its groups, is over its limit"
    check = _inner(actions, "check", text)
    check.add_argument("names", nargs="*", metavar="NAME", help="only these budgets (default all)")
    check.add_argument(
        "--at", type=_percent, default=100, metavar="PERCENT", help="over this part of the limit (default 100)"
    )
    check.add_argument("--forecast", action="store_true", help="also where it is likely to be by the period's end")
    check.add_argument("--dry-run", action="store_true", help="also say which messages would be sent now; none is")
    _add_json(check)
    check.set_defaults(run=_check)


def _add_release(actions: Commands) -> None:
    text = "let go of what is held for processes that are gone, so that it may be spent again"
    more = " What such a process spent, and never reported, is not in the ledger then: look first. It is recorded."
    release = _inner(actions, "release", text, more)
    release.add_argument("name", metavar="NAME", help="a budget of which some is unaccounted")
    _add_json(release, "one JSON object: how much was let go of")
    release.set_defaults(run=_release)


def _list(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.budgets.tables import console, print_states
    from spanledger_exporter.budgets.texts import budget_document

    found = _read(arguments, groups_max=arguments.groups)
    if arguments.json:
        by_number = _by_number(found.states)
        print_json(
            {
                "budgets": [
                    budget_document(each, by_number.get(each.budget_id, ()), found.groups.get(each.budget_id, {}))
                    for each in found.stored
                ]
            }
        )
    else:
        print_states(console(), *found)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.budgets.history import read_history
    from spanledger_exporter.budgets.tables import console, print_budget
    from spanledger_exporter.budgets.texts import budget_document

    found = _read(arguments, [arguments.name], groups_max=arguments.groups)
    (stored,) = found.stored
    history = _reading(arguments, lambda database: read_history(database, stored))
    if arguments.json:
        print_json({**budget_document(stored, found.states, found.groups.get(stored.budget_id, {})), **history})
    else:
        print_budget(console(), stored, found.states, found.groups.get(stored.budget_id, {}), history)
    return 0


def _set(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.budgets.document import from_document, to_document
    from spanledger_exporter.budgets.shelf import BudgetShelf

    with closing(_open(arguments)) as database:
        shelf = BudgetShelf(database)
        stored = shelf.get(arguments.name)
        before = None if stored is None else to_document(stored.budget)
        budget = from_document(document_of(arguments, {} if arguments.anew else before or {}))
        changed = before != to_document(budget)
        if not arguments.dry_run:
            changed = shelf.set(budget, _who())
    _warn([budget])
    after = to_document(budget)
    if arguments.json:
        print_json({"changed": changed, "dry_run": arguments.dry_run, "before": before, "after": after})
        return 0
    _say(_change_text(arguments.name, before, after, dry_run=arguments.dry_run))
    return 0


def _change_text(
    name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any], *, dry_run: bool
) -> Iterable[str]:
    """Return what was said of a budget, or what would be, a line for each thing that is another one now."""
    from spanledger_exporter.budgets.texts import value_text

    would, earlier = "would be " if dry_run else "", before or {}
    if before is None:
        yield f"{name}: {would}made"
    elif before == after:
        yield f"{name}: nothing {'would change' if dry_run else 'changed'}"
    else:
        yield f"{name}: {would}changed"
    for key in [*after, *(key for key in earlier if key not in after)]:
        was, now = earlier.get(key), after.get(key)
        if was != now and key != "name":
            yield f"  {key}: {value_text(now)}" + (f", was {value_text(was)}" if before else "")


def _remove(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.budgets.document import to_document
    from spanledger_exporter.budgets.shelf import BudgetShelf

    with closing(_open(arguments)) as database:
        shelf = BudgetShelf(database)
        stored = shelf.get(arguments.name)
        shelf.remove(arguments.name, _who())
    if arguments.json:
        print_json({"removed": None if stored is None else to_document(stored.budget)})
    else:
        _say([f"{arguments.name}: removed"])
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.alerts.notifier import rules_of
    from spanledger_exporter.budgets.check import check, check_document, check_text, due

    found = _read(arguments, arguments.names, at=(arguments.at,))
    _warn(each.budget for each in found.stored)
    checked = check(found.states, arguments.at, forecast=arguments.forecast)
    messages = None
    if arguments.dry_run:
        rules = rules_of(config_of(arguments))
        messages = _reading(arguments, lambda database: due(database, found.states, rules, time.time_ns()))
    running = {state.stored.budget_id for state in found.states if state.running}
    over = {number: counts.get(arguments.at, 0) if number in running else 0 for number, counts in found.groups.items()}
    if arguments.json:
        print_json(check_document(found.stored, checked, over, arguments.at, messages))
    else:
        _say(check_text(found.stored, checked, over, arguments.at, messages))
    failed = any(each.over for each in checked) or any(over.values())
    return OVER_STATUS if failed else 0


def _release(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.budgets.shelf import BudgetShelf
    from spanledger_exporter.budgets.texts import exact
    from spanledger_exporter.leases.sweep import release

    with closing(_open(arguments)) as database:
        (stored,) = _named(BudgetShelf(database).all(), [arguments.name])
        leases, amount = release(database, arguments.name, _who())
    unit = stored.budget.unit
    if arguments.json:
        print_json({"budget": arguments.name, "leases": leases, f"released_{unit}": exact(amount, unit)})
    else:
        _say([f"{arguments.name}: {exact(amount, unit)} {UNIT_NAMES[unit]} of {leases} leases released"])
    return 0


def _read(
    arguments: argparse.Namespace, names: Sequence[str] = (), *, groups_max: int = _GROUPS_SHOWN, at: Sequence[int] = ()
) -> _Found:
    """Read how budgets stand, all of them or those that are named."""
    from spanledger_exporter.budgets.shelf import load_budgets
    from spanledger_exporter.budgets.states import read_group_counts, read_states

    def read(database: "Database") -> _Found:
        now_ns = time.time_ns()
        with database.read() as connection:
            stored = _named(load_budgets(connection), names)
            states = read_states(connection, stored, now_ns, groups_max=groups_max)
            return _Found(stored, states, read_group_counts(connection, stored, now_ns, at=at))

    return _reading(arguments, read)


def _named(stored: "list[StoredBudget]", names: Sequence[str]) -> "list[StoredBudget]":
    known = {each.budget.name: each for each in stored}
    unknown = [name for name in names if name not in known]
    if unknown:
        there = ", ".join(known) or "none"
        raise LedgerError(f"there is no budget {', '.join(map(repr, unknown))}; there are {there}")
    return [known[name] for name in dict.fromkeys(names)] if names else stored


def _by_number(states: "Iterable[BudgetState]") -> "dict[int, list[BudgetState]]":
    found: dict[int, list[BudgetState]] = {}
    for state in states:
        found.setdefault(state.stored.budget_id, []).append(state)
    return found


def _reading(arguments: argparse.Namespace, read: "Callable[[Database], _Read]") -> "_Read":
    from spanledger_exporter.ledger.database import open_readonly

    with closing(open_readonly(config_of(arguments).ledger_url)) as database:
        return read(database)


def _open(arguments: argparse.Namespace) -> "Database":
    from spanledger_exporter.ledger.database import open_existing

    return open_existing(config_of(arguments).ledger_url)


def _who() -> str:
    """Return who changes a budget, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user of a container may have no name
        return "spanledger budgets"


def _percent(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _PERCENT_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is no part of a limit; write percent from 1 to {_PERCENT_MAX}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _GROUPS_MAX):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of groups; write a whole number from 1 to {_GROUPS_MAX}"
        )
    return int(text)


def _warn(budgets: "Iterable[Budget]") -> None:
    """Tell of what budgets say that nothing asks them for, beside the results."""
    from spanledger_exporter.budgets.budget import unheeded

    for budget in budgets:
        for text in unheeded(budget):
            sys.stderr.write(f"spanledger: {budget.name}: {text}\n")


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
