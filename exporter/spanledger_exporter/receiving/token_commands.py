"""`spanledger tokens`: make a token, and the line of the tokens file that lets it in."""

import argparse
import sys

from spanledger_exporter.receiving.tokens import NAME, SCOPES, line_of, new_token


def declare(command: argparse.ArgumentParser) -> None:
    """Say what the command takes, and what it calls."""
    command.add_argument("action", choices=("new",), help="make a token")
    command.add_argument("name", type=_name, metavar="NAME", help="what the token is called in the file")
    command.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=SCOPES,
        help="what it is for: send spans, read metrics, administer; may be given several times",
    )
    command.add_argument("--tenant", type=_name, metavar="NAME", help="the tenant of all that is sent with it")
    command.set_defaults(run=_new)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: write up to 64 letters, digits, dots, dashes and underscores")
    return text


def _new(arguments: argparse.Namespace) -> int:
    token = new_token()
    sys.stdout.write(
        f"token, shown this once: {token}\n"
        f"line for the tokens file: {line_of(token, arguments.name, frozenset(arguments.scope), arguments.tenant)}\n"
    )
    return 0
