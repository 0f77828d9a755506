"""Numbers as people read them; one rule each, used by tables, figures and the HTML report."""

import math
from collections.abc import Callable
from typing import Any

Format = Callable[[Any], str]

MISSING = "–"
UNITS = ("token", "word", "byte")
LEAKY = "not causal: sees its targets"
UNKNOWN_MASK = "unknown whether causal"


def perplexity(value: float | None) -> str:
    """Four significant digits: 4.768, 72.13, 115.2, 1,234; with an exponent from a million on."""
    if value is None:
        return MISSING
    rounded = float(f"{value:.4g}")
    if not 1e-3 <= rounded < 1e6:
        return f"{value:.3e}"
    return f"{rounded:,.{max(0, 3 - math.floor(math.log10(rounded)))}f}"


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal: 0.3525 is 35.2 %."""
    return MISSING if value is None else f"{100 * value:.1f} %"


def change(before: float, after: float) -> str:
    """The relative change with its sign: 72.1 to 115 is +59.5 %."""
    return f"{100 * (after / before - 1):+.1f} %".replace("-", "−")


def fixed(value: float | None, decimals: int = 3) -> str:
    """A number with a fixed count of decimals."""
    return MISSING if value is None else f"{value:.{decimals}f}"


def at_least(value: float | None, decimals: int = 3) -> str:
    """A lower bound, rounded down: what is guaranteed is not overstated by its last digit."""
    return MISSING if value is None else f"{math.floor(value * 10**decimals) / 10**decimals:.{decimals}f}"


def at_most(value: float | None, decimals: int = 3) -> str:
    """An upper bound, rounded up."""
    return MISSING if value is None else f"{math.ceil(value * 10**decimals) / 10**decimals:.{decimals}f}"


def lift(value: float) -> str:
    """A ratio: ×2.18."""
    return f"×{value:.2f}"


def times(value: float) -> str:
    """A ratio inside a sentence: 2.18 times."""
    return f"{value:.2f} times"


def short(value: float) -> str:
    """A setting without trailing zeros: 0.4, 1."""
    return f"{value:g}"


def count(value: int) -> str:
    """A whole number with commas: 215,488."""
    return f"{value:,}"


def three(value: float | None) -> str:
    """Three significant digits."""
    return MISSING if value is None else f"{value:.3g}"


def tenths_percent(value: float) -> str:
    """A share in a narrow column: 35.2%."""
    return f"{value:.1%}"


def hundredths_percent(value: float) -> str:
    """The same with two decimals: 35.25%."""
    return f"{value:.2%}"


def whole_bits(value: float) -> str:
    """Bits of a whole corpus: 1,234,567."""
    return f"{value:,.0f}"


def nats(value: float | None) -> str:
    """Three significant digits, and a bare 0 for what is exactly 0."""
    return "0" if value == 0 else three(value)


def with_error(value: float | None, error: float | None) -> str:
    """A measurement in nats and its standard error."""
    return nats(value) if not value else f"{nats(value)} ± {nats(error)}"


def yes_no(value: bool) -> str:
    """Yes or no."""
    return "yes" if value else "no"


def tenths(value: float | None) -> str:
    """One decimal."""
    return fixed(value, 1)


def four(value: float | None) -> str:
    """Four decimals, where there is room for them."""
    return fixed(value, 4)


def at_least_four(value: float | None) -> str:
    """A lower bound with four decimals."""
    return at_least(value, 4)


def at_most_four(value: float | None) -> str:
    """An upper bound with four decimals."""
    return at_most(value, 4)
