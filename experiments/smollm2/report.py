"""Tables and figures of SmolLM2 with a dial, made from the result files."""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.reporting import save_figure
from aila_jax.reporting.results import result_paths
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style, legend_above
from aila_jax.reporting.tables import markdown
from experiments.frontier.measure import Reading
from experiments.smollm2.measure import SmolResult, read_result
from experiments.smollm2.runs import CONTROL, LAMS, LOCALISED

Found = dict[str, SmolResult]
GOALS = {"sentences": 1.25, "sentences-ends": 1.10}  # perplexity at λ = 1 over the base's
STEP, BUMP, SOFT, ADAPTED, INSIDE = 0.45, 1.03, 1.02, 0.5, 0.9


@dataclass(frozen=True)
class Goal:
    """A goal: what was measured, its limit, and whether it is one from above."""

    what: str
    value: float
    limit: float
    most: bool = True

    @property
    def holds(self) -> bool:
        return self.value <= self.limit if self.most else self.value >= self.limit


def collect(directory: Path) -> str:
    """Makes table.md and the figures from the result files in `directory`; returns the tables as Markdown.
    What is not measured yet is named at the end.

    Raises:
      ValueError: there is no result file, or one that is no result of this experiment.
    """
    found = {name: read_result(paths[0]) for name, paths in result_paths(directory).items()}
    parts = [
        _dials(found),
        _kinds(found),
        _trained(found),
        _influences(found),
        _goals(found),
        _missing(found),
    ]
    text = "\n".join(part for part in parts if part)
    write_atomically(directory / "table.md", text.encode())
    if base_of(found) is not None:
        save_figure(dial_figure(found), directory / "dial")
    if any(one.curve for one in found.values()):
        save_figure(curve_figure(found), directory / "curve")
    return text


def base_of(found: Found) -> Reading | None:
    """The pretrained model itself: λ = 0 of the untrained one."""
    one = found.get("untrained-sentences")
    return None if one is None else one.at(0.0)


def reading_of(found: Found, name: str, lam: float) -> Reading | None:
    """A run at λ with its gate."""
    readings = found[name].readings if name in found else ()
    return next((one for one in readings if one.lam == lam and one.gate), None)


def _names(found: Found) -> list[str]:
    return [name for name in found if name != CONTROL]


def _row(found: Found, name: str, value: Callable[[Reading], float], decimals: int) -> list[str]:
    ones = (reading_of(found, name, lam) for lam in LAMS)
    return [name, *(MISSING if one is None else f"{value(one):.{decimals}f}" for one in ones)]


def _dials(found: Found) -> str:
    values: dict[str, tuple[Callable[[Reading], float], int]] = {
        "Perplexity per token": (lambda one: one.perplexity, 2),
        "Attention entropy (bits)": (lambda one: one.entropy_bits, 2),
        "Attention inside": (lambda one: 1.0 - one.outside, 3),
        "Guaranteed inside, for every text": (lambda one: one.guaranteed, 3),
    }
    header = ["", *(f"λ = {lam:g}" for lam in LAMS)]
    return "\n".join(
        f"{title}.\n\n{markdown(header, [_row(found, name, value, digits) for name in _names(found)])}"
        for title, (value, digits) in values.items()
    )


def _kinds(found: Found) -> str:
    lines = []
    for name in _names(found):
        one = reading_of(found, name, 1.0)
        if one is None:
            continue
        soft = next((other for other in found[name].readings if other.lam == 1.0 and not other.gate), None)
        alone = found[name].alone
        lines.append(
            [name, *(f"{100 * share:.1f}" for share in (one.own, one.pointers, one.sink)),
             MISSING if soft is None else f"{soft.outside:.4f}",
             MISSING if soft is None else f"{soft.guaranteed:.3f}",
             MISSING if soft is None else f"{one.perplexity / soft.perplexity:.4f}",
             MISSING if alone is None else f"{alone:.2f}"]
        )  # fmt: skip
    header = ["λ = 1", "own block (%)", "pointers (%)", "sink (%)", "outside by the margin alone",
              "guaranteed inside by the margin alone", "hard ÷ soft perplexity", "each block alone"]  # fmt: skip
    return f"Where attention goes at λ = 1.\n\n{markdown(header, lines)}" if lines else ""


def isolated(found: Found, name: str) -> float | None:
    """Perplexity of a run at λ = 1 over the base's."""
    one, base = reading_of(found, name, 1.0), base_of(found)
    return None if one is None or base is None else one.perplexity / base.perplexity


def adaptation(found: Found, name: str) -> float | None:
    """The share of what training gained at λ = 1, in nats, that is not adaptation to the text: adaptation is
    what the control gained.
    """
    before = reading_of(found, f"untrained-{name}", 1.0)
    after = reading_of(found, f"localised-{name}", 1.0)
    base = base_of(found)
    if before is None or after is None or base is None or CONTROL not in found:
        return None
    control = found[CONTROL].readings[0].perplexity
    gain = math.log(before.perplexity / after.perplexity)
    return 1.0 - math.log(base.perplexity / control) / gain


def _trained(found: Found) -> str:
    lines = []
    for name in LOCALISED:
        untrained, trained = isolated(found, f"untrained-{name}"), isolated(found, f"localised-{name}")
        share = adaptation(found, name)
        if trained is None:
            continue
        lines.append(
            [name, f"{found[f'localised-{name}'].tokens:,}",
             MISSING if untrained is None else f"{untrained:.3f}", f"{trained:.3f}",
             MISSING if share is None else f"{100 * share:.0f} %"]
        )  # fmt: skip
    base = base_of(found)
    if not lines or base is None:
        return ""
    control = ""
    if CONTROL in found:
        one = found[CONTROL].readings[0].perplexity
        control = (
            f" The control, the same adapters always on where nothing is outside, has {one:.2f}, "
            f"{one / base.perplexity:.3f} times the base."
        )
    header = ["λ = 1 ÷ base", "training tokens", "untrained", "localised", "gain that is not adaptation"]
    return f"The base has perplexity {base.perplexity:.2f}.{control}\n\n{markdown(header, lines)}"


def _influences(found: Found) -> str:
    lines = [
        [name, f"{one.lam:g}", one.side, str(one.positions), f"{one.kl:.4f}", f"{one.error:.4f}"]
        for name in _names(found)
        for one in found[name].influence
    ]
    header = ["run", "λ", "tokens replaced", "queries", "KL (nats)", "standard error"]
    return f"What replaced tokens change.\n\n{markdown(header, lines)}" if lines else ""


def goals(found: Found) -> list[Goal]:
    """The goals of the localised models."""
    made = []
    base = base_of(found)
    for name in LOCALISED:
        run = f"localised-{name}"
        ones = [reading_of(found, run, lam) for lam in LAMS]
        cost, share = isolated(found, run), adaptation(found, name)
        readings = [one for one in ones if one is not None]
        if cost is None or base is None or len(readings) < len(LAMS):
            continue
        soft = found[run].at(1.0, gate=False)
        same = reading_of(found, f"untrained-{name}", 0.0) or base  # with the same blocks, where it is read
        away = abs(readings[0].perplexity / same.perplexity - 1.0)
        made += [
            Goal(f"{name}: λ = 0 beside the base, relative difference", away, 0.0),
            Goal(f"{name}: λ = 1 ÷ base", cost, GOALS[name]),
            Goal(f"{name}: largest step's share of the change in entropy", largest_step(readings, lambda one: one.entropy_bits), STEP),
            Goal(f"{name}: the same of mass inside", largest_step(readings, lambda one: one.outside), STEP),
            Goal(f"{name}: largest perplexity ÷ the worse of its neighbours", worst_bump(readings), BUMP),
            Goal(f"{name}: hard ÷ soft λ = 1", readings[-1].perplexity / soft.perplexity, SOFT),
            Goal(f"{name}: guaranteed inside by the margin alone", soft.guaranteed, INSIDE, most=False),
        ]  # fmt: skip
        if share is not None:
            made.append(Goal(f"{name}: gain that is not adaptation", share, ADAPTED, most=False))
    return made


def largest_step(readings: list[Reading], value: Callable[[Reading], float]) -> float:
    """The largest change from one λ to the next over that of the whole dial."""
    values = [value(one) for one in readings]
    steps = [abs(after - before) for before, after in itertools.pairwise(values)]
    return max(steps) / abs(values[-1] - values[0])


def worst_bump(readings: list[Reading]) -> float:
    """The largest perplexity between the ends over the worse of its neighbours'."""
    values = [one.perplexity for one in readings]
    return max(
        values[index] / max(values[index - 1], values[index + 1]) for index in range(1, len(values) - 1)
    )


def _goals(found: Found) -> str:
    lines = [
        [one.what, f"{one.value:.4g}", f"{'≤' if one.most else '≥'} {one.limit:g}", "yes" if one.holds else "no"]
        for one in goals(found)
    ]  # fmt: skip
    return f"Goals.\n\n{markdown(['', 'measured', 'goal', 'reached'], lines)}" if lines else ""


def _missing(found: Found) -> str:
    names = [
        *(f"untrained-{name}" for name in ("sentences", "sentences-ends", "windows32-shift16", "sentences-lower")),
        *(f"localised-{name}" for name in LOCALISED),
        CONTROL,
    ]  # fmt: skip
    left = [name for name in names if name not in found]
    return f"Not measured yet: {', '.join(left)}.\n" if left else ""


def dial_figure(found: Found) -> Figure:
    """Perplexity, entropy and mass inside over λ."""
    values: dict[str, Callable[[Reading], float]] = {
        "perplexity per token": lambda one: one.perplexity,
        "attention entropy (bits)": lambda one: one.entropy_bits,
        "attention inside": lambda one: 1.0 - one.outside,
    }
    with house_style(LIGHT):
        fig = Figure(figsize=(9.0, 3.4), layout="constrained")
        panels = fig.subplots(1, 3)
        for axes, (title, value) in zip(panels, values.items(), strict=True):
            for index, name in enumerate(_names(found)):
                known = [(lam, reading_of(found, name, lam)) for lam in LAMS]
                at = [(lam, value(one)) for lam, one in known if one is not None]
                axes.plot(
                    *zip(*at, strict=True),
                    color=CATEGORIES[index % len(CATEGORIES)],
                    marker=MARKERS[index % len(MARKERS)],
                    linestyle="--" if name.startswith("untrained") else "-",
                    label=name,
                )
            axes.set(title=title, xlabel="locality λ")
        panels[0].set_yscale("log")
        # 30 and not 3 × 10¹; a dial seldom spans a power of ten.
        panels[0].yaxis.set_minor_formatter("{x:g}")
        panels[0].yaxis.set_major_formatter("{x:g}")
        legend_above(fig, panels[0])
    return fig


def curve_figure(found: Found) -> Figure:
    """Perplexity at λ = 1 over training tokens."""
    with house_style(LIGHT):
        fig = Figure(figsize=(5.0, 3.2), layout="constrained")
        axes = fig.subplots()
        for index, (name, one) in enumerate(_curves(found)):
            points = [(point.tokens / 1e3, point.perplexity) for point in one.curve if point.lam == 1.0]
            axes.plot(*zip(*points, strict=True), color=CATEGORIES[index], marker=MARKERS[index], label=name)
        axes.set(xlabel="training tokens (thousands)", ylabel="perplexity at λ = 1")
        legend_above(fig, axes)
    return fig


def _curves(found: Found) -> Iterable[tuple[str, SmolResult]]:
    return ((name, one) for name, one in found.items() if one.curve)
