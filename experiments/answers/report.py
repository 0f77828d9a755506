"""Tables and figures of the study of answers, made from the result files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from aila_jax.config.questions import KINDS
from aila_jax.files import write_atomically
from aila_jax.formats import MISSING
from aila_jax.reporting import save_figure
from aila_jax.reporting.results import result_paths
from aila_jax.reporting.style import CATEGORIES, LIGHT, MARKERS, house_style, lam_axis, legend_above
from aila_jax.reporting.tables import markdown
from experiments.answers.attack import AIMS, MOST
from experiments.answers.cells import LAMS, MIDDLE, MODES, PASSAGES, READINGS
from experiments.answers.runs import CellResult, read_result
from experiments.answers.shares import SCORES, Share

Found = dict[tuple[str, str], CellResult]  # by model and cell
DIAL = ("together", *(f"together{lam:g}" for lam in LAMS[1:]))


def collect(directory: Path) -> str:
    """Makes table.md and the figures from the result files in `directory`; returns the tables as Markdown.

    Raises:
      ValueError: there is no result file, two seeds of one cell, or a file that is no result of this
        experiment.
    """
    results = [read_result(path) for paths in result_paths(directory).values() for path in paths]
    found = {(one.model, one.cell.name): one for one in results}
    if len(found) < len(results):
        raise ValueError(
            f"{str(directory)!r} holds several seeds of one cell; the tables are of one. Fix: one folder a seed"
        )
    parts = [_violations(found), _answers(found), _named(found), _sources(found), _needed(found), _orders(found), _attacks(found)]  # fmt: skip
    text = "\n".join(part for part in parts if part)
    write_atomically(directory / "table.md", text.encode())
    for name, figure in (("modes", modes_figure(found)), ("dial", dial_figure(found))):
        if figure is not None:
            save_figure(figure, directory / name)
    return text


def share_of(result: CellResult | None, what: str) -> Share | None:
    """A share of a cell; None where it is not measured."""
    return None if result is None else next((one for one in result.shares if one.what == what), None)


def models_of(found: Found) -> list[str]:
    """The models, in the order of their names."""
    return list(dict.fromkeys(sorted(model for model, _ in found)))


def _percent(one: Share | None) -> str:
    return MISSING if one is None else f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"


def _number(one: Share | None) -> str:
    return MISSING if one is None else f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _titled(title: str, header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    every = list(lines)
    return f"{title}\n\n{markdown(header, every)}" if every else ""


def _violations(found: Found) -> str:
    broken = [f"{model} {cell} ({one.violations})" for (model, cell), one in found.items() if one.violations]
    return f"**Answers that changed though certified: {', '.join(broken)}.**\n" if broken else ""


def _by_mode(found: Found, what: str) -> Iterable[Sequence[str]]:
    for model in models_of(found):
        for kind in KINDS:
            for count in PASSAGES:
                named = [found.get((model, f"answers-{kind}-{count}-{mode}")) for mode in ("none", *MODES)]
                some = [one for one in named if one is not None]
                if some:
                    shares = [_percent(share_of(one, what)) for one in named]
                    chance = share_of(some[0], "chance")
                    questions = max(len(one.answers) for one in some)
                    by_chance = MISSING if chance is None else f"{chance.value:.1%}"
                    yield model, kind.replace("_", " "), str(count), str(questions), by_chance, *shares


HEADER = ("model", "question", "passages", "questions", "chance", "no passages", *MODES)


def _answers(found: Found) -> str:
    title = "Answers that are right (exact match), with 95 % intervals. Chance: a passage cited at random states it."
    return _titled(title, HEADER, _by_mode(found, "exact match"))


def _named(found: Found) -> str:
    title = "Answers in which the right one stands, whatever is around it."
    return _titled(title, HEADER, _by_mode(found, "right answer named"))


def _credited(found: Found) -> list[CellResult]:
    order = list(READINGS)
    ones = [one for one in found.values() if one.credits]
    return sorted(
        ones,
        key=lambda one: (
            one.model,
            KINDS.index(one.cell.kind),
            one.cell.passages,
            order.index(one.cell.reading),
        ),
    )


def _cell(one: CellResult) -> tuple[str, ...]:
    cell = one.cell
    return one.model, cell.kind.replace("_", " "), str(cell.passages), cell.reading


CELL = ("model", "question", "passages", "read")


def _sources(found: Found) -> str:
    lines = [
        (*_cell(one), name, *(_percent(share_of(one, f"{name}: {what}")) for what in ("precision", "recall", "of the first")))
        for one in _credited(found)
        for name in SCORES
        if share_of(one, f"{name}: recall") is not None
    ]  # fmt: skip
    title = (
        "Planted passages among those with half the largest score or more, and among as many as are planted."
    )
    return _titled(title, (*CELL, "score", "precision", "recall", "of the first"), lines)


def _needed(found: Found) -> str:
    lines = [
        (*_cell(one), str(len(one.credits)), *(_number(share_of(one, what)) for what in ("comprehensiveness", "sufficiency")))
        for one in _credited(found)
        if share_of(one, "sufficiency") is not None
    ]  # fmt: skip
    title = "What the answer's probability loses without the planted passages, and with them alone."
    return _titled(title, (*CELL, "questions", "comprehensiveness", "sufficiency"), lines)


def _orders(found: Found) -> str:
    lines = []
    for one in _credited(found):
        largest = max(row.difference for row in one.orders)
        changed = [
            _percent(share_of(one, f"order: {what}")) for what in ("answer changed", "changed outside ties")
        ]
        lines.append((*_cell(one), str(len(one.orders)), f"{largest:.1e}", *changed))
    title = "Passages in another order."
    header = (*CELL, "questions", "largest difference of logits", "answer changed", "outside ties")
    return _titled(title, header, lines)


def _attacks(found: Found) -> str:
    lines = []
    for one in found.values():
        for aim in AIMS:
            for count in range(1, MOST + 1):
                whole = f"{count} of {aim} replaced: "
                changed, safe = (
                    share_of(one, f"{whole}changed"),
                    share_of(one, f"{whole}changed where certified"),
                )
                if changed is None:
                    continue
                kept = MISSING if safe is None else f"{round(safe.value * safe.count)} of {safe.count}"
                obeyed = share_of(one, f"{whole}obeyed")
                lines.append(
                    (one.model, one.cell.reading, aim, str(count), _percent(changed), _percent(obeyed), kept)
                )
    title = "Redundant sources, some passages replaced by others that claim something else."
    header = (
        "model",
        "read",
        "aimed at",
        "replaced",
        "answer changed",
        "claim obeyed",
        "changed where certified",
    )
    return _titled(title, header, lines)


def modes_figure(found: Found) -> Figure | None:
    """Right answers to one-hop questions over the number of passages; None where there are none."""
    with house_style(LIGHT):
        fig = Figure(figsize=(5.6, 3.4), layout="constrained")
        axes, drawn = fig.subplots(), 0
        for number, model in enumerate(models_of(found)):
            for index, mode in enumerate(MODES):
                known = [
                    (
                        count,
                        share_of(found.get((model, f"answers-one_hop-{count}-{mode}")), "right answer named"),
                    )
                    for count in PASSAGES
                ]
                points = [(count, one) for count, one in known if one is not None]
                if not points:
                    continue
                drawn += 1
                values = [one.value for _, one in points]
                ends = [
                    [one.value - one.low for _, one in points],
                    [one.high - one.value for _, one in points],
                ]
                axes.errorbar(
                    [count for count, _ in points],
                    values,
                    yerr=ends,
                    color=CATEGORIES[index],
                    marker=MARKERS[number % len(MARKERS)],
                    label=f"{model}, {mode}",
                )
        axes.set(xlabel="passages", ylabel="right answer named", ylim=(0, 1), xticks=PASSAGES)
        if drawn:
            legend_above(fig, axes)
    return fig if drawn else None


def dial_figure(found: Found) -> Figure | None:
    """Comprehensiveness and sufficiency of the planted passage over λ; None where no dial is measured."""
    with house_style(LIGHT):
        fig = Figure(figsize=(5.6, 3.4), layout="constrained")
        axes, drawn = fig.subplots(), 0
        for number, model in enumerate(models_of(found)):
            for index, what in enumerate(("comprehensiveness", "sufficiency")):
                cells = [found.get((model, f"answers-one_hop-{MIDDLE}-{reading}")) for reading in DIAL]
                points = [
                    (lam, one.value)
                    for lam, one in zip(LAMS, (share_of(cell, what) for cell in cells), strict=True)
                    if one is not None
                ]
                if len(points) > 1:
                    drawn += 1
                    axes.plot(
                        *zip(*points, strict=True),
                        color=CATEGORIES[index],
                        marker=MARKERS[number % len(MARKERS)],
                        label=f"{model}, {what}",
                    )
        axes.set_ylabel("difference of probability")
        lam_axis(axes, LAMS)
        if drawn:
            legend_above(fig, axes)
    return fig if drawn else None
