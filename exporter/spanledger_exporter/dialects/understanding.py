"""Spans -> usage records.

Most spans are like many before them: the same service, model and set of attributes, other figures. What is alike is
understood once and remembered, by the bytes of the attributes; of each further span only what is its own is decoded.
Whatever is not exactly as a remembered one takes the long way, and comes to the same record
(tests/exporter/dialects/test_understanding.py holds the two ways against each other).
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count as counter
from operator import itemgetter
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from spanledger_exporter.dialects.figuring import NO_VALUES, TEXT_SLOTS, USAGE_SLOTS, Refusal, Values, read, record
from spanledger_exporter.dialects.plans import (
    ANSWER_ATTRIBUTES,
    OWN_ATTRIBUTES,
    SHARED_ATTRIBUTES,
    Plan,
    Read,
    plan_of,
)
from spanledger_exporter.dialects.rate_limits import RATE_LIMIT_ATTRIBUTES
from spanledger_exporter.receiving import keyvalues
from spanledger_exporter.receiving.keyvalues import Attributes, figure, text
from spanledger_exporter.receiving.keyvalues import small as _small
from spanledger_exporter.receiving.otlp import Span
from spanledger_exporter.records import UsageRecord

# What is remembered. Whoever sends ever new combinations costs the long way for each of his spans, and no more: what is
# full is emptied at once.
PIECES_MAX = 16_384
_PIECE_BYTES_MAX = 256
PATTERNS_MAX = 4_096
_LIKE_EACH_OTHER_MAX = 8  # patterns that differ only in what is not shared
_ATTRIBUTES_MAX = 256

_OWN = OWN_ATTRIBUTES | ANSWER_ATTRIBUTES | RATE_LIMIT_ATTRIBUTES
_VALUE_TAG = b"\x12"
_LIMIT_MARK = b"spanledger.rate_limit."
_HEADS = {keyvalues.head(name): name for name in _OWN}
_WANTED_KEYS = frozenset(name.encode() for name in SHARED_ATTRIBUTES | _OWN)

Raws = list[bytes]
_Picker = Callable[[Raws], tuple[bytes, ...]]


class Understood(NamedTuple):
    """The calls of a batch, how many of its spans are no calls, and what of them could not be taken.

    `refused` counts figures that cannot be, by attribute and reason; `unreadable` those attributes of calls that were
    looked at and are no valid protobuf or no UTF-8.
    """

    records: list[UsageRecord]
    ignored: int
    refused: Mapping[Refusal, int]
    unreadable: int

    @property
    def refused_figures(self) -> int:
        """How many figures were refused."""
        return sum(self.refused.values())


class _Pattern(NamedTuple):
    """How the attributes of many spans lie: where those that are not shared are, and how each begins.

    `plan` is None if they are no calls. Counts and texts are read by hand, the others by protobuf's parser. What they
    say of rate limits, if they do, is picked out and not read.
    """

    pick: _Picker
    heads: tuple[bytes, ...]
    plan: Plan | None
    counts: tuple[tuple[int, int, int], ...] = ()  # index, length of the head, slot
    texts: tuple[tuple[int, int, int], ...] = ()
    others: tuple[tuple[int, Read], ...] = ()
    pick_limits: _Picker | None = None


def understand(spans: Iterable[Span]) -> Understood:
    """Turn spans into usage records; spans that are no LLM call are counted and dropped."""
    return _memory.understand(spans)


class Memory:
    """What was understood of spans so far. Threads may share one: at worst something is understood twice."""

    def __init__(self) -> None:
        self._pieces: dict[bytes, int] = {}  # the bytes of a shared attribute -> its number
        self._patterns: dict[Any, tuple[_Pattern, ...]] = {}
        # Numbers are never given twice, so that a pattern that one thread is about to look up cannot be another's.
        self._numbers = counter(1)

    def understand(self, spans: Iterable[Span]) -> Understood:
        """Turn spans into usage records; spans that are no LLM call are counted and dropped."""
        records: list[UsageRecord] = []
        odd = _Odd({})
        ignored = 0
        for each in spans:
            span = each
            if span.attributes and span.attributes[0][:1] == _VALUE_TAG:
                span = span._replace(attributes=[keyvalues.key_first(raw) for raw in span.attributes])
            pattern = self._recall(span)
            found = None if pattern is None else _recalled(span, pattern)
            if found is None:
                found = self._long_way(span, odd, remember=pattern is None)
            if found is _NO_CALL:
                ignored += 1
            else:
                records.append(found)
        return Understood(records, ignored, odd.refused, odd.unreadable)

    @property
    def size(self) -> int:
        """How many attributes and combinations of them are remembered."""
        return len(self._pieces) + len(self._patterns)

    def _recall(self, span: Span) -> _Pattern | None:
        raws = span.attributes
        for pattern in self._patterns.get((span.source, span.failed, *map(self._pieces.get, raws)), ()):
            if all(map(_startswith, pattern.pick(raws), pattern.heads)):
                return pattern
        return None

    def _long_way(self, span: Span, odd: "_Odd", *, remember: bool) -> UsageRecord:
        said = _Said.of(span.attributes)
        plan = plan_of(span.source, span.failed, said.shared, said.own)
        if remember and not said.unlike_others and len(span.attributes) <= _ATTRIBUTES_MAX:
            self._remember(span, said, plan)
        if plan is None:
            return _NO_CALL
        odd.unreadable += said.unreadable
        values, refused = NO_VALUES.copy(), list[Refusal]()
        read(plan.reads, said.own, values, refused)
        made = record(span, plan, values, refused, _limits(span.attributes))
        for refusal in refused:
            odd.refused[refusal] = odd.refused.get(refusal, 0) + 1
        return made

    def _remember(self, span: Span, said: "_Said", plan: Plan | None) -> None:
        if len(self._pieces) >= PIECES_MAX or len(self._patterns) >= PATTERNS_MAX:
            self._pieces.clear()
            self._patterns.clear()
        # Another thread may empty the memory at any time: the key is made of the numbers as they were given here.
        numbers = {raw: self._pieces.setdefault(raw, next(self._numbers)) for raw in said.shared_raws}
        key = span.source, span.failed, *map(numbers.get, span.attributes)
        pattern = _pattern(span.attributes, frozenset(said.shared_raws), plan)
        alike = self._patterns.get(key, ())
        self._patterns[key] = (*alike[1 - _LIKE_EACH_OTHER_MAX :], pattern)


_memory = Memory()  # of a pure function: nothing but speed depends on it


# Stands for a record where there is no call: telling it apart is cheaper than another value beside each record.
_NO_CALL: Any = object()
_startswith = bytes.startswith


@dataclass(slots=True)
class _Odd:
    """What of a batch could not be taken."""

    refused: dict[Refusal, int]
    unreadable: int = 0


class _Said(NamedTuple):
    """What the attributes of a span say.

    They are `unlike_others` if they do not lie as encoders put them, or not all can be read.
    """

    shared: Attributes
    own: Attributes
    shared_raws: list[bytes]
    unlike_others: bool
    unreadable: int

    @classmethod
    def of(cls, raws: Raws) -> "_Said":
        shared: Attributes = {}
        own: Attributes = {}
        shared_raws: list[bytes] = []
        unreadable = 0
        unlike_others = False
        for raw in raws:
            ordinary = keyvalues.begins_with_key(raw)
            if ordinary and raw[2 : 2 + raw[1]] not in _WANTED_KEYS:
                continue
            try:
                key, value = keyvalues.read(raw)
            except (DecodeError, ValueError):
                unreadable += 1
                continue
            if key in SHARED_ATTRIBUTES:
                if value is not None:
                    shared[key] = value
                shared_raws.append(raw)
                unlike_others |= len(raw) > _PIECE_BYTES_MAX
            elif key in _OWN:
                unlike_others |= value is None or key in own or not raw.startswith(keyvalues.head(key))
                if value is not None:
                    own[key] = value
            else:
                unlike_others = True
        return cls(shared, own, shared_raws, unlike_others or unreadable > 0, unreadable)


def _limits(raws: Raws) -> tuple[bytes, ...]:
    """Return what is about rate limits, in whichever order key and value stand."""
    found: dict[str, bytes] = {}
    for raw in raws:
        if _LIMIT_MARK in raw:
            with contextlib.suppress(DecodeError, ValueError):
                name, _ = keyvalues.read(raw)
                if name in RATE_LIMIT_ATTRIBUTES:
                    found[name] = raw
    return tuple(found.values())


def _pattern(raws: Raws, shared: frozenset[bytes], plan: Plan | None) -> _Pattern:
    """Return where everything lies in attributes that are as encoders write them."""
    places = [index for index, raw in enumerate(raws) if raw not in shared]
    heads = tuple(_head(raws[index]) for index in places)
    if plan is None:
        return _Pattern(_picker(places), heads, None)
    at = {_HEADS[head]: (index, len(head)) for index, head in zip(places, heads, strict=True) if head in _HEADS}
    counts: list[tuple[int, int, int]] = []
    texts: list[tuple[int, int, int]] = []
    others: list[tuple[int, Read]] = []
    for each in plan.reads:
        index, length = at[each.attribute]
        if each.slot in TEXT_SLOTS:
            texts.append((index, length, each.slot))
        elif 0 <= each.slot < USAGE_SLOTS and each.attribute != "spanledger.usage.input_audio_seconds":
            counts.append((index, length, each.slot))
        else:
            others.append((index, each))
    limits = [index for name, (index, _) in at.items() if name in RATE_LIMIT_ATTRIBUTES]
    return _Pattern(
        _picker(places),
        heads,
        plan,
        tuple(counts),
        tuple(texts),
        tuple(others),
        _picker(limits) if limits else None,
    )


def _head(raw: bytes) -> bytes:
    """Return the key of an attribute as it lies, with the value's tag if it is wanted."""
    with_tag = raw[: raw[1] + 3]
    return with_tag if with_tag in _HEADS else raw[: raw[1] + 2]


def _picker(places: list[int]) -> _Picker:
    """Return what picks these items of a list; it does so in one call, which is why they are picked at all."""
    if not places:
        return _none
    return itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1))


def _none(_: Raws) -> tuple[bytes, ...]:
    return ()


def _recalled(span: Span, pattern: _Pattern) -> UsageRecord | None:
    """Return the record of a span whose attributes lie as remembered, `None` if one is out of the ordinary."""
    plan = pattern.plan
    if plan is None:
        return _NO_CALL
    raws = span.attributes
    values: Values = NO_VALUES.copy()
    refused: list[Refusal] = []
    try:
        for index, length, slot in pattern.counts:
            tail = raws[index][length:]
            small = _small(tail)
            values[slot] = figure(tail) if small is None else small
        for index, length, slot in pattern.texts:
            values[slot] = text(raws[index], length)
        for index, each in pattern.others:
            read((each,), _value(raws[index], each.attribute), values, refused)
    except (DecodeError, IndexError, ValueError):
        return None
    if refused:
        return None
    limits = () if pattern.pick_limits is None else tuple(pattern.pick_limits(raws))
    made = record(span, plan, values, refused, limits)
    return None if refused else made  # a cost that is not in USD is refused only there


def _value(raw: bytes, attribute: str) -> Attributes:
    key, value = keyvalues.read(raw)
    if key != attribute or value is None:
        raise ValueError(key)
    return {key: value}
