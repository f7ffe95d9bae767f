"""UsageRecord + PriceBook -> Price: exact integer pico-USD, or the reason why there is none.

Leaf decomposition: each priced class is subtracted from the classes that contain it, so nothing is paid twice, and
a class without a rate of its own is paid at the rate of the class around it. Cached input is part of input,
one-hour cache writes are part of cache writes, reasoning is part of output.

Source: the ten recurring mistakes that this avoids are the tests of `tests/exporter/test_pricing.py`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import NamedTuple

from spanledger_exporter.money import COST_PUSD_MAX
from spanledger_exporter.prices import Context, NoQuote, PriceBook, Quote
from spanledger_exporter.records import Price, UnpricedReason, Usage, UsageRecord


class Line(NamedTuple):
    """One factor of a price.

    Units: `quantity` in `unit`s not counted on another line; `rate_pusd` pico-USD for one unit; `cost_pusd`
    pico-USD, rounded half to even (the rates of real books are whole pico-USD but for a handful, so nearly always
    exact).
    """

    unit: str
    quantity: int
    price_key: str
    rate_pusd: Fraction
    cost_pusd: int


class _Unit(NamedTuple):
    field: str
    price_key: str
    parent: str | None


# The classes of usage that we can price, children before parents; genai-prices' units of the same dimensions.
_UNITS = (
    _Unit("cache_write_5m_tokens", "cache_write_5m_mtok", "cache_write_tokens"),
    _Unit("cache_write_1h_tokens", "cache_write_1h_mtok", "cache_write_tokens"),
    _Unit("cache_write_tokens", "cache_write_mtok", "input_tokens"),
    _Unit("cache_read_tokens", "cache_read_mtok", "input_tokens"),
    _Unit("input_audio_tokens", "input_audio_mtok", "input_tokens"),
    _Unit("input_image_tokens", "input_image_mtok", "input_tokens"),
    _Unit("input_tokens", "input_mtok", None),
    _Unit("reasoning_tokens", "output_reasoning_mtok", "output_tokens"),
    _Unit("output_audio_tokens", "output_audio_mtok", "output_tokens"),
    _Unit("output_tokens", "output_mtok", None),
    _Unit("web_search_requests", "web_searches_kcount", None),
)
# A class, and parts of it that exclude each other.
_DISJOINT_PARTS = (
    ("input_tokens", "cache_read_tokens", "cache_write_tokens"),
    ("input_tokens", "input_audio_tokens", "input_image_tokens"),
    (
        "cache_write_tokens",
        "cache_write_5m_tokens",
        "cache_write_30m_tokens",
        "cache_write_1h_tokens",
        "cache_write_12h_tokens",
    ),
    ("output_tokens", "reasoning_tokens"),
    ("output_tokens", "output_audio_tokens"),
)
# A cached token of another modality has a rate of its own in these, and no provider says how many of them there were.
_OVERLAPS = {
    "cache_audio_read_mtok": ("cache_read_tokens", "input_audio_tokens"),
    "cache_image_read_mtok": ("cache_read_tokens", "input_image_tokens"),
}
_NEUTRAL_TIERS = frozenset({None, "", "auto", "on_demand"})
_NEUTRAL_SPEEDS = frozenset({None, "", "standard"})
_NEUTRAL_GEOS = frozenset({None, "", "global", "not_available"})


def price(record: UsageRecord, book: PriceBook) -> Price:
    """Price one call at the rates that the book has for the time at which it ended."""
    if record.usage_status == "none":
        return Price("none", None)
    found = quote(record, book)
    if isinstance(found, NoQuote):
        return Price("unpriced", None, found.reason, found.detail, found.model, found.match)
    return _charged(found, record)


def quote(record: UsageRecord, book: PriceBook) -> Quote | NoQuote:
    """Return the rates that apply to a call: served model before requested, served tier, time of its end."""
    context = _context(record)
    if isinstance(context, NoQuote):
        return context
    models = (("response", record.response_model), ("request", record.request_model))
    names = tuple((kind, name) for kind, name in models if name)
    at = datetime.fromtimestamp(record.end_ns // 10**9, tz=UTC)
    return book.quote(record.provider or "", names, context, at)


def lines(found: Quote, usage: Usage) -> list[Line] | NoQuote:
    """Return every factor of the price, or why there is none."""
    counts = usage._asdict()
    problem = _contradiction(found, counts)
    if problem is not None:
        return problem
    leaves = {field: count or 0 for field, count in counts.items()}
    result: list[Line] = []
    total_input = usage.input_tokens or 0
    for field, price_key, _ in _UNITS:
        rate = found.rates.get(price_key)
        if rate is None:
            continue
        count = leaves[field]
        for ancestor in _ANCESTORS[field]:
            leaves[ancestor] -= count
        if count < 0:
            return _no("inconsistent_usage", f"the parts of {field} add up to more than {field} itself", found)
        if count:
            rate_pusd = rate.at(total_input)
            result.append(Line(field, count, price_key, rate_pusd, round(rate_pusd * count)))
    per_request = found.rates.get("requests_kcount")
    if per_request is not None:
        result.insert(0, Line("requests", 1, "requests_kcount", per_request.base, round(per_request.base)))
    result.reverse()
    return result


def _charged(found: Quote, record: UsageRecord) -> Price:
    usage = record.usage
    if usage.input_tokens is None and usage.output_tokens is None and usage.web_search_requests is None:
        reason = _no("unreported_usage", "the provider reported no usage for this call", found)
        return Price("unpriced", None, reason.reason, reason.detail, found.model, found.match, found.context)
    charged = lines(found, usage)
    if not isinstance(charged, NoQuote):
        cost = sum(line.cost_pusd for line in charged)
        if cost <= COST_PUSD_MAX:
            return Price("free" if found.free else "priced", cost, None, None, found.model, found.match, found.context)
        charged = _no("out_of_range", f"{cost} pico-USD is more than any single call can cost", found)
    return Price("unpriced", None, charged.reason, charged.detail, found.model, found.match, found.context)


def _context(record: UsageRecord) -> Context | NoQuote:
    if record.inference_geo not in _NEUTRAL_GEOS:
        return NoQuote("unknown_tier", f"no price is known for inference_geo={record.inference_geo}")
    context: list[tuple[str, str]] = []
    tier = record.service_tier
    if tier == "batch":
        context.append(("processing", "batch"))
    elif tier is not None and tier not in _NEUTRAL_TIERS:
        context.append(("service_tier", tier))
    if record.speed is not None and record.speed not in _NEUTRAL_SPEEDS:
        context.append(("speed", record.speed))
    return tuple(context)


def _contradiction(found: Quote, counts: Mapping[str, int | None]) -> NoQuote | None:
    for whole, *parts in _DISJOINT_PARTS:
        total = sum(counts[part] or 0 for part in parts)
        if total > (counts[whole] or 0):
            return _no(
                "inconsistent_usage", f"{' + '.join(parts)} ({total}) is more than {whole} ({counts[whole]})", found
            )
    for field, price_key, parent in _UNITS:
        if parent is None and counts[field] and price_key not in found.rates and not found.free:
            return _no("no_unit_price", f"{found.model} has no price for {field} ({counts[field]})", found)
    for price_key, fields in _OVERLAPS.items():
        if price_key in found.rates and all(counts[field] for field in fields):
            return _no("inconsistent_usage", f"{' and '.join(fields)} overlap by an unreported amount", found)
    return None


def _around(field: str) -> tuple[str, ...]:
    parent = _PARENTS[field]
    return () if parent is None else (parent, *_around(parent))


_PARENTS = {unit.field: unit.parent for unit in _UNITS}
_ANCESTORS = {field: _around(field) for field in _PARENTS}


def _no(reason: UnpricedReason, detail: str, found: Quote) -> NoQuote:
    return NoQuote(reason, detail, found.model, found.match)
