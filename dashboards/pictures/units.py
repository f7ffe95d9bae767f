"""A number in one of Grafana's units -> the text that a panel shows, about as Grafana writes it.

Source: grafana.com/docs/grafana v13.2, "Configure standard options", and @grafana/data valueFormats.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

_TIMES: Final = ((86_400, " days"), (3600, " hours"), (60, " mins"), (1, " s"), (1e-3, " ms"), (1e-6, " µs"))
_PAST_IN_WORDS_S: Final = 60


def text(value: float, unit: str, decimals: float | None = None, now_s: float = 0) -> str:
    """Write a value; `now_s` is what "ago" is counted from."""
    if unit == "dateTimeFromNow":
        return _from_now(value / 1000 - now_s)
    if unit == "locale":
        return f"{value:,.{int(decimals or 0)}f}"
    look = _LOOKS.get(unit, _Look())
    number, name = _scaled(value * look.times, look.sizes) if look.sizes else (value * look.times, "")
    sign = "-" if number < 0 else ""
    return f"{sign}{look.before}{_digits(abs(number), decimals)}{name or look.after}"


class _Look(NamedTuple):
    """How a unit is written: what stands before and after a number, and what larger sizes are called."""

    before: str = ""
    after: str = ""
    sizes: Sequence[tuple[float, str]] = ()
    times: int = 1


_LOOKS: Final = {
    "currencyUSD": _Look(before="$", sizes=((1e9, "B"), (1e6, "M"), (1e3, "K"))),
    "percentunit": _Look(after="%", times=100),
    "s": _Look(after=" s", sizes=_TIMES),
    "bytes": _Look(after=" B", sizes=((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"))),
    "percent": _Look(after="%"),
    "short": _Look(sizes=((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"))),
}


def _scaled(value: float, sizes: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """Return a value in the largest unit that it fills; as it is, if it fills none, or is nothing."""
    return next(((value / size, name) for size, name in sizes if value and abs(value) >= size), (value, ""))


def _digits(number: float, decimals: float | None) -> str:
    """Write a number with so many decimals, else with three digits that say something."""
    if decimals is None:
        size = abs(number)
        places = 0 if number == int(number) else max(0, 2 - math.floor(math.log10(size)))
        return f"{number:.{places}f}"
    return f"{number:.{int(decimals)}f}"


def _from_now(seconds: float) -> str:
    size = abs(seconds)
    if size < _PAST_IN_WORDS_S:
        said = "a few seconds"
    else:
        length, name = next((length, name) for length, name in _TIMES if size >= length)
        said = f"{size / length:.0f}{name}"
    return f"in {said}" if seconds > 0 else f"{said} ago"
