"""A key that was pressed -> how the picture is wanted from then on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from spanledger_exporter.top.overview import WINDOW, WINDOWS, Window

Sort = Literal["cost", "calls", "tokens", "errors", "name"]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
Focus = Literal["all", "budgets", "models", "calls"]
_FOCUS: Final[dict[str, Focus]] = {"b": "budgets", "m": "models", "c": "calls"}
FILTER_CHARS_MAX: Final = 60
ENTER, ESCAPE, BACKSPACE, CLEAR, HANGUP = "enter", "escape", "backspace", "clear", "hangup"
"""Keys that are no characters, and that there will be no more: no character has such a long name."""
HELP: Final = (
    ("q", "quit"),
    ("s", "sort by the next of cost, calls, tokens, errors, name"),
    ("r", "reverse the order"),
    ("/", "only models, services and providers with a text in their name; Enter applies it, Esc clears it"),
    ("w", "the next window: 15 minutes, 1 hour, 24 hours, this month"),
    ("b", "only budgets; again: everything"),
    ("m", "only models and services; again: everything"),
    ("c", "only calls; again: everything"),
    ("p", "pause, and go on"),
    ("?", "this help; any key closes it"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How the picture is wanted; `typed` is a filter that is being typed, `None` while none is."""

    window: Window = WINDOW
    sort: Sort = "cost"
    reverse: bool = False
    filter: str = ""
    typed: str | None = None
    focus: Focus = "all"
    paused: bool = False
    help: bool = False


def press(view: View, key: str) -> View | None:
    """Return the view after a key; `None` if it ends the program."""
    if key == HANGUP:
        return None
    if view.typed is not None:
        return _typed(view, view.typed, key)
    if view.help:
        return replace(view, help=False)
    if key == "q":
        return None
    return _commanded(view, key)


def _typed(view: View, typed: str, key: str) -> View:
    if key == ENTER:
        return replace(view, filter=typed.strip(), typed=None)
    if key == ESCAPE:
        return replace(view, filter="", typed=None)
    if key == BACKSPACE:
        return replace(view, typed=typed[:-1])
    if key == CLEAR:
        return replace(view, typed="")
    if len(key) == 1 and key.isprintable() and len(typed) < FILTER_CHARS_MAX:
        return replace(view, typed=typed + key)
    return view


def _commanded(view: View, key: str) -> View:
    if key in _FOCUS:
        return replace(view, focus="all" if view.focus == _FOCUS[key] else _FOCUS[key])
    command = _COMMANDS.get(key)
    return view if command is None else command(view)


_COMMANDS: Final[dict[str, Callable[[View], View]]] = {
    "s": lambda view: replace(view, sort=SORTS[(SORTS.index(view.sort) + 1) % len(SORTS)]),
    "w": lambda view: replace(view, window=WINDOWS[(WINDOWS.index(view.window) + 1) % len(WINDOWS)]),
    "r": lambda view: replace(view, reverse=not view.reverse),
    "p": lambda view: replace(view, paused=not view.paused),
    "?": lambda view: replace(view, help=True),
    "/": lambda view: replace(view, typed=view.filter),
    ESCAPE: lambda view: replace(view, filter="", focus="all"),
}
