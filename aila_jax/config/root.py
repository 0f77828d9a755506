"""`Config`, which holds the settings of every stage, and the checks that concern several of them."""

from dataclasses import dataclass, field
from operator import attrgetter

from aila_jax.config.checks import Rule, check_fields, check_rules, require
from aila_jax.config.choices import (
    DialMode,
    Estimator,
    GroupWeights,
    LayerBlocks,
    MarginForm,
    OptimizerKind,
    PartitionKind,
    PointerKind,
    Solver,
    TrainedPart,
)
from aila_jax.config.data import DataConfig
from aila_jax.config.locality import LocalityConfig
from aila_jax.config.mesh import MeshConfig
from aila_jax.config.model import ModelConfig
from aila_jax.config.partition import AnchorConfig, PartitionConfig
from aila_jax.config.penalty import PenaltyConfig
from aila_jax.config.relation import RelationConfig
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
    relation: RelationConfig = field(default_factory=RelationConfig)
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    locality: LocalityConfig = field(default_factory=LocalityConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        windows = self.partition.kind == PartitionKind.WINDOWS
        hard, length = self.model.hard, self.model.length
        turned = self.locality.mode == DialMode.FIXED and self.locality.lam == 1.0
        rules: tuple[Rule, ...] = (
            ("seed", 0 <= self.seed < 2**32, "in [0, 2**32)", "set --config.seed=0"),
            ("partition.size", not windows or self.partition.size <= length,
             f"at most model.length ({length})",
             f"set --config.partition.size={min(5, length)}"),
            ("partition.kind", self.partition.kind == PartitionKind.GIVEN or not self.data.asks,
             f"'given' when data.corpus is {self.data.corpus!r}, whose passages are the blocks",
             "set --config.partition.kind=given"),
            *self._relation_rules(),
            *self._anchor_rules(),
            *self._frozen_rules(),
            *self._mesh_rules(),
            ("locality.mode, lam", turned or not hard, "('fixed', 1.0) when model.hard is set",
             "set --config.locality.mode=fixed --config.locality.lam=1, or --config.model.hard=false"),
            ("locality.pressure", self.locality.pressure == 0.0 or not hard,
             "0 when model.hard is set: block mass is 1",
             "set --config.locality.pressure=0"),
            ("model.localist", self.model.learned_positions or not self.model.localist,
             "false without model.learned_positions: they are what is localist",
             "set --config.model.localist=false or --config.model.learned_positions=true"),
            ("model.localist", windows or not self.model.localist,
             "false unless partition.kind is 'windows', since positions must decide the block",
             "set --config.model.localist=false or --config.partition.kind=windows"),
        )  # fmt: skip
        check_rules("", self, rules)
        self._check_groups()

    def _relation_rules(self) -> tuple[Rule, ...]:
        """What blocks must be for sinks, shifts, pointers and layers of their own."""
        relation, length, layers = self.relation, self.model.length, self.model.n_layers
        windows, size = self.partition.kind == PartitionKind.WINDOWS, self.partition.size
        kinds = [(self.partition.kind == PartitionKind.WINDOWS, size)]
        if relation.layers:
            kinds = [
                (windows, size) if blocks == LayerBlocks.OWN else (blocks == LayerBlocks.WINDOWS, own)
                for blocks, own in relation.layer_blocks
            ]
        own = not relation.layers or LayerBlocks.OWN in relation.layers
        stretches = not (own and self.class_blocks)
        smallest = min((one for is_windows, one in kinds if is_windows), default=2)
        most = size - 1 if windows else 1
        kind = f"partition.kind {self.partition.kind!r}"
        what = "whose blocks are no stretches of text"
        words = ("own",) * (min(layers, 8) - 1) + ("all",)  # a record may claim any number of layers
        return (
            ("relation.sink", not (relation.sink and self.partition.global_first),
             "false with partition.global_first, which makes the same token a query of every block too",
             "set --config.partition.global_first=false"),
            ("relation.shift", not relation.shift or stretches, f"0 with {kind}, {what}",
             "set --config.partition.kind=windows, or --config.relation.shift=0"),
            ("relation.shift", relation.shift <= most or not stretches,
             f"less than partition.size ({size})" if windows else f"0 or 1 with {kind}",
             f"set --config.relation.shift={max(size // 2, 1) if size > 1 else 0}" if windows else "set --config.relation.shift=1"),
            ("relation.pointers", not relation.points or stretches, f"'none' with {kind}, {what}",
             "set --config.partition.kind=windows or segments"),
            ("relation.pointers", not relation.points or smallest >= 2,
             "'none' with windows of 1: then every token is one",
             "name longer windows in relation.layers" if relation.layers else "set --config.partition.size=5"),
            ("relation.layers", len(relation.layers) in (0, layers), f"empty, or one word a layer ({layers})",
             f"set --config.relation.layers=\"{words}\"" if layers <= 8 else "leave it empty"),
            ("relation.layers", all(one <= length for is_windows, one in kinds if is_windows),
             f"windows of at most model.length ({length})", f"set windows:{min(5, length)}"),
        )  # fmt: skip

    def _anchor_rules(self) -> tuple[Rule, ...]:
        """Weights need anchors, blocks need a token beside them, and attention is measured on steps that
        there must be.
        """
        none, windows = self.anchors.estimator == Estimator.NONE, self.partition.kind == PartitionKind.WINDOWS
        most = self.partition.size - 1
        unweighted = self.penalty.solver == Solver.NONE or self.penalty.weights == GroupWeights.SIZE
        measured = self.anchors.estimator != Estimator.ATTENTION or self.train.warmup_steps >= 1
        return (
            ("penalty.weights", unweighted or not none, "'size' when anchors.estimator is 'none'",
             "set --config.anchors.estimator=corpus or attention"),
            ("anchors.k", none or not windows or self.anchors.k <= most,
             f"at most partition.size - 1 ({most})",
             f"set --config.anchors.k={most}" if most else "set --config.partition.size=5"),
            ("train.warmup_steps", measured, "at least 1 for anchors.estimator 'attention'",
             "set --config.train.warmup_steps=100, or --config.anchors.estimator=corpus"),
        )  # fmt: skip

    def _frozen_rules(self) -> tuple[Rule, ...]:
        """Where the dial's own parameters alone are trained there are some, and nothing asks more."""
        model, dial = self.model, self.train.trained == TrainedPart.DIAL
        turns = model.adapters.rank > 0 or model.film or model.dial_weights != "none"
        plain = self.penalty.solver == Solver.NONE
        return (
            ("train.trained", turns or not dial, "'all' where nothing turns with the dial",
             "set --config.model.adapters.rank=8"),
            ("penalty.solver", plain or not dial,
             "'none' when train.trained is 'dial': the penalised weights are frozen",
             "set --config.penalty.solver=none or --config.train.trained=all"),
        )  # fmt: skip

    def _mesh_rules(self) -> tuple[Rule, ...]:
        """Devices share what can be cut into as many parts; their number is known where work begins."""
        mesh, model, train = self.mesh, self.model, self.train
        whole = "set --config.mesh.tensor=1, or a divisor of it"
        parts = max(mesh.data, 1) * mesh.fsdp * train.accumulate
        return (
            ("mesh.fsdp", model.d_model % mesh.fsdp == 0, f"a divisor of model.d_model ({model.d_model})",
             "set --config.mesh.fsdp=1, or a divisor of it"),
            ("mesh.tensor", model.n_heads % mesh.tensor == 0, f"a divisor of model.n_heads ({model.n_heads})",
             whole),
            ("mesh.tensor", model.d_ff % mesh.tensor == 0, f"a divisor of model.d_ff ({model.d_ff})", whole),
            ("train.batch_size", train.batch_size % parts == 0,
             f"divisible by mesh.data · mesh.fsdp · train.accumulate ({parts})",
             f"set --config.train.batch_size={max(train.batch_size // parts, 1) * parts}, or another mesh"),
            ("train.parallel", mesh.plain or train.parallel == "jit",
             "'jit' where mesh.fsdp or mesh.tensor is above 1: pmap has a whole copy on every device",
             "set --config.train.parallel=jit"),
        )  # fmt: skip

    def _check_groups(self) -> None:
        """The settings of feature groups that concern several stages."""
        penalised, width, groups = self.penalty.solver != Solver.NONE, self.model.d_model, self.feature_groups
        one_rate = (
            self.penalty.solver != Solver.PROXIMAL
            or self.train.dial_rate == 1.0
            or self.model.dial_weights == "none"
        )
        rules: tuple[Rule, ...] = (
            ("penalty.scale_free", self.penalty.scale_free or not (penalised and self.model.qk_norm),
             "true when model.qk_norm is set: logits do not depend on the norms then, so the plain form"
             " shrinks weights to nothing",
             "set --config.penalty.scale_free=true --config.penalty.solver=subgradient"),
            ("train.dial_rate", one_rate,
             "1 with penalty.solver 'proximal', whose step has one rate for a whole group, W and W′ alike",
             "set --config.train.dial_rate=1 or --config.penalty.solver=subgradient"),
            ("train.optimizer",
             self.train.optimizer == OptimizerKind.ADAMW or self.penalty.solver != Solver.PROXIMAL,
             "'adamw' with penalty.solver 'proximal', whose zeros are those of AdamW's metric",
             "set --config.train.optimizer=adamw or --config.penalty.solver=subgradient"),
            ("penalty.groups", groups > 0 or not (penalised or self.model.localist),
             f"above 0 when partition.kind is {self.partition.kind!r}, whose number of blocks is not set"
             " beforehand", "set --config.penalty.groups=16"),
        )  # fmt: skip
        check_rules("", self, rules)
        require(
            groups <= width or not (penalised or self.model.localist),
            "penalty.groups",
            groups,
            f"at most model.d_model ({width}); 0 takes the number of blocks in a window",
            f"set --config.penalty.groups={min(16, width)}",
        )

    @property
    def feature_groups(self) -> int:
        """G: `penalty.groups`, or the number of blocks in a window, or of induced classes; 0 where none of
        them says.
        """
        if self.penalty.groups:
            return self.penalty.groups
        if self.partition.kind == PartitionKind.WINDOWS:
            return -(-self.model.length // self.partition.size)
        return self.partition.classes if self.partition.kind == PartitionKind.INDUCED_CLASSES else 0

    @property
    def annotated(self) -> bool:
        """Whether blocks are an annotation's classes or clauses, so that a text needs that annotation to have
        blocks.
        """
        return (
            self.partition.kind == PartitionKind.GIVEN
            and self.data.corpus == "conllu"
            and self.data.conllu_blocks != "sentences"
        )

    @property
    def class_blocks(self) -> bool:
        """Whether blocks are classes, of token types or annotated, and not stretches of text."""
        if self.partition.kind == PartitionKind.GIVEN:
            return self.annotated and self.data.conllu_blocks == "classes"
        return self.partition.fitted and not self.partition.makes_segments


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
    corpus = f"data.corpus is {config.data.corpus!r}"
    margin = f"model.margin.form is {config.model.margin.form!r}"
    solver = "penalty.solver is 'none'"
    pointers, points = f"relation.pointers is {config.relation.pointers!r}", config.relation.points
    given = config.partition.kind == PartitionKind.GIVEN
    anchored = config.anchors.estimator != Estimator.NONE
    scaling = config.model.margin.form == MarginForm.SELF_SCALING
    penalised = config.penalty.solver != Solver.NONE
    # Whether they are read, their section, their names, when they are not, and what reads them.
    rules = (
        (config.data.corpus in ("text", "conllu", "question_files"), "data", ("file_kinds",), corpus, "data.corpus=text"),
        (config.data.corpus in ("text", "conllu", "question_files", "tfds"), "data", ("hold_out", "repeated"), corpus, "data.corpus=text"),
        (given, "data", ("conllu_blocks",), f"{kind}, which does not read the annotation's blocks", "partition.kind=given"),
        (not given, "partition", ("size",), kind, "partition.kind=windows"),
        (points, "relation", ("horizon",), pointers, "relation.pointers=ends"),
        (config.relation.pointers == PointerKind.ANCHORS, "relation", ("anchors",), pointers, "relation.pointers=anchors"),
        (config.relation.pointers == PointerKind.RANDOM, "relation", ("seed",), pointers, "relation.pointers=random"),
        (anchored, "anchors", ("k", "prior", "max_batches"), "anchors.estimator is 'none'", "anchors.estimator=corpus"),
        (config.locality.mode != DialMode.CONDITIONAL, "locality", ("lam",), f"{mode}, which draws λ", "locality.mode=fixed"),
        (config.locality.mode == DialMode.CURRICULUM, "locality", ("start", "end", "shape"), mode, "locality.mode=curriculum"),
        (not config.locality.draw_tau, "locality", ("tau",), "locality.draw_tau is set", "locality.draw_tau=false"),
        (config.locality.draw_tau, "locality", ("tau_low", "tau_high"), "locality.draw_tau is not set", "locality.draw_tau=true"),
        (penalised, "penalty", ("weights", "ramp"), solver, "penalty.solver=proximal or subgradient"),
        (penalised, "penalty", ("scale_free",), solver, "penalty.solver=subgradient"),
        (config.model.qk_norm, "model", ("g_max",), "model.qk_norm is not set", "model.qk_norm=true"),
        (scaling, "model.margin", ("c", "m0", "range", "range_bend"), margin, "model.margin.form=self_scaling"),
        (config.train.patience > 0, "train", ("min_delta",), "train.patience is 0", "train.patience=3"),
        (config.model.localist, "model", ("localist_shared",), "model.localist is not set", "model.localist=true"),
    )  # fmt: skip
    defaults = Config()
    check_rules("", config, [
        (
            f"{section}.{name}",
            read or attrgetter(f"{section}.{name}")(config) == attrgetter(f"{section}.{name}")(defaults),
            f"left at {attrgetter(f'{section}.{name}')(defaults)!r} when {when}",
            f"leave it out, or set --config.{reader}",
        )
        for read, section, names, when, reader in rules
        for name in names
    ])  # fmt: skip
