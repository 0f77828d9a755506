"""Whether a decoder can be written as one of a family, and what keeps it from that."""

from operator import attrgetter

from aila_jax.config import ModelConfig
from aila_jax.config.choices import Choice

# A setting of `model`, and whether it is as the family has it.
Fits = tuple[tuple[str, bool], ...]


def first_misfit(config: ModelConfig, rules: Fits) -> str:
    """The first setting that does not hold, with its value, as model.norm='centred'; empty where all do."""
    for name, holds in rules:
        if not holds:
            value = attrgetter(name)(config)
            return f"model.{name}={value.value if isinstance(value, Choice) else value!r}"
    return ""
