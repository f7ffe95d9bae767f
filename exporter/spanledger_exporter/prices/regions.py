"""Where a call was served -> what that place adds to the price of tokens.

The price book has no such prices. These are the surcharges that the providers publish; where it is not known whether
one applies, there is no price.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from spanledger_exporter.records import Profile

_NEUTRAL_GEOS = frozenset({None, "", "global", "not_available"})
_TENTH = Fraction(11, 10)


class Surcharge(NamedTuple):
    """What a place multiplies the price of each token by, and the words for it in a price's context."""

    factor: Fraction
    context: str


NO_SURCHARGE = Surcharge(Fraction(1), "")


class _Host(NamedTuple):
    provider: str
    host: re.Pattern[str]
    models: re.Pattern[str]  # those that cost more there
    others: re.Pattern[str]  # those that certainly do not; of all else nothing is known
    factor: Fraction


_ANY, _NONE = re.compile(""), re.compile("(?!)")
_HOSTS = (
    # "10% uplift for models released on or after March 5, 2026"; gpt-5.4 is of that day.
    # Source: developers.openai.com, "Data residency", read 2026-11-28; LiteLLM 1.110.2 has the same models.
    _Host(
        "openai",
        re.compile(r"(?:us|eu|au|in|jp)\.api\.openai\.com"),
        re.compile(r"gpt-(?:5\.[4-9]|[6-9])|gpt-realtime-2\.1"),
        re.compile(
            r"gpt-(?:3|4|5(?:$|[^.]|\.[0-3]))|o[134](?:$|-)|text-|tts-|whisper|dall-e|omni-moderation|chatgpt-4"
        ),
        _TENTH,
    ),
    # "Token usage costs 10% more than on the global endpoint".
    # Source: docs.x.ai, "Regional Endpoints", read 2026-11-28.
    _Host("x-ai", re.compile(r"us\.api\.x\.ai"), _ANY, _NONE, _TENTH),
    # "1.25x the standard serverless rate for input, cached input, and output tokens".
    # Source: docs.together.ai, "Geo-specific inference", read 2026-11-28.
    _Host("together", re.compile(r"(?:us|ca)-api\.together\.ai"), _ANY, _NONE, Fraction(5, 4)),
    # Vertex AI's regional and multi-regional endpoints. Source: LiteLLM 1.110.2, `regional_endpoint_uplift_multiplier`.
    _Host(
        "google",
        re.compile(r"[a-z0-9-]+-aiplatform\.googleapis\.com|aiplatform\.[a-z]+\.rep\.googleapis\.com"),
        re.compile(
            r"claude-(?:opus|sonnet|haiku|fable|mythos)-(?:4-[5-9]|[5-9])"
            r"|gemini-(?:3\.[5-9]-flash|3\.1-flash-(?:image|lite)|4-)"
        ),
        _ANY,
        _TENTH,
    ),
)


def surcharge(provider_id: str, model_id: str, profile: Profile) -> Surcharge | str:
    """Return what the place that served a call adds, or why that is not known."""
    geo = profile.inference_geo
    if geo not in _NEUTRAL_GEOS:
        # "1.1x pricing multiplier" for inference in the US, which the models before Opus 4.6 refuse.
        # Source: docs.aws.amazon.com/claude-platform, "Data residency", and platform.claude.com, read 2026-11-28.
        if provider_id == "anthropic" and geo == "us":
            return Surcharge(_TENTH, "inference_geo=us")
        return f"no price is known for inference_geo={geo}"
    host = profile.server_address
    if host is None:
        return NO_SURCHARGE
    for rule in _HOSTS:
        if rule.provider == provider_id and rule.host.fullmatch(host):
            if rule.models.match(model_id):
                return Surcharge(rule.factor, f"server={host}")
            return NO_SURCHARGE if rule.others.match(model_id) else f"it is not known what {host} charges for it"
    return NO_SURCHARGE


def dearest_surcharge(provider_id: str, model_id: str) -> Fraction:
    """Return the most that any place multiplies the price of a token of this model by."""
    factors = [rule.factor for rule in _HOSTS if rule.provider == provider_id and rule.models.match(model_id)]
    return max([Fraction(1), *factors, *([_TENTH] if provider_id == "anthropic" else [])])
