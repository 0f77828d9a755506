"""`Config`, which holds the settings of every stage, and the checks that concern several of them."""

from dataclasses import dataclass, field
from operator import attrgetter

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


def check_unread(config: Config) -> None:
    """Raises ValueError where a setting of the rules below differs from its default, and nothing reads it
    beside the others: it was meant to do something.

    What presets set is not among them, such as draws of λ where λ is fixed, or the fixed margin's nats where
    it scales itself: who changes the mode of a preset would have to take back every one.

    Asked where something new begins. Configurations as such may hold these: of a saved run, which is loaded
    whatever it ignored, and of a model that is read with another partition than it was trained with.
    """
    mode = f"locality.mode is {config.locality.mode!r}"
    kind = f"partition.kind is {config.partition.kind!r}"
    margin = f"model.margin.form is {config.model.margin.form!r}"
    solver = "penalty.solver is 'none'"
    # Whether they are read, their section, their names, when they are not, and what reads them.
    rules = (
        (config.partition.kind == "given", "data", ("conllu_blocks",), f"{kind}, which does not read the annotation's blocks", "partition.kind=given"),
        (config.partition.kind != "given", "partition", ("size",), kind, "partition.kind=windows"),
        (config.anchors.estimator != "none", "anchors", ("k", "prior", "max_batches"), "anchors.estimator is 'none'", "anchors.estimator=corpus"),
        (config.locality.mode != "conditional", "locality", ("lam",), f"{mode}, which draws λ", "locality.mode=fixed"),
        (config.locality.mode == "curriculum", "locality", ("start", "end", "shape"), mode, "locality.mode=curriculum"),
        (not config.locality.draw_tau, "locality", ("tau",), "locality.draw_tau is set", "locality.draw_tau=false"),
        (config.locality.draw_tau, "locality", ("tau_low", "tau_high"), "locality.draw_tau is not set", "locality.draw_tau=true"),
        (config.penalty.solver != "none", "penalty", ("weights", "ramp"), solver, "penalty.solver=proximal or subgradient"),
        (config.penalty.solver != "none", "penalty", ("scale_free",), solver, "penalty.solver=subgradient"),
        (config.model.qk_norm, "model", ("g_max",), "model.qk_norm is not set", "model.qk_norm=true"),
        (config.model.margin.form == "self_scaling", "model.margin", ("c", "m0", "range", "range_bend"), margin, "model.margin.form=self_scaling"),
        (config.model.localist, "model", ("localist_shared",), "model.localist is not set", "model.localist=true"),
    )  # fmt: skip
    defaults = Config()
    for read, section, names, when, reader in rules:
        for name in names:
            value, default = (attrgetter(f"{section}.{name}")(one) for one in (config, defaults))
            fix = f"leave it out, or set --config.{reader}"
            require(
                read or value == default, f"{section}.{name}", value, f"left at {default!r} when {when}", fix
            )
