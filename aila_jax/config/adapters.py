"""Settings of low-rank adapters."""

from dataclasses import dataclass

from aila_jax.config.checks import Rule, check_fields, check_rules, one_of

PROJECTIONS = ("query", "key", "value", "out")


@dataclass(frozen=True)
class AdapterConfig:
    """Low-rank adapters on attention's projections, which act as λ · (x A) B and not at all at λ = 0
    (docs/method.md, section 14). B begins at 0.

    Attributes:
      rank: columns of A, at least 1; 0 is no adapters.
      on: the projections that have one: `query`, `key`, `value`, `out`; each once.
    """

    rank: int = 0
    on: tuple[str, ...] = PROJECTIONS

    def __post_init__(self) -> None:
        check_fields(self, "model.adapters.")
        for name in self.on:
            one_of("model.adapters.on", name, PROJECTIONS)
        rules: tuple[Rule, ...] = (
            ("rank", self.rank >= 0, "at least 0", "8 is usual, 0 is none"),
            ("on", 0 < len(self.on) == len(set(self.on)), "at least one projection, each once",
             "set --config.model.adapters.on=query,key,value,out"),
        )  # fmt: skip
        check_rules("model.adapters.", self, rules)

    def turns(self, name: str) -> bool:
        """Whether a projection has an adapter."""
        return self.rank > 0 and name in self.on
