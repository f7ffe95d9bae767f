from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter.money import pusd_of, usd_float, usd_text


@pytest.mark.parametrize(
    ("pusd", "text"),
    [
        (0, "0"),
        (1, "0.000000000001"),
        (2_550_000, "0.00000255"),
        (10**12, "1"),
        (-15 * 10**11, "-1.5"),
        (10**25, "1" + 13 * "0"),
    ],
)
def test_amounts_are_shown_exactly(pusd: int, text: str) -> None:
    assert usd_text(pusd) == text


@given(st.integers(-(10**30), 10**30))
def test_a_text_reads_back_as_the_same_amount(pusd: int) -> None:
    assert Decimal(usd_text(pusd)).scaleb(12) == pusd or abs(pusd) >= 10**28
    assert "E" not in usd_text(pusd)
    assert pusd_of(usd_text(pusd)) == pusd


@pytest.mark.parametrize(
    "text", ["", "-", ".5", "1.", "1e5", "+1", " 1", "1\n", "0x1", "٣", "1_0", "nan", "0." + "1" * 13]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no decimal number of USD"):
        pusd_of(text)


def test_the_float_for_prometheus_is_the_nearest() -> None:
    assert usd_float(2_550_000) == 0.00000255
