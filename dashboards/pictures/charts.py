"""Series over time -> a chart in SVG: lines, or areas upon one another."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

_RIGHT, _TOP, _BOTTOM = 10, 8, 20
_LETTER = 7
_AXIS = 16
_LINES = 4
_TIMES = 6


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its name, its colour, and its points by time."""

    name: str
    color: str
    points: dict[float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """The size in pixels, and what is shown of time and values."""

    width: int
    height: int
    from_s: float
    to_s: float
    high: float
    left: int

    def x(self, at_s: float) -> float:
        """Return where a time is."""
        return self.left + (at_s - self.from_s) / (self.to_s - self.from_s) * (self.width - self.left - _RIGHT)

    def y(self, value: float) -> float:
        """Return where a value is."""
        return self.height - _BOTTOM - value / self.high * (self.height - _TOP - _BOTTOM)


def chart(
    lines: Sequence[Line],
    times_s: Sequence[float],
    *,
    width: int,
    height: int,
    stack: bool,
    axis: str = "",
    text: Callable[[float], str],
) -> str:
    """Draw series at these times; where a series has no point it is interrupted."""
    floors = dict.fromkeys(times_s, 0.0)
    drawn: list[tuple[Line, dict[float, float], dict[float, float]]] = []
    for line in lines:
        below = dict(floors) if stack else {}
        tops = {at_s: line.points[at_s] + below.get(at_s, 0) for at_s in times_s if at_s in line.points}
        floors |= tops if stack else {}
        drawn.append((line, tops, below))
    largest = max((value for _, tops, _ in drawn for value in tops.values()), default=0)
    high = _nice(largest)
    left = (_AXIS if axis else 0) + 12 + _LETTER * max(len(text(high * place / _LINES)) for place in range(_LINES + 1))
    frame = Frame(width, height, times_s[0], times_s[-1], high, left)
    parts = [*_grid(frame, text), *_axis(frame, axis)]
    for line, tops, below in drawn:
        parts.extend(_drawn(frame, line, run, tops, below, stack=stack) for run in _runs(tops, times_s))
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'


def _drawn(
    frame: Frame, line: Line, run: Sequence[float], tops: dict[float, float], below: dict[float, float], *, stack: bool
) -> str:
    upper = [f"{frame.x(at_s):.1f},{frame.y(tops[at_s]):.1f}" for at_s in run]
    lower = [f"{frame.x(at_s):.1f},{frame.y(below.get(at_s, 0)):.1f}" for at_s in reversed(run)]
    area = f'<polygon points="{" ".join(upper + lower)}" fill="{line.color}" fill-opacity="{0.4 if stack else 0.08}"/>'
    return area + f'<polyline points="{" ".join(upper)}" fill="none" stroke="{line.color}" stroke-width="1.5"/>'


def _runs(points: dict[float, float], times_s: Sequence[float]) -> list[list[float]]:
    """Return the times that follow one another without a gap."""
    runs: list[list[float]] = [[]]
    for at_s in times_s:
        if at_s in points:
            runs[-1].append(at_s)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _grid(frame: Frame, text: Callable[[float], str]) -> list[str]:
    parts: list[str] = []
    for place in range(_LINES + 1):
        value = frame.high * place / _LINES
        y = frame.y(value)
        parts.append(f'<line x1="{frame.left}" x2="{frame.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(
            f'<text x="{frame.left - 6}" y="{y + 4:.1f}" class="axis" text-anchor="end">{escape(text(value))}</text>'
        )
    length_s = frame.to_s - frame.from_s
    step_s = next(
        (step for step in (600, 1800, 3600, 7200, 10_800, 14_400, 86_400) if length_s / step <= _TIMES), 172_800
    )
    at_s = math.ceil(frame.from_s / step_s) * step_s
    while at_s <= frame.to_s:
        said = datetime.fromtimestamp(at_s, UTC).strftime("%m-%d" if step_s >= 86_400 else "%H:%M")
        x = frame.x(at_s)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{frame.height - _BOTTOM}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{frame.height - 5}" class="axis" text-anchor="middle">{said}</text>')
        at_s += step_s
    return parts


def _axis(frame: Frame, text: str) -> list[str]:
    """Write what the values are of beside the axis, from below to above."""
    middle = (frame.height - _BOTTOM + _TOP) / 2
    turned = f'transform="translate(11 {middle:.1f}) rotate(-90)"'
    return [f'<text {turned} class="axis" text-anchor="middle">{escape(text)}</text>'] if text else []


def _nice(value: float) -> float:
    """Return the next value above that the lines of the grid divide well."""
    if value <= 0:
        return 1
    size = 10.0 ** math.floor(math.log10(value))
    return next(factor * size for factor in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if factor * size >= value)
