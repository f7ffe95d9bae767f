"""UsageRecord + PriceBook -> Price: exact integer pico-USD, or the reason why there is none.

Leaf decomposition: each priced class is subtracted from the classes that contain it, so nothing is paid twice, and
a class without a rate of its own is paid at the rate of the class around it. Cached input is part of input,
one-hour cache writes are part of cache writes, reasoning is part of output.

Source: the ten recurring mistakes that this avoids are the tests of `tests/exporter/prices/test_pricing.py`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from spanledger_exporter.money import COST_PUSD_MAX, usd_text
from spanledger_exporter.prices.lines import Line, split_of
from spanledger_exporter.prices.price_book import Context, NoQuote, PriceBook, Quote
from spanledger_exporter.records import NO_COST, Price, Profile, UnpricedReason, Usage, UsageRecord


class _Unit(NamedTuple):
    field: str
    price_key: str
    parents: tuple[str, ...] = ()


_MODALITIES = ("text", "audio", "image", "video")  # text first: where it is all there is, many do not report it
# The classes of usage that we can price, children before parents; genai-prices' units of the same dimensions. Cached
# audio is part of two classes, the cached tokens and the audio tokens. What a class's first row pays for is not paid
# again in its second: all audio that we know of is input.
_UNITS = (
    *(
        _Unit(f"cache_read_{modality}_tokens", f"cache_{modality}_read_mtok",
              ("cache_read_tokens", f"input_{modality}_tokens"))
        for modality in _MODALITIES
    ),
    _Unit("cache_write_5m_tokens", "cache_write_5m_mtok", ("cache_write_tokens",)),
    _Unit("cache_write_1h_tokens", "cache_write_1h_mtok", ("cache_write_tokens",)),
    _Unit("cache_write_tokens", "cache_write_mtok", ("input_tokens",)),
    _Unit("cache_read_tokens", "cache_read_mtok", ("input_tokens",)),
    *(_Unit(f"input_{modality}_tokens", f"input_{modality}_mtok", ("input_tokens",)) for modality in _MODALITIES),
    _Unit("input_tokens", "input_mtok"),
    _Unit("reasoning_tokens", "output_reasoning_mtok", ("output_tokens",)),
    _Unit("output_text_tokens", "output_text_mtok", ("output_tokens",)),
    _Unit("output_audio_tokens", "output_audio_mtok", ("output_tokens",)),
    _Unit("output_image_tokens", "output_image_mtok", ("output_tokens",)),
    _Unit("output_tokens", "output_mtok"),
    _Unit("web_search_requests", "web_searches_kcount"),
    _Unit("search_units", "rerank_searches_kcount"),
    _Unit("input_characters", "input_mchars"),
    _Unit("input_audio_ms", "input_audio_hours"),
    _Unit("input_audio_ms", "audio_hours"),
    _Unit("annotated_pages", "input_annotated_document_kpages", ("pages",)),
    _Unit("pages", "input_document_kpages"),
)  # fmt: skip
# What no class contains, and so must have a rate of its own: a total -> the price keys that pay for it. The price book
# has no price by the image or by the source that a search used.
_TOTALS: Mapping[str, tuple[str, ...]] = {
    "input_images": (),
    "output_images": (),
    "search_sources": (),
    **{
        total: tuple(unit.price_key for unit in _UNITS if unit.field == total)
        for total in (unit.field for unit in _UNITS if not unit.parents)
    },
}
PRICE_KEYS = frozenset({unit.price_key for unit in _UNITS} | {"requests_kcount"})
# A measure of what tokens measure as well: it needs no rate where those tokens were reported and have theirs.
# Image models report the number of images and their tokens, and bill the tokens.
_SAME_AS_TOKENS: Mapping[str, tuple[str, str]] = {
    "input_images": ("input_image_tokens", "input_mtok"),
    "output_images": ("output_tokens", "output_mtok"),
    "input_characters": ("input_tokens", "input_mtok"),
    "input_audio_ms": ("input_tokens", "input_mtok"),
    "pages": ("input_tokens", "input_mtok"),
}
# A class -> groups of its parts; the parts of a group exclude each other.
_DISJOINT_PARTS: Mapping[str, tuple[frozenset[str], ...]] = {
    "input_tokens": (
        frozenset({"cache_read_tokens", "cache_write_tokens"}),
        frozenset(f"input_{modality}_tokens" for modality in _MODALITIES),
    ),
    "cache_read_tokens": (frozenset(f"cache_read_{modality}_tokens" for modality in _MODALITIES),),
    **{f"input_{modality}_tokens": (frozenset({f"cache_read_{modality}_tokens"}),) for modality in _MODALITIES[1:]},
    "cache_write_tokens": (frozenset(f"cache_write_{ttl}_tokens" for ttl in ("5m", "30m", "1h", "12h")),),
    "output_tokens": (
        frozenset({"reasoning_tokens"}),
        frozenset({"output_text_tokens", "output_audio_tokens", "output_image_tokens"}),
    ),
    "pages": (frozenset({"annotated_pages"}),),
}
# OpenAI bills nothing for moderation, and reports no usage. Others do bill it.
# Source: genai-prices 0.2.3, openai/moderation: "All OpenAI moderation models and endpoints are free of charge".
_FREE_OPERATIONS = frozenset({("openai", "moderation")})
# Bedrock's id of a model says by which route it is served, at which price; the answer's name of it does not:
# `global.anthropic.claude-haiku-4-5-...` answers as `claude-haiku-4-5-...`, and costs less than `us.anthropic...`.
_PRICED_AS_REQUESTED = frozenset({"aws.bedrock"})
_NEUTRAL_TIERS = frozenset({None, "", "auto", "on_demand", "unspecified", "traffic_type_unspecified"})
# Source: google-genai 3.4 `types.TrafficType`, which Vertex AI answers in the place of a tier.
_TIERS: Mapping[str, str] = {"on_demand_flex": "flex", "on_demand_priority": "priority"}
_NEUTRAL_SPEEDS = frozenset({None, "", "standard"})


def price(record: UsageRecord, book: PriceBook) -> Price:
    """Price one call at the rates that the book has for the time at which it ended."""
    return price_without_rates(record) or charge(quote(record, book), record)


def price_without_rates(record: UsageRecord) -> Price | None:
    """Return the price of a call for which no rate is needed: nothing was generated, or it is never billed."""
    profile = record.profile
    free = free_operation(profile)
    if record.usage_status == "none" and not (free and profile.outcome == "ok"):
        return Price("none", None)
    if free:
        return Price("free", 0, None, f"{profile.provider} bills nothing for {profile.operation}", split=NO_COST)
    return None


def free_operation(profile: Profile) -> bool:
    """Tell whether the provider bills nothing for what was asked of it."""
    return (profile.provider, profile.operation) in _FREE_OPERATIONS


def charge(found: Quote | NoQuote, record: UsageRecord) -> Price:
    """Return what a call costs at rates that were looked up for it.

    Where its figures can be read in two ways, it has a price if both cost the same.
    """
    if isinstance(found, NoQuote):
        return Price("unpriced", None, found.reason, found.detail, found.model, found.match)
    charged = _charged(found, record)
    if record.ambiguity is None or charged.reason in {"unreported_usage", "no_unit_price"}:
        return charged
    usage = record.usage
    cached = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    apart = usage._replace(input_tokens=(usage.input_tokens or 0) + cached)
    other = _charged(found, record._replace(usage=apart))
    if charged.cost_pusd is not None and charged.cost_pusd == other.cost_pusd:
        return charged
    detail = "{} USD if the input tokens include the cached ones, {} USD if they do not".format(
        *("no" if each.cost_pusd is None else usd_text(each.cost_pusd) for each in (charged, other))
    )
    return Price("unpriced", None, "ambiguous_usage", detail, found.model, found.match, found.context)


def quote(record: UsageRecord, book: PriceBook) -> Quote | NoQuote:
    """Return the rates that apply to a call: served model before requested, served tier, time of its end.

    The requested model goes first where only its name tells the price.
    """
    profile = record.profile
    models = (("response", profile.response_model), ("request", profile.request_model))
    if profile.provider in _PRICED_AS_REQUESTED:
        models = models[::-1]
    names = tuple((kind, name) for kind, name in models if name)
    at = datetime.fromtimestamp(record.end_ns // 10**9, tz=UTC)
    return book.quote(profile.provider, names, context_of(profile.service_tier, profile.speed), at, profile)


def lines(found: Quote, usage: Usage) -> list[Line] | NoQuote:
    """Return every factor of the price, or why there is none."""
    counts = {field: count for field, count in zip(usage._fields, usage, strict=True) if count}
    problem = _contradiction(found, usage, counts) or _unrated(found, counts)
    if problem is not None:
        return problem
    leaves = _leaves(found, counts)
    result: list[Line] = []
    # A batch is many requests: the price of a long input depends on the longest, never on their sum.
    longest = usage.request_input_tokens_max or usage.input_tokens
    for field, price_key, _ in _UNITS:
        if field not in leaves or price_key not in found.rates:
            continue
        count = leaves.pop(field)
        for ancestor in _ANCESTORS[field] & leaves.keys():
            leaves[ancestor] -= count
        if count < 0:
            return _no("inconsistent_usage", f"the parts of {field} add up to more than {field} itself", found)
        if count:
            rate_pusd = found.rates[price_key].at(longest or 0)
            result.append(Line(field, count, price_key, rate_pusd, round(rate_pusd * count)))
    per_request = found.rates.get("requests_kcount")
    if per_request is not None:
        requests = 1 if usage.requests is None else usage.requests
        cost_pusd = round(per_request.base * requests)
        result.insert(0, Line("requests", requests, "requests_kcount", per_request.base, cost_pusd))
    result.reverse()
    return result


def _leaves(found: Quote, counts: Mapping[str, int]) -> dict[str, int]:
    leaves = dict(counts)
    audio_tokens = counts.get("input_audio_tokens")
    if audio_tokens and "input_audio_mtok" not in found.rates and _paid(found, counts, "input_audio_ms"):
        leaves["input_tokens"] -= audio_tokens  # what is paid by its length is not paid again by its tokens
    return leaves


def _charged(found: Quote, record: UsageRecord) -> Price:
    usage = record.usage
    if all(getattr(usage, total) is None for total in _TOTALS):
        detail = "the provider reported no usage for this call"
        if record.provider_cost_pusd is not None:
            detail += f", only its own cost of {usd_text(record.provider_cost_pusd)} USD"
        return Price("unpriced", None, "unreported_usage", detail, found.model, found.match, found.context)
    charged = lines(found, usage)
    if not isinstance(charged, NoQuote):
        cost = sum(line.cost_pusd for line in charged)
        if cost <= COST_PUSD_MAX:
            status = "free" if found.free else "priced"
            split = split_of(charged, usage, found.rates)
            return Price(status, cost, None, None, found.model, found.match, found.context, split)
        charged = _no("out_of_range", f"{cost} pico-USD is more than any single call can cost", found)
    return Price("unpriced", None, charged.reason, charged.detail, found.model, found.match, found.context)


def context_of(service_tier: str | None, speed: str | None) -> Context:
    """Return which variants of a model's prices a tier and a speed mean."""
    context: list[tuple[str, str]] = []
    tier = None if service_tier is None else service_tier.lower()
    if tier == "batch":
        context.append(("processing", "batch"))
    elif tier is not None and tier not in _NEUTRAL_TIERS:
        context.append(("service_tier", _TIERS.get(tier, tier)))
    if speed is not None and speed not in _NEUTRAL_SPEEDS:
        context.append(("speed", speed))
    return tuple(context)


def _contradiction(found: Quote, usage: Usage, counts: Mapping[str, int]) -> NoQuote | None:
    for whole, parts in _DISJOINT_PARTS.items():
        for exclusive in parts:
            if exclusive.isdisjoint(counts):
                continue
            total = sum(counts.get(part, 0) for part in exclusive)
            if total > counts.get(whole, 0):
                named = " + ".join(part for part in usage._fields if part in exclusive)
                detail = f"{named} ({total}) is more than {whole} ({getattr(usage, whole)})"
                return _no("inconsistent_usage", detail, found)
    for modality, price_key in _OVERLAPS:
        if price_key in found.rates and _overlap_unknown(usage, counts, modality):
            fields = f"cache_read_tokens and input_{modality}_tokens"
            return _no("inconsistent_usage", f"{fields} overlap by an unreported amount", found)
    return None


# Cached tokens of another modality may have a rate of their own.
_OVERLAPS = tuple((modality, f"cache_{modality}_read_mtok") for modality in _MODALITIES)


def _overlap_unknown(usage: Usage, counts: Mapping[str, int], modality: str) -> bool:
    """Tell whether nobody said how many of the tokens of a modality were cached, though some may have been."""
    if f"input_{modality}_tokens" not in counts or getattr(usage, f"cache_read_{modality}_tokens") is not None:
        return False
    return counts.get("cache_read_tokens", 0) > sum(counts.get(f"cache_read_{each}_tokens", 0) for each in _MODALITIES)


def _unrated(found: Quote, counts: Mapping[str, int]) -> NoQuote | None:
    if found.free:
        return None
    for total in _TOTALS:
        if total in counts and not _paid(found, counts, total) and not _paid_otherwise(found, counts, total):
            return _no("no_unit_price", f"{found.model} has no price for {total} ({counts[total]})", found)
    return None


def _paid(found: Quote, counts: Mapping[str, int], total: str) -> bool:
    return total in counts and any(key in found.rates for key in _TOTALS[total])


def _paid_otherwise(found: Quote, counts: Mapping[str, int], total: str) -> bool:
    """Tell whether the work that a total measures is paid for by another measure of it.

    1. Seconds, characters, pages or images beside tokens that are paid for, of a model that has no rate for them.
    2. Tokens beside seconds, characters or pages that are paid for, of a model that has no rate for tokens at all.
    3. Searches of a model with a fee for each request, which is what Perplexity's searches cost.
    """
    if total == "web_search_requests":
        return "requests_kcount" in found.rates
    if total in _SAME_AS_TOKENS:
        tokens, price_key = _SAME_AS_TOKENS[total]
        return tokens in counts and price_key in found.rates
    if total not in {"input_tokens", "output_tokens"} or any(key.endswith("_mtok") for key in found.rates):
        return False
    return any(_paid(found, counts, measure) for measure in _SAME_AS_TOKENS)


def _ancestors(field: str) -> frozenset[str]:
    parents = {parent for unit in _UNITS if unit.field == field for parent in unit.parents}
    return frozenset(parents).union(*(_ancestors(parent) for parent in parents))


_ANCESTORS = {unit.field: _ancestors(unit.field) for unit in _UNITS}


def _no(reason: UnpricedReason, detail: str, found: Quote) -> NoQuote:
    return NoQuote(reason, detail, found.model, found.match)
