"""What the ledger says -> what a person reads in a terminal."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from spanledger_exporter.ledger.reader import Document, ReportLine, joined
from spanledger_exporter.ledger.rollups import Sums
from spanledger_exporter.money import usd_text

ENTRIES_SHOWN = 50
_WIDTH_MIN = 160
_UNKNOWN = "?"
_NOTHING = {"error_type": "-"}  # most calls end without an error, which is nothing unknown
_SUMMED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


def report_document(by: Sequence[str], lines: Sequence[ReportLine]) -> Document:
    """Return a report as JSON: exact integers, money as decimal text in USD, null where no call has a known cost.

    Shape: `{"by": [name], "rows": [{name: value, "calls", "errors", "unpriced_calls", "unreported_calls",
    "input_tokens", ..., "cost_usd"}], "total": {the same sums}}`
    """
    groups = (dict(zip(by, (value or None for value in line.group), strict=True)) for line in lines)
    rows = [group | _sums_document(line) for group, line in zip(groups, lines, strict=True)]
    return {"by": list(by), "rows": rows, "total": _sums_document(_total(lines))}


def print_report(by: Sequence[str], lines: Sequence[ReportLine]) -> None:
    """Print a report as a table, the costliest group first, with a total."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in by:
        table.add_column(name)
    for name in ("calls", "errors", "input", "cached", "output", "cost USD", "unpriced", "unreported"):
        table.add_column(name, justify="right")
    for line in lines:
        group = (value or _NOTHING.get(name, _UNKNOWN) for name, value in zip(by, line.group, strict=True))
        table.add_row(*group, *_report_cells(line))
    table.add_section()
    table.add_row("total", *("" for _ in by[1:]), *_report_cells(_total(lines)), style="bold")
    console().print(table)


def print_entries(entries: Iterable[Document]) -> None:
    """Print entries as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in _ENTRY_COLUMNS:
        table.add_column(name, justify=justify, no_wrap=True)
    shown = 0
    for shown, entry in enumerate(entries, 1):  # noqa: B007 -- the last number is used below
        table.add_row(*_entry_cells(entry))
    if shown:
        console().print(table)
    else:
        console().print("no entries")


def entry_line(entry: Document) -> str:
    """Return one entry as one line of text."""
    return "  ".join(_entry_cells(entry))


def print_explanation(explanation: Document) -> None:
    """Print why an entry costs what it costs."""
    entry, price, book = explanation["entry"], explanation["price"], explanation["price_book"]
    out = console()
    out.print(f"entry {entry['entry_id']}  {entry['end']}  service {entry['service'] or _UNKNOWN}")
    out.print(
        f"call {entry['operation']}, {entry['provider'] or _UNKNOWN} {_model(entry)}, outcome {entry['outcome']}, "
        f"usage {entry['usage_status']}, response id {entry['response_id'] or 'none'}"
    )
    if explanation["lines"]:
        out.print(_factors(explanation["lines"]))
    cost = "unknown" if price["cost_usd"] is None else f"{price['cost_usd']} USD"
    out.print(f"cost {cost} ({price['status']}{_because(price)})")
    if price["provider_cost_usd"] is not None:
        out.print(f"the provider itself says {price['provider_cost_usd']} USD")
    if entry["other_usage"]:
        figures = (f"{name} {figure:,}" for name, figure in entry["other_usage"].items())
        out.print(f"also reported: {', '.join(figures)}")
    if price["model"]:
        out.print(f"price of {price['model']}, found by {price['match']}, tier {price['context'] or 'standard'}")
    out.print(f"price book {book['source']}, sha256 {book['id']}")
    _print_history(out, explanation)
    if not explanation["agrees"]:
        out.print(f"WARNING: that book gives {explanation['replayed_usd'] or 'no price'}, not what the ledger holds")


def _print_history(out: Console, explanation: Document) -> None:
    if explanation["reports"]:
        out.print(f"reported {len(explanation['reports'])} times:")
    for report in explanation["reports"]:
        figures = ", ".join(f"{name} {figure:,}" for name, figure in report["usage"].items()) or "no figures"
        out.print(f"  {report['scope']} of {report['service'] or _UNKNOWN}, span {report['span_id']}: {figures}")
    for change in explanation["adjustments"]:
        before, after = (change[which].get("cost_usd", "unknown") for which in ("before", "after"))
        out.print(f"adjusted {change['made']} ({change['reason']}): {before} -> {after} USD")


_ENTRY_COLUMNS: tuple[tuple[str, Any], ...] = (
    ("entry", "right"),
    ("end (UTC)", "left"),
    ("service", "left"),
    ("model", "left"),
    ("outcome", "left"),
    ("input", "right"),
    ("cached", "right"),
    ("output", "right"),
    ("cost USD", "right"),
)


def _entry_cells(entry: Document) -> tuple[str, ...]:
    outcome = entry["outcome"] if entry["error_type"] is None else entry["error_type"]
    cost = entry["cost_usd"]
    if cost is None:
        cost = "-" if entry["price_status"] == "none" else f"? {entry['price_reason']}"
    return (
        str(entry["entry_id"]),
        entry["end"][:19].replace("T", " "),
        entry["service"] or _UNKNOWN,
        _model(entry),
        outcome,
        _figure(entry["input_tokens"]),
        _figure(entry["cache_read_tokens"]),
        _figure(entry["output_tokens"]),
        cost,
    )


def _model(entry: Document) -> str:
    return entry["response_model"] or entry["request_model"] or _UNKNOWN


def _figure(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _factors(lines: Sequence[Document]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("unit", "quantity", "price key", "USD per unit", "USD"):
        table.add_column(name, justify="left" if name in {"unit", "price key"} else "right")
    for line in lines:
        table.add_row(line["unit"], f"{line['quantity']:,}", line["price_key"], line["usd_per_unit"], line["usd"])
    return table


def _because(price: Document) -> str:
    said = ", ".join(price[name] for name in ("reason", "detail") if price[name])
    return f": {said}" if said else ""


def _total(lines: Sequence[ReportLine]) -> ReportLine:
    return functools.reduce(
        joined, lines, ReportLine((), Sums(), errors=0, reported=0, priced=0, unpriced=0, unreported=0)
    )


def _cost(line: ReportLine) -> str:
    """Return what a group cost: exact, at least so much, unknown, or nothing to price. Unknown is never zero."""
    if not line.priced:
        return "unknown" if line.unpriced else "-"
    return f"{'≥ ' if line.unpriced else ''}{usd_text(line.sums.cost_pusd)}"


def _sums_document(line: ReportLine) -> Document:
    return {
        "calls": line.sums.calls,
        "errors": line.errors,
        "unpriced_calls": line.unpriced,
        "unreported_calls": line.unreported,
        **{name: getattr(line.sums, name) if line.reported else None for name in _SUMMED},
        "cost_usd": usd_text(line.sums.cost_pusd) if line.priced else None,
    }


def _report_cells(line: ReportLine) -> tuple[str, ...]:
    sums = line.sums
    return (
        f"{sums.calls:,}",
        f"{line.errors:,}",
        *(
            _figure(value if line.reported else None)
            for value in (sums.input_tokens, sums.cache_read_tokens, sums.output_tokens)
        ),
        _cost(line),
        f"{line.unpriced:,}",
        f"{line.unreported:,}",
    )


def console() -> Console:
    """Return a console that never cuts a figure off: a narrow terminal wraps the line, a pipe gets it whole."""
    return Console(highlight=False, markup=False, soft_wrap=True, width=max(Console().width, _WIDTH_MIN))
