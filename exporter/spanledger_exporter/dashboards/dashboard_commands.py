"""`spanledger dashboards`: the Grafana dashboards into a Grafana, or into a folder."""

import argparse
import json
import sys
from pathlib import Path

from spanledger_exporter.command_line import Commands, config_of, sentence
from spanledger_exporter.dashboards.grafana import FOLDER
from spanledger_exporter.errors import ConfigError, RejectedError
from spanledger_exporter.settings import SETTINGS


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
    from spanledger_exporter.budgets.texts import printable
    from spanledger_exporter.dashboards.files import dashboards
    from spanledger_exporter.dashboards.grafana import Grafana

    token = config_of(arguments).grafana_token
    if not token:
        variable = next(setting.variable for setting in SETTINGS if setting.field == "grafana_token")
        raise ConfigError([f"Grafana wants a token: set {variable}, or give --token"])
    grafana = Grafana(arguments.url, token)
    folder = grafana.folder(arguments.folder)
    failed = 0
    for name, content in dashboards().items():
        try:
            sys.stdout.write(f"{printable(grafana.put(json.loads(content), folder))}\n")
        except RejectedError as exc:  # of this one; the others may be taken
            sys.stderr.write(f"spanledger: {name}: {exc}\n")
            failed += 1
    return 1 if failed else 0


def _export(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.dashboards.files import export

    for path, result in export(Path(arguments.folder), force=arguments.force).items():
        sys.stdout.write(f"{result:9} {path}\n")
    return 0
