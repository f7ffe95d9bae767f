"""The price book: genai-prices' data in our own canonical form, looked up by provider, model, tier and time.

A book is plain JSON. Its id is the SHA-256 of that JSON, so an entry that names its book names its price for good,
and any book that the ledger keeps can be read back and asked again. Matching and precedence follow genai-prices'
rules (first model that matches wins; the last active condition wins; variants override key by key); where we differ
on purpose, the comment says so.

Source: genai-prices 0.2.3, `types.py` (matching, constraints, tiers) and `data_units.py` (units); MIT licence.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

from spanledger_exporter.records import UnpricedReason

# OpenTelemetry's provider names -> the book's providers. Names that are equal in both need no row.
BOOK_PROVIDERS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "voyage": "voyageai",
    "x_ai": "x-ai",
}
_PUSD_PER_USD = 10**12
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_NAME_PREFIX = re.compile(r"^(?:models/|(?:projects/.*/)?publishers/[^/]+/models/|arn:.*/)")
# Vertex AI's OpenAI-compatible endpoint names Gemini so, and any model may carry a version behind an @.
# Source: cloud.google.com, "Call Vertex AI models by using the OpenAI library", read 2026-11.
_GOOGLE_NAME = re.compile(r"^(?:google/)?([^/@]+)(?:@.*)?$")
_LOOKUPS_MAX = 20_000


class Rate(NamedTuple):
    """The price of one unit: `base`, or the last of `steps` whose threshold the call's whole input exceeds.

    Units: pico-USD for one unit (a token, a search, a millisecond). Steps are (input tokens, pico-USD), ascending:
    crossing one reprices the whole call, as the providers do.
    """

    base: Fraction
    steps: tuple[tuple[int, Fraction], ...] = ()

    def at(self, input_tokens: int) -> Fraction:
        """Return the price of one unit in a call with that many input tokens."""
        rate = self.base
        for threshold, step in self.steps:
            if input_tokens > threshold:
                rate = step
        return rate


class Quote(NamedTuple):
    """The rates of one model at one time and tier: price key of the book -> rate."""

    model: str
    match: str
    context: str | None
    free: bool
    rates: Mapping[str, Rate]


class NoQuote(NamedTuple):
    """Why the book has no price, in a closed reason and in words."""

    reason: UnpricedReason
    detail: str
    model: str | None = None
    match: str | None = None


Context = tuple[tuple[str, str], ...]


class PriceBook:
    """Prices by provider, model, tier and time, from one canonical JSON document.

    Shape: `{"source": str, "providers": [{"id", "fallbacks": [id], "models": [{"id", "match", "prices": [{"when"?,
    "prices": {key: "usd" | {"base", "tiers": [[start, "usd"]]}}}], "variants": [{"context": {}, "when"?,
    "prices"}]}]}]}`
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.source: str = document["source"]
        self._providers: dict[str, Any] = {provider["id"]: provider for provider in document["providers"]}
        self._quotes: dict[object, Quote | NoQuote] = {}

    @cached_property
    def content(self) -> bytes:
        """The canonical JSON, as it is hashed and kept."""
        return json.dumps(self.document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def book_id(self) -> str:
        """The SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def quote(
        self, provider: str, models: Iterable[tuple[str, str]], context: Context, at: datetime
    ) -> Quote | NoQuote:
        """Return the rates for the first of the named models that the book knows.

        `models` are (what the name is, the name), for example `("response", "gpt-5-2025-08-07")`; the first with a
        price wins. `context` are the variants that must apply, for example `(("service_tier", "flex"),)`.
        """
        names = tuple(models)
        key = (provider, names, context, at.replace(second=0, microsecond=0))
        found = self._quotes.get(key)
        if found is None:
            if len(self._quotes) >= _LOOKUPS_MAX:
                self._quotes.clear()
            found = self._quotes[key] = self._look_up(provider, names, context, at)
        return found

    def _look_up(
        self, provider: str, names: tuple[tuple[str, str], ...], context: Context, at: datetime
    ) -> Quote | NoQuote:
        provider_id = BOOK_PROVIDERS.get(provider, provider)
        if provider_id not in self._providers:
            return NoQuote("unknown_provider", f"the price book has no provider {provider!r}")
        for kind, name in names:
            reference = _NAME_PREFIX.sub("", name.lower())
            model_provider, model = self._model(provider_id, reference)
            if model is not None:
                how = "exact" if model["id"] == reference else "rule"
                return _quote(f"{model_provider}/{model['id']}", f"{kind}:{how}", model, context, at)
        asked = " or ".join(dict.fromkeys(repr(name) for _, name in names)) or "no name at all"
        return NoQuote("unknown_model", f"the price book knows no model {asked} of {provider_id}")

    def _model(self, provider_id: str, reference: str) -> tuple[str, Any]:
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", reference)  # LiteLLM and OpenRouter write dates without dashes
        plain = _GOOGLE_NAME.sub(r"\1", reference) if provider_id == "google" else reference
        for name in dict.fromkeys((reference, dashed, plain)):
            for candidate in (provider_id, *self._providers[provider_id]["fallbacks"]):
                for model in self._providers.get(candidate, {"models": ()})["models"]:
                    if _matches(model["match"], name):
                        return candidate, model
        return provider_id, None


def _quote(model_id: str, match: str, model: Any, context: Context, at: datetime) -> Quote | NoQuote:
    prices = dict(_active_prices(model["prices"], at))
    applied: list[str] = []
    for key, value in context:
        overrides = [
            variant["prices"]
            for variant in model["variants"]
            if variant["context"] == {key: value} and _active(variant.get("when"), at)
        ]
        if not overrides and value not in _STANDARD_TIERS:
            # Deliberate: genai-prices answers the standard price here, silently.
            return NoQuote(
                "unknown_tier",
                f"{model_id} has no known price for {key}={value} at that time",
                model_id,
                match,
            )
        for override in reversed(overrides):
            prices.update(override)
        applied.extend(f"{key}={value}" for _ in overrides[:1])
    free = all(_zero(price) for price in prices.values())
    if not prices and not model_id.endswith(":free"):
        # Deliberate: an empty price is 0 USD for genai-prices; it means "no longer listed" for most such models.
        return NoQuote("no_price", f"the price book lists {model_id} without a price", model_id, match)
    return Quote(
        model_id,
        match,
        ",".join(applied) or None,
        free,
        {key: _rate(key, value) for key, value in prices.items()},
    )


_STANDARD_TIERS = frozenset({"default", "standard"})


def _active_prices(conditions: list[Any], at: datetime) -> Mapping[str, Any]:
    for condition in reversed(conditions):
        if _active(condition.get("when"), at):
            return condition["prices"]
    return conditions[0]["prices"] if conditions else {}


def _active(when: Mapping[str, str] | None, at: datetime) -> bool:
    if when is None:
        return True
    if "from" in when:
        return at.date() >= date.fromisoformat(when["from"])
    start, end = time.fromisoformat(when["start"]), time.fromisoformat(when["end"])
    now = at.time()
    return (now >= start or now < end) if end < start else start <= now < end


def _zero(price: Any) -> bool:
    if isinstance(price, str):
        return Decimal(price) == 0
    return Decimal(price["base"]) == 0 and all(Decimal(tier) == 0 for _, tier in price["tiers"])


def _rate(key: str, price: Any) -> Rate:
    per = _units_per_price(key)
    if isinstance(price, str):
        return Rate(Fraction(price) * _PUSD_PER_USD / per)
    steps = tuple((int(start), Fraction(tier) * _PUSD_PER_USD / per) for start, tier in price["tiers"])
    return Rate(Fraction(price["base"]) * _PUSD_PER_USD / per, steps)


def _units_per_price(key: str) -> int:
    """Return how many units a price covers, which its key's ending says; times are counted in milliseconds."""
    for ending, per in (
        ("_mtok", 10**6),
        ("_mchars", 10**6),
        ("_kcount", 10**3),
        ("_kpages", 10**3),
        ("_hours", 3_600_000),
    ):
        if key.endswith(ending):
            return per
    return 1


def _matches(rule: Mapping[str, Any], name: str) -> bool:
    ((kind, argument),) = rule.items()
    if kind == "or":
        return any(_matches(part, name) for part in argument)
    if kind == "and":
        return all(_matches(part, name) for part in argument)
    return _MATCHERS[kind](name, argument)


def _equals(name: str, text: str) -> bool:
    return name == text.lower()


def _starts_with(name: str, text: str) -> bool:
    return name.startswith(text.lower())


def _ends_with(name: str, text: str) -> bool:
    return name.endswith(text.lower())


def _contains(name: str, text: str) -> bool:
    return text.lower() in name


def _regex(name: str, pattern: str) -> bool:
    return re.search(pattern, name) is not None


_MATCHERS = {
    "equals": _equals,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "contains": _contains,
    "regex": _regex,
}
