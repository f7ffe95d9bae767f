"""The exporter's errors, named for what the caller does next."""

from collections.abc import Sequence


class SpanledgerError(Exception):
    """Base of the errors that a command line reports in one line instead of a traceback."""


class ConfigError(SpanledgerError):
    """The configuration cannot be used; nothing was started.

    Raises: the command line prints every problem and exits with 2.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class RejectedError(SpanledgerError):
    """The request can never succeed: the client must not send it again (gRPC INVALID_ARGUMENT, HTTP 400)."""


class UnavailableError(SpanledgerError):
    """The request may succeed later: the client must keep it and retry (gRPC UNAVAILABLE, HTTP 503)."""


class ForbiddenError(UnavailableError):
    """The database refuses the role that asks; somebody must give it the right, or another role must ask."""


class LedgerError(SpanledgerError):
    """The ledger cannot be read as asked: it is missing, of another schema, or the entry does not exist."""


class DeniedError(SpanledgerError):
    """The caller may not do this: it must come with another token (gRPC UNAUTHENTICATED or PERMISSION_DENIED).

    `known` tells whether its token is one of ours, which then lacks the scope (HTTP 403, else 401).
    """

    def __init__(self, message: str, *, known: bool) -> None:
        super().__init__(message)
        self.known = known
