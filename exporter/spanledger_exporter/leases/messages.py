"""The JSON of `POST /v1/budgets/leases`: what a process asks, and what it is told. docs/leases.md describes it.

Everything that comes in is bounded, and what is not as it should be is refused with the place and the reason.
"""

from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from spanledger_exporter.budgets.budget import DIMENSIONS
from spanledger_exporter.errors import RejectedError

BODY_BYTES_MAX: Final = 1024 * 1024
"""As much as all that may be in a request takes."""
AMOUNT_MAX: Final = 2**53 - 1
"""The greatest integer that all readers of JSON agree on (RFC 7493); what is more than that is told as that."""
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
Text = Annotated[str, Meta(max_length=4096)]
Dimension = Literal[
    "service",
    "environment",
    "tenant",
    "team",
    "project",
    "feature",
    "provider",
    "model",
    "api_key",
    "organization",
    "user",
    "session",
]
Decision = Literal["admitted", "refused", "failed_open", "safe", "closed", "over_bound"]


class Want(Struct, frozen=True, forbid_unknown_fields=True):
    """Calls that a process wants to make: what they are, and the most that they can come to.

    `input_tokens` and `output_tokens` are those of one call, which is priced here, too: the process may not know the
    rates yet, or not those of today.
    """

    scope: Annotated[dict[Dimension, Text | None], Meta(max_length=16)]
    usd_micro: Amount = 0
    tokens: Amount = 0
    calls: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    input_tokens: Amount = 0
    output_tokens: Amount = 0


class Report(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a lease so far, in all: a later report stands for those before it."""

    lease: Annotated[str, Meta(max_length=64)]
    sequence: Annotated[int, Meta(ge=1, le=2**62)]
    used: Amount
    calls: Amount
    closed: bool = False


class Decided(Struct, frozen=True, forbid_unknown_fields=True):
    """How often a process decided so since it last told."""

    budget: Annotated[str, Meta(max_length=64)]
    decision: Decision
    count: Annotated[int, Meta(ge=1, le=10**9)]


class LeaseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of one process; `now_s` is what its clock says, by which its calls are counted."""

    process: Annotated[str, Meta(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
    service: Text | None = None
    environment: Text | None = None
    now_s: Annotated[float, Meta(ge=0, le=2**40)] | None = None
    want: Annotated[list[Want], Meta(max_length=256)] = []
    reports: Annotated[list[Report], Meta(max_length=8192)] = []
    decisions: Annotated[list[Decided], Meta(max_length=4096)] = []


class GrantedLease(Struct, frozen=True):
    """A lease that was granted, and what its budget says of calls."""

    lease: str
    budget: str
    group: str
    unit: str
    granted: int
    limit: int
    mode: str
    on_unpriced: str
    on_unreachable: str
    safe_allowance: int
    period_start_s: int
    period_end_s: int
    expires_s: int


class Rates(Struct, frozen=True):
    """The most that a call of a model can be charged.

    Units: pico-USD for one token of input, one of output, and one request; `output_tokens` is how many tokens of output
    a request is held to have that does not limit them.
    """

    input_pusd: int
    output_pusd: int
    request_pusd: int
    output_tokens: int
    known: bool


class Granted(Struct, frozen=True):
    """The leases for one wanted call, one for each hard budget that holds it; none where none does."""

    want: int
    leases: list[GrantedLease]
    rates: Rates


class Standing(Struct, frozen=True, omit_defaults=True):
    """How a budget stands in a period: why a call is denied, or which threshold a soft budget is over (percent).

    `needed` is the most that the denied calls can count under it, by the rates that apply; 0 where they count nothing.
    A denial also says what its budget wants of a process that comes to know nothing more, as a lease does.
    """

    want: int
    budget: str
    group: str
    unit: str
    limit: int
    spent: int
    leased: int
    period_end_s: int
    reason: str
    threshold: int | None = None
    needed: int = 0
    period_start_s: int = 0
    on_unreachable: str = ""
    safe_allowance: int = 0


class Renewed(Struct, frozen=True):
    """What became of a lease that was reported on.

    `open`: it is good until `expires_s`. `closed`: it is done with. `revoked`: use it no more and close it, for its
    budget is over its limit or gone. `unknown`: there is none such.
    """

    lease: str
    state: Literal["open", "closed", "revoked", "unknown"]
    expires_s: int


class LeaseAnswer(Struct, frozen=True):
    """The answer to one request.

    `revision` is another whenever a budget or the price book was changed; `dimensions` are those that any budget asks
    for, and so those by which calls are to be told apart.
    """

    revision: int
    ttl_s: int
    dimensions: list[str]
    granted: list[Granted]
    denied: list[Standing]
    soft: list[Standing]
    renewed: list[Renewed]


assert frozenset(get_args(Dimension)) == frozenset(DIMENSIONS)
_decoder = msgspec.json.Decoder(LeaseRequest)
_encode: Any = msgspec.json.Encoder().encode


def decode(body: bytes) -> LeaseRequest:
    """Read a request.

    Raises:
        RejectedError: it is not as it should be; the message says what and where.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise RejectedError(f"the request is not as docs/leases.md says: {exc}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise RejectedError(f"the body is no JSON: {exc}") from exc


def encode(answer: LeaseAnswer) -> bytes:
    """Write an answer."""
    return _encode(answer)
