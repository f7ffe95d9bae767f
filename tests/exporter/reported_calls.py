"""Calls as several instrumentations report them, and what a ledger must say of them whatever order they come in.

What belongs together is written down here by who made it, not worked out from the reports.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from spanledger_exporter.records import Split, Usage, UsageRecord
from tests.exporter.calls import record

INPUT_PUSD, CACHED_PUSD, OUTPUT_PUSD = 150_000, 75_000, 600_000  # a token of gpt-4o-mini


class Truth(NamedTuple):
    """What a call really used."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int


class Figures(NamedTuple):
    """What a ledger says of an entry; `None` is not known."""

    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cost_pusd: int | None
    reports: int | None


@dataclass(frozen=True, slots=True)
class ReportedCall:
    """The reports of one call, and which of them show that they are of the same: pairs of positions."""

    truth: Truth
    reports: tuple[UsageRecord, ...]
    links: frozenset[tuple[int, int]]

    def entries(self, delivered: Iterable[int]) -> dict[frozenset[int], Figures]:
        """Return the entries that some of the reports make, each under the positions of its reports."""
        groups: list[set[int]] = []
        for place in delivered:
            near = [group for group in groups if any(self._linked(place, other) for other in group)]
            groups = [group for group in groups if group not in near] + [{place}.union(*near)]
        return {frozenset(group): self._figures(sorted(group)) for group in groups}

    def _linked(self, one: int, other: int) -> bool:
        return (min(one, other), max(one, other)) in self.links

    def _figures(self, group: Sequence[int]) -> Figures:
        count = len(group) if len(group) > 1 else None
        said = [self.reports[place].usage for place in group if self.reports[place].usage.known]
        if not said:
            return Figures(None, None, None, None, count)
        cached = None if all(usage.cache_read_tokens is None for usage in said) else self.truth.cache_read_tokens
        return Figures(*self.truth[:2], cached, cost_pusd(self.truth, cached or 0), count)


def cost_pusd(truth: Truth, cached: int) -> int:
    """What that many tokens cost, with so many of them known to be cached."""
    return (truth.input_tokens - cached) * INPUT_PUSD + cached * CACHED_PUSD + truth.output_tokens * OUTPUT_PUSD


def split_pusd(truth: Truth, cached: int) -> Split:
    """What that cost is made of."""
    saved = cached * (INPUT_PUSD - CACHED_PUSD)
    uncached = (truth.input_tokens - cached) * INPUT_PUSD
    return Split(uncached, cached * CACHED_PUSD, 0, truth.output_tokens * OUTPUT_PUSD, 0, saved, 0)


KINDS: Final = ("alone", "constant id", "no id", "by id", "parent", "early parent", "chain", "chain of two")


def reported_call(kind: str, number: int, end_ns: int, truth: Truth) -> ReportedCall:
    """Make a call; its number makes its ids."""
    identity = f"chatcmpl-{number:06d}BxYzKw"
    full = Usage(*truth)
    totals = full._replace(cache_read_tokens=None)

    def report(place: int, usage: Usage, response_id: str | None, parent: int | None = None) -> UsageRecord:
        return record(
            scope=f"scope-{place}",
            span_id=_span_id(number, place),
            # By its id a report is found in any trace, by its parent in its own.
            trace_id=number.to_bytes(15) + (b"o" if place == 0 and kind in _OTHER_TRACE else b"t"),
            parent_span_id=None if parent is None else _span_id(number, parent),
            response_id=response_id,
            usage=usage,
            usage_status="reported" if usage.known else "unreported",
            end_ns=end_ns + place * 10**6,
            start_ns=end_ns - 10**9,
        )

    made = {
        "alone": ((full, identity, None),),
        "constant id": ((full, "chatcmpl-1", None),),
        "no id": ((full, None, None),),
        "by id": ((totals, identity, None), (full, identity, None)),
        "parent": ((full, None, 1), (totals, None, None)),
        "early parent": ((full, identity, 1), (Usage(), None, None)),
        "chain": ((totals, identity, None), (full, identity, 2), (totals, None, None)),
        "chain of two": ((totals, identity, None), (full, identity, 2), (Usage(), None, None)),
    }[kind]
    links = {place: (place, place + 1) for place in range(len(made) - 1)}
    reports = tuple(report(place, *each) for place, each in enumerate(made))
    return ReportedCall(truth, reports, frozenset(links.values()))


_OTHER_TRACE: Final = {"by id", "chain", "chain of two"}


def _span_id(number: int, place: int) -> bytes:
    return number.to_bytes(7) + bytes([place + 1])
