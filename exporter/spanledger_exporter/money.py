"""Integer pico-USD, the only form in which the exporter holds money, and its decimal texts.

The price lists' smallest rates need ten to twelve decimals (for example 0.003625 USD per million tokens), which
pico-USD holds exactly; floats appear only where Prometheus asks for them.
"""

import re
from decimal import Decimal

PUSD_PER_USD = 10**12
# Of the ledger's sums, which hold micro-USD and the rest apart, and of budgets.
PUSD_PER_MICRO_USD = 10**6
# An entry's cost lives in a signed 64-bit column: 9.2 million USD. No single call costs that; a larger figure is wrong.
COST_PUSD_MAX = 2**63 - 1
_USD_TEXT = re.compile(r"(-?)([0-9]{1,30})(?:\.([0-9]{1,12}))?", re.ASCII)


def usd_text(pusd: int) -> str:
    """Return an amount as an exact decimal text in USD, without exponent or trailing zeros.

    Units: pico-USD in, USD out: `usd_text(2_550_000) == "0.00000255"`.
    """
    sign = "-" if pusd < 0 else ""
    whole, rest = divmod(abs(pusd), PUSD_PER_USD)
    decimals = f"{rest:012d}".rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def pusd_of(text: str) -> int:
    """Return the amount that a decimal text in USD says, as `usd_text` writes it.

    Raises:
        ValueError: it says none, or one of more than twelve decimals.
    """
    found = _USD_TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r:.60} is no decimal number of USD with at most 12 decimals")
    sign, whole, decimals = found.groups()
    pusd = int(whole) * PUSD_PER_USD + int((decimals or "").ljust(12, "0"))
    return -pusd if sign else pusd


def usd_float(pusd: int) -> float:
    """Return an amount as the nearest float in USD, for Prometheus alone."""
    return float(Decimal(pusd).scaleb(-12))
