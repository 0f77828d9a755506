"""Settings of the group-sparsity penalty."""

from dataclasses import dataclass

from aila_jax.config.checks import Rule, check_fields, check_rules, not_negative
from aila_jax.config.choices import GroupWeights, Solver


@dataclass(frozen=True)
class PenaltyConfig:
    """The group-sparsity penalty: loss + λ·η·R(W_Q, W_K) + ν·Σ‖W_V‖² (docs/method.md, section 3). Off by
    default.

    It makes attention flatter, not more local, and a head that it empties never comes back.

    Attributes:
      solver: `none` (off, at no cost), `subgradient` (R in the loss; weights come near 0), or `proximal`
        (groups become exactly 0).
      eta: η, the strength of R, finite and at least 0; 0 with the solver `none`.
      nu: ν, the strength of Σ‖W_V‖², finite and at least 0; 0 with the solver `none`.
      groups: G, groups that the model's d_model input coordinates are split into, at most d_model; 0 takes
        the number of blocks in a window of model.length tokens (partition `windows`), or of classes
        (`induced_classes`).
      weights: a_i of each group, with mean 1: `size` (the root of its number of coordinates), `anchors` (the
        importance of its blocks' anchors: more important, more penalised) or `inverse_anchors` (less).
        Anchors are known after warm-up; until then `size`.
      scale_free: each group's norm as a share of its head's; model.qk_norm needs it, and the solver
        `proximal` refuses it.
      ramp: λη rises from 0 over train.warmup_steps.
    """

    solver: Solver = Solver.NONE
    eta: float = 0.0
    nu: float = 0.0
    groups: int = 0
    weights: GroupWeights = GroupWeights.SIZE
    scale_free: bool = False
    ramp: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "penalty.")
        off = self.solver == Solver.NONE
        closed = "false when penalty.solver is 'proximal': that form has no proximal operator in closed form"
        on = "set --config.penalty.solver=proximal or subgradient"
        rules: tuple[Rule, ...] = (
            ("eta", not_negative(self.eta), "finite and at least 0", "set --config.penalty.eta=0"),
            ("eta", self.eta == 0.0 or not off, "0 when penalty.solver is 'none'", on),
            ("nu", not_negative(self.nu), "finite and at least 0", "set --config.penalty.nu=0"),
            ("nu", self.nu == 0.0 or not off, "0 when penalty.solver is 'none'", on),
            ("groups", self.groups >= 0, "at least 0", "0 takes the number of blocks in a window"),
            ("scale_free", not (self.solver == Solver.PROXIMAL and self.scale_free), closed,
             "set --config.penalty.solver=subgradient"),
        )  # fmt: skip
        check_rules("penalty.", self, rules)
