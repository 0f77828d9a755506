"""The model shapes that are measured, and what the twins need to know of them."""

from dataclasses import dataclass, replace

from aila_jax import presets
from aila_jax.config import Config, one_of, require

SHAPES = ("small", "paper", "base")
QUICK = "quick"  # --quick: too small to say anything about speed
CPU_SEQUENCES = {
    "paper": 4,
    "base": 1,
}  # sequences a step on a CPU, where the preset's batch would take most of a minute a step
CHUNK = 512  # tokens whose logits exist at once; the form of the loss that suits CPUs
DTYPES = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Shape:
    """One model size with the batch it is measured at.

    Attributes:
      name: `small`, `paper`, `base` or `quick`.
      config: the preset of that name, with dropout, FiLM and weights that turn off: the twins have none.
      cpu: whether it is measured on a CPU; a GPU otherwise.
      dtype: compute type, `float32` or `bfloat16`; parameters are float32 always.
      chunk: loss_chunk of our contestants, unless they measure another one.
    """

    name: str
    config: Config
    cpu: bool
    dtype: str
    chunk: int

    @property
    def batch_size(self) -> int:
        """Sequences a step."""
        return self.config.train.batch_size

    @property
    def tokens(self) -> int:
        """Tokens a step."""
        return self.batch_size * self.config.model.length

    @property
    def vocab_size(self) -> int:
        """V."""
        return self.config.data.vocab_size


def make_shape(name: str, *, cpu: bool, batch_size: int = 0, dtype: str = "auto") -> Shape:
    """The shape called `name`.

    Args:
      cpu: whether it runs on a CPU; that decides the batch, the form of the loss, and `auto`.
      batch_size: sequences a step; 0 takes the preset's, or the smaller one of a CPU.
      dtype: `auto` is the preset's on an accelerator and float32 on a CPU.

    Raises:
      ValueError: an unknown name or type, or a negative batch.
    """
    one_of("shapes", name, (*SHAPES, QUICK))
    one_of("dtype", dtype, DTYPES)
    require(batch_size >= 0, "batch_size", batch_size, "at least 0", "0 takes the preset's")
    preset = _quick() if name == QUICK else presets.preset(name)
    if dtype == "auto":
        dtype = "float32" if cpu else preset.model.dtype
    batch_size = batch_size or (CPU_SEQUENCES.get(name, 0) if cpu else 0) or preset.train.batch_size
    config = replace(
        preset,
        model=replace(preset.model, dropout=0.0, film=False, dial_weights="none", dtype="float32"),
        # Without warm-up the first steps move the weights, so that equal losses after them prove equal
        # optimizers.
        train=replace(preset.train, batch_size=batch_size, warmup_steps=0),
    )
    return Shape(name, config, cpu, dtype, CHUNK if cpu else 0)


def _quick() -> Config:
    """`small` at a size that compiles and runs in seconds."""
    config = presets.preset("small")
    # A higher rate than the preset's: few steps must move the weights far enough to prove equal updates.
    model = replace(config.model, length=32, d_model=32, n_heads=2, d_ff=64)
    return replace(
        config,
        data=replace(config.data, vocab_size=512),
        model=model,
        train=replace(config.train, batch_size=4, learning_rate=4e-3),
    )
