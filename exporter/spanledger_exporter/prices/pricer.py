"""UsageRecord -> Price as `pricing.price` gives it, at 0.7 million calls a second.

Calls of one model, tier and account share a plan, which is looked up once and holds the rates of the stretch of time
around the last call. A plan asks `pricing` what one more token of each common class adds, and multiplies from then
on: the decomposition stays in one place. Every call that is out of the ordinary (audio, images, pages, batches with a
fee for each request, figures that contradict each other) is left to `pricing` itself, with the rates at hand.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from spanledger_exporter.money import COST_PUSD_MAX
from spanledger_exporter.prices.conditions import Span
from spanledger_exporter.prices.price_book import NoQuote, PriceBook, Quote
from spanledger_exporter.prices.pricing import charge, free_operation, lines, price_without_rates, quote
from spanledger_exporter.records import Price, Profile, Split, Usage, UsageRecord

_PLANS_MAX = 10_000
# The common classes are the first of `Usage`; of those that follow, up to the estimates, none may be there.
_COMMON = Usage._fields[: Usage._fields.index("reasoning_tokens") + 1]
_COMMON_COUNT = len(_COMMON)
_BILLED_COUNT = Usage._fields.index("estimated_input_tokens")
_COMMON_PART, _TAIL_PART = slice(_COMMON_COUNT), slice(_COMMON_COUNT, _BILLED_COUNT)
assert [UsageRecord._fields.index(name) for name in ("end_ns", "profile", "usage_status", "usage", "ambiguity")] == [
    *(0, 5, 6, 7, 14)
]
# What of a profile its price depends on, but for the account.
_PROFILE_FIELDS = (
    *("provider", "operation", "request_model", "response_model", "service_tier", "speed", "inference_geo"),
    *("server_address", "deployment"),
)
_ACCOUNT_FIELDS = ("organization", "provider_project", "api_key_hash", "project")
# `Price(...)` takes longer than all the arithmetic.
_new: Callable[[type[Any], tuple[object, ...]], Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

Ordinary = Callable[[Usage], Price | None]


class Pricer:
    """Prices calls with one price book, for as many threads as there are.

    `forgotten` counts the plans that were dropped because there were too many.
    """

    def __init__(self, book: PriceBook, *, plans_max: int = _PLANS_MAX) -> None:
        self.book = book
        self.forgotten = 0
        self._plans: dict[tuple[Any, ...], _Plan] = {}
        # Calls share their profiles, so that most are known by their address; the pair keeps it from being given anew.
        self._known: dict[int, tuple[Profile, _Plan]] = {}
        self._plans_max = plans_max
        fields = _PROFILE_FIELDS + (_ACCOUNT_FIELDS if book.layers.asks_who_pays else ())
        self._key = itemgetter(*map(Profile._fields.index, fields))

    def price(self, record: UsageRecord) -> Price:
        """Price one call, as `pricing.price` would."""
        profile = record[5]  # by position: a name takes longer, and every call comes through here
        rates = (self._known.get(id(profile)) or self._know(profile))[1].rates
        if not rates.from_ns <= record[0] < rates.until_ns:
            rates = self._turn(profile, record)
        if record[14] is None and record[6] != "none":
            found = rates.ordinary(record[7])
            if found is not None:
                return found
        return price_without_rates(record) or charge(rates.found, record)

    def _know(self, profile: Profile) -> "tuple[Profile, _Plan]":
        key = self._key(profile)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= self._plans_max:
                self.forgotten += len(self._plans)
                self._plans.clear()
                self._known.clear()
            plan = self._plans[key] = _Plan()
        if len(self._known) >= self._plans_max:
            self._known.clear()
        known = self._known[id(profile)] = (profile, plan)
        return known

    def _turn(self, profile: Profile, record: UsageRecord) -> "_Rates":
        rates = _Rates(quote(record, self.book), billed=not free_operation(profile))
        self._know(profile)[1].rates = rates
        return rates


class _Rates:
    """What calls of one plan cost during one stretch of time."""

    __slots__ = ("found", "from_ns", "ordinary", "until_ns")

    def __init__(self, found: Quote | NoQuote, *, billed: bool) -> None:
        self.found = found
        self.from_ns, self.until_ns = found.span
        self.ordinary = _ordinary_of(found) if billed else _nothing


class _Plan:
    """How the calls of one model, tier, place and account are priced.

    Only the stretch of the last call is kept: calls arrive in the order of time, or nearly.
    """

    __slots__ = ("rates",)

    def __init__(self) -> None:
        self.rates = _NEVER


def _nothing(_usage: Usage) -> Price | None:
    return None


def _ordinary_of(found: Quote | NoQuote) -> Ordinary:
    """Return a function of the price of ordinary usage, which gives None for all that is not ordinary."""
    if isinstance(found, NoQuote) or "requests_kcount" in found.rates or "input_mtok" not in found.rates:
        return _nothing
    if any(rate.denominator != 1 for each in found.rates.values() for rate in (each.base, *(r for _, r in each.steps))):
        return _nothing  # rounded once a line, so it is no sum of products
    ordinary: Ordinary = _nothing
    starts = sorted({start for rate in found.rates.values() for start, _ in rate.steps})
    for start, end in reversed(list(zip([0, *starts], [*starts, 2**63], strict=True))):
        ordinary = _tier(found, _coefficients(found, start + 1), end, ordinary)
    return ordinary


def _coefficients(found: Quote, input_tokens: int) -> tuple[int, ...]:
    """Return what one more of each common class adds to the cost of a call with so many input tokens."""
    output = 100 if "output_mtok" in found.rates else None
    some = Usage(
        input_tokens=100, output_tokens=output, cache_read_tokens=10, cache_write_tokens=50,
        cache_write_5m_tokens=10, cache_write_30m_tokens=10, cache_write_1h_tokens=10, cache_write_12h_tokens=10,
        reasoning_tokens=output and 10, request_input_tokens_max=input_tokens,
    )  # fmt: skip
    base = _cost(found, some)
    more = (some._replace(**{name: getattr(some, name) + 1}) for name in _COMMON if getattr(some, name) is not None)
    added = [_cost(found, usage) - base for usage in more]
    return tuple(added) if output else (added[0], 0, *added[1:], 0)


def _cost(found: Quote, usage: Usage) -> int:
    charged = lines(found, usage)
    assert not isinstance(charged, NoQuote), charged  # the usage is consistent, and its classes have rates
    return sum(line.cost_pusd for line in charged)


def _tier(  # noqa: C901, PLR0915 -- for the function within
    found: Quote, coefficients: tuple[int, ...], end: int, longer: Ordinary
) -> Ordinary:
    """Return the function for inputs of up to `end` tokens, which leaves longer ones to another."""
    of_input, of_output, of_read, of_write, of_5m, of_30m, of_1h, of_12h, of_reasoning = coefficients
    status, model, match, context = "free" if found.free else "priced", found.model, found.match, found.context
    of_cached, saves = of_input + of_read, max(-of_read, 0)
    output_max = COST_PUSD_MAX if "output_mtok" in found.rates or found.free else 0
    tail_seen = (None,) * (_BILLED_COUNT - _COMMON_COUNT)

    # One function with all checks in line: calls of others would take longer than the arithmetic.
    def price(usage: Usage) -> Price | None:  # noqa: C901, PLR0911, PLR0912 -- as it says
        nonlocal tail_seen
        tokens, output, read, write, write_5m, write_30m, write_1h, write_12h, reasoning = usage[:_COMMON_COUNT]
        if tokens is None:
            return None
        if tokens > end:
            return longer(usage)
        tail = usage[_COMMON_COUNT:_BILLED_COUNT]
        if tail != tail_seen:
            if any(tail):
                return None
            tail_seen = tail  # the next call reports the same zeros, if any, and to compare is faster than `any`
        of_answer = of_reads = of_writes = saved = premium = 0
        if output:
            if output > output_max:
                return None
            of_answer = output * of_output
        if reasoning:
            if not output or reasoning > output:
                return None
            of_answer += reasoning * of_reasoning
        uncached = tokens
        if read:
            if read > tokens:
                return None
            uncached -= read
            of_reads = read * of_cached
            saved = read * saves
        if write or write_5m or write_30m or write_1h or write_12h:
            written = write or 0
            parts = (write_5m or 0) + (write_30m or 0) + (write_1h or 0) + (write_12h or 0)
            uncached -= written
            if parts > written or uncached < 0:
                return None
            premium = written * of_write
            if parts:
                premium += (write_5m or 0) * of_5m + (write_30m or 0) * of_30m
                premium += (write_1h or 0) * of_1h + (write_12h or 0) * of_12h
            of_writes = written * of_input + premium
            if premium < 0:
                premium = 0
        of_uncached = uncached * of_input
        cost = of_uncached + of_reads + of_writes + of_answer
        if cost > COST_PUSD_MAX:
            return None
        split = _new(Split, (of_uncached, of_reads, of_writes, of_answer, 0, saved, premium))
        return _new(Price, (status, cost, None, None, model, match, context, split))

    return price


_NEVER = _Rates(NoQuote("no_price", "", span=Span(0, 0)), billed=False)
