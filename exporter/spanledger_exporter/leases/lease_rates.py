"""A model -> the most that a token of a call of it can be charged, whatever tier, length, hour and place it gets.

What a service holds back for a call before it is made must be no less than what the call will cost, and before it is
made nobody knows how much of its input will be written to a cache, at which tier it will be served, or by which clock.
So each rate here is the dearest that any of that can lead to.

Not in them, for nothing in a request bounds it: searches, pages, and images and audio that a request only links to.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import product
from typing import Any, Final

from spanledger_exporter.leases.messages import Rates
from spanledger_exporter.prices.names import book_provider
from spanledger_exporter.prices.price_book import Context, NoQuote, PriceBook, Quote
from spanledger_exporter.prices.rates import Pusd, Rate
from spanledger_exporter.prices.regions import dearest_surcharge
from spanledger_exporter.records import Profile

OUTPUT_TOKENS: Final = 16_384
"""What a request is held to ask for that does not limit its output: as many as LiteLLM's proxy reserves for one.

Source: LiteLLM 1.109, what its proxy reserves of a budget for a request without `max_tokens`, read 2026-11.
"""
_AHEAD: Final = timedelta(days=1)
_TURNS_MAX: Final = 64
_KNOWN_MAX: Final = 4096
_KEPT_S: Final = 900
# A millisecond of audio takes a byte and a half of a request or more: no codec that providers take is below 6 kbit/s,
# which is three quarters of a byte. Source: RFC 6716, 2.1.1, Opus.
_AUDIO_MS_PER_BYTE: Final = Fraction(4, 3)
_INPUT_OTHER: Final[Mapping[str, Fraction]] = {
    "input_mchars": Fraction(1),  # a character takes a byte or more
    "input_audio_hours": _AUDIO_MS_PER_BYTE,
    "audio_hours": _AUDIO_MS_PER_BYTE,
}
UNKNOWN: Final = Rates(0, 0, 0, OUTPUT_TOKENS, known=False)

_Payer = tuple[str | None, str | None, str | None]


class LeaseRates:
    """The dearest rates of one price book, looked up once in a while for each model and payer.

    Shape: the payer is (organization, project, API key's hash), of which negotiated prices may depend.
    """

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._variants = {f"{provider}/{model['id']}": _variants(model) for provider, model in book.models()}
        self._tiers = {override.tier for override in book.layers.overrides if override.tier is not None}
        self._known: dict[tuple[str | None, str | None, _Payer], tuple[int, Rates]] = {}

    def of(self, provider: str | None, model: str | None, payer: _Payer, now_s: int) -> Rates:
        """Return the rates of a model at a time and for a day from then."""
        key = (provider, model, payer if self._book.layers.asks_who_pays else (None, None, None))
        found = self._known.get(key)
        if found is None or not found[0] <= now_s < found[0] + _KEPT_S:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            found = self._known[key] = (now_s, self._dearest(*key, now_s))
        return found[1]

    def _dearest(self, provider: str | None, model: str | None, payer: _Payer, now_s: int) -> Rates:
        if not model:
            return UNKNOWN
        profile = _profile(provider, model, payer)
        now = datetime.fromtimestamp(now_s, tz=UTC)
        standard = self._quote(profile, (), now)
        if isinstance(standard, NoQuote):
            return UNKNOWN
        quotes = [each for context in self._contexts(standard) for each in self._ahead(profile, context, now)]
        rates = [pair for each in quotes for pair in each.rates.items()]
        names = (("request", model),)
        factor = dearest_surcharge(book_provider(provider, names), standard.model.partition("/")[2])
        per_token = [(key, rate) for key, rate in rates if key.endswith("_mtok")]
        beside = [rate.times(_INPUT_OTHER[key]) for key, rate in rates if key in _INPUT_OTHER]
        return Rates(
            input_pusd=_most((rate.times(factor) for key, rate in per_token if not key.startswith("output_")), beside),
            output_pusd=_most(rate.times(factor) for key, rate in per_token if key.startswith("output_")),
            request_pusd=_most(rate for key, rate in rates if key == "requests_kcount"),
            output_tokens=OUTPUT_TOKENS,
            known=True,
        )

    def _contexts(self, found: Quote) -> Iterator[Context]:
        """Return every combination of tier, speed and processing that the model has prices for."""
        values: dict[str, set[str]] = {"service_tier": set(self._tiers)}
        for name, value in self._variants.get(found.model, ()):
            values.setdefault(name, set()).add(value)
        yield ()
        for chosen in product(*([(name, None), *((name, value) for value in each)] for name, each in values.items())):
            context = tuple((name, value) for name, value in chosen if value is not None)
            if context:
                yield context

    def _ahead(self, profile: Profile, context: Context, now: datetime) -> Iterator[Quote]:
        """Return the quotes of a day from now, one for each stretch of time in which they stay the same."""
        at = now
        for _ in range(_TURNS_MAX):
            found = self._quote(profile, context, at)
            if isinstance(found, Quote):
                yield found
            if found.span.until_ns >= (now + _AHEAD).timestamp() * 10**9:
                return
            at = datetime.fromtimestamp(-(-found.span.until_ns // 10**9), tz=UTC)

    def _quote(self, profile: Profile, context: Context, at: datetime) -> Quote | NoQuote:
        assert profile.request_model is not None, "without a model nothing is looked up"
        return self._book.quote(profile.provider, (("request", profile.request_model),), context, at, profile)


def _variants(model: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset(pair for variant in model.get("variants", ()) for pair in variant["context"].items())


def _most(*rates: Iterable[Rate]) -> int:
    """Return the highest price of one unit, rounded up."""
    prices: list[Pusd] = [0]
    for each in rates:
        for rate in each:
            prices += [rate.base, *(price for _, price in rate.steps)]
    return -(-max(prices) // 1)


def _profile(provider: str | None, model: str, payer: _Payer) -> Profile:
    organization, project, api_key_hash = payer
    return Profile(
        service=None, environment=None, scope="", dialect="", provider=provider, operation="chat", request_model=model,
        response_model=None, server_address=None, stream=False, outcome="ok", error_type=None, http_status=None,
        resend_count=None, finish_reasons=None, service_tier=None, speed=None, inference_geo=None,
        organization=organization, project=project, api_key_hash=api_key_hash,
    )  # fmt: skip
