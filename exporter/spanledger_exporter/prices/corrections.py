"""genai-prices' data with what it cannot say: DeepSeek's prices by date, hour and day of the week at once.

Its constraints are a date or hours, so that its peak prices hold at weekends and before they were introduced, too
(github.com/pydantic/genai-prices/issues/582). Only windows as they stand there are replaced: should its data learn to
say this, nothing is done.
"""

from collections.abc import Mapping
from typing import Any

# "Peak hours are 01:00 - 04:00 and 06:00 - 10:00 UTC, Monday through Friday (all other hours are off-peak)."
# Source: api-docs.deepseek.com/quick_start/pricing, as quoted 2026-08-23, read 2026-11-28. Peak prices began on
# 2026-08-17, the free weekends on 2026-08-23, by Beijing's calendar: its peak hours are on the same day as in UTC.
_PEAK_HOURS = ({"start": "01:00:00", "end": "04:00:00"}, {"start": "06:00:00", "end": "10:00:00"})
_WEEKDAYS = [1, 2, 3, 4, 5]
_PEAK_FROM, _WEEKENDS_FREE_FROM = "2026-08-17", "2026-08-23"
# What the peak cost before the price of V4 Flash fell on 2026-09-10. Source: github.com/pydantic/genai-prices/pull/581.
_EARLIER_PEAK = {
    "deepseek-v4-flash": {"input_mtok": "0.44", "cache_read_mtok": "0.014", "output_mtok": "1.32"},
}


def corrected(provider: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a provider of the price book with its prices put right, in the same shape."""
    if provider["id"] != "deepseek":
        return provider
    return {**provider, "models": [_with_weekends(model) for model in provider["models"]]}


def _with_weekends(model: Mapping[str, Any]) -> Mapping[str, Any]:
    peaks = [each for each in model["prices"] if each.get("when") in _PEAK_HOURS]
    if not peaks:
        return model
    others = [each for each in model["prices"] if each not in peaks]
    newest = max((each.get("when", {}).get("from", _PEAK_FROM) for each in others), default=_PEAK_FROM)
    found = [*others]
    for peak in peaks:
        hours = peak["when"]
        earlier = _EARLIER_PEAK.get(model["id"], peak["prices"])
        found += [
            {"prices": earlier, "when": {"from": _PEAK_FROM, "until": _WEEKENDS_FREE_FROM, **hours}},
            {"prices": earlier, "when": {"from": _WEEKENDS_FREE_FROM, "until": newest, "weekdays": _WEEKDAYS, **hours}},
            {"prices": peak["prices"],
             "when": {"from": max(newest, _WEEKENDS_FREE_FROM), "weekdays": _WEEKDAYS, **hours}},
        ]  # fmt: skip
    return {**model, "prices": [each for each in found if not _empty(each.get("when", {}))]}


def _empty(when: Mapping[str, Any]) -> bool:
    return "until" in when and when["until"] <= when["from"]
