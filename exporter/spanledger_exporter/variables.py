"""Environment variables that begin as settings do -> which of them are none, and what was likely meant."""

import difflib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from spanledger_exporter import failpoints
from spanledger_exporter.settings import SETTINGS

PREFIX: Final = "SPANLEDGER_"
CONFIG_VARIABLE: Final = "SPANLEDGER_CONFIG"
_SETTINGS: Final = frozenset({CONFIG_VARIABLE, *(setting.variable for setting in SETTINGS)})
_SECTIONS: Final = tuple({f"{PREFIX}{setting.key.split('.')[0].upper()}_" for setting in SETTINGS})
_OTHERS: Final = frozenset(
    {
        failpoints.VARIABLE,
        "SPANLEDGER_OTELCOL",  # the demo's, and the tests'
        # What otel-collector.yaml reads: exporter and collector may well be started with one environment.
        "SPANLEDGER_CA_FILE",
        "SPANLEDGER_COLLECTOR_DIR",
        "SPANLEDGER_COLLECTOR_GRPC",
        "SPANLEDGER_COLLECTOR_HEALTH",
        "SPANLEDGER_COLLECTOR_HTTP",
        "SPANLEDGER_COLLECTOR_KEEP",
        "SPANLEDGER_COLLECTOR_MEMORY_MIB",
        "SPANLEDGER_COLLECTOR_METRICS_HOST",
        "SPANLEDGER_COLLECTOR_METRICS_PORT",
        "SPANLEDGER_COLLECTOR_SERVICES",
        "SPANLEDGER_ENDPOINT",
        "SPANLEDGER_TOKEN",
        "SPANLEDGER_TOKEN_FILE",
    }
)
# Kubernetes tells every pod of a service that is called "spanledger" or "spanledger-metrics" by such variables.
_OF_KUBERNETES: Final = re.compile(r"\w+(?:_SERVICE_HOST|_SERVICE_PORT\w*|_PORT_\d+_(?:TCP|UDP|SCTP)\w*)")
_PORT_OF_KUBERNETES: Final = re.compile(r"(?:tcp|udp|sctp)://\S+")
_LIKENESS_LEAST: Final = 0.7


class Unknown(NamedTuple):
    """What is wrong with variables, a line each: `problems` are misspelt settings, `warnings` may not be."""

    problems: list[str]
    warnings: list[str]


def unknown(environ: Mapping[str, str]) -> Unknown:
    """Return what there is to say of variables that begin as settings do and are none; no value is shown."""
    found = Unknown([], [])
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in _SETTINGS or name in _OTHERS or _of_kubernetes(name, environ[name]):
            continue
        if name.startswith(_SECTIONS):
            found.problems.append(f"{name}: unknown variable{_meant(name)}; known are {', '.join(sorted(_SETTINGS))}")
        else:
            found.warnings.append(f"{name} is no setting, and nothing reads it{_meant(name)}")
    return found


def _of_kubernetes(name: str, value: str) -> bool:
    if _OF_KUBERNETES.fullmatch(name) is not None:
        return True
    return name.endswith("_PORT") and _PORT_OF_KUBERNETES.fullmatch(value) is not None


def _meant(name: str) -> str:
    """Return a question about the setting with the nearest name, if one is near."""
    rests = [known.removeprefix(PREFIX) for known in sorted(_SETTINGS)]  # what all begin with would make all alike
    near = difflib.get_close_matches(name.removeprefix(PREFIX), rests, 1, _LIKENESS_LEAST)
    return f"; did you mean {PREFIX}{near[0]}?" if near else ""
