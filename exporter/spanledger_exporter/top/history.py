"""The cost of the last minutes -> a small picture of bars."""

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from spanledger_exporter.top.overview import Minute
from spanledger_exporter.top.panels import line_of
from spanledger_exporter.top.texts import UNKNOWN, usd

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS: Final = " .:-=+*%#"
_LEVELS: Final = 8


def history(minutes: Sequence[Minute], width: int, height: int, *, ascii_only: bool) -> list[Text]:
    """Return a line that says what the bars mean, and the bars, in so many lines together.

    Where there is no room for a bar a minute, several share one, and as many as there is room for where there is. A
    minute in which no call has a known cost has a question mark, one without calls nothing at all.
    """
    shared = max(1, -(-len(minutes) // max(1, width)))
    chars = max(1, min(2, width // max(1, len(minutes))))
    groups = [minutes[place : place + shared] for place in range(0, len(minutes), shared)]
    costs = [_cost(group) for group in groups]
    most = max((cost for cost in costs if cost is not None), default=0)
    each = "a minute" if shared == 1 else f"in {shared} minutes"
    said = f"USD {each}, {len(minutes)} minutes: most {usd(most)}, now {_now(minutes)}"
    rows = height - 1
    made = [line_of(said, width, "", ascii_only=ascii_only)]
    for row in range(rows - 1, -1, -1):
        bars = "".join(
            _char(cost, most, row, rows, calls=any(minute.calls for minute in group), ascii_only=ascii_only) * chars
            for cost, group in zip(costs, groups, strict=True)
        )
        made.append(line_of(bars, width, "green", ascii_only=ascii_only))
    return made


def _cost(minutes: Sequence[Minute]) -> int | None:
    known = [minute.cost_pusd for minute in minutes if minute.cost_pusd is not None]
    return sum(known) if known else None


def _now(minutes: Sequence[Minute]) -> str:
    last = minutes[-1] if minutes else None
    if last is None or (not last.calls and last.cost_pusd is None):
        return "-"
    if last.cost_pusd is None:
        return "unknown" if last.unpriced_calls else "-"
    return f"{'≥ ' if last.unpriced_calls else ''}{usd(last.cost_pusd)}"


def _char(cost: int | None, most: int, row: int, rows: int, *, calls: bool, ascii_only: bool) -> str:
    blocks = _ASCII_BLOCKS if ascii_only else _BLOCKS
    if cost is None:
        return UNKNOWN if calls and not row else " "
    # Rounded up: what cost anything at all can be seen. What was free has the lowest bar as well.
    level = max(1, -(-cost * _LEVELS * rows // most)) if most > 0 else 1
    return blocks[max(0, min(_LEVELS, level - row * _LEVELS))]
