"""Settings of rotary positions beside their base."""

from dataclasses import dataclass

from aila_jax.config.checks import Rule, check_fields, check_rules, positive
from aila_jax.config.choices import RotaryLayout, RotaryScaling


@dataclass(frozen=True)
class RotaryConfig:
    """How queries and keys turn with their positions where `model.rotary_base` is set.

    Attributes:
      share: of a head's coordinates, its first ones, that turn, above 0 and at most 1: an even number.
      layout: `halves` (coordinate i turns with i + half, as in Llama and GPT-NeoX) or `interleaved` (2i turns
        with 2i + 1, as in GPT-J, and in GGUF files of the architecture llama).
      scaling: `none`, `linear` (all positions divided by `factor`) or `llama3` (slow rates divided by it,
        fast ones not, and a passage between).
      factor: of the scaling, at least 1.
      low_factor: llama3: rates with a wavelength above original_length ÷ low_factor are divided; above 0.
      high_factor: llama3: those with one below original_length ÷ high_factor are not; above low_factor.
      original_length: llama3: tokens of pretraining, at least 1.
    """

    share: float = 1.0
    layout: RotaryLayout = RotaryLayout.HALVES
    scaling: RotaryScaling = RotaryScaling.NONE
    factor: float = 1.0
    low_factor: float = 1.0
    high_factor: float = 4.0
    original_length: int = 8192

    def __post_init__(self) -> None:
        check_fields(self, "model.rotary.")
        rules: tuple[Rule, ...] = (
            ("share", 0.0 < self.share <= 1.0, "above 0 and at most 1", "1 turns all coordinates"),
            ("factor", positive(self.factor) and self.factor >= 1.0, "finite and at least 1", "1 is none"),
            ("low_factor", positive(self.low_factor), "finite and above 0", "1 is Llama 3's"),
            ("high_factor", self.low_factor < self.high_factor < 1e9,
             f"above model.rotary.low_factor ({self.low_factor:g})", "4 is Llama 3's"),
            ("original_length", self.original_length >= 1, "at least 1", "8192 is Llama 3's"),
        )  # fmt: skip
        check_rules("model.rotary.", self, rules)
