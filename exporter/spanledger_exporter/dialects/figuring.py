"""What a span says of its own, and its plan -> a usage record."""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from spanledger_exporter.dialects import documents
from spanledger_exporter.dialects.plans import OWN_FIELDS, SLOTS, Plan, Read
from spanledger_exporter.dialects.texts import ids, text
from spanledger_exporter.receiving.figures import RefusalReason, count, milliseconds, nanoseconds, pico_usd, why_refused
from spanledger_exporter.receiving.keyvalues import Attributes, AttributeValue
from spanledger_exporter.receiving.otlp import Span
from spanledger_exporter.records import Ambiguity, Usage, UsageRecord, UsageStatus

# The values of a call's own, each in its slot: those of `Usage`, then the others of `OWN_FIELDS`.
Values = list[Any]  # Any: figures, texts and a time, told apart by their slots
USAGE_SLOTS = len(Usage._fields)
NO_VALUES: Values = [None] * len(OWN_FIELDS)
_INPUT, _OUTPUT, _CACHE_READ, _CACHE_WRITE = 0, 1, 2, 3
assert Usage._fields[:4] == ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
_RESPONSE_ID, _USER_ID, _SESSION_ID, _REQUEST_HASH, _FIRST_CHUNK, _COST, _LEASES, _TOTAL = range(
    USAGE_SLOTS, len(OWN_FIELDS)
)
assert OWN_FIELDS[_RESPONSE_ID] == "response_id"
assert OWN_FIELDS[_FIRST_CHUNK] == "time_to_first_chunk"
assert OWN_FIELDS[_LEASES] == "leases"
TEXT_SLOTS = frozenset({_RESPONSE_ID, _USER_ID, _SESSION_ID, _REQUEST_HASH})
_PAGES, _ANNOTATED_PAGES = SLOTS["pages"], SLOTS["annotated_pages"]
_CACHE_WRITE_PARTS = slice(4, 8)
_NO_PARTS: Values = [None] * 4
assert all(re.fullmatch("cache_write_[0-9]+[mh]_tokens", name) for name in Usage._fields[_CACHE_WRITE_PARTS])
# The last six say nothing of what was billed (records.Usage).
_BILLED = slice(0, USAGE_SLOTS - 6)
_BILLED_CLASSES = USAGE_SLOTS - 6
_READERS: dict[int, Callable[[AttributeValue], Any]] = {
    **dict.fromkeys(TEXT_SLOTS, text),
    SLOTS["input_audio_ms"]: milliseconds,
    _FIRST_CHUNK: nanoseconds,
    _COST: pico_usd,
    _LEASES: ids,
}
# What is no figure of usage: a value that cannot be read is taken for absent, and nothing is refused.
_NO_FIGURES = TEXT_SLOTS | {_FIRST_CHUNK, _LEASES, _TOTAL}


# Past a named tuple's own constructor, which takes four times as long.
_new: Callable[[type, Iterable[Any]], Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- typeshed leaves its items open


class Refusal(NamedTuple):
    """A figure that was not taken: the attribute that has it, and why. Both are of closed sets."""

    attribute: str
    reason: RefusalReason


def read(reads: Iterable[Read], own: Attributes, values: Values, refused: list[Refusal]) -> None:
    """Put what the attributes say into their slots; figures that cannot be are refused."""
    for attribute, slot, paths in reads:
        value = own[attribute]
        if paths is not None:
            _read_document(attribute, value, paths, values, refused)
            continue
        found = values[slot] = _READERS.get(slot, count)(value)
        if found is None and slot not in _NO_FIGURES:
            refused.append(Refusal(attribute, why_refused(value)))


def _read_document(
    attribute: str, value: AttributeValue, paths: documents.Paths, values: Values, refused: list[Refusal]
) -> None:
    """Put into the slots that are empty what a document says."""
    if not isinstance(value, str):
        return
    figures: dict[str, int] = {}
    for name, said in documents.read(value, paths).items():
        if name == documents.ID:
            values[_RESPONSE_ID] = values[_RESPONSE_ID] or text(said)
            continue
        figure = count(said)
        if figure is None:
            refused.append(Refusal(attribute, why_refused(said)))
        else:
            figures[name] = figure
    for name, figure in documents.inclusive(figures).items():
        slot = SLOTS[name]
        if values[slot] is None:
            values[slot] = figure


def record(
    span: Span, plan: Plan, values: Values, refused: list[Refusal], limits: tuple[bytes, ...] = ()
) -> UsageRecord:
    """Make the record of a call from its values; they may be changed."""
    _, trace_id, span_id, parent_span_id, start_ns, end_ns, _, _ = span
    ambiguity = _corrected(plan, values) if plan.correct else None
    if values[_CACHE_WRITE] is None and values[_CACHE_WRITE_PARTS] != _NO_PARTS:
        values[_CACHE_WRITE] = sum(part for part in values[_CACHE_WRITE_PARTS] if part is not None)
    if plan.annotated:
        values[_ANNOTATED_PAGES] = values[_PAGES]
    cost_pusd = values[_COST]
    if cost_pusd is not None and plan.cost_refused:
        cost_pusd = None
        refused.append(Refusal("gen_ai.usage.cost.amount", "not_usd"))
    return _new(
        UsageRecord,
        (
            end_ns,
            span_id,
            trace_id,
            start_ns,
            parent_span_id,
            plan.profile,
            _status(plan, values, cost_pusd, refused),
            _new(Usage, values[:USAGE_SLOTS]),
            values[_RESPONSE_ID],
            values[_USER_ID],
            values[_SESSION_ID],
            values[_REQUEST_HASH],
            values[_FIRST_CHUNK],
            cost_pusd,
            ambiguity,
            values[_LEASES] or (),
            limits,
        ),
    )


def _corrected(plan: Plan, values: Values) -> Ambiguity | None:
    """Add cached tokens to input tokens that leave them out, and return whether nobody knows if they do.

    1. The dialect leaves them out of this provider's calls: they are added.
    2. There are more of them than input tokens: they are surely left out.
    3. The dialect may do either: the total tells, if it is the sum of all; else it is ambiguous.
    """
    cached = (values[_CACHE_READ] or 0) + (values[_CACHE_WRITE] or 0)
    tokens = values[_INPUT]
    if not cached or tokens is None:
        return None
    if plan.exclusive or tokens < cached:
        values[_INPUT] = tokens + cached
        return None
    if not plan.ambiguous:
        return None
    if values[_TOTAL] is not None and values[_TOTAL] == tokens + cached + (values[_OUTPUT] or 0):
        values[_INPUT] = tokens + cached
        return None
    return "cache_in_input"


_STATUSES: frozenset[str] = frozenset({"reported", "partial", "unreported", "none"})
_INSTEAD_OF_TOKENS = tuple(
    SLOTS[name]
    for name in ("search_units", "input_characters", "input_audio_ms", "input_images", "output_images", "pages")
)
_WITHOUT_OUTPUT = frozenset({"embeddings", "rerank", "moderation"})


def _status(plan: Plan, values: Values, cost_pusd: int | None, refused: list[Refusal]) -> UsageStatus:
    """Return what the span says of its figures, if that agrees with them; else what the figures show."""
    known = (
        values[_INPUT] is not None
        or values[_OUTPUT] is not None
        or cost_pusd is not None
        or values[_BILLED].count(None) < _BILLED_CLASSES
    )
    said, status = plan.said, "none" if plan.refused_by_provider else "unreported"
    if said in _STATUSES and known == (said in {"reported", "partial"}):
        status = said
    elif known:
        status = "reported" if plan.profile.outcome == "ok" and _complete(plan.profile.operation, values) else "partial"
    if refused and status == "reported" and any(refusal.attribute != "gen_ai.usage.cost.amount" for refusal in refused):
        return "partial"  # some of its figures are not known after all
    return status  # pyright: ignore[reportReturnType] -- membership in _STATUSES is the literal type


def _complete(operation: str, values: Values) -> bool:
    """Tell whether the figures are all that a call of this kind has: both totals, or what is counted instead."""
    if values[_INPUT] is None and values[_OUTPUT] is None:
        return any(values[slot] is not None for slot in _INSTEAD_OF_TOKENS)
    return values[_INPUT] is not None and (values[_OUTPUT] is not None or operation in _WITHOUT_OUTPUT)
