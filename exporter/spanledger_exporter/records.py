"""The values that travel through the pipeline: what a span said of a call, and what the call cost.

They are named tuples, not frozen dataclasses: one is made for each span on the hot path, and a named tuple of this
width is made about three times as fast and unpacks straight into a ledger row.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

OTHER = "__other__"
"""What stands for values of which there are too many to be told apart."""

Outcome = Literal["ok", "error"]
UsageStatus = Literal["reported", "partial", "unreported", "none"]
Ambiguity = Literal["cache_in_input"]  # whether the input tokens include the cached ones
Key = tuple[int, bytes, bytes]  # end, span id, trace id
PriceStatus = Literal["priced", "free", "unpriced", "none"]
UnpricedReason = Literal[
    "unknown_provider",  # the price book has no such provider
    "unknown_model",  # the provider has no such model, or the span names none
    "no_price",  # the model is known, its price is not
    "no_unit_price",  # the model has prices, but none for something that this call used
    "unknown_tier",  # the call was served at a service tier, speed or region without a known price
    "unreported_usage",  # the provider answered without figures
    "ambiguous_usage",  # the figures can be read in two ways, which cost differently
    "inconsistent_usage",  # the figures contradict each other, for example more cached than input tokens
    "out_of_range",  # the product is larger than any real call can cost
]


class Usage(NamedTuple):
    """What a call used, as the provider reported it.

    Units: tokens, except where the name says another thing; `_ms` are milliseconds. Totals include their parts
    (`input_tokens` includes cache reads, writes and audio; `output_tokens` includes reasoning), but for compactions,
    SVG and image tools, which other models or requests used. `None` means not reported; `0` means reported as zero.

    The last six are no usage that is billed: how many requests of a batch the others add up, and the longest input of
    one; what is estimated of a call whose usage is not known; what was processed where something else is billed.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_30m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    cache_write_12h_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    input_image_tokens: int | None = None
    web_search_requests: int | None = None
    input_text_tokens: int | None = None
    input_video_tokens: int | None = None
    output_text_tokens: int | None = None
    output_image_tokens: int | None = None
    cache_read_text_tokens: int | None = None
    cache_read_audio_tokens: int | None = None
    cache_read_image_tokens: int | None = None
    cache_read_video_tokens: int | None = None
    compaction_input_tokens: int | None = None
    compaction_output_tokens: int | None = None
    svg_input_tokens: int | None = None
    svg_output_tokens: int | None = None
    svg_reasoning_tokens: int | None = None
    image_tool_input_tokens: int | None = None
    image_tool_output_tokens: int | None = None
    search_sources: int | None = None
    search_units: int | None = None
    input_characters: int | None = None
    input_audio_ms: int | None = None
    input_images: int | None = None
    output_images: int | None = None
    pages: int | None = None
    annotated_pages: int | None = None
    requests: int | None = None
    request_input_tokens_max: int | None = None
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None
    processed_input_tokens: int | None = None
    processed_output_tokens: int | None = None

    @property
    def known(self) -> bool:
        """Whether the provider reported any figure."""
        figures = self[:-6]
        return figures.count(None) < len(figures)


class Profile(NamedTuple):
    """What a call has in common with many others: who made it, of whom, and how it went. Of few values each.

    The ledger keeps each combination once, and a call refers to it. `team`, `project` and `feature` are what the
    service says of itself, `organization`, `provider_project` and `api_key_hash` which account pays; `tenant` is whose
    credential delivered the span, `deployment` is Azure's.
    """

    service: str | None
    environment: str | None
    scope: str
    dialect: str
    provider: str | None
    operation: str
    request_model: str | None
    response_model: str | None
    server_address: str | None
    stream: bool
    outcome: Outcome
    error_type: str | None
    http_status: int | None
    resend_count: int | None
    finish_reasons: str | None
    service_tier: str | None
    speed: str | None
    inference_geo: str | None
    tenant: str | None = None
    team: str | None = None
    project: str | None = None
    feature: str | None = None
    organization: str | None = None
    provider_project: str | None = None
    api_key_hash: str | None = None
    deployment: str | None = None
    region: str | None = None

    @property
    def model(self) -> str | None:
        """The model that answered, else the model that was asked for."""
        return self.response_model or self.request_model


class UsageRecord(NamedTuple):
    """One LLM call as its span reported it.

    Units: `start_ns`, `end_ns` Unix time in nanoseconds, UTC; `time_to_first_chunk_ns` nanoseconds;
    `provider_cost_pusd` pico-USD, what the provider itself says that the call cost. `ambiguity` says which figures can
    be read in two ways; such a call has no price. `leases` are those of budgets that the call was made under,
    `rate_limits` the attributes, as they came, of what its answer told of the provider's limits
    (`dialects.read_limits`); an entry keeps neither.
    """

    end_ns: int
    span_id: bytes
    trace_id: bytes
    start_ns: int
    parent_span_id: bytes | None
    profile: Profile
    usage_status: UsageStatus
    usage: Usage
    response_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    request_hash: str | None = None
    time_to_first_chunk_ns: int | None = None
    provider_cost_pusd: int | None = None
    ambiguity: Ambiguity | None = None
    leases: tuple[str, ...] = ()
    rate_limits: tuple[bytes, ...] = ()

    @property
    def key(self) -> Key:
        """What tells this report from every other one; it begins with the time."""
        return self.end_ns, self.span_id, self.trace_id


class Split(NamedTuple):
    """What a cost is made of, and what the provider's cache changed in it.

    The first five add up to the cost; `cost_other_pusd` is all that is no token: searches, pages, fees for requests.
    `cache_saved_pusd` is what cache reads cost less than the same input without a cache, `cache_write_premium_pusd`
    what cache writes cost more.

    Units: pico-USD, none of them below 0.
    """

    cost_input_uncached_pusd: int
    cost_cache_read_pusd: int
    cost_cache_write_pusd: int
    cost_output_pusd: int
    cost_other_pusd: int
    cache_saved_pusd: int
    cache_write_premium_pusd: int


NO_COST = Split(0, 0, 0, 0, 0, 0, 0)


class Price(NamedTuple):
    """What a call costs, or why that is not known.

    Units: `cost_pusd` pico-USD; it is an int exactly when `status` is `priced` or `free`. `model` is the price book's
    `provider/model`, `match` says by which name and how it was found, `context` which variant of its prices applied.
    `split` is `None` where there is no cost, or nobody knows what it is made of.
    """

    status: PriceStatus
    cost_pusd: int | None
    reason: UnpricedReason | None = None
    detail: str | None = None
    model: str | None = None
    match: str | None = None
    context: str | None = None
    split: Split | None = None


class PricedRecord(NamedTuple):
    """A call and its price, ready for the ledger."""

    record: UsageRecord
    price: Price
    book_id: str


class Adjustment(NamedTuple):
    """Another price for an entry that the ledger has, and why.

    `record` is the call that the price is of, where it was worked out from one: what is no longer so has another price.
    """

    entry_id: int
    price: Price
    book_id: str
    reason: str
    record: UsageRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one request once it was committed.

    Units: spans. `accepted` are new entries, `duplicates` were in the ledger already, `ignored` are no LLM calls,
    `rejected` could not be read; `message` says why in words meant for the sender.
    """

    accepted: int
    duplicates: int
    ignored: int
    rejected: int
    message: str
