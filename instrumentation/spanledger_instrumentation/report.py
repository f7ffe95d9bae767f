"""An Answer -> the attributes that it puts on its span."""

from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.usage import FIGURES, Answer, Usage

__all__ = ["of_answer", "of_usage"]

_USAGE: Final[Mapping[str, str]] = {
    "input_tokens": names.USAGE_INPUT_TOKENS,
    "output_tokens": names.USAGE_OUTPUT_TOKENS,
    "cache_read_input_tokens": names.USAGE_CACHE_READ,
    "cache_write_input_tokens": names.USAGE_CACHE_WRITE,
    "cache_write_5m_input_tokens": names.USAGE_CACHE_WRITE_5M,
    "cache_write_1h_input_tokens": names.USAGE_CACHE_WRITE_1H,
    "cache_write_30m_input_tokens": names.USAGE_CACHE_WRITE_30M,
    "cache_write_12h_input_tokens": names.USAGE_CACHE_WRITE_12H,
    "reasoning_output_tokens": names.USAGE_REASONING,
    "text_input_tokens": names.USAGE_TEXT_INPUT,
    "audio_input_tokens": names.USAGE_AUDIO_INPUT,
    "image_input_tokens": names.USAGE_IMAGE_INPUT,
    "video_input_tokens": names.USAGE_VIDEO_INPUT,
    "text_output_tokens": names.USAGE_TEXT_OUTPUT,
    "audio_output_tokens": names.USAGE_AUDIO_OUTPUT,
    "image_output_tokens": names.USAGE_IMAGE_OUTPUT,
    "text_cache_read_input_tokens": names.USAGE_TEXT_CACHE_READ,
    "audio_cache_read_input_tokens": names.USAGE_AUDIO_CACHE_READ,
    "image_cache_read_input_tokens": names.USAGE_IMAGE_CACHE_READ,
    "video_cache_read_input_tokens": names.USAGE_VIDEO_CACHE_READ,
    "compaction_input_tokens": names.COMPACTION_INPUT_TOKENS,
    "compaction_output_tokens": names.COMPACTION_OUTPUT_TOKENS,
    "web_search_requests": names.USAGE_WEB_SEARCH_REQUESTS,
    "search_sources": names.USAGE_SEARCH_SOURCES,
    "search_units": names.USAGE_SEARCH_UNITS,
    "input_characters": names.USAGE_INPUT_CHARACTERS,
    "input_audio_s": names.USAGE_INPUT_AUDIO_S,
    "input_images": names.USAGE_INPUT_IMAGES,
    "output_images": names.USAGE_OUTPUT_IMAGES,
    "pages": names.USAGE_PAGES,
    "cost_usd": names.USAGE_COST_AMOUNT,
}
assert _USAGE.keys() == set(FIGURES)
_NAMES: Final = tuple(_USAGE[field] for field in FIGURES)
_SERVICE_TIERS: Final[Mapping[str, str]] = {
    "openai": names.OPENAI_RESPONSE_SERVICE_TIER,
    "anthropic": names.ANTHROPIC_RESPONSE_SERVICE_TIER,
}


def of_answer(answer: Answer, wire_owner: str) -> dict[str, AttributeValue]:
    """Give the attributes of what the provider answered."""
    found: dict[str, AttributeValue] = {**answer.details}
    if answer.id is not None:
        found[names.RESPONSE_ID] = answer.id
    if answer.model is not None:
        found[names.RESPONSE_MODEL] = answer.model
    if answer.service_tier is not None:
        found[_SERVICE_TIERS.get(wire_owner, names.RESPONSE_SERVICE_TIER)] = answer.service_tier
    if answer.usage is not None:
        found.update(of_usage(answer.usage))
    return found


def of_usage(usage: Usage) -> dict[str, AttributeValue]:
    """Give the attributes of the figures that the provider reported."""
    pairs = zip(_NAMES, usage.figures(), strict=True)
    found: dict[str, AttributeValue] = {name: figure for name, figure in pairs if figure is not None}
    if usage.cost_usd is not None:
        found[names.USAGE_COST_CURRENCY] = "USD"
        found[names.USAGE_COST_SOURCE] = "provider"
    return found
