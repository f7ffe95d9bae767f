"""The colours: those of Okabe and Ito, which people with any kind of colour blindness can tell apart.

What has a meaning of its own has the same colour on every dashboard; of what has none, such as a model, Grafana takes
the next of its palette `palette-colorblind`, which is the same set (Grafana 13.0 and later).

Source: Okabe and Ito, Color Universal Design, jfly.uni-koeln.de/color; @grafana/data 13.2.3, field/fieldColor.
"""

from typing import Final

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
SKY: Final = "#56B4E9"
VERMILION: Final = "#D55E00"
YELLOW: Final = "#F0E442"
GREY: Final = "#999999"
OKABE_ITO: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)
PALETTE: Final = "palette-colorblind"

OUTCOMES: Final = {"ok": BLUE, "error": VERMILION}
TOKEN_TYPES: Final = {
    "input_uncached": BLUE,
    "input_cache_read": SKY,
    "input_cache_write": GREEN,
    "output_answer": ORANGE,
    "output_reasoning": VERMILION,
}
COST_TYPES: Final = {
    "input_uncached": BLUE,
    "input_cache_read": SKY,
    "input_cache_write": GREEN,
    "output": ORANGE,
    "other": PURPLE,
    "unknown": GREY,
}
DECISIONS: Final = {
    "admitted": BLUE,
    "refused": VERMILION,
    "failed_open": ORANGE,
    "safe": GREEN,
    "closed": PURPLE,
    "over_bound": YELLOW,
}
"""Of what is known and stays: the colours of the values of a label."""

Steps = tuple[tuple[float | None, str], ...]
"""From which value on which colour; the first from the lowest on."""

PLAIN: Final[Steps] = ((None, BLUE),)
USED: Final[Steps] = ((None, BLUE), (0.75, YELLOW), (0.9, ORANGE), (1, VERMILION))
"""Of a limit: as the thresholds of a budget."""
FEW: Final[Steps] = ((None, BLUE), (0.01, ORANGE), (0.05, VERMILION))
"""Of a share that ought to be nearly nothing."""
ENOUGH: Final[Steps] = ((None, VERMILION), (0.1, ORANGE), (0.25, BLUE))
"""Of a share that is left."""
NONE_IS_WELL: Final[Steps] = ((None, BLUE), (1, VERMILION))
"""Of a number of things that ought not to be."""
