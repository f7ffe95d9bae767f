"""`spanledger dashboards`: the dashboards that come with the package, to a running Grafana or into a folder."""

import argparse
import os
import sys
from pathlib import Path

from spanledger_exporter.command_line import Commands, sentence
from spanledger_exporter.errors import ConfigError, RejectedError

TOKEN_VARIABLE = "SPANLEDGER_GRAFANA_TOKEN"  # noqa: S105 -- the name of a variable


def add_dashboard_commands(commands: Commands) -> None:
    """Add the commands that bring dashboards to Grafana."""
    text = "the dashboards for Grafana: install them, or write their files"
    dashboards = commands.add_parser("dashboards", help=text, description=sentence(text))
    subcommands = dashboards.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_install(subcommands)
    _add_export(subcommands)


def _add_install(subcommands: Commands) -> None:
    text = "make the dashboards in a running Grafana, or bring them up to date"
    install = subcommands.add_parser("install", help=text, description=sentence(text))
    install.add_argument("--url", required=True, metavar="URL", help="where Grafana is, such as http://127.0.0.1:3000")
    install.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"token of a service account with the role Editor; better in {TOKEN_VARIABLE}, where no list of "
        "processes shows it",
    )
    install.add_argument(
        "--folder", default="Spanledger", metavar="NAME", help="folder in Grafana (default Spanledger)"
    )
    install.set_defaults(run=_install)


def _add_export(subcommands: Commands) -> None:
    text = "write the dashboards and what provisions them into a folder"
    export = subcommands.add_parser("export", help=text, description=sentence(text))
    export.add_argument("folder", metavar="DIR", type=Path, help="the folder; made if it is not there")
    export.add_argument("--force", action="store_true", help="replace files that say something else")
    export.set_defaults(run=_export)


def _install(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.dashboards.files import dashboards
    from spanledger_exporter.dashboards.grafana import Grafana

    token = arguments.token or os.environ.get(TOKEN_VARIABLE, "")
    if not token.strip() or not token.isascii() or not token.isprintable():
        raise ConfigError(
            [f"a token is needed, in --token or {TOKEN_VARIABLE}: Grafana, Administration, Service accounts"]
        )
    grafana = Grafana(arguments.url, token.strip())
    version = grafana.check()
    folder = grafana.folder(arguments.folder)
    for dashboard in dashboards():
        sys.stdout.write(f"{dashboard['title']}: {grafana.put(dashboard, folder)}\n")
        sys.stdout.flush()
    sys.stdout.write(f"The dashboards are in the folder {arguments.folder} (Grafana {version}).\n")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.dashboards.files import files

    folder, shipped = arguments.folder, files()
    try:
        changed = [each.path for each in shipped if _differs(folder / each.path, each.content)]
        if changed and not arguments.force:
            raise RejectedError(
                f"{folder} has files that say something else, and nothing was written: {', '.join(changed)}; "
                "--force replaces them"
            )
        written = 0
        for each in shipped:
            path = folder / each.path
            if not path.exists() or each.path in changed:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(each.content)
                sys.stdout.write(f"{path}\n")
                written += 1
    except OSError as exc:
        raise RejectedError(f"{exc.filename}: {exc.strerror}") from exc
    sys.stdout.write(f"{written} files were written, {len(shipped) - written} were there already.\n")
    return 0


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() != content
