"""`spanledger dashboards`: the Grafana dashboards into a Grafana, or into a folder."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from spanledger_exporter.command_line import Commands, config_of, sentence
from spanledger_exporter.dashboards.grafana import FOLDER
from spanledger_exporter.errors import ConfigError, DeniedError, RejectedError, UnavailableError
from spanledger_exporter.settings import SETTINGS

if TYPE_CHECKING:
    from spanledger_exporter.dashboards.grafana import Grafana


def add_dashboard_commands(commands: Commands) -> None:
    """Add the commands that install and export dashboards."""
    text = "the Grafana dashboards: put them into a Grafana, or write their files"
    dashboards = commands.add_parser("dashboards", help=text, description=sentence(text))
    subcommands = dashboards.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "put the dashboards into a Grafana, over those that are there"
    install = subcommands.add_parser("install", help=text, description=sentence(text))
    install.add_argument(
        "--url", required=True, metavar="URL", help="where Grafana is, such as https://grafana.example"
    )
    token = next(setting for setting in SETTINGS if setting.field == "grafana_token")
    install.add_argument(
        "--token",
        dest="grafana_token",
        metavar="TOKEN",
        help=f"{token.meaning} (else {token.variable}, which others on the host cannot see)",
    )
    install.add_argument("--folder", default=FOLDER, metavar="NAME", help=f"the folder (default {FOLDER})")
    install.add_argument("--config", metavar="FILE", help="TOML file with settings (else SPANLEDGER_CONFIG names one)")
    install.set_defaults(run=_install)
    text = "write the dashboards and what Grafana is provisioned with into a folder"
    export = subcommands.add_parser("export", help=text, description=sentence(text))
    export.add_argument("folder", metavar="DIR", help="the folder, which is made where it is not there")
    export.add_argument("--force", action="store_true", help="replace files that were changed")
    export.set_defaults(run=_export)


def _install(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.dashboards.files import dashboards
    from spanledger_exporter.dashboards.grafana import Grafana
    from spanledger_exporter.web_client import plain_token_warning

    if not arguments.folder.strip():
        raise ConfigError(["--folder: a folder of Grafana has a name"])
    token = config_of(arguments).grafana_token
    if not token:
        variable = next(setting.variable for setting in SETTINGS if setting.field == "grafana_token")
        raise ConfigError([f"Grafana wants a token: set {variable}, or give --token"])
    grafana = Grafana(arguments.url, token)
    warning = plain_token_warning(arguments.url)
    if warning is not None:
        sys.stderr.write(f"spanledger: {warning}\n")
    wanted = dashboards()
    there = _put(grafana, grafana.folder(arguments.folder), wanted)
    if there:
        sys.stdout.write(f"{there} of {len(wanted)} dashboards are now in the folder {arguments.folder}\n")
    return 0 if there == len(wanted) else 1


def _put(grafana: "Grafana", folder_uid: str, wanted: Mapping[str, bytes]) -> int:
    """Put dashboards there, say of each where it is or what was wrong, and return how many are there."""
    from spanledger_exporter.dashboards.grafana import NoGrafanaError

    there, left = 0, list(wanted)
    for name, content in wanted.items():
        left.remove(name)
        try:
            sys.stdout.write(f"{grafana.put(json.loads(content), folder_uid)}\n")
            there += 1
        except (NoGrafanaError, DeniedError, UnavailableError) as exc:  # the others would fare no better
            untried = f"; {len(left)} not tried: {', '.join(left)}" if left else ""
            sys.stderr.write(f"spanledger: {name}: {exc}{untried}\n")
            break
        except RejectedError as exc:  # of this one; the others may be taken
            sys.stderr.write(f"spanledger: {name}: {exc}\n")
    return there


def _export(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.dashboards.files import export

    if not arguments.folder:
        raise ConfigError(["DIR is an empty text; . is the folder that you are in"])
    for path, result in export(Path(arguments.folder), force=arguments.force).items():
        sys.stdout.write(f"{result:9} {path}\n")
    return 0
