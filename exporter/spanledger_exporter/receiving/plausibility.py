"""Calls -> those that can be kept, and those that cannot for their time, with the reason.

A clock that is wrong dates calls where nobody can tell what they cost; what ends before retention's floor may have been
counted before.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from spanledger_exporter.records import PricedRecord

_FUTURE_NS_MAX: Final = 24 * 3600 * 10**9
"""A span that ends later than this from now was made by a clock that is wrong: nobody knows what it cost when."""
EARLIEST_NS: Final = 1_577_836_800 * 10**9
"""2020: before that nobody sold calls of language models."""


class Refused(NamedTuple):
    """A call that cannot be kept, and why."""

    priced: PricedRecord
    reason: Literal["too_old", "future"]
    detail: str


def plausible(batch: list[PricedRecord], now_ns: int) -> tuple[list[PricedRecord], list[Refused]]:
    """Sort out what a wrong clock has dated, from records in the order of their ends."""
    latest_ns = now_ns + _FUTURE_NS_MAX
    if not batch or (batch[0].record.end_ns >= EARLIEST_NS and batch[-1].record.end_ns <= latest_ns):
        return batch, []
    kept: list[PricedRecord] = []
    refused: list[Refused] = []
    for priced in batch:
        if priced.record.end_ns < EARLIEST_NS:
            refused.append(Refused(priced, "too_old", "the span ends before 2020, by a clock that is wrong"))
        elif priced.record.end_ns > latest_ns:
            refused.append(Refused(priced, "future", "the span ends more than 24 hours from now, by a wrong clock"))
        else:
            kept.append(priced)
    return kept, refused


def kept_from(batch: Sequence[PricedRecord], floor_ns: int) -> tuple[Sequence[PricedRecord], list[Refused]]:
    """Sort out what ends before retention's floor, from records in the order of their ends."""
    if not batch or batch[0].record.end_ns >= floor_ns:
        return batch, []
    detail = "the span ends before what retention has deleted, so that nobody can tell whether it was counted"
    expired = [Refused(priced, "too_old", detail) for priced in batch if priced.record.end_ns < floor_ns]
    return [priced for priced in batch if priced.record.end_ns >= floor_ns], expired
