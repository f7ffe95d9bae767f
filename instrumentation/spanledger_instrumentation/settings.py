"""The settings of the instrumentation, read once from the environment when it is activated."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from spanledger_instrumentation.environment_variables import OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS

__all__ = ["Settings", "load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user may choose; the defaults stand on the fields."""

    excluded_hosts: tuple[str, ...] = ()

    def excludes(self, host: str) -> bool:
        """Tell whether requests to this host are none of our business."""
        return any(host == name or host.endswith("." + name) for name in self.excluded_hosts)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from the environment. No value is an error: a name that matches no host excludes none."""
    hosts = environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS, "").lower().split(",")
    return Settings(excluded_hosts=tuple(host.strip() for host in hosts if host.strip()))
