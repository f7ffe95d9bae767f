"""Several reports of one call -> one: which reports are of the same call, and what they say together.

A call can be reported by the SDK itself, by an instrumentation of the SDK, by one of the framework above, by ours at
the wire, and by a gateway on the way. Two reports are of one call when

1. they carry the same distinctive response id, across traces and services; or
2. one is the parent of the other, and their figures are the same; or one has none, because it ended too early;

and when in any case they overlap in time, do not contradict each other, and were made by different instrumentations or
services: nobody reports a call twice, but a server may give one id to many calls, and an app may ask the same twice.

Together they say, for each class of usage, what the most trustworthy of them says that says anything.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from spanledger_exporter.ledger.identity import distinctive
from spanledger_exporter.records import Profile, Usage, UsageRecord

_SLACK_NS: Final = 5 * 10**9
"""Clocks of two hosts differ, and a span may end a little before the answer is read to its end."""
_STATUS_RANK: Final = {"reported": 3, "partial": 2, "unreported": 1, "none": 0}
_KINDS: Final = {"generate_content": "chat", "text_completion": "chat"}
"""Operations that instrumentations call by different names."""


def same_call(one: UsageRecord, other: UsageRecord) -> bool:
    """Tell whether two reports are of one call."""
    if different_calls(one, other) or not _overlap(one, other):
        return False
    return _have_ids(one, other) or (_parent_and_child(one, other) and _alike(one, other))


def different_calls(one: UsageRecord, other: UsageRecord) -> bool:
    """Tell whether two reports are of two calls, whatever a third says: one span may have several calls below it."""
    if _reporter(one) == _reporter(other) or _kind(one) != _kind(other) or _contradict(one.usage, other.usage):
        return True
    if None not in (one.profile.tenant, other.profile.tenant) and one.profile.tenant != other.profile.tenant:
        return True  # nobody changes another tenant's figures, whatever ids he has seen
    return _have_ids(one, other) and one.response_id != other.response_id


def _have_ids(one: UsageRecord, other: UsageRecord) -> bool:
    return distinctive(one.response_id) and distinctive(other.response_id)


def _reporter(record: UsageRecord) -> tuple[str | None, ...]:
    return record.profile.service, record.profile.scope


def _kind(record: UsageRecord) -> str:
    return _KINDS.get(record.profile.operation, record.profile.operation)


def _overlap(one: UsageRecord, other: UsageRecord) -> bool:
    return one.start_ns <= other.end_ns + _SLACK_NS and other.start_ns <= one.end_ns + _SLACK_NS


def _contradict(one: Usage, other: Usage) -> bool:
    """Tell whether both totals are known on both sides, and both differ: one alone may be counted in another way."""
    return _differ(one.input_tokens, other.input_tokens) and _differ(one.output_tokens, other.output_tokens)


def _differ(one: int | None, other: int | None) -> bool:
    return one is not None and other is not None and one != other


def _parent_and_child(one: UsageRecord, other: UsageRecord) -> bool:
    if one.trace_id != other.trace_id:
        return False
    return one.parent_span_id == other.span_id or other.parent_span_id == one.span_id


def _alike(one: UsageRecord, other: UsageRecord) -> bool:
    """Tell whether parent and child have the same figures, or one of two that succeeded has none to compare."""
    if one.profile.outcome != "ok" or other.profile.outcome != "ok":
        return False
    if not one.usage.known or not other.usage.known:
        models = (one.profile.model, other.profile.model, one.profile.request_model, other.profile.request_model)
        return None in models or not set(models[::2]).isdisjoint(models[1::2])
    pairs = ((one.usage.input_tokens, other.usage.input_tokens), (one.usage.output_tokens, other.usage.output_tokens))
    if any(_differ(*pair) for pair in pairs):
        return False
    return any(mine is not None and mine == theirs for mine, theirs in pairs)


def merged(reports: Sequence[UsageRecord], rank: Callable[[str], int]) -> UsageRecord:
    """Return what the reports of one call say together, in the place of the first; whatever order the others have.

    `rank` says how far the figures of a dialect are to be trusted; more is better.
    """
    ranked = sorted(reports, key=lambda report: _worth(report, rank), reverse=True)
    best = ranked[0]
    of_input = next((report for report in ranked if report.usage.input_tokens is not None), best)
    return reports[0]._replace(
        profile=Profile._make(_first(values) for values in zip(*(each.profile for each in ranked), strict=True)),
        usage_status=best.usage_status,
        usage=_usage(ranked),
        start_ns=min(report.start_ns for report in reports),
        **{name: _first(getattr(report, name) for report in ranked) for name in _OWN},
        ambiguity=of_input.ambiguity,
        leases=tuple(dict.fromkeys(lease for report in reports for lease in report.leases)),
    )


_OWN: Final = ("response_id", "user_id", "session_id", "request_hash", "time_to_first_chunk_ns", "provider_cost_pusd")


def _worth(report: UsageRecord, rank: Callable[[str], int]) -> tuple[object, ...]:
    # Its key last, so that any two reports have an order.
    return (
        report.usage.known,
        report.ambiguity is None,
        _STATUS_RANK[report.usage_status],
        rank(report.profile.dialect),
        report.key,
    )


def _usage(reports: Sequence[UsageRecord]) -> Usage:
    """Return each class as the first says that says anything; a part must fit into the total that was taken."""
    figures = [_first(values) for values in zip(*(report.usage for report in reports), strict=True)]
    found = Usage._make(figures)
    if found.output_tokens is not None and (found.reasoning_tokens or 0) > found.output_tokens:
        found = found._replace(reasoning_tokens=reports[0].usage.reasoning_tokens)
    if found.input_tokens is not None and (found.cache_read_tokens or 0) + (found.cache_write_tokens or 0) > (
        found.input_tokens
    ):
        best = reports[0].usage
        found = found._replace(**{name: getattr(best, name) for name in _CACHE})
    return found


_CACHE: Final = tuple(name for name in Usage._fields if name.startswith("cache_"))


def _first(values: Iterable[Any]) -> Any:  # each of the zipped tuples has a type of its own
    return next((value for value in values if value is not None), None)
