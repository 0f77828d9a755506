"""The runs of the frontier: relations at λ = 1 and exactly hard, each beside plain windows of equal mean
n_in.
"""

import functools
from dataclasses import dataclass, field, replace

import numpy as np

from aila_jax.config import (
    Config,
    MarginForm,
    ModelConfig,
    PartitionConfig,
    PartitionKind,
    PointerKind,
    RelationConfig,
    SweepConfig,
)
from aila_jax.guarantees.key_counts import counts_of_every_text
from experiments.one_checkpoint.runs import BUDGETS, at_one_lam

SIZES = (5, 10, 16, 30)  # windows, each plain and shifted by half
MORE_SHIFTED = (20, 22, 24, 40)  # sizes of further windows, shifted by half alone
HORIZONS = (2, 4, 8)  # blocks that find an end inside
CONTROLS = (
    5,
    9,
    10,
    12,
    16,
    18,
    20,
    22,
    24,
    29,
    30,
    31,
    33,
    40,
    43,
    52,
    59,
    62,
)  # sizes of the plain windows beside them
# Mean n_in over the validation split, both layers, of what depends on the text; `n_in` in the result files is
# measured, and a test compares.
MEAN_N_IN = {
    "clause": 9.55,
    "clause-shift1": 14.8,
    "sentence": 19.3,
    "sentence-shift1": 28.3,
    "sentence-ends": 21.8,
    "sentence-ends-h2": 20.8,
    "sentence-ends-h4": 21.4,
    "sentence-ends-h8": 21.8,
    "sentence-anchors1": 21.8,
    "sentence-anchors2": 23.7,
    "sentence-random": 21.8,
    "sentence-ends-shift1-sink": 30.3,
}


@dataclass(frozen=True)
class Point:
    """One relation.

    Attributes:
      partition: its blocks.
      relation: what is inside beside them.
    """

    partition: PartitionConfig
    relation: RelationConfig = field(default_factory=RelationConfig)


def points() -> dict[str, Point]:
    """The relations by name."""
    found: dict[str, Point] = {}
    for size in SIZES:
        found |= _plain_and_shifted(f"windows{size}", _windows(size), size // 2)
    for size in MORE_SHIFTED:
        found[f"windows{size}-shift{size // 2}"] = Point(_windows(size), RelationConfig(shift=size // 2))
    for unit in ("clause", "sentence"):
        found |= _plain_and_shifted(unit, _segments(unit), 1)
    for name, partition, shift in (("windows5", _windows(5), 2), ("sentence", _segments("sentence"), 1)):
        made = {
            "ends": RelationConfig(pointers=PointerKind.ENDS),
            **{f"ends-h{p}": RelationConfig(pointers=PointerKind.ENDS, horizon=p) for p in HORIZONS},
            **{f"anchors{k}": RelationConfig(pointers=PointerKind.ANCHORS, anchors=k) for k in (1, 2)},
            "random": RelationConfig(pointers=PointerKind.RANDOM),
            f"ends-shift{shift}-sink": RelationConfig(pointers=PointerKind.ENDS, shift=shift, sink=True),
        }
        found |= {f"{name}-{kind}": Point(partition, relation) for kind, relation in made.items()}
    return found


def frontier_runs(base: Config) -> dict[str, Config]:
    """The runs of one seed by name: `plain` (λ = 0), every relation at λ = 1, and `control-windowsSIZE`,
    plain windows whose mean n_in is nearest to one of theirs.

    At λ = 1 the gate leaves nothing outside, so what is said of reach holds of the model that is measured.
    """
    runs = {"plain": at_one(base, 0.0)}
    for name, point in points().items():
        runs[name] = at_one(base, 1.0, point)
    for name, point in points().items():
        size = control_size(base, name, point)
        if f"windows{size}" not in runs:
            runs[f"control-windows{size}"] = at_one(base, 1.0, Point(_windows(size)))
    return runs


def control_of(base: Config, name: str) -> str:
    """The run of plain windows beside the relation `name`."""
    size = control_size(base, name, points()[name])
    return f"windows{size}" if size in SIZES else f"control-windows{size}"


def control_size(base: Config, name: str, point: Point) -> int:
    """The size of plain windows, of `CONTROLS`, whose mean n_in is nearest to that of a point."""
    target = MEAN_N_IN[name] if name in MEAN_N_IN else mean_of_windows(base, point)
    means = [mean_of_plain(base.model.length, size) for size in CONTROLS]
    return CONTROLS[np.argmin(np.abs(np.asarray(means) - target))]


def mean_of_plain(length: int, size: int) -> float:
    """Mean n_in of plain windows: 1 to their size, and again from each border on."""
    whole, rest = divmod(length, size)
    return (whole * size * (size + 1) + rest * (rest + 1)) / (2 * length)


@functools.cache
def mean_of_windows(base: Config, point: Point) -> float:
    """Mean n_in of a relation on windows: no text changes it."""
    config = replace(base, partition=point.partition, relation=point.relation)
    return float(counts_of_every_text(config, base.model.length).n_in.mean())


def at_one(base: Config, lam: float, point: Point | None = None, budget: str = "5M") -> Config:
    """Training at one λ with a relation, its end hard by the gate, evaluated once, at the end."""
    steps = BUDGETS[budget] // (base.train.batch_size * base.model.length)
    point = Point(base.partition) if point is None else point
    gated = replace(base.model, margin=replace(base.model.margin, gate=1.0))
    made = replace(
        base,
        partition=point.partition,
        relation=point.relation,
        model=gated,
        # A checkpoint at the end, and on the way of what takes hours.
        train=replace(base.train, steps=steps, eval_every=steps, checkpoint_every=min(steps, 1200), keep=1),
        sweep=SweepConfig(lams=(lam,), taus=(1.0,), split="validation"),
    )
    return at_one_lam(made, lam)


def _windows(size: int) -> PartitionConfig:
    return PartitionConfig(size=size)


def _segments(unit: str) -> PartitionConfig:
    return PartitionConfig(kind=PartitionKind.SEGMENTS, unit=unit)


def _plain_and_shifted(name: str, partition: PartitionConfig, shift: int) -> dict[str, Point]:
    return {
        name: Point(partition),
        f"{name}-shift{shift}": Point(partition, RelationConfig(shift=shift)),
    }


# Relations that the ways to bound scores are tried on.
BOUNDED = ("windows16-shift8", "windows30-shift15")
# The relation of the one checkpoint.
DIALLED = "windows40-shift20"
LOCAL = "windows20-shift10"  # what is dialled beside it
REGRETS = (0.4, 1.0)  # λ of the models that it is compared with
DIAL = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def ways_to_bound(model: ModelConfig) -> dict[str, ModelConfig]:
    """How scores are kept from outgrowing the margin: a cap, as `base` has it; QK-normalisation; a margin
    that scales itself. Fused kernels and pretrained models can have the last two alone.
    """
    free = replace(model, score_cap=0.0)
    scaling = replace(model.margin, form=MarginForm.SELF_SCALING, range_bend=4.0)
    return {
        "cap": model,
        "qk-norm": replace(free, qk_norm=True),
        "self-scaling": replace(free, margin=scaling),
    }


def bound_runs(base: Config) -> dict[str, Config]:
    """RELATION-WAY at λ = 1, where the gate leaves nothing outside whatever the margin, so that a
    self-scaling one is none at all; and `plain-WAY` at λ = 0.
    """
    runs = {}
    for way, model in ways_to_bound(base.model).items():
        if way == "cap":
            continue
        bounded = replace(base, model=model)
        runs[f"plain-{way}"] = at_one(bounded, 0.0)
        for name in BOUNDED:
            runs[f"{name}-{way}"] = at_one(bounded, 1.0, points()[name])
    return runs


def dial_runs(base: Config) -> dict[str, Config]:
    """BUDGET-dial-WAY, one checkpoint trained for the whole dial as `base` is, BUDGET-dial-RELATION, the same
    of a more local relation, and the models beside it that `frontier_runs` has not.
    """
    runs = {}
    for budget in BUDGETS:
        for way, model in ways_to_bound(base.model).items():
            runs[f"{budget}-dial-{way}"] = _dialled(replace(base, model=model), DIALLED, budget)
        runs[f"{budget}-dial-{LOCAL}"] = _dialled(base, LOCAL, budget)
        beside = {fixed_name(budget, lam): lam for lam in (0.0, *REGRETS)}
        for name, lam in beside.items():
            if name in ("plain", DIALLED):
                continue
            runs[name] = at_one(base, lam, points()[DIALLED], budget)
    return runs


def _dialled(base: Config, name: str, budget: str) -> Config:
    """One checkpoint for the whole dial, of a relation."""
    made = at_one(base, 1.0, points()[name], budget)
    return replace(
        base, partition=made.partition, relation=made.relation, train=made.train,
        sweep=replace(made.sweep, lams=DIAL),
        model=replace(base.model, margin=replace(base.model.margin, gate=1.0)),
    )  # fmt: skip


def fixed_name(budget: str, lam: float, dial: str = "") -> str:
    """The run of the relation of the one checkpoint `dial` that is trained at one λ; at λ = 0 no relation
    changes anything.
    """
    local = dial.endswith(LOCAL)
    known = {0.0: "plain", 1.0: LOCAL if local else DIALLED} if budget == "5M" else {}
    return known.get(lam, f"{budget}-fixed-{lam:g}" + (f"-{LOCAL}" if local and lam else ""))


def lams_of(config: Config) -> tuple[float, ...]:
    """Where a run is read: at its own λ, or over the dial."""
    return config.sweep.lams


MAKERS = {"relations": frontier_runs, "bounds": bound_runs, "dial": dial_runs}
