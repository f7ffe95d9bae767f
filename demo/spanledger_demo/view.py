"""What the demo shows: calls as they come in, and the reconciliation at the end."""

from __future__ import annotations

import os
import sys
import termios
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Literal, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from spanledger_demo.budgets import refused
from spanledger_demo.reconciliation import NAMES, Reconciliation, plain

ROWS_MAX = 14
PAGES_MAX = 6
DIFFERENCES_MAX = 12
LOCAL_MODES = 3  # where the flags with ECHOCTL are in what termios returns
MODEL_COLUMN = "model that answered"
# Name, width and side of each column of the live table, which fits a terminal of 80; the model's gets what is spare.
COLUMNS: tuple[tuple[str, int, Literal["left", "right"]], ...] = (
    ("ended", 8, "left"),
    ("call", 11, "left"),
    (MODEL_COLUMN, 25, "left"),
    ("input", 6, "right"),
    ("cached", 6, "right"),
    ("output", 6, "right"),
    ("USD", 11, "right"),
)
TABLE_WIDTH = sum(width + 1 for _, width, _ in COLUMNS)
LABELS = {
    "calls": "calls",
    "errors": "  of these, errors",
    "unpriced": "  of these, without a price",
    "input_tokens": "input tokens",
    "cache_read_tokens": "  read from the cache",
    "cache_write_5m_tokens": "  written to it for 5 minutes",
    "cache_write_1h_tokens": "  written to it for 1 hour",
    "output_tokens": "output tokens",
    "reasoning_tokens": "  of these, reasoning",
    "cost_usd": "cost in USD",
}


class CallView:
    """Show calls as the ledger gets them: a live table on a terminal, a line for each call elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: deque[Mapping[str, Any]] = deque(maxlen=ROWS_MAX)
        self._pages: deque[str] = deque(maxlen=PAGES_MAX)
        self._calls = self._refused = 0
        self._cost_usd = Decimal(0)
        self._live = Live(self._table(), console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is None:
            self._console.print(_line([name for name, _, _ in COLUMNS]), highlight=False, soft_wrap=True)
        else:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, new: Iterable[Mapping[str, Any]], pages: Iterable[str] = ()) -> None:
        """Add entries to the picture, and what the pager was sent."""
        for title in pages:
            self._pages.append(title)
            if self._live is None:
                self._console.print(f"PAGER: {title}", highlight=False, soft_wrap=True, markup=False)
        for entry in new:
            self._calls += not refused(entry)
            self._refused += refused(entry)
            self._cost_usd += Decimal(entry["cost_usd"] or 0)
            self._rows.append(entry)
            if self._live is None:
                self._console.print(_line(_cells(entry)), highlight=False, soft_wrap=True, markup=False)
        if self._live is not None:
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        title = "Ledger entries, as they arrive"
        table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
        spare = max(0, self._console.width - TABLE_WIDTH)
        for name, width, justify in COLUMNS:
            wide = width + (min(spare, width) if name == MODEL_COLUMN else 0)
            table.add_column(name, width=wide, justify=justify, no_wrap=True, header_style="bold cyan")
        for entry in self._rows:
            table.add_row(*map(escape, _cells(entry)), style="red" if entry["outcome"] != "ok" else "")
        sums = f"{self._calls} calls so far, {plain(self._cost_usd)} USD"
        if self._refused:
            sums += f"; {self._refused} more refused by a budget, before they were sent"
        lines = [sums if self._calls else "the service is starting ...", *(f"PAGER: {title}" for title in self._pages)]
        table.caption = escape("\n".join(lines))
        table.caption_justify = "left"
        return table


@contextmanager
def control_keys_unseen() -> Generator[None]:
    """Keep the terminal from writing `^C` into the live table, which would then be drawn one line too low."""
    # A process in the background would be stopped for touching the terminal.
    if not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    quiet = [*before]
    quiet[LOCAL_MODES] &= ~termios.ECHOCTL
    termios.tcsetattr(sys.stdin, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _cells(entry: Mapping[str, Any]) -> list[str]:
    ended = datetime.fromisoformat(entry["end"]).astimezone().strftime("%H:%M:%S")
    call = f"{entry['operation']} stream" if entry["stream"] else entry["operation"]
    model = entry["response_model"] or entry["request_model"] or "?"
    if refused(entry):
        return [ended, call, f"REFUSED ({model})", "-", "-", "-", "-"]
    if entry["outcome"] != "ok":
        return [ended, call, f"{entry['error_type'] or 'error'} ({model})", "-", "-", "-", "-"]
    counts = (_count(entry[name]) for name in ("input_tokens", "cache_read_tokens", "output_tokens"))
    cost = "unknown" if entry["cost_usd"] is None else plain(Decimal(entry["cost_usd"]))
    return [ended, call, model, *counts, cost]


def _line(cells: list[str]) -> str:
    sides = {"left": "<", "right": ">"}
    parts = (f"{cell:{sides[side]}{width}}" for cell, (_, width, side) in zip(cells, COLUMNS, strict=True))
    return " ".join(parts)


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def print_reconciliation(console: Console, result: Reconciliation) -> None:
    """Show both sides, line by line, and then in one sentence."""
    table = Table(title="Reconciliation", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("provider says", justify="right")
    table.add_column("ledger says", justify="right")
    table.add_column("")
    for name in NAMES:
        theirs, ours = getattr(result.provider.total, name), getattr(result.ledger.total, name)
        table.add_row(LABELS[name], _amount(theirs), _amount(ours), _mark(equal=theirs == ours))
    console.print(table)
    if result.ledger.total.refused:
        console.print(
            f"{result.ledger.total.refused} calls were refused by a budget: they stand in the ledger, and the provider "
            "never saw them.",
            highlight=False,
        )
    metrics = result.metrics
    console.print(
        f"/metrics of the exporter: {metrics.calls:.0f} calls, {metrics.cost_usd:.12g} USD more than at the start.",
        highlight=False,
    )
    _print_verdict(console, result)


def _amount(value: int | Decimal) -> str:
    return plain(value) if isinstance(value, Decimal) else f"{value:,}"


def _mark(*, equal: bool) -> str:
    return "[green]equal[/]" if equal else "[bold red]DIFFERENT[/]"


def _print_verdict(console: Console, result: Reconciliation) -> None:
    if result.match:
        calls, cost = result.ledger.total.calls, plain(result.ledger.total.cost_usd)
        console.print(
            f"[bold green]All equal:[/] {calls} calls, {cost} USD, to the token and to the last decimal.",
            highlight=False,
        )
        return
    if not result.provider.total.calls and not result.ledger.total.calls:
        console.print("[bold red]No call was made, so nothing is shown to be equal.[/]")
        return
    console.print("[bold white on red] DIFFERENCE [/] [bold red]The ledger does not say what the provider says:[/]")
    for each in result.differences[:DIFFERENCES_MAX]:
        console.print(f"  - {each}", highlight=False, markup=False, soft_wrap=True)
    if (more := len(result.differences) - DIFFERENCES_MAX) > 0:
        console.print(f"  ... and {more} more", highlight=False)
