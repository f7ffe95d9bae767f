"""The environment variables that the instrumentation reads (docs/configuration-instrumentation.md)."""

from typing import Final

OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS

Hosts whose requests are never looked at, separated by commas; a host stands for its subdomains too.
Default: none.
"""
