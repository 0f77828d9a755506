"""The leak: models without a causal mask, which see the tokens that they are scored on, beside causal ones."""

from dataclasses import replace

from aila_jax.config import Config, LocalityConfig, PartitionConfig

WINDOWS = (3, 5, 10)
MASKS = {"leaky": True, "causal": False}  # name → model.bidirectional


def leak_runs(base: Config) -> dict[str, Config]:
    """The runs by name, leaky and causal alike: plain training, and training with nothing but the own window in sight.

    Plain training (λ = 0) does not know the window size, so one run is read with every size. The law is about queries that see
    their whole window and nothing else, which hard block attention makes true; those runs learn quickly and get half the steps.
    """
    model = replace(base.model, film=False)
    plain = LocalityConfig(mode="fixed", lam=0.0)
    short = replace(base.train, steps=max(base.train.steps // 2, 1))
    runs = {}
    for mask, bidirectional in MASKS.items():
        seeing = replace(model, bidirectional=bidirectional)
        runs[mask] = replace(base, model=seeing, locality=plain)
        for size in WINDOWS:
            runs[f"{mask}-window{size}"] = replace(
                base,
                model=replace(seeing, hard=True),
                partition=PartitionConfig(size=size),
                locality=replace(plain, lam=1.0),
                train=short,
            )
    return runs
