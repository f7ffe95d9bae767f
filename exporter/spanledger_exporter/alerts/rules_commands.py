"""`spanledger rules generate`: budgets -> a file of rules for Prometheus that fits them."""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from spanledger_exporter.alerts.rules import GRAFANA, JOB, RUNBOOKS, Group, Links, rules_text
from spanledger_exporter.command_line import Commands, config_of, reading, sentence
from spanledger_exporter.errors import ConfigError, RejectedError

if TYPE_CHECKING:
    from spanledger_exporter.budgets.budget import Budget

_PREFIX = "spanledger"


def add_rules_commands(commands: Commands) -> None:
    """Add the command that writes rules."""
    text = "rules for Prometheus that watch budgets, spend and the exporter"
    rules = commands.add_parser("rules", help=text, description=sentence(text))
    subcommands = rules.add_subparsers(title="commands", metavar="COMMAND", required=True)
    generate = reading(subcommands, "generate", "write the rules that fit the budgets of a ledger or a file")
    origin = generate.add_mutually_exclusive_group()
    origin.add_argument("--budgets", metavar="FILE", help="the budgets of a TOML file, instead of the ledger's")
    origin.add_argument("--any-budget", action="store_true", help="rules for whatever budgets there are, as shipped")
    generate.add_argument("--output", metavar="FILE", help="write to a file (default: print)")
    generate.add_argument(
        "--check", action="store_true", help="write nothing; end with 1 if the file is not up to date"
    )
    generate.add_argument(
        "--group-prefix", default=_PREFIX, metavar="TEXT", help=f"what names of groups begin with (default {_PREFIX})"
    )
    generate.add_argument(
        "--runbooks", default=RUNBOOKS, metavar="URL", help=f"where the runbooks are (default {RUNBOOKS})"
    )
    generate.add_argument("--grafana", default=GRAFANA, metavar="URL", help=f"where Grafana is (default {GRAFANA})")
    generate.add_argument(
        "--job", default=JOB, type=_job, metavar="NAME", help=f"the exporter's job in Prometheus (default {JOB})"
    )
    generate.add_argument(
        "--floor-usd",
        default="1",
        type=_floor,
        metavar="USD",
        help="burn rates are no alert below so much money in their window (default 1)",
    )
    generate.set_defaults(run=_generate)


def generated(
    budgets: "Sequence[Budget] | None", links: Links, *, prefix: str = _PREFIX, job: str = JOB, floor_usd: float = 1
) -> str:
    """Return the rules of budgets, or of any where they are `None`, and those that do not depend on them."""
    from spanledger_exporter.alerts.budget_rules import any_budget, each_budget
    from spanledger_exporter.alerts.health_rules import health_rules
    from spanledger_exporter.alerts.spend_rules import spend_rules

    found: list[Group]
    if budgets is None:
        found = any_budget(prefix, floor_usd)
        made_by = "spanledger rules generate --any-budget"
    else:
        found = each_budget(budgets, prefix, floor_usd)
        made_by = "spanledger rules generate"
    heading = (
        f"Made by `{made_by}`, and made anew by it: change its options, or add rules in a file of your own.",
        "docs/alerting.md says what each is for; promtool check rules says whether Prometheus takes them.",
    )
    return rules_text([*found, *spend_rules(prefix, job), *health_rules(prefix, job)], links, heading=heading)


def _job(text: str) -> str:
    if not text or any(each in '"\\\n' for each in text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a job")
    return text


def _floor(text: str) -> float:
    try:
        floor = Decimal(text)
    except InvalidOperation as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount in USD") from exc
    if not floor.is_finite() or floor < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of 0 or more")
    return float(floor)


def _generate(arguments: argparse.Namespace) -> int:
    if arguments.check and arguments.output is None:
        raise ConfigError(["--check compares with a file: --output FILE says with which"])
    text = generated(
        None if arguments.any_budget else _budgets(arguments),
        Links(arguments.runbooks, arguments.grafana),
        prefix=arguments.group_prefix,
        job=arguments.job,
        floor_usd=arguments.floor_usd,
    )
    if arguments.output is None:
        sys.stdout.write(text)
        return 0
    file = Path(arguments.output)
    if arguments.check:
        return _checked(file, text)
    _write(file, text)
    return 0


def _budgets(arguments: argparse.Namespace) -> "Sequence[Budget]":
    from spanledger_exporter.budgets import budget_file

    if arguments.budgets is not None:
        return budget_file.read(arguments.budgets)
    from spanledger_exporter.budgets.shelf import load_budgets
    from spanledger_exporter.ledger.database import open_readonly

    with contextlib.closing(open_readonly(config_of(arguments).ledger_url)) as database, database.read() as connection:
        return [stored.budget for stored in load_budgets(connection)]


def _checked(file: Path, text: str) -> int:
    try:
        fresh = file.read_bytes() == text.encode()
    except FileNotFoundError:
        sys.stderr.write(f"spanledger: there is no {file}\n")
        return 1
    except OSError as exc:
        raise RejectedError(f"{file} cannot be read: {exc.strerror}") from exc
    if not fresh:
        sys.stderr.write(f"spanledger: {file} is not up to date; without --check it is written anew\n")
    return 0 if fresh else 1


def _write(file: Path, text: str) -> None:
    """Replace a file in one step: Prometheus may be told to read it again at any time."""
    if file.exists() and not file.is_file():  # a pipe, or a terminal
        file.write_bytes(text.encode())
        return
    file = file.resolve()  # what a link leads to is written, not the link
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        unfinished.write_bytes(text.encode())
        unfinished.replace(file)
    except OSError as exc:
        raise RejectedError(f"{file} cannot be written: {exc.strerror}") from exc
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
