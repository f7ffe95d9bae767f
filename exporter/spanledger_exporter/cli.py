"""`spanledger`: argv -> one function -> an exit status. Results go to stdout, logs and errors to stderr.

Exit status: 0 done, 1 failed (a message says why), 2 the command line, the configuration or the ledger's name is wrong.
"""

import argparse
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from spanledger_exporter import __version__
from spanledger_exporter.errors import ConfigError, ForbiddenError, LedgerError, SpanledgerError

if TYPE_CHECKING:
    from spanledger_exporter.commands import Commands

_ROLES = (
    "commands that read want a role that may read every table, others the ledger's owner; `spanledger ledger grant` "
    "lets a role read the views alone, for dashboards and SQL"
)
_NEEDED = ("sqlalchemy", "alembic", "prometheus_client", "grpc", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = parser().parse_args(argv)
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"spanledger: this command needs packages that are not installed ({', '.join(missing)}); "
            "pip install 'spanledger[exporter]'\n"
        )
        return 2
    run: Callable[[argparse.Namespace], int] = arguments.run
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return run(arguments)
    except (ConfigError, LedgerError) as exc:
        _complain(exc)
        return 2
    except SpanledgerError as exc:
        _complain(exc)
        if isinstance(exc, ForbiddenError):
            sys.stderr.write(f"spanledger: {_ROLES}\n")
        return 1
    except BrokenPipeError:
        # The reader of our output has gone (`spanledger entries | head`): not an error, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the whole command line, as `--help` and the documentation's tests read it."""
    from spanledger_exporter.commands import add_commands

    top = argparse.ArgumentParser(
        prog="spanledger", description="Every LLM call as one exactly priced, durable ledger entry."
    )
    top.add_argument("--version", action="version", version=f"spanledger {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_commands(commands)
    _add_demo_commands(commands)
    return top


def _add_demo_commands(commands: "Commands") -> None:
    try:
        from spanledger_demo.commands import add_commands
    except ImportError:  # a distribution may leave the demo out
        return
    add_commands(commands)


def _complain(error: Exception) -> None:
    for line in str(error).splitlines():
        sys.stderr.write(f"spanledger: {line}\n")


if __name__ == "__main__":
    sys.exit(main())
