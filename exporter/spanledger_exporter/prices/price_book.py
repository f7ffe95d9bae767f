"""The price book: a price list in our own canonical form, looked up by provider, model, tier, place and time.

A book is plain JSON. Its id is the SHA-256 of that JSON, so an entry that names its book names its price for good,
and any book that the ledger keeps can be read back and asked again. Precedence follows genai-prices' rules (the last
active condition wins; variants override key by key); where we differ on purpose, the comment says so.

Source: genai-prices 0.2.3, `types.py` (matching, constraints, tiers) and `data_units.py` (units); MIT licence.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from spanledger_exporter.prices.conditions import ALWAYS, Span, When, holds, span_of
from spanledger_exporter.prices.layers import LAYERS, CustomModel, Layers, Override
from spanledger_exporter.prices.matching import Matcher
from spanledger_exporter.prices.names import book_provider, references
from spanledger_exporter.prices.rates import Rate, rates_of
from spanledger_exporter.prices.regions import NO_SURCHARGE, Surcharge, surcharge
from spanledger_exporter.records import Profile, UnpricedReason

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STANDARD_TIERS = frozenset({"default", "standard"})
Context = tuple[tuple[str, str], ...]
Names = tuple[tuple[str, str], ...]


class Quote(NamedTuple):
    """The rates of one model at one time, tier and place: price key of the book -> rate.

    `span` is the time around the one that was asked for in which the answer is the same.
    """

    model: str
    match: str
    context: str | None
    free: bool
    rates: Mapping[str, Rate]
    span: Span = ALWAYS


class NoQuote(NamedTuple):
    """Why the book has no price, in a closed reason and in words."""

    reason: UnpricedReason
    detail: str
    model: str | None = None
    match: str | None = None
    span: Span = ALWAYS


class PriceBook:
    """Prices by provider, model, tier, place and time, from one canonical JSON document.

    Shape: `{"source": str, "providers": [{"id", "fallbacks": [id], "models": [{"id", "match", "prices": [{"when"?,
    "prices": {key: "usd" | {"base", "tiers": [[start, "usd"]]}}}], "variants": [{"context": {}, "when"?,
    "prices"}]}]}]}`, and the user's layers (`layers.py`) where there are any.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.source: str = document["source"]
        self.layers = Layers(document)
        self._providers: dict[str, Any] = {provider["id"]: provider for provider in document["providers"]}
        self._matchers: dict[str, Matcher] = {}

    @cached_property
    def content(self) -> bytes:
        """The canonical JSON, as it is hashed and kept."""
        return json.dumps(self.document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def book_id(self) -> str:
        """The SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def with_layers(self, layers: Mapping[str, Any]) -> "PriceBook":
        """Return the same price list under other layers; without any, the list alone."""
        document = {name: value for name, value in self.document.items() if name not in LAYERS}
        return PriceBook(document | {name: layers[name] for name in LAYERS if layers.get(name)})

    def quote(
        self, provider: str | None, names: Names, context: Context, at: datetime, profile: Profile | None = None
    ) -> Quote | NoQuote:
        """Return the rates for the first of the named models that has a price.

        `names` are (what the name is, the name), for example `("response", "gpt-5-2025-08-07")`; `context` are the
        variants that must apply, for example `(("service_tier", "flex"),)`; `profile` says who pays, and where.
        """
        provider_id = book_provider(provider, names)
        called = [reference for _, name in names for reference in references(provider_id, name)]
        deployed = self.layers.deployed(provider_id, [name for _, name in names], profile)
        if deployed is not None:
            # What the user says of a name stands before that name, and behind a model that the answer names before it.
            place = next((number for number, (kind, _) in enumerate(names) if kind == "request"), len(names))
            names = (*names[:place], ("deployment", deployed), *names[place:])
            called = [*references(provider_id, deployed), *called]
        custom = self.layers.custom(provider_id, called)
        if custom is not None:
            found = _custom_quote(custom, context, at)
        else:
            found = self._listed_quote(provider, provider_id, names, context, at, profile)
        return self._overridden(found, provider_id, called, context, at, profile)

    def models(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Return each provider's id with each of its models, the user's own last."""
        for provider in self.document["providers"]:
            for model in provider["models"]:
                yield provider["id"], model
        for model in self.document.get("models", ()):
            yield model["provider"], {**model, "id": model["name"]}

    def _listed_quote(
        self, provider: str | None, provider_id: str, names: Names, context: Context, at: datetime,
        profile: Profile | None,
    ) -> Quote | NoQuote:  # fmt: skip
        if provider_id not in self._providers:
            said = f"the price book has no provider {provider!r}" if provider else "no provider is named"
            return NoQuote("unknown_provider", said)
        for kind, name in names:
            asked = references(provider_id, name)
            model_provider, model = self._model(provider_id, asked)
            if model is not None:
                match = f"{kind}:{'exact' if model['id'].lower() in asked else 'rule'}"
                extra = NO_SURCHARGE if profile is None else surcharge(provider_id, model["id"], profile)
                return _quote(f"{model_provider}/{model['id']}", match, model, context, at, extra)
        said = " or ".join(dict.fromkeys(repr(name) for _, name in names)) or "no name at all"
        return NoQuote("unknown_model", f"the price book knows no model {said} of {provider_id}")

    def _model(self, provider_id: str, asked: Sequence[str]) -> tuple[str, Any]:
        for reference in asked:
            for candidate in (provider_id, *self._providers[provider_id]["fallbacks"]):
                provider = self._providers.get(candidate)
                number = None if provider is None else self._matcher(candidate).first(reference)
                if number is not None:
                    return candidate, self._providers[candidate]["models"][number]
        return provider_id, None

    def _matcher(self, provider_id: str) -> Matcher:
        found = self._matchers.get(provider_id)
        if found is None:
            rules = [model["match"] for model in self._providers[provider_id]["models"]]
            found = self._matchers[provider_id] = Matcher(rules)
        return found

    def _overridden(
        self, found: Quote | NoQuote, provider_id: str, called: Sequence[str], context: Context, at: datetime,
        profile: Profile | None,
    ) -> Quote | NoQuote:  # fmt: skip
        known = [*called, *([found.model.partition("/")[2].lower()] if found.model else [])]
        candidates = [each for each in self.layers.overrides if each.concerns(provider_id, known, profile)]
        if not candidates:
            return found
        span = _narrower(found.span, span_of((each.when for each in candidates), at))
        tier = next((value for _, value in context if value not in _STANDARD_TIERS), None)
        for override in candidates:
            if override.applies(tier, at) and (isinstance(found, Quote) or override.prices):
                return _negotiated(found, override, f"{provider_id}/{known[0] if known else '*'}", span)
        return found._replace(span=span)


def _negotiated(found: Quote | NoQuote, override: Override, model: str, span: Span) -> Quote:
    match = f"override:{override.name}" + (f",{found.match}" if found.match else "")
    rates = dict(found.rates) if isinstance(found, Quote) else {}
    if override.multiplier is not None:
        rates = {key: rate.times(override.multiplier) for key, rate in rates.items()}
    rates.update(rates_of(override.prices))
    context = found.context if isinstance(found, Quote) else override.tier
    return Quote(found.model or model, match, context, _all_zero(rates), rates, span)


def _custom_quote(custom: CustomModel, context: Context, at: datetime) -> Quote | NoQuote:
    model = f"{custom.provider}/{custom.name}"
    return _quote(model, f"custom:{custom.name}", custom.document, context, at, NO_SURCHARGE)


def _quote(
    model_id: str, match: str, model: Mapping[str, Any], context: Context, at: datetime, extra: Surcharge | str
) -> Quote | NoQuote:
    variants = [each for each in model["variants"] if any(each["context"] == {key: value} for key, value in context)]
    span = span_of((each.get("when") for each in (*model["prices"], *variants)), at)
    if isinstance(extra, str):
        return NoQuote("unknown_tier", extra, model_id, match)
    prices = dict(_active_prices(model["prices"], at))
    applied: list[str] = []
    for key, value in context:
        overrides = [each for each in variants if each["context"] == {key: value} and holds(each.get("when"), at)]
        if not overrides and value not in _STANDARD_TIERS:
            # Deliberate: genai-prices answers the standard price here, silently.
            detail = f"{model_id} has no known price for {key}={value} at that time"
            return NoQuote("unknown_tier", detail, model_id, match, span)
        for override in reversed(overrides):
            prices.update(override["prices"])
        applied.extend(f"{key}={value}" for _ in overrides[:1])
    if not prices and not model_id.endswith(":free"):
        # Deliberate: an empty price is 0 USD for genai-prices; it means "no longer listed" for most such models.
        return NoQuote("no_price", f"the price book lists {model_id} without a price", model_id, match, span)
    rates = rates_of(prices)
    if extra.context:
        applied.append(extra.context)
        rates = {key: rate.times(extra.factor) if key.endswith("_mtok") else rate for key, rate in rates.items()}
    return Quote(model_id, match, ",".join(applied) or None, _all_zero(rates), rates, span)


def _active_prices(conditions: Sequence[Mapping[str, Any]], at: datetime) -> Mapping[str, Any]:
    for condition in reversed(conditions):
        if holds(condition.get("when"), at):
            return condition["prices"]
    return conditions[0]["prices"] if conditions else {}


def _all_zero(rates: Mapping[str, Rate]) -> bool:
    return all(rate.zero for rate in rates.values())


def _narrower(one: Span, other: Span) -> Span:
    return Span(max(one.from_ns, other.from_ns), min(one.until_ns, other.until_ns))


__all__ = ["EPOCH", "Context", "Names", "NoQuote", "PriceBook", "Quote", "Rate", "When"]
