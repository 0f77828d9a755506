"""The stationarity threshold of each query and key group: how strong the penalty must be for a zero group to
stay zero.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from aila_jax.config import Config, require
from aila_jax.loss.cross_entropy import linear_cross_entropy, token_losses
from aila_jax.loss.group_sparsity import query_key_kernels, with_query_key_kernels
from aila_jax.model.feature_groups import group_sizes
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.output import output_weights
from aila_jax.progress import Progress
from aila_jax.types import Array, Batch

ORDINARY = Dial(0.0, 1.0)  # attention without the dial


class Trained(Protocol):
    """What is read of a model; `LanguageModel` has it."""

    @property
    def network(self) -> Network: ...
    @property
    def params(self) -> Any: ...
    @property
    def config(self) -> Config: ...


@dataclass(frozen=True, eq=False)
class GroupThresholds:
    """‖∂CE/∂W_i‖_F at W_i = 0 with all other weights as they are, float64.

    A zero group stays zero under the penalty iff its gradient is at most λ_ℓ · η · a_i.

    Attributes:
      layers: the layers measured, the first axis of the arrays.
      gradient: of each layer, (query, key), group and head, nats per unit of weight; CE is the mean over
        scored targets.
      noise: at most its standard error √(E‖ĝ − g‖²) over the batches drawn: a gradient no longer than this
        may be noise. None where fewer than two batches were read.
      targets: scored targets read.
      targets_at_zero: those of them read with every group set to zero in turn.
    """

    layers: tuple[int, ...]
    gradient: Float[np.ndarray, "N 2 G H"]
    noise: Float[np.ndarray, "N 2 G H"] | None
    targets: int
    targets_at_zero: int


def group_thresholds(
    model: Trained,
    batches: Sequence[Batch],
    dial: Dial = ORDINARY,
    *,
    at_zero: int | None = None,
    groups: int | None = None,
    layers: Sequence[int] = (0,),
    at_once: int = 1,
    quiet: bool = False,
) -> GroupThresholds:
    """The stationarity threshold of every query and key group, by automatic differentiation, over `batches`.

        ∂CE/∂W_i at W_i = 0   =   ∂CE/∂W_i at W   +   (∂CE/∂W_i at W_i = 0   −   ∂CE/∂W_i at W)

    The first term is one backward pass for all groups, taken on every batch. The bracket needs a pass of its
    own for each group, 2·G·H for a batch and layer; but it varies far less from text to text, so it is taken
    on `at_zero` of the batches. With all of them the sum is the gradient at W_i = 0 itself. Sums are float64
    on the host.

    Args:
      model: a loaded checkpoint.
      batches: the text, of one shape.
      dial: at which the cross-entropy is taken.
      at_zero: None is all of them, else so many, evenly spread.
      groups: G; the configuration's `feature_groups` by default.
      layers: which ones, counted from 0.
      at_once: groups under one vmap; 1 is best on a CPU, more where a device idles.
      quiet: no progress bar.

    Raises:
      ValueError: no batch, no scored target, an impossible number of groups, or a layer that the model has
        not.
    Source: ours, with a control variate (docs/method.md, "Thresholds").
    """
    config = model.config
    groups = config.feature_groups if groups is None else groups
    group_sizes(config.model.d_model, groups)
    at_zero = len(batches) if at_zero is None else at_zero
    _check(layers, config.model.n_layers, batches, at_zero, at_once)
    chosen = set(np.linspace(0, len(batches) - 1, at_zero).round().astype(int).tolist())
    # Chunks make the embedding's gradient too, which nobody asks for here: not where one chunk holds a whole
    # batch anyway.
    loss_chunk = config.train.loss_chunk if config.train.loss_chunk < batches[0].tokens.size else 0
    passes = _Passes(
        request=Request(hard=config.model.hard, logits=loss_chunk == 0),
        loss_chunk=loss_chunk,
        groups=groups,
        at_once=min(at_once, groups),
    )
    dial = Dial(jnp.asarray(dial.lam, jnp.float32), jnp.asarray(dial.tau, jnp.float32))
    plain, changes = GradientSums(groups), GradientSums(groups)
    each = len(layers) * 2 * config.model.n_heads * groups
    with Progress(len(batches) + len(chosen) * each, "pass", quiet=quiet) as progress:
        for number, batch in enumerate(batches):
            targets = int(np.sum(np.asarray(batch.weights) > 0))
            batch = jax.device_put(batch)
            every = np.asarray(_gradients(passes, model.network, model.params, batch, dial), np.float64)
            gradients = np.stack([every[layer] for layer in layers])
            plain.add(gradients, targets)
            progress.advance()
            if number not in chosen:
                continue
            at = np.zeros(gradients.shape)
            for (index, layer), projection, head in itertools.product(
                enumerate(layers), range(2), range(config.model.n_heads)
            ):
                which = (np.int32(projection), np.int32(head))
                at[index, projection, :, head] = _gradients_at_zero(
                    passes, model.network, model.params, batch, dial, *which, layer=layer
                )
                progress.advance(groups)
            changes.add(at - gradients, targets)
            progress.report(f"batch {number + 1} of {len(batches)}")
    mean = plain.mean() + changes.mean()
    # Standard errors add at most, whatever the two have to do with each other.
    noise = plain.error() + changes.error() if len(chosen) > 1 else None
    return GroupThresholds(
        tuple(layers), np.sqrt(over_groups(mean, mean, groups)), noise, plain.targets, changes.targets
    )


def _check(
    layers: Sequence[int], n_layers: int, batches: Sequence[Batch], at_zero: int, at_once: int
) -> None:
    require(len(batches) > 0, "batches", len(batches), "at least 1", "give some text")
    require(
        1 <= at_zero <= len(batches),
        "at_zero",
        at_zero,
        f"from 1 to the number of batches ({len(batches)})",
        "leave it out for all",
    )
    require(len(layers) > 0, "layers", tuple(layers), "at least one layer", "leave it out for the first")
    for layer in layers:
        require(0 <= layer < n_layers, "layers", layer, f"from 0 to {n_layers - 1}", "the first layer is 0")
    require(at_once >= 1, "at_once", at_once, "at least 1", "set it to 1")
    targets = min(float(np.sum(batch.weights)) for batch in batches)
    require(targets > 0, "scored targets of a batch", targets, "above 0", "give text with targets")


def gradients_at_zero(
    loss: Callable[[Float[Array, "D H K"]], Float[Array, ""]],
    kernel: Float[Array, "D H K"],
    head: Int[Array, ""],
    groups: int,
    at_once: int = 1,
) -> Float[Array, "D K"]:
    """For every group i of one head: ∂loss/∂W_i at W_i = 0 with the rest of the kernel as it is, in the rows
    of group i.

    Args:
      loss: of one projection's kernel.
      head: traced.
      groups: G.
      at_once: groups under one vmap (static).
    """
    width, heads, _ = kernel.shape
    owner_D = jnp.asarray(np.repeat(np.arange(groups), group_sizes(width, groups)))
    is_head_H = jnp.arange(heads) == head

    def one(group: Array) -> Array:
        mine = ((owner_D == group)[:, None] & is_head_H[None, :])[..., None]
        return jnp.sum(jax.grad(loss)(jnp.where(mine, 0.0, kernel)), axis=1, where=mine)

    return jnp.sum(jax.lax.map(one, jnp.arange(groups), batch_size=at_once), axis=0)


@dataclass(frozen=True)
class _Passes:
    """What is static in all passes."""

    request: Request
    loss_chunk: int
    groups: int
    at_once: int

    def loss(self, network: Network, params: Any, batch: Batch, dial: Dial) -> Array:
        """The batch's summed cross-entropy, without dropout."""
        output = network(params, batch, dial, self.request)
        if self.loss_chunk:
            embedding = output_weights(params).astype(output.features.dtype)
            return linear_cross_entropy(
                output.features, embedding, batch.targets, batch.weights, self.loss_chunk
            )[0]
        return jnp.sum(token_losses(output.logits, batch.targets) * batch.weights)


@partial(jax.jit, static_argnames="passes")
def _gradients(
    passes: _Passes, network: Network, params: Any, batch: Batch, dial: Dial
) -> Float[Array, "N 2 D H K"]:
    """∂CE/∂W of all query and key kernels as they are."""
    return jax.grad(
        lambda kernels: passes.loss(network, with_query_key_kernels(params, kernels), batch, dial)
    )(query_key_kernels(params))


@partial(jax.jit, static_argnames=("passes", "layer"))
def _gradients_at_zero(
    passes: _Passes,
    network: Network,
    params: Any,
    batch: Batch,
    dial: Dial,
    projection: Int[Array, ""],
    head: Int[Array, ""],
    *,
    layer: int,
) -> Float[Array, "D K"]:
    """`gradients_at_zero` of the cross-entropy in one layer's query (0) or key (1) kernel; which one, and the
    head, are traced.
    """
    # One layer's part of the tree alone, so that no other layer's kernels are differentiated.
    one_layer = {f"layer_{layer}": params[f"layer_{layer}"]}
    pair = query_key_kernels(one_layer)[0]

    def loss(kernel: Array) -> Array:
        changed = with_query_key_kernels(one_layer, pair.at[projection].set(kernel)[None])
        return passes.loss(network, {**params, **changed}, batch, dial)

    return gradients_at_zero(loss, pair[projection], head, passes.groups, passes.at_once)


class GradientSums:
    """Adds up gradients of summed losses over batches, and what their spread over batches needs. Float64."""

    def __init__(self, groups: int):
        self.targets, self._groups, self._batches = 0, groups, 0
        self._squared_targets = 0.0
        self._sum = self._weighted = self._squares = np.zeros(())

    def add(self, gradients: Float[np.ndarray, "N 2 D H K"], targets: int) -> None:
        """Counts one batch of so many scored targets."""
        self.targets += targets
        self._batches += 1
        self._squared_targets += float(targets) ** 2
        self._sum = self._sum + gradients
        self._weighted = self._weighted + targets * gradients
        self._squares = self._squares + over_groups(gradients, gradients, self._groups)

    def mean(self) -> Float[np.ndarray, "N 2 D H K"]:
        """The gradient of the mean loss."""
        return self._sum / self.targets

    def error(self) -> Float[np.ndarray, "N 2 G H"]:
        """√(E‖mean − truth‖²) of each group: that of a ratio of sums over batches, Σ‖G_b − n_b · mean‖² · B /
        (B − 1) / (Σn_b)².
        """
        mean = self.mean()
        spread = self._squares - 2 * over_groups(self._weighted, mean, self._groups)
        spread = spread + self._squared_targets * over_groups(mean, mean, self._groups)
        return np.sqrt(np.maximum(spread, 0.0) * self._batches / (self._batches - 1)) / self.targets


def over_groups(
    a: Float[np.ndarray, "N 2 D H K"], b: Float[np.ndarray, "N 2 D H K"], groups: int
) -> Float[np.ndarray, "N 2 G H"]:
    """Inner products over the coordinates of each group."""
    sizes = group_sizes(a.shape[2], groups)
    return np.add.reduceat(np.sum(a * b, axis=-1), np.cumsum(sizes) - sizes, axis=2)
