"""Settings of the group-sparsity penalty."""

import math
from dataclasses import dataclass

from aila_jax.config.checks import one_of, require


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

    solver: str = "none"
    eta: float = 0.0
    nu: float = 0.0
    groups: int = 0
    weights: str = "size"
    scale_free: bool = False
    ramp: bool = True

    def __post_init__(self):
        one_of("penalty.solver", self.solver, ("none", "subgradient", "proximal"))
        one_of("penalty.weights", self.weights, ("size", "anchors", "inverse_anchors"))
        for name in ("eta", "nu"):
            value = getattr(self, name)
            require(
                0.0 <= value < math.inf,
                f"penalty.{name}",
                value,
                "finite and at least 0",
                f"set --config.penalty.{name}=0",
            )
            require(
                value == 0.0 or self.solver != "none",
                f"penalty.{name}",
                value,
                "0 when penalty.solver is 'none'",
                "set --config.penalty.solver=proximal or subgradient",
            )
        require(
            self.groups >= 0,
            "penalty.groups",
            self.groups,
            "at least 0",
            "0 takes the number of blocks in a window",
        )
        require(
            not (self.solver == "proximal" and self.scale_free),
            "penalty.scale_free",
            True,
            "false when penalty.solver is 'proximal': that form has no proximal operator in closed form",
            "set --config.penalty.solver=subgradient",
        )
