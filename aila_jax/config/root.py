"""`Config`, which holds the settings of every stage, and the checks that concern several of them."""

from dataclasses import dataclass, field

from aila_jax.config.checks import require
from aila_jax.config.data import DataConfig
from aila_jax.config.locality import LocalityConfig
from aila_jax.config.model import ModelConfig
from aila_jax.config.partition import AnchorConfig, PartitionConfig
from aila_jax.config.penalty import PenaltyConfig
from aila_jax.config.sweep import SweepConfig
from aila_jax.config.train import TrainConfig


@dataclass(frozen=True)
class Config:
    """Everything that determines a run. `seed` drives initialisation, shuffling, dropout and the draws of
    λ.
    """

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    locality: LocalityConfig = field(default_factory=LocalityConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self):
        require(0 <= self.seed < 2**32, "seed", self.seed, "in [0, 2**32)", "set --config.seed=0")
        if self.partition.kind == "windows":
            require(
                self.partition.size <= self.model.length,
                "partition.size",
                self.partition.size,
                f"at most model.length ({self.model.length})",
                f"set --config.partition.size={min(5, self.model.length)}",
            )
        self._check_anchors()
        if self.model.hard:
            require(
                self.locality.mode == "fixed" and self.locality.lam == 1.0,
                "locality.mode, lam",
                (self.locality.mode, self.locality.lam),
                "('fixed', 1.0) when model.hard is set",
                "set --config.locality.mode=fixed --config.locality.lam=1, or --config.model.hard=false",
            )
            fix = "set --config.locality.pressure=0"
            require(
                self.locality.pressure == 0.0,
                "locality.pressure",
                self.locality.pressure,
                "0 when model.hard is set: block mass is 1",
                fix,
            )
        self._check_groups()

    def _check_groups(self):
        """The settings of feature groups that concern several stages."""
        if self.model.localist:
            require(
                self.partition.kind == "windows",
                "model.localist",
                True,
                "false unless partition.kind is 'windows', since positions must decide the block",
                "set --config.model.localist=false or --config.partition.kind=windows",
            )
        if self.penalty.solver != "none":
            require(
                self.penalty.scale_free or not self.model.qk_norm,
                "penalty.scale_free",
                False,
                "true when model.qk_norm is set: logits do not depend on the norms then, so the plain form"
                " shrinks weights to nothing",
                "set --config.penalty.scale_free=true --config.penalty.solver=subgradient",
            )
            require(
                self.penalty.solver != "proximal"
                or self.train.dial_rate == 1.0
                or self.model.dial_weights == "none",
                "train.dial_rate",
                self.train.dial_rate,
                "1 with penalty.solver 'proximal', whose step has one rate for a whole group, W and W′ alike",
                "set --config.train.dial_rate=1 or --config.penalty.solver=subgradient",
            )
        if self.penalty.solver != "none" or self.model.localist:
            require(
                self.feature_groups > 0,
                "penalty.groups",
                self.penalty.groups,
                f"above 0 when partition.kind is {self.partition.kind!r}, whose number of blocks is not set"
                " beforehand",
                "set --config.penalty.groups=16",
            )
            require(
                self.feature_groups <= self.model.d_model,
                "penalty.groups",
                self.feature_groups,
                f"at most model.d_model ({self.model.d_model}); 0 takes the number of blocks in a window",
                f"set --config.penalty.groups={min(16, self.model.d_model)}",
            )

    @property
    def feature_groups(self) -> int:
        """G: `penalty.groups`, or the number of blocks in a window, or of induced classes; 0 where none of
        them says.
        """
        if self.penalty.groups:
            return self.penalty.groups
        if self.partition.kind == "windows":
            return -(-self.model.length // self.partition.size)
        return self.partition.classes if self.partition.kind == "induced_classes" else 0

    @property
    def annotated(self) -> bool:
        """Whether blocks are an annotation's classes or clauses, so that a text needs that annotation to have
        blocks.
        """
        return (
            self.partition.kind == "given"
            and self.data.corpus == "conllu"
            and self.data.conllu_blocks != "sentences"
        )

    @property
    def class_blocks(self) -> bool:
        """Whether blocks are classes, of token types or annotated, and not stretches of text."""
        if self.partition.kind == "given":
            return self.annotated and self.data.conllu_blocks == "classes"
        return self.partition.fitted and not self.partition.makes_segments

    def _check_anchors(self) -> None:
        """Weights need anchors, blocks need a token beside them, and attention is measured on steps that
        there must be.
        """
        if self.anchors.estimator == "none":
            fix = "set --config.anchors.estimator=corpus or attention"
            allowed = self.penalty.solver == "none" or self.penalty.weights == "size"
            require(
                allowed,
                "penalty.weights",
                self.penalty.weights,
                "'size' when anchors.estimator is 'none'",
                fix,
            )
            return
        if self.partition.kind == "windows":
            most = self.partition.size - 1
            fix = f"set --config.anchors.k={most}" if most else "set --config.partition.size=5"
            require(
                self.anchors.k <= most,
                "anchors.k",
                self.anchors.k,
                f"at most partition.size - 1 ({most})",
                fix,
            )
        if self.anchors.estimator == "attention":
            fix = "set --config.train.warmup_steps=100, or --config.anchors.estimator=corpus"
            require(
                self.train.warmup_steps >= 1,
                "train.warmup_steps",
                0,
                "at least 1 for anchors.estimator 'attention'",
                fix,
            )
