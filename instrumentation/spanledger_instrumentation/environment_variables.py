"""The environment variables that the instrumentation reads (docs/configuration-instrumentation.md)."""

from typing import Final

OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS

Hosts whose requests are never looked at, separated by commas; a host stands for its subdomains too.
Default: none.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS

Further hosts of providers, such as a gateway's, as `host=provider` separated by commas; a host stands for its
subdomains too. A request to one of them is believed by its path alone, and its call gets that provider's name.
Default: none.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS

Headers of the outgoing requests that say whom a call is made for, as `header=dimension` separated by commas; a
dimension is `user`, `team`, `project`, `feature` or `session`.
Default: none.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS

Entries of W3C baggage that are believed to say whom a call is made for, as `key=dimension`, or the name of an
attribute alone, separated by commas.
Default: none, since baggage comes from whoever sends the service a request.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_HASH_KEY: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_HASH_KEY"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_HASH_KEY

A secret, the key of the hashes of API keys and requests: the same one in all services whose calls are compared.
Default: none; API keys are then hashed without one, and requests with their own API key.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_REQUEST_HASH: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_REQUEST_HASH"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_REQUEST_HASH

Whether requests are hashed, so that repeated identical calls can be found: `true` or `false`.
Default: `true`.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE

Whether OpenAI chat streams are asked for their usage (`stream_options.include_usage`) where the app has not decided
itself: `auto`, on hosts that are known to accept it; `always`, on any host; `off`.
Default: `auto`.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT

The URL of the exporter's HTTP port, whose hard budgets are then enforced: a call for which too little is left is
refused.
Default: none, and nothing is ever refused.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TOKEN_FILE: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TOKEN_FILE"  # noqa: S105 - a name
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TOKEN_FILE

A file with the bearer token that the exporter wants; read anew for each question.
Default: none.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_HEADERS: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_HEADERS"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_HEADERS

Further headers to the exporter, as `name=value` separated by commas, percent-encoded.
Default: none.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CERTIFICATE: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CERTIFICATE"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CERTIFICATE

A PEM file with the CAs to trust for an `https` endpoint.
Default: those of the system.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_CERTIFICATE: Final = (
    "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_CERTIFICATE"
)
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_CERTIFICATE

A PEM file with the certificate by which the exporter knows the service.
Default: none.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_KEY: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_KEY"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_KEY

A PEM file with that certificate's key.
Default: the certificate's own file.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT

Seconds that the exporter has to answer, and that the first call of a scope waits for it at most.
Default: `1`.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ON_UNREACHABLE: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ON_UNREACHABLE"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ON_UNREACHABLE

What becomes of calls while the exporter cannot be reached and nothing is known of their budgets yet: `open`, they pass;
`closed`, they are refused. Of budgets that are known, each says so itself.
Default: `open`.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_BYTES_PER_TOKEN: Final = (
    "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_BYTES_PER_TOKEN"  # noqa: S105 - a name
)
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_BYTES_PER_TOKEN

How many bytes of a request's body its bound takes for one token of the input: a number from 1 to 8. With more than 1,
calls whose tokens are shorter may exceed their bounds.
Default: `1`, which no call exceeds.
"""

OTEL_INSTRUMENTATION_SPANLEDGER_ESTIMATE: Final = "OTEL_INSTRUMENTATION_SPANLEDGER_ESTIMATE"
"""
.. envvar:: OTEL_INSTRUMENTATION_SPANLEDGER_ESTIMATE

`true`: tokens of streams without final figures are estimated, as attributes `spanledger.estimate.*`.
Default: `false`.
"""
