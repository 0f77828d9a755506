"""Settings of the optimisation and of the training loop."""

from dataclasses import dataclass

from aila_jax.config.checks import (
    MAX_BATCH_SIZE,
    Rule,
    check_fields,
    check_rules,
    in_unit,
    not_negative,
    one_of,
    positive,
    require,
)
from aila_jax.config.choices import OptimizerKind, Remat, TrainedPart

MAX_FLOAT32 = 3.4028234663852886e38
DEFAULT_BATCH_SIZE = 32


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation and the training loop.

    Attributes:
      steps: optimizer steps.
      batch_size: sequences a step, over all devices. Where the training split has fewer than the default, all
        of them.
      accumulate: microbatches that a device's share of the batch is cut into, one after another, to save
        memory; it must divide that share.
      parallel: how the step is mapped over devices: `jit` over a mesh, or `pmap`, its predecessor; both give
        the same update.
      optimizer: `adamw`; or `muon`, which moves the matrices of layers by their momentum with all singular
        values made about 1, and all else as `adamw` does: what few examples show is learned sooner.
      learning_rate: the highest rate, reached at the end of `warmup_steps`, then a cosine down to
        `final_rate` times it.
      schedule: which step has which rate: `exact`, by which step k of n warm-up steps has k/n of the highest
        rate and the last step `final_rate` of it, or `offset`, one step late: the first step has rate 0 and
        no step the last one. Saved configurations without this setting mean `offset`.
      dial_rate: factor of the learning rate, and of weight decay, for the weights that `model.dial_weights`
        adds, finite and above 0: where λ is large a projection moves by both its parts.
      weight_decay: decoupled, on matrices only.
      clip_norm: largest global gradient norm.
      beta2: AdamW's second-moment decay.
      log_every: steps between two records of training.
      eval_every: steps between two measurements on the validation split; one is also made at the end.
      checkpoint_every: steps between two checkpoints; one is also made at the end.
      eval_batches: validation batches of each evaluation during training (all of them at the end and in a
        sweep); 0 is all.
      keep: newest checkpoints kept.
      keep_every: also keep the checkpoints of steps that are multiples of it; 0 is none. Best a multiple of
        `checkpoint_every`: only steps that are saved can be kept.
      keep_best: also keep the checkpoint of the lowest validation loss; every evaluation that finds a lower
        one saves. That loss is the mean over the λ that training is watched at (`eval` in the log: λ = 0 and
        1 for conditional training, its own λ otherwise), on the same `eval_batches` batches every time.
      patience: evaluations in a row without a lower validation loss after which training ends; 0 is never.
      min_delta: how much lower it must be for `patience`, in nats, finite and at least 0.
      loss_chunk: tokens whose logits exist at once in a step; 0 makes them all in one, which is fastest on
        accelerators where they fit; 512 suits CPUs, whose caches hold a chunk.
      last_eval_batches: validation batches of the evaluation after the last step; 0 is all.
      trained: `all` parameters, or those alone that turn with the `dial` (adapters, FiLM, dial weights): the
        others are frozen, no gradient of them is made, and checkpoints hold them no more than a start's path.
      remat: what is computed again for the gradient, to save memory: `none`; `full`, all of a layer but its
        input; `dots`, all but the results of products with weights; or `auto`: `none` up to 4 layers, `full`
        for more. The update is the same.
      max_skipped: non-finite updates that are discarded before the run stops, at least 0.
    """

    steps: int = 1200
    batch_size: int = DEFAULT_BATCH_SIZE
    accumulate: int = 1
    parallel: str = "jit"
    optimizer: OptimizerKind = OptimizerKind.ADAMW
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    final_rate: float = 0.1
    schedule: str = "exact"
    dial_rate: float = 1.0
    weight_decay: float = 0.1
    beta2: float = 0.98
    clip_norm: float = 1.0
    log_every: int = 20
    eval_every: int = 400
    eval_batches: int = 8
    checkpoint_every: int = 400
    keep: int = 2
    keep_every: int = 0
    keep_best: bool = False
    patience: int = 0
    min_delta: float = 0.0
    loss_chunk: int = 0
    last_eval_batches: int = 0
    trained: TrainedPart = TrainedPart.ALL
    remat: Remat = Remat.AUTO
    max_skipped: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "train.")
        one_of("train.parallel", self.parallel, ("jit", "pmap"))
        one_of("train.schedule", self.schedule, ("exact", "offset"))
        counts = ("steps", "batch_size", "accumulate", "log_every", "eval_every", "checkpoint_every", "keep")
        zeros = (
            "warmup_steps", "eval_batches", "last_eval_batches", "max_skipped", "loss_chunk", "patience",
            "keep_every",
        )  # fmt: skip
        rates = ("learning_rate", "clip_norm", "dial_rate")
        rules: tuple[Rule, ...] = (
            *((name, getattr(self, name) >= 1, "at least 1", f"raise --config.train.{name}")
              for name in counts),
            *((name, getattr(self, name) >= 0, "at least 0", f"set --config.train.{name}=0")
              for name in zeros),
            *((name, positive(getattr(self, name)), "finite and above 0", f"set --config.train.{name}")
              for name in rates),
            ("batch_size", self.batch_size <= MAX_BATCH_SIZE, f"at most {MAX_BATCH_SIZE:,}",
             "lower --config.train.batch_size"),
            ("learning_rate", self.learning_rate <= MAX_FLOAT32,
             f"at most {MAX_FLOAT32:g}, the largest number that float32 holds",
             "lower --config.train.learning_rate"),
            ("weight_decay", not_negative(self.weight_decay), "finite and at least 0",
             "set --config.train.weight_decay=0.1"),
            ("min_delta", not_negative(self.min_delta), "finite and at least 0",
             "set --config.train.min_delta=0.001"),
            ("final_rate", in_unit(self.final_rate), "in [0, 1]", "set --config.train.final_rate=0.1"),
            ("beta2", 0.0 < self.beta2 < 1.0, "in (0, 1)", "set --config.train.beta2=0.98"),
        )  # fmt: skip
        check_rules("train.", self, rules)
        require(
            self.batch_size % self.accumulate == 0,
            "train.accumulate",
            self.accumulate,
            f"a divisor of train.batch_size ({self.batch_size})",
            "set --config.train.accumulate=1",
        )

    @property
    def warmup_end(self) -> int:
        """The step after which warm-up is over, at most the last one."""
        return min(self.warmup_steps, self.steps)
