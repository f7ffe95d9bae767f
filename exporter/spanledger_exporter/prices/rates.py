"""Price keys and texts of a price book -> rates in pico-USD for one unit."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from spanledger_exporter.money import PUSD_PER_USD

# What a price covers, which its key's ending says; times are counted in milliseconds.
_UNITS_PER_PRICE = (
    ("_mtok", 10**6),
    ("_mchars", 10**6),
    ("_kcount", 10**3),
    ("_kpages", 10**3),
    ("_hours", 3_600_000),
)
Pusd = int | Fraction  # pico-USD for one unit: whole but for prices by the hour and a few of thirteen decimals


class Rate(NamedTuple):
    """The price of one unit: `base`, or the last of `steps` whose threshold the call's whole input exceeds.

    Units: pico-USD for one unit (a token, a search, a millisecond). Steps are (input tokens, pico-USD), ascending:
    crossing one reprices the whole call, as the providers do.
    """

    base: Pusd
    steps: tuple[tuple[int, Pusd], ...] = ()

    def at(self, input_tokens: int) -> Pusd:
        """Return the price of one unit in a call with that many input tokens."""
        rate = self.base
        for threshold, step in self.steps:
            if input_tokens > threshold:
                rate = step
        return rate

    def times(self, factor: Fraction) -> "Rate":
        """Return the same rate at a part or a multiple of its price."""
        return Rate(_whole(self.base * factor), tuple((start, _whole(step * factor)) for start, step in self.steps))

    @property
    def zero(self) -> bool:
        """Whether it is 0 at every length of input."""
        return not self.base and not any(step for _, step in self.steps)


def rate_of(key: str, price: Any) -> Rate:
    """Return the rate that a price of a price book means.

    Shape: `"0.25"` USD, or `{"base": "0.25", "tiers": [[200000, "0.5"]]}`
    """
    per = next((per for ending, per in _UNITS_PER_PRICE if key.endswith(ending)), 1)
    if isinstance(price, str):
        return Rate(_pusd(price, per))
    return Rate(_pusd(price["base"], per), tuple((int(start), _pusd(tier, per)) for start, tier in price["tiers"]))


def rates_of(prices: Mapping[str, Any]) -> dict[str, Rate]:
    """Return the rate of every price key."""
    return {key: rate_of(key, price) for key, price in prices.items()}


def usd_per_unit_text(rate_pusd: Pusd) -> str:
    """Return a rate as decimal text in USD; its decimals end for every price but a few by the hour."""
    return f"{Decimal(rate_pusd.numerator) / rate_pusd.denominator / PUSD_PER_USD:f}"


def _pusd(usd: str, per: int) -> Pusd:
    return _whole(Fraction(usd) * PUSD_PER_USD / per)


def _whole(value: Pusd) -> Pusd:
    return value.numerator if value.denominator == 1 else value
