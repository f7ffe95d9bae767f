"""The demo's commands, for the command line to hang into its tree. Nothing heavy is imported before one runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spanledger_exporter.commands import Commands

PROVIDER_ADDRESS = "127.0.0.1:8089"
DEMO_SECONDS = 20.0


def add_commands(subparsers: Commands) -> None:
    """Add `provider` and `demo`; each sets `run`, which takes the parsed flags and returns the exit status."""
    text = "serve invented OpenAI and Anthropic answers, and tally them"
    _add_provider(subparsers.add_parser("provider", help=text, description=f"{text[0].upper()}{text[1:]}."))
    text = "show the whole path: calls, ledger entries, metrics, reconciliation"
    _add_demo(subparsers.add_parser("demo", help=text, description=f"{text[0].upper()}{text[1:]}."))


def _add_provider(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="ADDR", type=address, default=PROVIDER_ADDRESS, help=f"default {PROVIDER_ADDRESS}"
    )
    parser.add_argument("--json", action="store_true", help="print the final tally as one JSON object")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="what the figures are invented from, besides the request"
    )
    parser.add_argument(
        "--error-rate", metavar="SHARE", type=share, default=0.0, help="share of calls answered with an error"
    )
    parser.add_argument("--cut-rate", metavar="SHARE", type=share, default=0.0, help="share of streams that break off")
    parser.add_argument("--latency-s", metavar="N", type=seconds, default=0.0, help="seconds before each answer")
    parser.add_argument(
        "--event-interval-s", metavar="N", type=seconds, default=0.0, help="seconds between the events of a stream"
    )
    parser.set_defaults(run=_run_provider)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds",
        metavar="N",
        type=positive,
        default=DEMO_SECONDS,
        help=f"how long to call, default {DEMO_SECONDS:g}",
    )
    parser.add_argument("--json", action="store_true", help="print the reconciliation as one JSON object")
    parser.add_argument("--collector", action="store_true", help="send through a real OpenTelemetry collector")
    parser.add_argument("--calls-per-s", metavar="N", type=positive, default=8.0, help="pace of the sample service")
    parser.add_argument(
        "--error-rate", metavar="SHARE", type=share, default=0.05, help="share of calls that the provider fails"
    )
    parser.add_argument(
        "--cut-rate", metavar="SHARE", type=share, default=0.0, help="share of streams that the provider breaks off"
    )
    parser.add_argument(
        "--budget-usd", metavar="USD", type=positive, default=0.05, help="the budget that warns, default 0.05"
    )
    parser.add_argument(
        "--budget-reviews",
        metavar="N",
        type=count,
        default=20,
        help="calls that the budget that refuses allows, default 20",
    )
    parser.add_argument("--ledger", metavar="URL", help="keep the entries here; default is a new SQLite file")
    parser.add_argument("--folder", metavar="DIR", help="keep ledger and logs here; default is a new temporary folder")
    parser.add_argument(
        "--provider-listen", metavar="ADDR", type=address, default="127.0.0.1:0", help="default: any free port"
    )
    parser.set_defaults(run=_run_demo)


def address(text: str) -> tuple[str, int]:
    """Parse HOST:PORT.

    Raises: ArgumentTypeError, which argparse shows with the flag.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:8089")
    return host, int(port)


def share(text: str) -> float:
    """Parse a share between 0 and 1.

    Raises: ArgumentTypeError, which argparse shows with the flag.
    """
    return _number(text, lambda value: 0 <= value <= 1, "between 0 and 1")


def count(text: str) -> int:
    """Parse a number of calls.

    Raises: ArgumentTypeError, which argparse shows with the flag.
    """
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def seconds(text: str) -> float:
    """Parse a time that may be nothing.

    Raises: ArgumentTypeError, which argparse shows with the flag.
    """
    return _number(text, lambda value: 0 <= value <= 600, "between 0 and 600")


def positive(text: str) -> float:
    """Parse a time or a rate that must be something.

    Raises: ArgumentTypeError, which argparse shows with the flag.
    """
    return _number(text, lambda value: 0 < value <= 86_400, "more than 0, and no more than 86400")


def _number(text: str, allowed: Callable[[float], bool], range_name: str) -> float:
    try:
        value = float(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from exc
    if not allowed(value):
        raise argparse.ArgumentTypeError(f"{text} is not {range_name}")
    return value


def _run_provider(args: argparse.Namespace) -> int:
    from spanledger_demo.provider.command import run

    return run(args)


def _run_demo(args: argparse.Namespace) -> int:
    from spanledger_demo.demo import run

    return run(args)
