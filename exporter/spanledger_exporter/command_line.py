"""What several commands share: how they name a ledger, a time and the entries that they mean, and how they print."""

import argparse
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Protocol

from spanledger_exporter.config import Config, load
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.settings import SETTINGS, Setting

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Commands(Protocol):
    """What `ArgumentParser.add_subparsers` returns, as far as adding a command to it goes."""

    def add_parser(self, name: str, *, help: str, description: str = ...) -> argparse.ArgumentParser:  # noqa: A002 -- argparse's
        """Add one command."""
        ...


def reading(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command that reads a ledger, with the options that name it."""
    command = commands.add_parser(name, help=text, description=sentence(text))
    ledger = next(setting for setting in SETTINGS if setting.field == "ledger_url")
    command.add_argument("--config", metavar="FILE", help="TOML file with settings (else SPANLEDGER_CONFIG names one)")
    command.add_argument("--ledger", dest="ledger_url", metavar="URL", help=help_of(ledger))
    return command


def help_of(setting: Setting) -> str:
    """Return the help of an option that sets a setting."""
    try:
        default = setting.default()
    except ImportError:  # the base install can show its help, though it cannot run the command
        default = "in the platform's data folder"
    return f"{setting.meaning} (default {default})".replace("%", "%%")


def add_filters(command: argparse.ArgumentParser, *, times: bool = True) -> None:
    """Add the options that say which entries are meant."""
    if times:
        command.add_argument(
            "--since", type=moment, metavar="TIME", help="2026-11-22, 2026-11-22T08:00Z, or an age: 90m, 7d"
        )
        command.add_argument("--until", type=moment, metavar="TIME", help="likewise; itself excluded")
    for name in ("service", "provider", "model"):
        command.add_argument(
            f"--{name}", metavar="NAME", help=f"only calls of this {name}; * stands for any characters"
        )
    command.add_argument("--outcome", choices=("ok", "error"), help="only calls that ended so")


def sentence(text: str) -> str:
    """Return a text as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


def moment(text: str) -> datetime:
    """Read a time, or an age before now."""
    age = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if age is not None:
        try:
            return datetime.now(tz=UTC) - timedelta(seconds=int(age[1]) * _UNITS_S[age[2]])
        except OverflowError as exc:
            raise argparse.ArgumentTypeError(f"{text!r} is before the calendar begins") from exc
    try:
        found = datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2026-11-22, 2026-11-22T08:00Z (UTC unless it says) or an age such as 90m or 7d"
        ) from exc
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def config_of(arguments: argparse.Namespace) -> Config:
    """Return the configuration that a command line asks for."""
    flags = {setting.field: getattr(arguments, setting.field, None) for setting in SETTINGS}
    return load(file=arguments.config, flags=flags)


def filter_of(arguments: argparse.Namespace) -> Filter:
    """Return which entries a command line means."""
    named = vars(arguments)
    return Filter(**{name: named.get(name) for name in ("since", "until", "service", "provider", "model", "outcome")})


def print_json(document: object) -> None:
    """Print one JSON document on one line."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
