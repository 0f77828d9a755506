"""The Markdown table and the figure of a result."""

from matplotlib.figure import Figure

from aila_jax.reporting.style import CATEGORIES, LIGHT, house_style
from benchmarks.forms import SWEEP, TASKS, TRAIN
from benchmarks.record import Entry, Measure, Quartiles, Result, ShapeResult

HEADINGS = {TRAIN: "training step", SWEEP: "sweep cell"}
COLOURS = {"ours": CATEGORIES[0], "plain JAX": CATEGORIES[2], "PyTorch": CATEGORIES[1]}


def find(entry: Entry, task: str) -> Measure | None:
    """The measure of `task`, or None where it was not measured."""
    return next((measure for measure in entry.measures if measure.task == task), None)


def speed(value: Quartiles) -> str:
    """Tokens per second with quartiles: 21,300 (20,900–21,500)."""
    return f"{value.median:,.0f} ({value.low:,.0f}–{value.high:,.0f})"


def ratio(value: Quartiles) -> str:
    """A time ratio with quartiles: 1.04 (1.03–1.06)."""
    return f"{value.median:.2f} ({value.low:.2f}–{value.high:.2f})"


def describe(shape: ShapeResult) -> str:
    """The shape in a sentence."""
    loss = f"logits of {shape.loss_chunk} tokens at once" if shape.loss_chunk else "all logits at once"
    return (
        f"**{shape.name}**: V {shape.vocab_size:,}, D {shape.d_model}, {shape.n_heads} heads, F"
        f" {shape.d_ff:,}, {shape.n_layers} layers, {shape.batch_size} × {shape.length} = {shape.tokens:,}"
        f" tokens a step, {shape.dtype}; ours with {loss}; {shape.rounds} rounds of {shape.steps} step(s)."
    )


def table(result: Result) -> str:
    """The result in Markdown: one table a shape; a skipped contestant's reason stands in its row."""
    machine = result.machine
    lines = [
        "# Speed",
        "",
        f"`{result.command}`",
        "",
        f"{machine.device}; {machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f}"
        f" GiB; {machine.system}. Load average {_load(machine.load_before)} before and"
        f" {_load(machine.load_after)} after; {result.minutes:.1f} minutes. Commit {result.commit}; "
        + ", ".join(f"{name} {result.versions[name]}" for name in _shown(result))
        + f". Tokens: {result.data}.",
        "",
        (
            "Medians over the rounds with quartiles. Contestants take turns within each round, in random"
            " order; *÷ plain* is time divided by that of the fastest plain JAX form in the same round: above"
            " 1 is slower. *CPU ÷ plain* is the same for the time that all threads spent on processors, which"
            " other programs on the machine hardly change. Every contestant had the reference's loss and"
            " gradient norm at λ = 0 before it was timed. Memory is the peak of the contestant's own process,"
            " compilation included."
        ),
    ]
    for shape in result.shapes:
        tasks = [task for task in TASKS if task in shape.plain]
        plain = ", ".join(f"{shape.plain[task]} ({HEADINGS[task]})" for task in tasks)
        lines += ["", describe(shape) + f" Fastest plain form: {plain}.", ""]
        heads = [f"{HEADINGS[task]}, tokens/s | ÷ plain | CPU ÷ plain" for task in tasks]
        lines += [
            f"| contestant | what | {' | '.join(heads)} | compile s | memory MiB |",
            "| --- " * (4 + 3 * len(tasks)) + "|",
        ]
        lines += [_row(entry, tasks) for entry in shape.entries]
    return "\n".join(lines) + "\n"


def _shown(result: Result) -> list[str]:
    return [
        name
        for name in ("python", "jax", "jaxlib", "flax", "optax", "numpy", "torch")
        if name in result.versions
    ]


def _load(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _row(entry: Entry, tasks: list[str]) -> str:
    if entry.skipped:
        return f"| {entry.name} | {entry.about} | skipped: {entry.skipped} |" + " |" * (3 * len(tasks) + 1)
    cells = []
    for task in tasks:
        measure = find(entry, task)
        if measure is None:
            cells += ["–"] * 3
        else:
            cells += [
                speed(measure.tokens_per_second),
                ratio(measure.versus_plain),
                ratio(measure.processor_versus_plain),
            ]
    compiling = " + ".join(f"{measure.compile_seconds:.1f}" for measure in entry.measures)
    memory = entry.peak_device_bytes or entry.peak_resident_bytes
    return (
        f"| {entry.name} | {entry.about} | {' | '.join(cells)} | {compiling} |"
        f" {'–' if memory is None else f'{memory / 2**20:,.0f}'} |"
    )


def figure(result: Result) -> Figure:
    """Time divided by the fastest plain form's, with quartiles; a panel for each shape and task."""
    panels = [(shape, task) for shape in result.shapes for task in TASKS if task in shape.plain]
    with house_style():
        fig = Figure(
            figsize=(4.6 * len(panels) / len(result.shapes) + 0.6, 3.3 * len(result.shapes) + 0.4),
            layout="constrained",
        )
        grid = fig.subplots(len(result.shapes), len(panels) // len(result.shapes), squeeze=False).flatten()
        for axes, (shape, task) in zip(grid, panels, strict=True):
            measured = [
                (entry, find(entry, task)) for entry in shape.entries if find(entry, task) is not None
            ]
            for row, (entry, measure) in enumerate(measured):
                assert measure is not None
                value = measure.versus_plain
                spread = [[value.median - value.low], [value.high - value.median]]
                axes.errorbar(
                    value.median,
                    row,
                    xerr=spread,
                    fmt="o",
                    color=COLOURS[entry.family],
                    capsize=2,
                    label=entry.family,
                )
            axes.axvline(1.0, color=LIGHT.muted, linewidth=0.8)
            axes.set_yticks(range(len(measured)), [entry.name for entry, _ in measured])
            axes.invert_yaxis()
            axes.set_xlabel("time ÷ fastest plain JAX form")
            axes.set_title(f"{shape.name}: {HEADINGS[task]}")
        handles = {
            label: handle
            for axes in grid
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        fig.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles))
        return fig
