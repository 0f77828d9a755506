"""Numbers as people read them; one rule each, used by tables, figures and the HTML report."""

import math

UNITS = ("token", "word", "byte")
LEAKY = "not causal: sees its targets"


def perplexity(value: float | None) -> str:
    """Four significant digits: 4.768, 72.13, 115.2, 1,234; with an exponent from a million on."""
    if value is None:
        return "–"
    rounded = float(f"{value:.4g}")
    if not 1e-3 <= rounded < 1e6:
        return f"{value:.3e}"
    return f"{rounded:,.{max(0, 3 - math.floor(math.log10(rounded)))}f}"


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal: 0.3525 is 35.2 %."""
    return "–" if value is None else f"{100 * value:.1f} %"


def change(before: float, after: float) -> str:
    """The relative change with its sign: 72.1 to 115 is +59.5 %."""
    return f"{100 * (after / before - 1):+.1f} %".replace("-", "−")


def fixed(value: float | None, decimals: int = 3) -> str:
    """A number with a fixed count of decimals."""
    return "–" if value is None else f"{value:.{decimals}f}"


def at_least(value: float | None, decimals: int = 3) -> str:
    """A lower bound, rounded down: what is guaranteed is not overstated by its last digit."""
    return "–" if value is None else f"{math.floor(value * 10**decimals) / 10**decimals:.{decimals}f}"


def at_most(value: float | None, decimals: int = 3) -> str:
    """An upper bound, rounded up."""
    return "–" if value is None else f"{math.ceil(value * 10**decimals) / 10**decimals:.{decimals}f}"


def lift(value: float) -> str:
    """A ratio: ×2.18."""
    return f"×{value:.2f}"


def times(value: float) -> str:
    """A ratio inside a sentence: 2.18 times."""
    return f"{value:.2f} times"
