"""How budgets stand -> what a person reads in a terminal: bars, colours and projections, in any width.

A pipe gets no colours and every column. A terminal that is narrow gets fewer columns, never cut figures, and one that
knows no block characters gets bars of `#`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spanledger_exporter.budgets.budget import UNIT_NAMES, Budget, StoredBudget
from spanledger_exporter.budgets.document import group_text, to_document
from spanledger_exporter.budgets.periods import utc_text
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.budgets.texts import (
    Document,
    amount_text,
    calls_text,
    duration_text,
    name_text,
    percent_text,
    printable,
    time_text,
    value_text,
)

_PIPE_WIDTH: Final = 160
_BAR_CHARS: Final = 20
_NARROW_BAR_CHARS: Final = 10
_WIDE: Final = 130
_MEDIUM: Final = 100
_NARROW: Final = 72
_OVER: Final = 100


def console() -> Console:
    """Return a console as wide as the terminal; a pipe has room for everything."""
    made = Console(highlight=False, markup=False)
    return made if made.is_terminal else Console(highlight=False, markup=False, width=_PIPE_WIDTH, soft_wrap=True)


def print_states(
    out: Console, stored: Sequence[StoredBudget], states: Sequence[BudgetState], groups: Mapping[int, Mapping[int, int]]
) -> None:
    """Print a line for each budget, or for each of its groups that are shown, the most used first."""
    if not stored:
        out.print("no budgets; `spanledger budgets set NAME --limit-usd 100` makes one, `budgets.file` declares many")
        return
    shown: dict[int, list[BudgetState]] = {each.budget_id: [] for each in stored}
    for state in states:
        shown[state.stored.budget_id].append(state)
    table = _table(out.width)
    for each in stored:
        rows = [_row(state, out) for state in shown[each.budget_id]]
        for row in rows or [_empty_row(each.budget, out.width)]:
            table.add_row(*row)
    out.print(table)
    for line in (*_left_out(stored, shown, groups), *_remarks(states)):
        out.print(line)


def _left_out(
    stored: Sequence[StoredBudget],
    shown: Mapping[int, Sequence[BudgetState]],
    groups: Mapping[int, Mapping[int, int]],
) -> Iterable[str]:
    for each in stored:
        counts = groups.get(each.budget_id, {})
        if each.budget.per and counts.get(0, 0) > len(shown[each.budget_id]):
            yield f"{each.budget.name}: {counts[0]:,} groups in all, {_reached(counts)}"


def _reached(groups: Mapping[int, int]) -> str:
    return ", ".join(f"{count:,} at {threshold} %" for threshold, count in groups.items() if threshold)


def _table(width: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("budget", overflow="fold", min_width=8)
    table.add_column("spent", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("used", no_wrap=True)
    if width >= _NARROW:
        table.add_column("left", justify="right", no_wrap=True)
    if width >= _MEDIUM:
        table.add_column("projected", justify="right", no_wrap=True)
    if width >= _WIDE:
        table.add_column("(one in ten below, above)", no_wrap=True)
    if width >= _MEDIUM:
        table.add_column("runs out", no_wrap=True)
        table.add_column("mode", no_wrap=True)
    return table


def _row(state: BudgetState, out: Console) -> list[str | Text]:
    budget, width = state.stored.budget, out.width
    unit = budget.unit
    cells: list[str | Text] = [
        name_text(state),
        amount_text(state.spent, unit),
        f"{amount_text(state.limit, unit)} {UNIT_NAMES[unit]}",
        _used(state, out),
    ]
    if width >= _NARROW:
        cells.append(_time_left(state))
    if width >= _MEDIUM:
        cells.append(_projected(state))
    if width >= _WIDE:
        ahead = state.forecast
        cells.append("" if ahead is None else f"({amount_text(ahead.low, unit)} - {amount_text(ahead.high, unit)})")
    if width >= _MEDIUM:
        cells += [_runs_out(state), budget.mode]
    return cells


def _empty_row(budget: Budget, width: int) -> list[str | Text]:
    """Return the row of a budget of whose groups none was seen in its period."""
    cells = _row_length(width)
    limit = f"{amount_text(budget.limit, budget.unit)} {UNIT_NAMES[budget.unit]}"
    return [f"{budget.name} (per {','.join(budget.per)})", "-", limit, "no calls yet", *[""] * (cells - 4)]


def _row_length(width: int) -> int:
    return 4 + (width >= _NARROW) + 3 * (width >= _MEDIUM) + (width >= _WIDE)


def _used(state: BudgetState, out: Console) -> Text:
    chars = _BAR_CHARS if out.width >= _MEDIUM else _NARROW_BAR_CHARS
    percent = percent_text(state)
    bar = f"{bar_text(state.used_ratio, chars, ascii_only=not out.encoding.startswith('utf'))} " if (
        out.width >= _NARROW
    ) else ""  # fmt: skip
    return Text(f"{bar}{percent:>6}", style=style_of(state))


def bar_text(ratio: float, chars: int, *, ascii_only: bool) -> str:
    """Return a bar that is full at 1; what is begun of a character shows, and nothing rounds up to full."""
    full, empty = ("#", "-") if ascii_only else ("█", "░")
    filled = chars if ratio >= 1 else int(max(0.0, ratio) * chars)
    if not filled and ratio > 0:
        filled, full = 1, "." if ascii_only else "▏"
    return full * filled + empty * (chars - filled)


def style_of(state: BudgetState) -> str:
    """Return a state's colour."""
    warned = any(state.reached(threshold) for threshold in state.stored.budget.thresholds)
    return style_for(over=state.reached(_OVER), warned=warned)


def style_for(*, over: bool, warned: bool) -> str:
    """Return the colour of what is used: red from the limit on, yellow from the first threshold on, else green."""
    return "bold red" if over else "yellow" if warned else "green"


def _time_left(state: BudgetState) -> str:
    if state.running:
        return duration_text(state.bounds.end_s - state.at_s)
    return "over" if state.at_s >= state.bounds.end_s else "to come"


def _projected(state: BudgetState) -> Text | str:
    if state.forecast is None:
        return "too early" if state.too_early else "-"
    over = state.forecast.middle >= state.limit
    return Text(amount_text(state.forecast.middle, state.stored.budget.unit), style="red" if over else "")


def _runs_out(state: BudgetState) -> Text | str:
    if state.run_out_s is None:
        return "-"
    if state.reached(_OVER):
        return Text("it has", style="bold red")
    return Text(f"in {duration_text(state.run_out_s - state.at_s)}", style="red")


def _remarks(states: Iterable[BudgetState]) -> list[str]:
    """Return what a bar does not show."""
    found: list[str] = []
    for state in states:
        unit, name = state.stored.budget.unit, name_text(state)
        if state.unpriced_calls:
            found.append(f"{name}: {calls_text(state.unpriced_calls)} of unknown price, {_unpriced(state)}")
        if state.unaccounted:
            found.append(
                f"{name}: {amount_text(state.unaccounted, unit)} {UNIT_NAMES[unit]} held for processes that are gone; "
                f"`spanledger budgets release {state.stored.budget.name}` lets go of it"
            )
        if state.anomaly is not None and state.anomaly.anomalous:
            found.append(f"{name}: {anomaly_text(state)}")
    return found


def _unpriced(state: BudgetState) -> str:
    if state.stored.budget.unit != "usd":
        return "in the period"
    return "counted at the default rate" if state.stored.budget.on_unpriced == "rate" else "not in it"


def anomaly_text(state: BudgetState) -> str:
    """Return what is unusual about today, and what grew."""
    anomaly, unit = state.anomaly, state.stored.budget.unit
    assert anomaly is not None, "asked only of days that were judged"
    grew = "; ".join(
        f"{growth.dimension} {printable(growth.value) or '?'} {amount_text(growth.amount, unit)}, "
        f"usually {amount_text(growth.usual, unit)}"
        for growth in anomaly.grew
    )
    said = f"{amount_text(anomaly.amount, unit)} {UNIT_NAMES[unit]} today, usually {amount_text(anomaly.usual, unit)}"
    return f"{said} (most of it: {grew})" if grew else said


def _details(state: BudgetState) -> Iterable[tuple[str, str]]:
    budget = state.stored.budget
    unit, zone, of = budget.unit, budget.period.timezone, f" {UNIT_NAMES[budget.unit]}"
    yield "period", f"{time_text(state.bounds.start_s, zone)} to {time_text(state.bounds.end_s, zone)} ({zone})"
    yield "limit", amount_text(state.limit, unit) + of + (
        f", {amount_text(budget.limit, unit)} and what was left before" if state.limit != budget.limit else ""
    )  # fmt: skip
    yield "spent", f"{amount_text(state.spent, unit)}{of}, {percent_text(state)}, {calls_text(state.calls)}"
    yield "leased", f"{amount_text(state.leased, unit)}{of}" + (
        f", of which {amount_text(state.unaccounted, unit)} for processes that are gone" if state.unaccounted else ""
    )  # fmt: skip
    yield "remaining", f"{amount_text(state.remaining, unit)}{of}, {_time_left(state)} left"
    average = state.daily_average
    yield "daily average", _unknown(state) if average is None else f"{amount_text(average, unit)}{of}"
    ahead = state.forecast
    yield "projected", _unknown(state) if ahead is None else (
        f"{amount_text(ahead.middle, unit)}{of}, from {amount_text(ahead.low, unit)} to "
        f"{amount_text(ahead.high, unit)} in eight cases of ten ({_METHODS[ahead.method].format(days=ahead.days)})"
    )  # fmt: skip
    if state.reached(_OVER):
        yield "runs out", "it has"
    else:
        later = _unknown(state) if state.too_early else "not in this period"
        yield "runs out", later if state.run_out_s is None else time_text(state.run_out_s, zone)
    yield "calls left", _calls_left(state)
    if state.unpriced_calls:
        yield "unpriced", f"{calls_text(state.unpriced_calls)} of unknown price, {_unpriced(state)}"
    if state.anomaly is not None:
        unusual = "unusual" if state.anomaly.anomalous else "as usual"
        yield "today", f"{unusual}: {anomaly_text(state)}, score {state.anomaly.score}"


_METHODS: Final = {
    "weekdays": "by weekday, from {days} days",
    "days": "from {days} days",
    "hours": "from this hour and those before",
}


def _unknown(state: BudgetState) -> str:
    return "unknown: too early" if state.too_early else "unknown"


def _calls_left(state: BudgetState) -> str:
    found = state.calls_left
    if found is None:
        return "unknown: no recent call that cost anything"
    if state.stored.budget.unit == "calls":
        return f"{found.middle:,}"
    most = "any number" if found.high is None else f"{found.high:,}"
    return (
        f"{found.middle:,}, from {found.low:,} to {most}; {found.confidence} confidence, by {calls_text(found.calls)}"
    )


def print_budget(
    out: Console,
    stored: StoredBudget,
    states: Sequence[BudgetState],
    groups: Mapping[int, int],
    history: Mapping[str, Sequence[Document]],
) -> None:
    """Print everything about a budget: what it is, how it stands, its leases, alerts and changes."""
    budget = stored.budget
    out.print(Text(budget.name, style="bold"), budget.description)
    for key, value in to_document(budget).items():
        if key not in {"name", "description"}:
            _line(out, key, value_text(value))
    _line(out, "declared", "in the file that budgets.file names" if stored.source == "file" else "by command")
    _line(out, "counted from", utc_text(stored.counted_from_s))
    if budget.per:
        _line(out, "groups", f"{groups.get(0, 0):,}, {_reached(groups) or 'no thresholds'}")
    for state in states:
        out.print()
        if budget.per:
            out.print(Text(printable(group_text(budget, state.group_key)), style=style_of(state)), _used(state, out))
        else:
            out.print(_used(state, out))
        for head, text in _details(state):
            _line(out, head, text)
    _print_rows(out, "leases that hold something", history["leases"], lambda row: _lease(row, budget))
    _print_rows(out, "alerts", history["alerts"], _alert)
    _print_rows(out, "changes", history["changes"], _change)


def _line(out: Console, head: str, text: str) -> None:
    out.print(Text.assemble((f"{head:15}", "bold"), printable(text)))


def _print_rows(out: Console, title: str, rows: Sequence[Document], text: Callable[[Document], str]) -> None:
    out.print()
    out.print(Text(title if rows else f"no {title}", style="bold"))
    for row in rows:
        out.print(Text(printable(text(row))))


def _group(row: Document) -> str:
    return ",".join(f"{name}={value or ''}" for name, value in row["group"].items())


def _lease(row: Document, budget: Budget) -> str:
    unit = budget.unit
    return (
        f"{row['granted']}  {row['state']}  {row['owner']}  {_group(row)}  granted {row[f'granted_{unit}']}, "
        f"settled {row[f'settled_{unit}']} {UNIT_NAMES[unit]} of {row['settled_calls']}/{row['reported_calls']} calls, "
        f"expires {row['expires']}"
    )


def _alert(row: Document) -> str:
    when = "not delivered yet" if row["delivered"] is None else f"delivered {row['delivered']}"
    problem = f", {row['problem']}" if row["problem"] else ""
    return f"{row['made']}  {row['threshold']} % of {row['limit']}  {_group(row)}  {row['state']}, {when}{problem}"


def _change(row: Document) -> str:
    before, after = row["before"], row["after"]
    if before is None or after is None:
        return f"{row['made']}  {row['by']}: {'made' if before is None else 'removed'}"
    keys = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
    said = "; ".join(f"{key} {value_text(before.get(key))} -> {value_text(after.get(key))}" for key in keys)
    return f"{row['made']}  {row['by']}: {said or 'who declares it'}"
