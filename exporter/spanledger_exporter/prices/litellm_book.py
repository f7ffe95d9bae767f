"""LiteLLM's `model_prices_and_context_window.json` -> a price book's document.

It has no dates: each price is taken for all time. What it cannot say for certain is left out, so that such a call is
unpriced: a model whose prices are all zero, which is how it writes both "free" and "unknown", and a search whose price
depends on its size.

Source: LiteLLM 1.110.2, `model_prices_and_context_window_backup.json` and its `sample_spec`.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

from spanledger_exporter.prices.names import LITELLM_PROVIDERS

# Its cost for one unit -> our price key, and how many units that covers.
_KEYS: Mapping[str, tuple[str, int]] = {
    "input_cost_per_token": ("input_mtok", 10**6),
    "output_cost_per_token": ("output_mtok", 10**6),
    "cache_read_input_token_cost": ("cache_read_mtok", 10**6),
    "cache_creation_input_token_cost": ("cache_write_mtok", 10**6),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h_mtok", 10**6),
    "input_cost_per_audio_token": ("input_audio_mtok", 10**6),
    "input_cost_per_image_token": ("input_image_mtok", 10**6),
    "input_cost_per_video_token": ("input_video_mtok", 10**6),
    "output_cost_per_audio_token": ("output_audio_mtok", 10**6),
    "output_cost_per_image_token": ("output_image_mtok", 10**6),
    "output_cost_per_reasoning_token": ("output_reasoning_mtok", 10**6),
    "cache_read_input_audio_token_cost": ("cache_audio_read_mtok", 10**6),
    "cache_read_input_image_token_cost": ("cache_image_read_mtok", 10**6),
    "input_cost_per_character": ("input_mchars", 10**6),
    "input_cost_per_request": ("requests_kcount", 10**3),
    "ocr_cost_per_page": ("input_document_kpages", 10**3),
    "search": ("web_searches_kcount", 10**3),
}
_BY_MODE: Mapping[tuple[str, str], tuple[str, int]] = {
    ("audio_transcription", "input_cost_per_second"): ("input_audio_hours", 3600),
    ("rerank", "input_cost_per_query"): ("rerank_searches_kcount", 10**3),
}
_COST = re.compile(
    r"(?P<key>.+?)(?:_above_(?P<k>\d+)k_tokens)?(?:_(?P<tier>batches|flex|priority|ultrafast|balanced))?"
)
# Names of these begin with the provider's region, whose prices are its own: a span does not say them so.
_REGIONAL = re.compile(r"^(?:[a-z]{2}(?:-gov)?-[a-z]+-\d/|\d-month-commitment/|.*/\d-month-commitment/)")
_WHOLE_DAY = "00:00-00:00"


def litellm_document(prices: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return LiteLLM's prices as the document of a price book.

    Units: USD for one unit in, in floats; USD for the many units of a price key out, as exact decimal text.
    """
    providers: dict[str, dict[str, Any]] = {}
    for name, said in sorted(prices.items()):
        entry = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        if name == "sample_spec" or "litellm_provider" not in entry:
            continue
        label = str(entry["litellm_provider"])
        provider_id = _provider_id(label)
        model_id = _model_id(name, provider_id)
        if _REGIONAL.match(model_id):
            continue
        provider = providers.setdefault(provider_id, {"id": provider_id, "fallbacks": [], "models": {}})
        provider["models"].setdefault(model_id.lower(), _model(model_id, entry))
    return {
        "source": source,
        "providers": [{**each, "models": list(each["models"].values())} for each in providers.values()],
    }


def _provider_id(label: str) -> str:
    for known, provider_id in LITELLM_PROVIDERS.items():
        if label == known or label.startswith(f"{known}-"):
            return provider_id
    return label


def _model_id(name: str, provider_id: str) -> str:
    label, slash, rest = name.partition("/")
    return rest if slash and _provider_id(label) == provider_id else name


def _model(model_id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    standard, tiers = _prices(entry)
    conditions: list[dict[str, Any]] = [{"prices": standard}]
    off_peak = cast("dict[str, Any]", entry.get("off_peak_pricing") or {})
    if off_peak and standard:
        cheaper = {**standard, **_prices(off_peak)[0]}
        conditions += [{"prices": cheaper, "when": when} for when in _windows(off_peak)]
    variants = [{"context": _context(tier), "prices": prices} for tier, prices in sorted(tiers.items()) if standard]
    return {"id": model_id, "match": {"equals": model_id}, "prices": conditions, "variants": variants}


def _prices(entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the standard prices and those of each tier."""
    found: dict[str, dict[str, dict[int, str]]] = {}
    mode = str(entry.get("mode"))
    for name, cost, threshold in _costs(entry):
        said = _COST.fullmatch(name)
        assert said is not None, "the pattern takes any name"
        known = _BY_MODE.get((mode, said["key"])) or _KEYS.get(said["key"])
        if known is None or isinstance(cost, bool) or not isinstance(cost, int | float) or cost < 0:
            continue
        key, units = known
        start = threshold or int(said["k"] or 0) * 1000
        found.setdefault(said["tier"] or "", {}).setdefault(key, {})[start] = _usd(cost, units)
    standard = found.pop("", {})
    if all(Decimal(usd) == 0 for steps in standard.values() for usd in steps.values()):
        return {}, {}
    # A tier that has one price where the standard has several by length says nothing of the longer calls.
    known_tiers = {tier: prices for tier, prices in found.items() if _as_long(prices, standard)}
    return _by_key(standard), {tier: _by_key(prices) for tier, prices in known_tiers.items()}


def _as_long(prices: Mapping[str, Mapping[int, str]], standard: Mapping[str, Mapping[int, str]]) -> bool:
    return all(len(steps) > 1 or len(standard.get(key, ())) < 2 for key, steps in prices.items())


def _by_key(prices: Mapping[str, Mapping[int, str]]) -> dict[str, Any]:
    return {key: _price(steps) for key, steps in prices.items() if 0 in steps}


def _costs(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any, int]]:
    """Return each cost, and the number of input tokens above which it holds where its name does not say so."""
    for name, cost in entry.items():
        yield name, cost, 0
    for part in entry.get("tiered_pricing") or ():
        start = int(part["range"][0]) if "range" in part else 0
        for name, cost in part.items():
            yield name, cost, start
    searches = cast("dict[str, Any]", entry.get("search_context_cost_per_query") or {})
    if len(costs := set(searches.values())) == 1:
        yield "search", costs.pop(), 0


def _price(steps: Mapping[int, str]) -> Any:
    tiers = [[start, usd] for start, usd in sorted(steps.items()) if start]
    return {"base": steps[0], "tiers": tiers} if tiers else steps[0]


def _usd(cost: float, units: int) -> str:
    # A float's shortest text is what stood in the JSON; its binary value has another thirty decimals.
    return f"{(Decimal(repr(cost)) * units).normalize():f}"


def _context(tier: str) -> dict[str, str]:
    return {"processing": "batch"} if tier == "batches" else {"service_tier": tier}


def _windows(off_peak: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for window in off_peak.get("windows") or ({"hours_utc": off_peak.get("hours_utc", [])},):
        hours: str | list[str] = window.get("hours_utc") or []
        for span in [hours] if isinstance(hours, str) else hours:
            start, _, end = span.partition("-")
            when = {} if span == _WHOLE_DAY else {"start": f"{start}:00", "end": f"{end}:00"}
            if "weekdays" in window:
                when |= {"weekdays": window["weekdays"]}
            yield when
