"""What a span shares with many others -> how its own figures are to be read, or that it is no call.

Everything here depends on the shared attributes and on which others there are, not on their values, and is worked out
once for each combination (`understanding.py`).
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeVar

from spanledger_exporter.dialects.documents import Paths, unquoted
from spanledger_exporter.dialects.names import OTEL, OWN, RESOURCE, SHARED, USAGE, Names
from spanledger_exporter.dialects.providers import provider_of
from spanledger_exporter.dialects.rows import ROWS, Row
from spanledger_exporter.dialects.texts import text, texts
from spanledger_exporter.receiving.figures import count
from spanledger_exporter.receiving.keyvalues import Attributes, AttributeValue
from spanledger_exporter.receiving.otlp import Source
from spanledger_exporter.records import Profile, Usage

# Spans of these operations are calls. All others either are no model calls (tools, retrieval, memory) or repeat
# figures that their children report (agents, workflows, `fetch_response`); counting them would count the same
# tokens twice.
COUNTED_OPERATIONS = frozenset(
    {
        "chat",
        "text_completion",
        "generate_content",
        "embeddings",
        "rerank",
        "image_generation",
        "transcription",
        "speech",
        "moderation",
        "ocr",
    }
)
# What some instrumentations name operations -> ours (Semantic Kernel, LiteLLM 1.110 `CallTypes`, OpenLLMetry 0.62).
OPERATION_NAMES = {
    "embedding": "embeddings",
    "aembedding": "embeddings",
    "completion": "chat",
    "acompletion": "chat",
    "responses": "chat",
    "aresponses": "chat",
    "anthropic_messages": "chat",
    "text_completion": "text_completion",
    "atext_completion": "text_completion",
    "chat.completions": "chat",
    "chat.streaming_completions": "chat",
    "text.completions": "text_completion",
    "generate_text": "chat",
    "stream_text": "chat",
    "arerank": "rerank",
    "image_generation": "image_generation",
    "aimage_generation": "image_generation",
    "atranscription": "transcription",
    "aspeech": "speech",
    "amoderation": "moderation",
}
# Total of input and output, which tells whether ambiguous input tokens include cached ones.
TOTAL = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")

# Where a value of a call's own goes: the fields of `Usage`, and these after them.
OWN_FIELDS = (*Usage._fields, *OWN, "total")
SLOTS = {name: slot for slot, name in enumerate(OWN_FIELDS)}
# Ranks of who made the call itself: nothing that they say is corrected.
_PROVIDERS_OWN_RANK = 90
_T = TypeVar("_T")


class Read(NamedTuple):
    """One attribute of a call's own, and where its value goes; a document's figures go where its paths say."""

    attribute: str
    slot: int
    paths: Paths | None = None


class Plan(NamedTuple):
    """How to read the figures of the spans that share all this.

    `said` is what they say of their usage; input tokens of an `exclusive` plan leave cached ones out, those of an
    `ambiguous` one may, and if they are to `correct`, so may all. A cost that is not in USD is refused.
    """

    profile: Profile
    said: str | None
    reads: tuple[Read, ...]
    correct: bool
    exclusive: bool
    ambiguous: bool
    annotated: bool
    cost_refused: bool
    refused_by_provider: bool


def plan_of(source: Source, failed: bool, shared: Attributes, own: Collection[str]) -> Plan | None:
    """Return the plan for spans with these shared attributes and attributes of their own, `None` for no calls."""
    row = _row(source.scope, shared, own)
    names = {**OTEL, **row.names}
    error_type = text(_first(shared, names["error_type"]))
    failed = failed or error_type is not None
    operation = _operation(row, shared, own)
    if operation not in COUNTED_OPERATIONS or not (failed or not row.needs or any(key in own for key in row.needs)):
        return None
    provider = _provider(row, shared, names)
    semantics = shared.get("gen_ai.token.semantics")
    http_status = _http_status(_first(shared, names["http_status"]))
    cost_is_provider_s = _first(shared, names["cost_source"]) in {None, "provider"}
    return Plan(
        profile=_profile(source, failed, shared, names, row, provider, operation, error_type, http_status),
        said=text(_first(shared, names["usage_status"])),
        reads=_reads(row, own, with_cost=cost_is_provider_s),
        correct=row.rank < _PROVIDERS_OWN_RANK or bool(row.exclusive),
        exclusive=semantics == "exclusive" or (semantics != "inclusive" and bool(row.exclusive & {"*", provider})),
        ambiguous=semantics is None and provider in row.ambiguous,
        annotated=shared.get("spanledger.request.annotated") is True,
        cost_refused=cost_is_provider_s and _first(shared, names["cost_currency"]) != "USD",
        refused_by_provider=failed and _refused(error_type, http_status),
    )


def _row(scope: str, shared: Attributes, own: Collection[str]) -> Row:
    for row in ROWS:
        if row.scopes and scope.startswith(row.scopes):
            return row
        for key in row.keys:
            if isinstance(key, tuple):
                if shared.get(key[0]) == key[1]:
                    return row
            elif key in shared or key in own:
                return row
    return ROWS[-1]


def _operation(row: Row, shared: Attributes, own: Collection[str]) -> str | None:
    """Return what was done, by name or else by the marks of the dialect."""
    if any(key in shared for key in row.ignored):
        return None
    named = text(shared.get("gen_ai.operation.name"))
    if named is not None:
        return OPERATION_NAMES.get(named, named)
    for key, operations in row.operations.items():
        mark = text(shared.get(key))
        if mark is not None:
            return operations.get(unquoted(mark))
    return row.default if any(key in own for key in (*OTEL["input_tokens"], *OTEL["output_tokens"])) else None


def _provider(row: Row, shared: Attributes, names: Names) -> str | None:
    for attribute in dict.fromkeys((*names["provider"], *OTEL["provider"])):
        value = text(shared.get(attribute))
        provider = provider_of(unquoted(value)) if value is not None else None
        if provider is not None:
            return provider
    return row.provider


def _profile(
    source: Source,
    failed: bool,
    shared: Attributes,
    names: Names,
    row: Row,
    provider: str | None,
    operation: str,
    error_type: str | None,
    http_status: int | None,
) -> Profile:
    said = {name: text(_shared(shared, row, name)) for name in _TEXTS}
    models = {name: _model(_shared(shared, row, name)) for name in ("request_model", "response_model")}
    stream = _shared(shared, row, "stream")
    return Profile(
        service=text(_first(source.resource, RESOURCE["service"])),
        environment=text(_first(source.resource, RESOURCE["environment"])),
        scope=text(source.scope) or "",
        dialect=_dialect(row, shared),
        provider=provider,
        operation=operation,
        request_model=models["request_model"],
        response_model=models["response_model"],
        server_address=_host(said["server_address"]),
        stream=stream is True or stream == "True" or stream == "true" or _streams(shared),
        outcome="error" if failed else "ok",
        error_type=error_type or ("_OTHER" if failed else None),
        http_status=http_status,
        resend_count=count(_first(shared, names["resend_count"])),
        finish_reasons=texts(_shared(shared, row, "finish_reasons")),
        service_tier=said["service_tier"],
        speed=said["speed"],
        inference_geo=said["inference_geo"],
        team=said["team"],
        project=said["project"],
        feature=said["feature"],
        organization=said["organization"],
        provider_project=said["provider_project"],
        api_key_hash=said["api_key_hash"],
        deployment=said["deployment"],
        region=said["region"],
    )


_TEXTS = (
    "server_address", "service_tier", "speed", "inference_geo", "team", "project", "feature", "organization",
    "provider_project", "api_key_hash", "deployment", "region",
)  # fmt: skip


def _dialect(row: Row, shared: Attributes) -> str:
    """Return the dialect's name; who writes the conventions without their current provider name writes older ones."""
    return "otel_legacy" if row.dialect == "otel" and "gen_ai.provider.name" not in shared else row.dialect


def _model(value: AttributeValue | None) -> str | None:
    found = text(value)
    if found is None:
        return None
    found = unquoted(found)
    return None if found in {"none", "None", "unknown", ""} else found


def _host(address: str | None) -> str | None:
    """Return an address without what some write around it: a URL may hold a password."""
    if address is None or "://" not in address:
        return address
    return address.partition("://")[2].partition("/")[0].rpartition("@")[2] or None


def _streams(shared: Attributes) -> bool:
    operation = shared.get("ai.operationId")
    return isinstance(operation, str) and operation.endswith(".doStream")


def _shared(shared: Attributes, row: Row, name: str) -> AttributeValue | None:
    """Return what the dialect says, or else what the conventions' attributes say."""
    own = _first(shared, row.names[name]) if name in row.names else None
    return own if own is not None else _first(shared, OTEL[name])


def _reads(row: Row, own: Collection[str], *, with_cost: bool) -> tuple[Read, ...]:
    """Return the attributes to read: for each place the one of the most current name, then the documents."""
    reads: list[Read] = []
    for name, slot in SLOTS.items():
        if name == "cost" and not with_cost:
            continue
        known = TOTAL if name == "total" else (*row.names.get(name, ()), *OTEL.get(name, ()))
        found = next((attribute for attribute in known if attribute in own), None)
        if found is not None and not (name == "total" and not row.ambiguous):
            reads.append(Read(found, slot))
    documents: Mapping[str, Paths] = {**row.documents, **row.answers}
    reads += [Read(attribute, -1, paths) for attribute, paths in documents.items() if attribute in own]
    return tuple(reads)


def _first(attributes: Mapping[str, _T], names: tuple[str, ...]) -> _T | None:
    for name in names:
        value = attributes.get(name)
        if value is not None:
            return value
    return None


def _http_status(value: AttributeValue | None) -> int | None:
    status = count(value)
    return status if status is not None and 100 <= status <= 599 else None


# Answers of a gateway that gave up waiting: the provider behind it may have worked all the same.
_MAYBE_BILLED = frozenset({408, 499, 504, 524})
# What SDKs call a refusal (openai 3.54 and anthropic 2.12 `_exceptions.py`, httpx2 2.16 `_exceptions.py`).
_REFUSALS = frozenset(
    {
        "APIConnectionError",
        "AuthenticationError",
        "BadRequestError",
        "ConflictError",
        "ConnectError",
        "ConnectTimeout",
        "InternalServerError",
        "NotFoundError",
        "OverloadedError",
        "PermissionDeniedError",
        "RateLimitError",
        "ServiceUnavailableError",
        "UnprocessableEntityError",
    }
)


def _refused(error_type: str | None, http_status: int | None) -> bool:
    """Tell whether the provider surely did not work on the call, so that nothing is billed.

    A call that was cancelled, timed out or broke off may well be billed: of those only its usage is unknown.
    """
    if http_status is not None:
        return http_status >= 400 and http_status not in _MAYBE_BILLED
    if error_type is None:
        return False
    name = error_type.rpartition(".")[2]
    if name.isascii() and name.isdigit():
        return 400 <= int(name[:3]) <= 599 and int(name[:3]) not in _MAYBE_BILLED
    return name in _REFUSALS


def _attributes_of(rows: tuple[Row, ...], fields: Collection[str]) -> frozenset[str]:
    return frozenset(name for row in rows for field, listed in row.names.items() if field in fields for name in listed)


# Attributes whose values few calls share; all others of a call's own are few-valued and make its profile.
OWN_ATTRIBUTES = (
    frozenset(name for table in (OWN, USAGE) for listed in table.values() for name in listed)
    | _attributes_of(ROWS, {*OWN, *USAGE})
    | frozenset(TOTAL)
    | frozenset(name for row in ROWS for name in row.documents)
)
# Recorded answers: of them only figures and ids are read, and nothing is stored. No collector should let them through.
ANSWER_ATTRIBUTES = frozenset(name for row in ROWS for name in row.answers)
SHARED_ATTRIBUTES = (
    frozenset(name for listed in SHARED.values() for name in listed)
    | _attributes_of(ROWS, SHARED)
    | frozenset(key if isinstance(key, str) else key[0] for row in ROWS for key in row.keys)
    | frozenset(name for row in ROWS for name in (*row.operations, *row.ignored))
) - OWN_ATTRIBUTES
assert not {name for row in ROWS for name in row.needs} - OWN_ATTRIBUTES
