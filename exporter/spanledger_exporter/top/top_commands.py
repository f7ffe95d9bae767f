"""`spanledger top`: what is being spent, live in a terminal, straight from a ledger or from a running exporter."""

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spanledger_exporter.command_line import Commands, config_of, print_json, reading
from spanledger_exporter.errors import ConfigError
from spanledger_exporter.top.overview import WINDOW, WINDOWS

if TYPE_CHECKING:
    from rich.console import Console

    from spanledger_exporter.top.overview import Overview
    from spanledger_exporter.top.sources import Source
    from spanledger_exporter.top.view import View

_INTERVAL_S: Final = 2.0
_INTERVAL_LEAST_S, _INTERVAL_MOST_S = 0.5, 3600.0
_PIPE_WIDTH: Final = 120


def add_top_command(commands: Commands) -> None:
    """Add `top`."""
    top = reading(
        commands, "top", "what is being spent, live in a terminal: by model and service, budgets, newest calls"
    )
    top.add_argument("--url", metavar="URL", help="of a running exporter's metrics, such as http://127.0.0.1:9464")
    top.add_argument(
        "--token-file", type=Path, metavar="FILE", help="holds a token for `read`, where that exporter wants one"
    )
    top.add_argument(
        "--window", choices=WINDOWS, default=WINDOW, help=f"what the tables are about at first (default {WINDOW})"
    )
    top.add_argument(
        "--interval",
        type=_interval,
        default=_INTERVAL_S,
        metavar="SECONDS",
        help=f"how often it is looked, from {_INTERVAL_LEAST_S} (default {_INTERVAL_S:g})",
    )
    top.add_argument("--once", action="store_true", help="one picture; so it is where stdout is no terminal")
    top.add_argument("--json", action="store_true", help="one look as one JSON object, with exact figures")
    top.set_defaults(run=_top)


def _interval(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not _INTERVAL_LEAST_S <= found <= _INTERVAL_MOST_S:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no interval; write seconds, from {_INTERVAL_LEAST_S} to {_INTERVAL_MOST_S:g}"
        )
    return found


def _top(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from spanledger_exporter.top.documents import to_document
    from spanledger_exporter.top.screen import Screen
    from spanledger_exporter.top.view import View

    with closing(_source(arguments)) as source:
        # What is wrong from the beginning ends the command, as it ends any other one.
        first = source.read(arguments.window)
        if arguments.json:
            print_json(to_document(first))
            return 0
        console = Console(highlight=False, markup=False, emoji=False)
        view = View(window=arguments.window)
        if arguments.once or not console.is_terminal or console.is_dumb_terminal:
            _print(first, view, source.name, console)
            return 0
        return Screen(source, first, view, console, interval_s=arguments.interval).run()


def _print(overview: "Overview", view: "View", name: str, console: "Console") -> None:
    from spanledger_exporter.top.frame import Canvas, Seen, frame

    console.width = console.width if console.is_terminal else _PIPE_WIDTH
    ascii_only = not console.encoding.startswith("utf")
    canvas = Canvas(width=console.width, height=None, ascii_only=ascii_only)
    console.print(frame(overview, view, Seen(source=name, live=False), canvas))


def _source(arguments: argparse.Namespace) -> "Source":
    from spanledger_exporter.top.sources import HttpSource, LedgerSource
    from spanledger_exporter.web_client import plain_token_warning

    if arguments.url is None:
        if arguments.token_file is not None:
            raise ConfigError(["--token-file is for --url: a ledger is opened without a token"])
        return LedgerSource(config_of(arguments).ledger_url)
    if arguments.ledger_url is not None or arguments.config is not None:
        raise ConfigError(["--url asks an exporter, which knows its own ledger: leave out --ledger and --config"])
    source = HttpSource(arguments.url, arguments.token_file)
    warning = None if arguments.token_file is None else plain_token_warning(arguments.url)
    if warning is not None:
        sys.stderr.write(f"spanledger: {warning}\n")
    return source
