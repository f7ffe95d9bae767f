"""Attribute values -> figures: counts, durations and money as integers, or `None` for what cannot be one.

Senders write figures as integers, doubles and texts. What comes out is exact: a double stands for the shortest decimal
that rounds to it, which is the one that the sender's JSON said.
"""

import math
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Literal

from spanledger_exporter.money import COST_PUSD_MAX, PUSD_PER_USD
from spanledger_exporter.receiving.keyvalues import AttributeValue

# A model's longest context is about 10 million tokens today; a figure beyond this is an error of the sender.
_FIGURE_MAX = 10**12
# Longer texts are no figure of anything real; reading them as decimals would cost what they like.
_TEXT_CHARS_MAX = 40
_MS_PER_S = 1000


def count(value: AttributeValue | None) -> int | None:
    """Return a count, also from the doubles and texts that some SDKs send."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) <= len(str(_FIGURE_MAX)) else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _FIGURE_MAX:
        return None
    return value


# Why a value is not taken for a figure.
RefusalReason = Literal["negative", "not_finite", "not_whole", "too_large", "no_number", "not_usd"]


def why_refused(value: AttributeValue | None) -> RefusalReason:
    """Return why a value is no count, no duration and no amount."""
    if isinstance(value, bool | list) or value is None or (isinstance(value, str) and len(value) > _TEXT_CHARS_MAX):
        return "no_number"
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return "no_number"
    if not number.is_finite():
        return "not_finite"
    if number < 0:
        return "negative"
    # An exponent may name more digits than memory holds: no arithmetic here.
    return "too_large" if number > COST_PUSD_MAX // PUSD_PER_USD else "not_whole"


def milliseconds(value: AttributeValue | None) -> int | None:
    """Return a duration that was given in seconds; what is finer than a millisecond is rounded half to even."""
    return _scaled(value, _MS_PER_S, _FIGURE_MAX)


def pico_usd(value: AttributeValue | None) -> int | None:
    """Return an amount that was given in USD; what is finer than a pico-USD is rounded half to even."""
    return _scaled(value, PUSD_PER_USD, COST_PUSD_MAX)


def nanoseconds(value: AttributeValue | None) -> int | None:
    """Return a short time that was given in seconds, for display; rounded as floats round."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value * 1e9) if math.isfinite(value) and 0 <= value < 1e9 else None


def _scaled(value: AttributeValue | None, factor: int, limit: int) -> int | None:
    if isinstance(value, bool | list) or value is None or (isinstance(value, str) and len(value) > _TEXT_CHARS_MAX):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    # The bounds first: an exponent may name more digits than memory holds.
    if not amount.is_finite() or amount < 0 or amount > limit // factor:
        return None
    return int((amount * factor).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
