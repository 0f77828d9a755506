"""The frontier's tables and figures, made from the result files."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from aila_jax.config import Config
from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.presets import certified_windows5
from aila_jax.reporting import save_figure
from aila_jax.reporting.results import result_paths, with_spread
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style, legend_above
from aila_jax.reporting.tables import markdown
from experiments.frontier.measure import FrontierResult, Reading, read_result
from experiments.frontier.runs import DIAL, REGRETS, bound_runs, control_of, fixed_name, frontier_runs, points
from experiments.one_checkpoint.runs import BUDGETS

Found = dict[str, dict[int, FrontierResult]]  # name → seed → result
REFERENCE = 0.0  # λ of plain training
TICKS = (3, 5, 10, 20, 30, 60)  # keys and tokens


@dataclass(frozen=True)
class Goal:
    """One of the study's goals: what was measured, and whether every seed keeps the limit."""

    what: str
    values: np.ndarray
    limit: float

    @property
    def holds(self) -> bool:
        return bool((self.values <= self.limit).all())


def collect(directory: Path) -> str:
    """Makes table.md and the figures from the result files in `directory`; returns the tables as Markdown.

    Means over seeds, ± half the range where there are several. Ratios are of runs of the same seed. What is
    not measured yet is a dash, and named at the end.

    Raises:
      ValueError: there is no result file, or one that is no result of this experiment.
    """
    found = read_results(directory)
    base = certified_windows5()
    parts = [_relations(found, base), _inside(found), _soft_end(found), _bounds(found, base), *_dials(found)]
    parts.append(_missing(found, base))
    if "plain" in found:
        save_figure(frontier_figure(found), directory / "frontier")
    for budget in BUDGETS:
        if any(name.startswith(f"{budget}-dial-") for name in found):
            save_figure(dial_figure(found, budget), directory / f"dial_{budget}")
    text = "\n".join(part for part in parts if part)
    write_atomically(directory / "table.md", text.encode())
    return text


def read_results(directory: Path) -> Found:
    """The results of a folder, by name and seed."""
    read = {name: [read_result(path) for path in paths] for name, paths in result_paths(directory).items()}
    return {name: {one.seed: one for one in ones} for name, ones in read.items()}


def seeds_of(found: Found, name: str) -> list[FrontierResult]:
    return list(found.get(name, {}).values())


def paired(found: Found, name: str, other: str) -> list[tuple[FrontierResult, FrontierResult]]:
    """The runs of both, seed by seed."""
    ones, others = found.get(name, {}), found.get(other, {})
    return [(ones[seed], others[seed]) for seed in sorted(ones.keys() & others.keys())]


def ratio(
    pairs: Iterable[tuple[FrontierResult, FrontierResult]],
    value: Callable[[Reading], float],
    lam: float = 1.0,
    other_lam: float = 1.0,
) -> np.ndarray:
    """A quantity of one run over that of the other, for every seed."""
    return np.array([value(one.at(lam)) / value(other.at(other_lam)) for one, other in pairs])


def shown(values: Iterable[float], decimals: int, factor: float = 1.0) -> str:
    """Mean and spread, or a dash for none."""
    array = factor * np.array(list(values), np.float64)
    return with_spread(array, decimals) if len(array) else MISSING


def perplexity(one: Reading) -> float:
    return one.perplexity


def entropy(one: Reading) -> float:
    return one.entropy_bits


def _names(found: Found) -> list[str]:
    """The relations that are measured, by rising n_in inside each family."""
    return [name for name in points() if name in found]


def _windows(found: Found) -> list[str]:
    """All runs of plain windows, by size."""
    names = [name for name in found if name.removeprefix("control-").removeprefix("windows").isdecimal()]
    return sorted(names, key=lambda name: int(name.rpartition("windows")[2]))


def _relations(found: Found, base: Config) -> str:
    lines = []
    for name in [*_names(found), *(one for one in _windows(found) if one not in points())]:
        ones = seeds_of(found, name)
        control = control_of(base, name) if name in points() else name
        beside = paired(found, name, control) if control != name else []
        lines.append(
            [
                name,
                str(len(ones)),
                shown((one.n_in for one in ones), 1),
                f"{shown((one.reach.mean for one in ones), 1)} ({max(one.reach.largest for one in ones)})",
                shown((entropy(one.at(1.0)) for one in ones), 2),
                shown(ratio(paired(found, name, "plain"), entropy, other_lam=REFERENCE), 2),
                shown((perplexity(one.at(1.0)) for one in ones), 2),
                shown(ratio(paired(found, name, "plain"), perplexity, other_lam=REFERENCE), 3),
                control if beside else MISSING,
                shown(ratio(beside, perplexity), 3),
            ]
        )
    header = ["relation", "seeds", "n_in", "reach: mean (largest), tokens", "entropy (bits)", "÷ plain's",
              "perplexity per token", "÷ plain's", "windows of equal n_in", "perplexity ÷ theirs"]  # fmt: skip
    plain = seeds_of(found, "plain")
    said = (
        f"Plain training (λ = 0): perplexity {shown((perplexity(one.at(REFERENCE)) for one in plain), 2)}, entropy"
        f" {shown((entropy(one.at(REFERENCE)) for one in plain), 2)} bits."
        if plain
        else ""
    )
    return (
        "## Relations at λ = 1\n\nNothing is outside there: every weight outside is exactly 0, and no token beyond"
        f" the reach can have influenced a prediction. {said}\n\n{markdown(header, lines)}"
    )


def _inside(found: Found) -> str:
    """Where attention goes, and what moves a prediction."""
    lines = []
    for name in _names(found):
        ones = seeds_of(found, name)
        readings = [one.at(1.0) for one in ones]
        pointed = [one for one in readings if one.fidelity is not None and one.fidelity_uniform]
        lines.append(
            [
                name,
                *(
                    shown((getattr(one, kind) for one in readings), 1, 100.0)
                    for kind in ("own", "pointers", "sink")
                ),
                shown((one.fidelity for one in pointed if one.fidelity is not None), 3),
                shown((one.fidelity / one.fidelity_uniform for one in pointed), 2),  # type: ignore[operator]
                *(_moved(ones, side) for side in ("inside", "outside", "beyond")),
            ]
        )
    header = ["relation", "own block (%)", "pointers (%)", "sink (%)", "pointer fidelity", "÷ uniform",
              "influence of keys inside (nats)", "of keys outside in every layer", "beyond the reach"]  # fmt: skip
    return (
        "Attention by kind of key, and the influence of tokens by where they stand: mean KL divergence when they"
        f" are replaced, λ = 1.\n\n{markdown(header, lines)}"
    )


def _moved(ones: list[FrontierResult], side: str) -> str:
    values = [each.kl for one in ones for each in one.influence if each.lam == 1.0 and each.side == side]
    return "0" if values and not any(values) else shown(values, 4)


def _soft_end(found: Found) -> str:
    """The same models without the gate at λ = 1."""
    lines = []
    for name in _names(found):
        ones = [one for one in seeds_of(found, name) if any(not each.gate for each in one.readings)]
        if not ones:
            continue
        soft = [one.at(1.0, gate=False) for one in ones]
        lines.append(
            [
                name,
                shown((one.outside for one in soft), 4),
                shown((one.guaranteed for one in soft), 3),
                shown((one.perplexity for one in soft), 2),
                shown((one.at(1.0).perplexity / one.at(1.0, gate=False).perplexity for one in ones), 4),
            ]
        )
    header = [
        "relation",
        "mass outside",
        "guaranteed inside",
        "perplexity",
        "perplexity with the gate ÷ without",
    ]
    return (
        "The last step, from λ = 1 by the margin alone to exactly hard: models trained with the gate, read without"
        f" it.\n\n{markdown(header, lines)}"
        if lines
        else ""
    )


def _bounds(found: Found, base: Config) -> str:
    """Ways to bound scores at the hard end, beside the cap."""
    lines = []
    for name in bound_runs(base):
        relation, way = name.split("-qk-norm")[0].split("-self-scaling")[0], name
        lam = REFERENCE if relation == "plain" else 1.0
        pairs = paired(found, name, relation)
        if pairs:
            lines.append(
                [way, str(len(pairs)), shown((perplexity(one.at(lam)) for one, _ in pairs), 2),
                 shown(ratio(pairs, perplexity, lam, lam), 3), shown((entropy(one.at(lam)) for one, _ in pairs), 2)]
            )  # fmt: skip
    header = ["run", "seeds", "perplexity", "÷ with the cap", "entropy (bits)"]
    return f"## Bounds of scores\n\nBeside the cap of 4 nats.\n\n{markdown(header, lines)}" if lines else ""


def _dials(found: Found) -> list[str]:
    parts = []
    for budget in BUDGETS:
        names = [name for name in found if name.startswith(f"{budget}-dial-")]
        if not names:
            continue
        values: dict[str, tuple[Callable[[Reading], float], int]] = {
            "Perplexity per token": (perplexity, 2),
            "Attention entropy (bits)": (entropy, 2),
            "Attention inside": (lambda one: 1.0 - one.outside, 3),
            "Guaranteed inside": (lambda one: one.guaranteed, 3),
        }
        for title, (value, decimals) in values.items():
            lines = [
                [name.removeprefix(f"{budget}-"), str(len(found[name])),
                 *(shown((value(one.at(lam)) for one in seeds_of(found, name)), decimals) for lam in DIAL)]
                for name in names
            ]  # fmt: skip
            parts.append(f"{title}.\n\n{markdown(['', 'seeds', *(f'λ = {lam:g}' for lam in DIAL)], lines)}")
        parts[-len(values)] = f"## One checkpoint, {budget} tokens\n\n{parts[-len(values)]}"
        parts.append(_regrets(found, budget, names))
        parts.append(_goals(dial_goals(found, budget, names)))
    return parts


def regret(found: Found, budget: str, name: str, lam: float) -> np.ndarray:
    """Perplexity of the one checkpoint at λ over that of a model trained there, less 1, by seed."""
    return ratio(paired(found, name, fixed_name(budget, lam, name)), perplexity, lam, lam) - 1.0


def _regrets(found: Found, budget: str, names: list[str]) -> str:
    lines = [
        [name.removeprefix(f"{budget}-"),
         *(shown(regret(found, budget, name, lam), 1, 100.0) for lam in (0.0, *REGRETS))]
        for name in names
    ]  # fmt: skip
    header = ["", *(f"λ = {lam:g}" for lam in (0.0, *REGRETS))]
    return f"Dial regret (%), paired by seed.\n\n{markdown(header, lines)}"


def dial_goals(found: Found, budget: str, names: list[str]) -> list[Goal]:
    """The goals of the one checkpoint."""
    goals = []
    for name in names:
        label = name.removeprefix(f"{budget}-")
        against = ratio(paired(found, name, fixed_name(budget, 0.0)), perplexity, 1.0, REFERENCE)
        ones = seeds_of(found, name)
        own = np.array([entropy(one.at(1.0)) / entropy(one.at(REFERENCE)) for one in ones])
        length = ones[0].config.model.length
        goals += [
            Goal(f"{label}: perplexity at λ = 1 ÷ plain training's", against, 1.05),
            Goal(f"{label}: the same, beside entropy", against, 1.10),
            Goal(f"{label}: entropy at λ = 1 ÷ at λ = 0", own, 0.40),
            Goal(f"{label}: largest reach ÷ tokens of a window", np.array([one.reach.largest / length for one in ones]), 0.5),
            *(Goal(f"{label}: regret at λ = {lam:g}", regret(found, budget, name, lam), 0.02) for lam in REGRETS),
        ]  # fmt: skip
    return [goal for goal in goals if len(goal.values)]


def _goals(goals: list[Goal]) -> str:
    lines = [
        [
            goal.what,
            str(len(goal.values)),
            shown(goal.values, 3),
            f"≤ {goal.limit:g}",
            "yes" if goal.holds else "no",
        ]
        for goal in goals
    ]
    return "What is asked of it.\n\n" + markdown(["", "seeds", "measured", "limit", "holds"], lines)


def _missing(found: Found, base: Config) -> str:
    names = [name for name in frontier_runs(base) if name not in found]
    if not names:
        return ""
    return f"Not measured yet: {', '.join(names)}. `python -m experiments.frontier --data_dir=$WIKITEXT2` continues.\n"


FAMILIES = {
    "windows, plain": lambda name: name.rpartition("windows")[2].isdecimal(),
    "shifted": lambda name: "-shift" in name and "ends" not in name,
    "ends": lambda name: "-ends" in name and "-h" not in name,
    "ends, horizon": lambda name: "-ends-h" in name,
    "anchors": lambda name: "-anchors" in name,
    "random": lambda name: name.endswith("-random"),
    "sentences, clauses": lambda name: name in ("clause", "sentence"),
}


def family_of(name: str) -> str:
    """The family that a run is drawn as."""
    return next(label for label, holds in FAMILIES.items() if holds(name))


def frontier_figure(found: Found) -> Figure:
    """Perplexity at λ = 1 over plain training's against keys inside, entropy and mean reach; a point a
    relation, mean over seeds. The line joins plain windows: what lies below it is cheaper than they are.
    """
    names = [*_names(found), *(one for one in _windows(found) if one not in points())]
    with house_style(LIGHT):
        fig = Figure(figsize=(10.0, 4.2), layout="constrained")
        panels = fig.subplots(1, 3, sharey=True)
        quantities: list[tuple[str, Callable[[FrontierResult], float]]] = [
            ("Keys inside (n_in)", lambda one: one.n_in),
            ("Attention entropy (bits)", lambda one: entropy(one.at(1.0))),
            ("Reach (tokens, mean)", lambda one: one.reach.mean),
        ]
        for axes, (title, value) in zip(panels, quantities, strict=True):
            _family_points(axes, found, names, value)
            axes.set_title(title)
            axes.axhline(1.05, color=LIGHT.muted, linestyle=":", linewidth=1.0)
        for axes in (panels[0], panels[2]):
            axes.set_xscale("log")
            axes.set_xticks(TICKS, [f"{tick}" for tick in TICKS])
            axes.xaxis.set_minor_locator(NullLocator())
        panels[0].set_ylabel("perplexity ÷ plain training's; dotted: 1.05")
        legend_above(fig, panels[1])
    return fig


def _family_points(
    axes: Axes, found: Found, names: list[str], value: Callable[[FrontierResult], float]
) -> None:
    for index, label in enumerate(FAMILIES):
        drawn = []
        for name in names:
            costs = ratio(paired(found, name, "plain"), perplexity, other_lam=REFERENCE)
            if family_of(name) == label and len(costs):
                drawn.append((np.mean([value(one) for one in seeds_of(found, name)]), costs.mean(), name))
        if not drawn:
            continue
        colour = CATEGORIES[index % len(CATEGORIES)] if label != "sentences, clauses" else LIGHT.text
        places, heights = np.array([one[0] for one in drawn]), np.array([one[1] for one in drawn])
        if label == "windows, plain":
            order = np.argsort(places)
            axes.plot(places[order], heights[order], color=colour, linewidth=1.0)
        axes.plot(places, heights, color=colour, marker=MARKERS[index], linestyle="", label=label)


def dial_figure(found: Found, budget: str) -> Figure:
    """One checkpoint over the dial: perplexity, entropy and attention inside; a point a seed."""
    names = [name for name in found if name.startswith(f"{budget}-dial-")]
    values: dict[str, Callable[[Reading], float]] = {
        "Perplexity per token": perplexity,
        "Attention entropy (bits)": entropy,
        "Attention inside": lambda one: 1.0 - one.outside,
    }
    with house_style(LIGHT):
        fig = Figure(figsize=(9.0, 3.2), layout="constrained")
        panels = fig.subplots(1, 3)
        for axes, (title, value) in zip(panels, values.items(), strict=True):
            for index, name in enumerate(names):
                ones, colour = seeds_of(found, name), CATEGORIES[index]
                means = [np.mean([value(one.at(lam)) for one in ones]) for lam in DIAL]
                label = name.removeprefix(f"{budget}-dial-")
                axes.plot(DIAL, means, color=colour, marker=MARKERS[index], label=label)
                for one in ones:
                    axes.plot(
                        DIAL, [value(one.at(lam)) for lam in DIAL], color=colour, marker=".", linestyle=""
                    )
            for lam in (0.0, *REGRETS):
                trained = [value(one.at(lam)) for one in seeds_of(found, fixed_name(budget, lam))]
                if trained:
                    at = "trained at that λ" if lam == 0.0 else None
                    axes.plot(
                        [lam],
                        [np.mean(trained)],
                        color=LIGHT.text,
                        marker="_",
                        markersize=12,
                        linestyle="",
                        label=at,
                    )
            axes.set(title=title, xlabel="locality λ")
        legend_above(fig, panels[0])
    return fig
