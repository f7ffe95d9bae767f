"""Figures and names of an overview -> texts for a terminal, whatever somebody wrote into them."""

from datetime import UTC, datetime
from typing import Final

from rich.cells import cell_len, set_cell_size

from spanledger_exporter.budgets.budget import MICRO_USD_PER_USD
from spanledger_exporter.budgets.texts import amount_text, duration_text, printable
from spanledger_exporter.money import PUSD_PER_USD, usd_text
from spanledger_exporter.top.overview import Call, Figures, Window

WINDOW_TEXTS: Final[dict[Window, str]] = {"15m": "15 min", "1h": "1 hour", "24h": "24 hours", "month": "month"}
UNKNOWN: Final = "?"
TOO_EARLY: Final = "too early"
"""What is said of the future on the first day of spending (docs/forecast.md)."""
_NONE: Final = "-"
_DIGITS: Final = 4
_WHOLE_BELOW: Final = 10**7
_SCALES: Final = ((10**12, "T"), (10**9, "G"), (10**6, "M"))
_CELLS_MAX: Final = 400


def usd(pusd: int) -> str:
    """Return an amount as people read it: whole cents from one USD on, else four digits, rounded down."""
    if abs(pusd) >= PUSD_PER_USD:
        return amount_text(pusd // (PUSD_PER_USD // MICRO_USD_PER_USD), "usd")
    digits = str(abs(pusd))
    kept = int(digits[:_DIGITS].ljust(len(digits), "0"))
    return usd_text(-kept if pusd < 0 else kept)


def cost_text(figures: Figures) -> str:
    """Return what calls cost: so much, at least so much, unknown, or nothing to pay. Unknown is never zero."""
    if figures.cost_pusd is None:
        return "unknown" if figures.unpriced_calls else _NONE
    return f"{'≥ ' if figures.unpriced_calls else ''}{usd(figures.cost_pusd)}"


def call_cost_text(call: Call) -> str:
    """Return what a call cost, or why that is unknown; nothing to pay is a dash."""
    if call.cost_pusd is not None:
        return usd(call.cost_pusd)
    return f"? {printable(call.price_reason or '')}".rstrip() if call.price_status == "unpriced" else _NONE


def count_text(count: int | None) -> str:
    """Return a count: every digit below ten million, four of them from there on."""
    if count is None:
        return _NONE
    for scale, letter in _SCALES:
        if count >= scale and count >= _WHOLE_BELOW:
            whole, rest = divmod(count * 1000 // scale, 1000)
            return f"{whole:,}.{rest:03d}"[: max(5, len(f"{whole:,}"))].rstrip(".") + f" {letter}"
    return f"{count:,}"


def age_text(seconds: float) -> str:
    """Return how old something is."""
    return f"{max(0, int(seconds))} s" if seconds < 60 else duration_text(seconds)


def clock_text(unix_s: int) -> str:
    """Return the time of the day, in UTC."""
    return f"{datetime.fromtimestamp(unix_s, tz=UTC):%H:%M:%S}"


def safe(text: str, *, ascii_only: bool) -> str:
    """Return a text as one line that does nothing to a terminal, and that it can show."""
    shown = printable(text[:_CELLS_MAX])
    return shown.replace("≥", ">=").encode("ascii", "replace").decode() if ascii_only else shown


def fit(text: str, width: int, *, right: bool = False, middle: bool = False, ascii_only: bool = False) -> str:
    """Return a text in exactly so many cells of the terminal, cut at its end or in its middle; a mark shows where."""
    if width <= 0:
        return ""
    room = width - cell_len(text)
    if room >= 0:
        return " " * room + text if right else text + " " * room
    mark = "~" if ascii_only else "…"
    if middle:
        end = _end(text, (width - 1) // 2)
        return set_cell_size(text, width - 1 - cell_len(end)) + mark + end
    return set_cell_size(text, width - 1) + mark


def _end(text: str, width: int) -> str:
    """Return the end of a text, in at most so many cells."""
    end = text[max(0, len(text) - width) :]
    while cell_len(end) > width:
        end = end[1:]
    return end
