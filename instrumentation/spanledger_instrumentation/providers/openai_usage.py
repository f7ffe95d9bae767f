"""The usage object of OpenAI and of all who speak its formats -> Usage.

The dialects are told apart by the members that are there, never by the host: gateways pass them through.

Shape: {"prompt_tokens" | "input_tokens", "completion_tokens" | "output_tokens", "total_tokens",
       "prompt_tokens_details" | "input_tokens_details" | "input_token_details": {"cached_tokens", "cache_write_tokens",
       "cache_write_tokens_details", "text_tokens", "audio_tokens", "image_tokens", "video_tokens"},
       "completion_tokens_details" | ...: {"reasoning_tokens", "text_tokens", "audio_tokens", "image_tokens"}}, and
       the members of the dialects, each named where it is read.
Source: openai 3.54 types/completion_usage.py, responses/response_usage.py, images_response.py, audio/transcription.py;
groq 1.7, mistralai 3.7 (models/usageinfo.py, conversationusageinfo.py); the extractors of genai-prices 0.2.3 for xAI,
Perplexity and DeepSeek; LiteLLM's types/utils.py `PromptTokensDetailsWrapper`, `CacheCreationTokenDetails` (November
2026).
"""

from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation.providers.values import count, members, number
from spanledger_instrumentation.usage import Usage

__all__ = ["read_usage"]

_INPUT: Final = ("prompt_tokens", "input_tokens")
_OUTPUT: Final = ("completion_tokens", "output_tokens")
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details", "prompt_token_details")
_OUTPUT_DETAILS: Final = (
    "completion_tokens_details",
    "output_tokens_details",
    "output_token_details",
    "completion_token_details",  # Writer, as its `prompt_token_details`
)
_CACHE_READ: Final = (
    "prompt_cache_hit_tokens",  # DeepSeek, beside `prompt_cache_miss_tokens`: the two make `prompt_tokens`
    "cached_tokens",  # Together, on the first level
    "num_cached_tokens",  # Mistral
    "cache_read_input_tokens",  # LiteLLM, beside its own `prompt_tokens_details`
)
_CACHE_READ_DETAILS: Final = ("cached_tokens", "cache_read_input_tokens")  # the second one is Perplexity's
_CACHE_WRITE_DETAILS: Final = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_Part = str | tuple[str, tuple[str, ...]] | Mapping[str, str]
"""A field of a usage; one of which the first of several members counts; or what stands one level below."""
_INPUT_PARTS: Final[Mapping[str, _Part]] = {
    **dict.fromkeys(_CACHE_READ_DETAILS, ("cache_read_input_tokens", _CACHE_READ_DETAILS)),
    **dict.fromkeys(_CACHE_WRITE_DETAILS, ("cache_write_input_tokens", _CACHE_WRITE_DETAILS)),
    "text_tokens": "text_input_tokens",
    "audio_tokens": "audio_input_tokens",
    "image_tokens": "image_input_tokens",
    "video_tokens": "video_input_tokens",
    "cache_write_tokens_details": {
        "ttl_30m_tokens": "cache_write_30m_input_tokens",
        "ttl_12h_tokens": "cache_write_12h_input_tokens",
    },
    "cache_creation_token_details": {  # LiteLLM
        "ephemeral_5m_input_tokens": "cache_write_5m_input_tokens",
        "ephemeral_1h_input_tokens": "cache_write_1h_input_tokens",
    },
}
_OUTPUT_PARTS: Final[Mapping[str, _Part]] = {
    "reasoning_tokens": "reasoning_output_tokens",
    "text_tokens": "text_output_tokens",
    "audio_tokens": "audio_output_tokens",
    "image_tokens": "image_output_tokens",
}
_OWN: Final = frozenset(
    {
        *_CACHE_READ,
        "connectors",
        "cost",
        "cost_in_usd_ticks",
        "num_search_queries",
        "num_sources_used",
        "prompt_audio_seconds",
        "reasoning_tokens",
        "seconds",
        "server_side_tool_usage_details",
        "server_tool_use",
        "tool_calls_details",
    }
)
"""Members of the dialects alone: a usage that has none of them is read at half the cost."""
_SEARCHES: Final = ("web_search_calls", "x_search_calls")
_TICKS_PER_USD: Final = 10**10


def read_usage(usage: Mapping[str, object], *, model: str | None = None, input_only: bool = False) -> Usage:
    """Read a usage object.

    `input_only`: the operation has no output, so that a total that stands alone is its input (Voyage, Jina).
    """
    found = Usage(input_tokens=_count(usage, _INPUT), output_tokens=_count(usage, _OUTPUT))
    _take_details(found, members(_first(usage, _INPUT_DETAILS)), _INPUT_PARTS)
    _take_details(found, members(_first(usage, _OUTPUT_DETAILS)), _OUTPUT_PARTS)
    own = not _OWN.isdisjoint(usage)
    if own:
        _take_flat(found, usage)
    total = count(usage.get("total_tokens"))
    if input_only:
        found.input_tokens = total if found.input_tokens is None else found.input_tokens
    else:
        _add_what_is_beside(found, usage, total, model)
    if own:
        _take_other_units(found, usage)
    return found


def _take_details(found: Usage, details: Mapping[str, object], parts: Mapping[str, _Part]) -> None:
    """Take the parts of a total that are there: by the members of the details, which are few, not by all names."""
    for name, value in details.items():
        part = parts.get(name)
        if part is None or value is None:
            continue
        if isinstance(part, str):
            setattr(found, part, count(value))
        elif isinstance(part, tuple):
            field, candidates = part
            setattr(found, field, _count(details, candidates))
        else:
            _take_details(found, members(value), part)


def _first(usage: Mapping[str, object], candidates: tuple[str, ...]) -> object:
    for name in candidates:
        if (value := usage.get(name)) is not None:
            return value
    return None


def _count(usage: Mapping[str, object], candidates: tuple[str, ...]) -> int | None:
    return count(_first(usage, candidates))


def _take_flat(found: Usage, usage: Mapping[str, object]) -> None:
    """Take the parts that some give on the first level; only where they can be a part at all."""
    if found.cache_read_input_tokens is None:
        cached = _count(usage, _CACHE_READ)
        if cached is not None and cached <= (found.input_tokens or 0):
            found.cache_read_input_tokens = cached
    if found.reasoning_output_tokens is None:
        found.reasoning_output_tokens = count(usage.get("reasoning_tokens"))


def _add_what_is_beside(found: Usage, usage: Mapping[str, object], total: int | None, model: str | None) -> None:
    """Add to the totals what a dialect counts beside them.

    1. Perplexity: `reasoning_tokens` and `citation_tokens` stand beside both totals and beside `total_tokens`. The
       citations are what the model read; they cost what its input costs.
    2. Whoever's `total_tokens` exceeds the two totals by exactly one part: reasoning (xAI's chat), audio (Mistral's
       Voxtral), what connectors gave the model to read (Mistral's conversations).
    3. Voxtral, where it gives the seconds of the audio and not its tokens: the rest is audio.
    4. Gemini behind OpenAI's format, where the thoughts are only in `total_tokens`: the rest is reasoning.
    Any other difference is not explained, and the totals stay as they are.
    """
    if found.input_tokens is None or found.output_tokens is None:
        return
    reasoning = found.reasoning_output_tokens
    if "citation_tokens" in usage or ("reasoning_tokens" in usage and "num_search_queries" in usage):
        found.input_tokens += count(usage.get("citation_tokens")) or 0
        found.output_tokens += count(usage.get("reasoning_tokens")) or 0
        return
    connectors = count(usage.get("connector_tokens"))
    rest = (connectors or 0) if total is None else total - found.input_tokens - found.output_tokens
    if rest <= 0:
        return
    if rest == reasoning:
        found.output_tokens += rest
    elif rest in (found.audio_input_tokens, connectors):
        found.input_tokens += rest
    elif found.audio_input_tokens is None and number(usage.get("prompt_audio_seconds")):
        found.input_tokens += rest
        found.audio_input_tokens = rest
    elif not reasoning and "gemini" in (model or ""):
        found.output_tokens += rest
        found.reasoning_output_tokens = rest


def _take_other_units(found: Usage, usage: Mapping[str, object]) -> None:
    found.web_search_requests = _searches(usage)
    found.search_sources = count(usage.get("num_sources_used"))  # xAI
    found.input_audio_s = _amount(usage.get("prompt_audio_seconds"))  # Mistral
    if usage.get("type") == "duration":  # OpenAI's transcriptions that are billed by time
        found.input_audio_s = _amount(usage.get("seconds"))
    found.cost_usd = _cost_usd(usage)


def _searches(usage: Mapping[str, object]) -> int | None:
    """Read the searches: Perplexity's two formats, OpenRouter's, xAI's, Mistral's.

    Shape: of xAI {"server_side_tool_usage_details": {"web_search_calls": 0, "x_search_calls": 3, "mcp_calls": 0}}
           of Mistral {"connectors": {"web_search": 1, "web_search_premium": 1, "code_interpreter": 1}}
    """
    candidates = (
        usage.get("num_search_queries"),
        members(members(usage.get("tool_calls_details")).get("search_web")).get("invocation"),
        members(usage.get("server_tool_use")).get("web_search_requests"),
    )
    found = next((value for value in map(count, candidates) if value is not None), None)
    if found is not None:
        return found
    tools = members(usage.get("server_side_tool_usage_details"))
    connectors = members(usage.get("connectors"))
    runs = [count(tools.get(name)) for name in _SEARCHES]
    runs += [count(value) for name, value in connectors.items() if name.startswith("web_search")]
    counted = [run for run in runs if run is not None]
    return sum(counted) if counted else None


def _cost_usd(usage: Mapping[str, object]) -> float | None:
    """Read what the provider says that the call costs.

    1. xAI: `cost_in_usd_ticks`, of which 10,000,000,000 are a US dollar.
    2. Perplexity: `cost.total_cost`.
    3. OpenRouter: `cost`, in credits, which are US dollars; with a key of one's own (`is_byok`) it is only the fee, and
       what the provider behind it bills stands in `cost_details.upstream_inference_cost`.
    """
    if (ticks := _amount(usage.get("cost_in_usd_ticks"))) is not None:
        return ticks / _TICKS_PER_USD
    cost = usage.get("cost")
    if isinstance(cost, dict):
        return _amount(members(usage.get("cost")).get("total_cost"))
    fee = _amount(cost)
    if fee is None or usage.get("is_byok") is not True:
        return fee
    upstream = _amount(members(usage.get("cost_details")).get("upstream_inference_cost"))
    return None if upstream is None else fee + upstream


def _amount(value: object) -> float | None:
    found = number(value)
    return found if found is not None and found >= 0 else None
