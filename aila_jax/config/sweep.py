"""Settings of the dial's grid."""

from dataclasses import dataclass

from aila_jax.config.checks import (
    MAX_BATCH_SIZE,
    Rule,
    check_fields,
    check_lam,
    check_rules,
    check_tau,
    one_of,
)

PARTS = ("spread", "first")


@dataclass(frozen=True)
class SweepConfig:
    """The dial's grid: every λ of `lams` with every τ of `taus`, on one split. A value given twice is
    taken once.

    Attributes:
      lams: values in [0, 1].
      taus: values from 1e-6 to 1e6.
      split: `train`, `validation` or `test`.
      batch_size: sequences a batch.
      max_batches: 0 scores the whole split.
      part: which windows are read where `max_batches`, or train.eval_batches, leaves some out: `spread`
        evenly over the split, or the `first` ones, which may be of one kind (the rule of runs before this
        setting).
    """

    lams: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    taus: tuple[float, ...] = (0.5, 1.0, 2.0)
    split: str = "validation"
    batch_size: int = 32
    max_batches: int = 0
    part: str = PARTS[0]

    def __post_init__(self) -> None:
        check_fields(self, "sweep.")
        some = len(self.lams) > 0 and len(self.taus) > 0
        rules: tuple[Rule, ...] = (
            ("lams, taus", some, "non-empty", "give at least one λ and one τ"),
            ("batch_size", self.batch_size >= 1, "at least 1", "raise --config.sweep.batch_size"),
            ("batch_size", self.batch_size <= MAX_BATCH_SIZE, f"at most {MAX_BATCH_SIZE:,}",
             "lower --config.sweep.batch_size"),
            ("max_batches", self.max_batches >= 0, "at least 0", "0 scores the whole split"),
        )  # fmt: skip
        check_rules("sweep.", self, rules)
        for lam in self.lams:
            check_lam(lam, "sweep.lams")
        for tau in self.taus:
            check_tau(tau, "sweep.taus")
        object.__setattr__(self, "lams", tuple(dict.fromkeys(self.lams)))
        object.__setattr__(self, "taus", tuple(dict.fromkeys(self.taus)))
        one_of("sweep.split", self.split, ("train", "validation", "test"))
        one_of("sweep.part", self.part, PARTS)
