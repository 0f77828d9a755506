"""Settings that nothing reads beside the others and that nobody sets by the way, such as a λ where training
draws it.
"""

from operator import attrgetter

from aila_jax.config.checks import require
from aila_jax.config.root import Config


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
