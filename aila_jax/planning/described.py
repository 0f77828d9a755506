"""A plan as text for the terminal."""

from aila_jax.planning.flops import Flops
from aila_jax.planning.parameters import PARTS
from aila_jax.planning.plan import Plan

NAMES = {"feed_forward": "feed-forward", "output": "output layer"}
MEMORY = ("weights", "optimizer", "gradients", "activations", "logits", "attention")
WIDTH, MB = 15, 1e6


def describe(plan: Plan) -> str:
    """The whole plan, in the units that people compare."""
    return "\n\n".join((_parameters(plan), _flops(plan), _memory(plan), _time(plan)))


def _parameters(plan: Plan) -> str:
    counts = plan.parameters
    heading = (
        f"{counts.total:,}, {counts.without_embedding:,} without embeddings; {plan.vocabulary:,} token types"
    )
    lines = [_line(part, f"{getattr(counts, part):>15,}") for part in PARTS if getattr(counts, part)]
    return "\n".join([f"{'parameters':<{WIDTH}}  {heading}", *lines])


def _flops(plan: Plan) -> str:
    rows = [
        (part, getattr(plan.forward, part), getattr(plan.step, part)) for part in Flops.__dataclass_fields__
    ]
    rows.append(("total", plan.forward.total, plan.step.total))
    lines = [_line(name, f"{forward / 1e6:>15,.1f}{step / 1e6:>15,.1f}") for name, forward, step in rows]
    heading = f"{'MFLOP a token':<{WIDTH}}  {'forward':>15}{'training step':>15}"
    return "\n".join([heading, *lines])


def _memory(plan: Plan) -> str:
    memory, has = plan.memory, plan.device.memory
    lines = [_line(part, f"{getattr(memory, part) / MB:>15,.0f}") for part in MEMORY]
    of = "of how much is not known" if has is None else f"of {has / MB:,.0f}"
    fits = {True: ", fits", False: ", DOES NOT FIT", None: ""}[plan.fits]
    lines.append(_line("total", f"{memory.total / MB:>15,.0f} {of}{fits}"))
    devices = f"{plan.mesh.devices} × {plan.device.name}, mesh {plan.mesh.line}"
    heading = f"at the {memory.moment}, which needs most; {devices}"
    return "\n".join([f"{'MB a device':<{WIDTH}}  {heading}", *lines])


def _time(plan: Plan) -> str:
    read = "" if plan.readings == 1 else f", each read {plan.readings} times"
    lines = [
        f"{'budget':<{WIDTH}}  {plan.tokens:,} tokens{read}: {plan.steps:,} steps of {plan.batch_tokens:,}",
        f"{'takes':<{WIDTH}}  {plan.forecast.line(plan.steps)}",
        f"{'device':<{WIDTH}}  {plan.device.source}",
    ]
    return "\n".join(lines)


def _line(name: str, values: str) -> str:
    return f"  {NAMES.get(name, name.replace('_', ' ')):<{WIDTH}}{values}"
