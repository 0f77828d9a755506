"""Tests of the training step: its loss, gradient and sums, one compilation, and the refusal of updates that
are not finite.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aila_jax.config import Config, PartitionConfig, PenaltyConfig, Remat, TrainConfig
from aila_jax.loss.group_sparsity import Strength, group_penalty, sparsity, value_penalty
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import build_partition
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.penalty import initial_importance, penalty_rule
from aila_jax.training.sharding import batch_sharding
from aila_jax.training.state import create_state, part_names
from aila_jax.training.step import Objective, make_train_step
from tests.support.tiny import MODEL, VOCAB_SIZE, fresh_params, random_batch, sgd

ROWS = 6
LAM = np.array([0.0, 0.1, 0.29, 0.31, 0.7, 1.0], np.float32)
TAU = np.array([1.0, 0.5, 2.0, 1.0, 1.5, 0.7], np.float32)
BINS = np.array([0, 0, 1, 2, 4, 5])  # λ · 5 is 0, 0.5, 1.45, 1.55, 3.5, 5; halves go to the even neighbour
MODULE = Transformer(MODEL, VOCAB_SIZE)
PARTITION = build_partition(PartitionConfig())
NETWORK = Network(MODULE, PARTITION)


def new_state(optimizer=None):
    return create_state(fresh_params(), optimizer or sgd(), jax.random.key_data(jax.random.key(0)))


@pytest.fixture(scope="module")
def step():
    """The jitted step with plain gradient descent at rate 1."""
    return jax.jit(make_train_step(NETWORK, sgd()))


def reference_losses(params, batch):
    """Losses [B, L] from the logits with a softmax written out and a gather, op by op."""
    blocks = jnp.asarray(batch.positions) // 5
    dial = Dial(jnp.asarray(LAM), jnp.asarray(TAU))
    logits = MODULE.apply(
        {"params": params}, batch.tokens, batch.positions, blocks, batch.doc_ids, dial, Request()
    ).logits
    exponentials = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    probability = exponentials / jnp.sum(exponentials, axis=-1, keepdims=True)
    return -jnp.log(jnp.take_along_axis(probability, batch.targets[..., None], axis=-1)[..., 0])


@pytest.fixture(scope="module")
def reference():
    """The loss, its gradient and the single losses of one batch, computed eagerly and apart from the step."""
    batch = random_batch(ROWS)

    def mean_loss(params):
        losses = reference_losses(params, batch)
        return jnp.sum(losses * batch.weights) / np.sum(batch.weights), losses

    (loss, losses), gradients = jax.value_and_grad(mean_loss, has_aux=True)(fresh_params())
    return SimpleNamespace(
        batch=batch, loss=float(loss), losses=np.asarray(losses, np.float64), gradients=gradients
    )


@pytest.mark.parametrize("chunk", [0, 25])
def test_loss_and_gradient_are_those_of_an_eager_computation(reference, chunk):
    step = jax.jit(make_train_step(NETWORK, sgd(), Objective(loss_chunk=chunk)))
    state = new_state()
    after, metrics = step(state, reference.batch, LAM, TAU)
    np.testing.assert_allclose(metrics.loss, reference.loss, rtol=1e-5)
    # The rate is 1, so what the step took off is the gradient.
    found = jax.tree.map(lambda old, new: np.asarray(old - new), state.params, after.params)
    for (path, expected), leaf in zip(
        jax.tree_util.tree_leaves_with_path(reference.gradients), jax.tree.leaves(found), strict=True
    ):
        np.testing.assert_allclose(leaf, expected, rtol=2e-3, atol=3e-6, err_msg=jax.tree_util.keystr(path))
    norm = np.sqrt(
        sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(reference.gradients))
    )
    np.testing.assert_allclose(metrics.grad_norm, norm, rtol=1e-4)
    np.testing.assert_allclose(metrics.lam_mean, LAM.mean(), rtol=1e-6)
    assert int(after.step) == 1
    assert int(after.skipped) == 0


def test_views_of_a_sequence_are_examples_of_their_own(step):
    """Three sequences read twice each: the step of a batch that holds every one of them twice, side by
    side.
    """
    batch = random_batch(ROWS // 2)
    twice = jax.tree.map(lambda x: np.repeat(x, 2, axis=0), batch)
    found, metrics = step(new_state(), batch, LAM, TAU)
    want, same = step(new_state(), twice, LAM, TAU)
    assert_same(found.params, want.params)
    assert_same(metrics, same)
    assert float(np.sum(metrics.bin_targets)) == 2 * np.sum(batch.weights)
    with pytest.raises(
        ValueError, match="λ has 6 entries; it must have one, or the same number, for each of 4 sequences"
    ):
        step(new_state(), random_batch(4), LAM, TAU)


@pytest.mark.parametrize("chunk", [0, 25])
def test_the_first_view_is_the_teacher_and_gets_no_gradient_from_that(step, chunk):
    """The gradient against one written out from logits; the loss reported is the text's, as without
    distillation.
    """
    batch, share = random_batch(ROWS // 2), 0.7
    distilled = jax.jit(make_train_step(NETWORK, sgd(), Objective(loss_chunk=chunk, distill=share)))
    twice = jax.tree.map(lambda x: np.repeat(x, 2, axis=0), batch)
    dial, blocks = Dial(jnp.asarray(LAM), jnp.asarray(TAU)), jnp.asarray(twice.positions) // 5

    def log_probability(params):
        logits = MODULE.apply(
            {"params": params}, twice.tokens, twice.positions, blocks, twice.doc_ids, dial, Request()
        ).logits
        return jax.nn.log_softmax(logits)

    teacher = np.exp(np.asarray(log_probability(fresh_params())))[::2]

    def objective(params):
        found = log_probability(params)
        wanted = np.array(jax.nn.one_hot(twice.targets, found.shape[-1]))
        wanted[1::2] = (1 - share) * wanted[1::2] + share * teacher
        return -jnp.sum(jnp.sum(wanted * found, axis=-1) * twice.weights) / np.sum(twice.weights)

    gradients = jax.grad(objective)(fresh_params())
    state = new_state()
    after, metrics = distilled(state, batch, LAM, TAU)
    for expected, old, new in zip(
        *map(jax.tree.leaves, (gradients, state.params, after.params)), strict=True
    ):
        np.testing.assert_allclose(old - new, expected, rtol=2e-3, atol=3e-6)
    plain_after, plain = step(new_state(), batch, LAM, TAU)
    np.testing.assert_allclose(metrics.loss, plain.loss, rtol=1e-5)
    np.testing.assert_allclose(metrics.bin_loss, plain.bin_loss, rtol=1e-5)
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, after.params, plain_after.params))) > 1e-2


@pytest.mark.parametrize("chunk", [0, 25])
def test_attention_outside_the_block_pays(step, chunk):
    """The gradient against that of an objective written out from weights and logits; the loss reported is the
    text's, and λ = 0 pays nothing.
    """
    batch, mu = random_batch(ROWS), 0.8
    pressed = jax.jit(make_train_step(NETWORK, sgd(), Objective(loss_chunk=chunk, pressure=mu)))
    blocks = jnp.asarray(batch.positions) // 5

    def objective(params):
        args = (
            batch.tokens,
            batch.positions,
            blocks,
            batch.doc_ids,
            Dial(jnp.asarray(LAM), jnp.asarray(TAU)),
            Request(weights=True),
        )
        found = MODULE.apply({"params": params}, *args)
        pairs = (blocks[:, :, None] == blocks[:, None, :])[None, :, None]
        nats_BxL = -jnp.log(jnp.sum(found.weights * pairs, axis=-1)).mean(axis=(0, 2))
        losses = -jnp.take_along_axis(jax.nn.log_softmax(found.logits), batch.targets[..., None], axis=-1)[
            ..., 0
        ]
        return jnp.sum((losses + mu * LAM[:, None] ** 2 * nats_BxL) * batch.weights) / np.sum(batch.weights)

    gradients = jax.grad(objective)(fresh_params())
    state = new_state()
    after, metrics = pressed(state, batch, LAM, TAU)
    for expected, old, new in zip(
        *map(jax.tree.leaves, (gradients, state.params, after.params)), strict=True
    ):
        np.testing.assert_allclose(old - new, expected, rtol=2e-3, atol=3e-6)
    plain_after, plain = step(new_state(), batch, LAM, TAU)
    np.testing.assert_allclose(metrics.loss, plain.loss, rtol=1e-5)
    np.testing.assert_allclose(metrics.bin_loss, plain.bin_loss, rtol=1e-5)
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, after.params, plain_after.params))) > 1e-3
    at_zero = np.zeros_like(LAM)
    found, want = pressed(new_state(), batch, at_zero, TAU)[0], step(new_state(), batch, at_zero, TAU)[0]
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(want.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_views_of_a_sequence_stay_in_one_microbatch():
    step = make_train_step(NETWORK, sgd(), Objective(distill=0.5), accumulate=2)
    with pytest.raises(
        ValueError, match=r"train\.accumulate is 2; it must divide the 3 sequences of a device"
    ):
        step(new_state(), random_batch(3), LAM, TAU)


def test_sums_of_each_lam_bin_are_those_of_its_sequences(step, reference):
    _, metrics = step(new_state(), reference.batch, LAM, TAU)
    loss, targets = np.zeros(6), np.zeros(6)
    for row, index in enumerate(BINS):
        loss[index] += np.sum(reference.losses[row] * reference.batch.weights[row])
        targets[index] += np.sum(reference.batch.weights[row])
    np.testing.assert_allclose(metrics.bin_loss, loss, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(metrics.bin_targets, targets)


def test_a_batch_without_targets_gives_loss_zero_and_no_update(step):
    state = new_state()
    batch = random_batch(ROWS)
    after, metrics = step(state, batch.replace(weights=np.zeros_like(batch.weights)), LAM, TAU)
    assert float(metrics.loss) == 0.0
    assert int(metrics.skipped) == 0
    assert_same(after.params, state.params)


def test_one_compilation_serves_every_lam_tau_and_batch(step):
    state = new_state()
    for seed, (lam, tau) in enumerate([(0.0, 1.0), (1.0, 0.5), (0.3, 2.0)]):
        state, _ = step(
            state, random_batch(ROWS, seed), np.full(ROWS, lam, np.float32), np.full(ROWS, tau, np.float32)
        )
    before = step._cache_size()
    state, _ = step(
        state, random_batch(ROWS, 9), np.full(ROWS, 0.9, np.float32), np.full(ROWS, 0.1, np.float32)
    )
    assert step._cache_size() == before


def test_lam_and_tau_change_the_loss(step):
    losses = [
        float(step(new_state(), random_batch(ROWS), np.full(ROWS, lam, np.float32), TAU)[1].loss)
        for lam in (0.0, 0.5, 1.0)
    ]
    losses.append(float(step(new_state(), random_batch(ROWS), np.zeros(ROWS, np.float32), TAU * 2)[1].loss))
    assert len(set(losses)) == 4


def test_the_step_reads_nothing_back_to_the_host():
    placed = batch_sharding(ROWS)
    step = jax.jit(make_train_step(NETWORK, sgd()), donate_argnums=0, out_shardings=placed.replicated)
    state = placed.replicate(jax.tree.map(jnp.array, new_state()))
    batch, lam, tau = placed.shard((random_batch(ROWS), LAM, TAU))
    state, _ = step(state, batch, lam, tau)
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            state, metrics = step(state, batch, lam, tau)
    assert step._cache_size() == 1
    assert int(state.step) == 4
    assert float(metrics.loss) > 0


def test_dropout_depends_on_the_step_and_on_the_key():
    config = MODEL.__class__(**{**vars(MODEL), "dropout": 0.5})
    step = jax.jit(make_train_step(Network(Transformer(config, VOCAB_SIZE), PARTITION), sgd()))

    def loss(count, key):
        state = new_state().replace(step=jnp.int32(count), key=jax.random.key_data(jax.random.key(key)))
        return float(step(state, random_batch(ROWS), LAM, TAU)[1].loss)

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(1, 0), loss(0, 1)}) == 3


def assert_same(one, other):
    """Every leaf is bit for bit the same."""
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@jax.custom_vjp
def spoiled(x, lam_first):
    """The identity, whose gradient is NaN in one element where `lam_first` is 0.5."""
    return x


def _spoiled_forward(x, lam_first):
    return x, lam_first


def _spoiled_backward(lam_first, gradient):
    flat = gradient.reshape(-1)
    return flat.at[-1].add(jnp.where(lam_first == 0.5, jnp.nan, 0.0)).reshape(gradient.shape), jnp.zeros_like(
        lam_first
    )


spoiled.defvjp(_spoiled_forward, _spoiled_backward)


class SpoiledGradient:
    """The model, with a NaN in the gradient of one parameter group where the first λ is 0.5; the loss stays
    finite.
    """

    config, remat = MODEL, Remat.NONE

    def __init__(self, group):
        self.group = group

    def apply(self, variables, *arguments, **options):
        lam = arguments[4].lam
        params = dict(variables["params"])
        params[self.group] = jax.tree.map(lambda x: spoiled(x, lam[0]), params[self.group])
        return MODULE.apply({"params": params}, *arguments, **options)


@pytest.mark.parametrize("group", ["embedding", "layer_1", "final_norm"])
def test_one_nan_in_one_gradient_discards_the_update_and_names_the_part(group):
    optimizer = optax.adam(0.1)
    step = jax.jit(make_train_step(Network(SpoiledGradient(group), PARTITION), optimizer))
    good, bad = np.full(ROWS, 0.25, np.float32), np.full(ROWS, 0.5, np.float32)
    batch = random_batch(ROWS)
    state, metrics = step(new_state(optimizer), batch, good, TAU)
    assert (int(state.skipped), int(state.first_bad_step), bool(np.any(state.bad_parts))) == (0, -1, False)

    after, metrics = step(state, batch, bad, TAU)
    assert np.isfinite(metrics.loss)
    assert_same(after.params, state.params)
    assert_same(after.opt_state, state.opt_state)
    assert (int(after.step), int(after.skipped), int(after.first_bad_step)) == (2, 1, 1)
    for found in (after.bad_parts, metrics.bad_parts):
        assert [name for name, flag in zip(part_names(state.params), found, strict=True) if flag] == [
            f"gradient or update of {group}"
        ]
    assert (int(metrics.skipped), int(metrics.first_bad_step)) == (1, 1)

    again, _ = step(after, batch, bad, TAU)
    assert (int(again.skipped), int(again.first_bad_step)) == (2, 1)
    later, metrics = step(again, batch, good, TAU)
    # A good step goes on as if the discarded ones had not been, and what is known of them stays.
    expected, _ = step(state.replace(step=again.step), batch, good, TAU)
    assert_same(later.params, expected.params)
    assert_same(later.opt_state, expected.opt_state)
    assert (int(later.step), int(metrics.skipped), int(metrics.first_bad_step)) == (4, 2, 1)


def test_an_update_that_is_not_finite_is_discarded_though_the_gradients_are():
    optimizer = optax.chain(optax.scale(1e30), optax.sgd(1e30))
    state = new_state(optimizer)
    after, metrics = jax.jit(make_train_step(NETWORK, optimizer))(state, random_batch(ROWS), LAM, TAU)
    assert np.isfinite(metrics.grad_norm)
    assert_same(after.params, state.params)
    assert int(after.skipped) == 1
    assert any(after.bad_parts[1:])


def test_an_optimizer_state_that_is_not_finite_is_discarded_with_its_update():
    scale = optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda updates, state, params=None: (updates, jax.tree.map(lambda x: x + jnp.inf, state)),
    )
    optimizer = optax.chain(scale, optax.sgd(0.1))
    state = new_state(optimizer)
    after, _ = jax.jit(make_train_step(NETWORK, optimizer))(state, random_batch(ROWS), LAM, TAU)
    assert_same(after.params, state.params)
    assert_same(after.opt_state, state.opt_state)
    assert int(after.skipped) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_discards_the_update_too(step, value):
    state = new_state()
    batch = random_batch(ROWS)
    weights = batch.weights.copy()
    weights[2, 3] = value
    after, _ = step(state, batch.replace(weights=weights), LAM, TAU)
    assert_same(after.params, state.params)
    assert int(after.skipped) == 1
    assert bool(after.bad_parts[0])
    assert part_names(state.params)[0] == "loss"


def penalised(solver):
    """A configuration with a penalty, its rule, and a state that holds its weights."""
    config = Config(
        model=MODEL,
        penalty=PenaltyConfig(solver=solver, eta=1.0, nu=1.0),
        train=TrainConfig(warmup_steps=0, clip_norm=0.3),
    )
    optimizer = (
        build_optimizer(config.train, config.penalty, config.feature_groups)
        if solver == "proximal"
        else sgd()
    )
    state = new_state(optimizer).replace(importance=initial_importance(config))
    return penalty_rule(config), optimizer, state


def strength(lam, eta, nu):
    return Strength(jnp.float32(lam), jnp.float32(eta), jnp.float32(nu))


def test_a_penalty_adds_its_gradient_once_and_leaves_the_loss_the_cross_entropy(step):
    """With microbatches, which must not add it each."""
    rule, optimizer, state = penalised("subgradient")
    traces = []

    def counted(*arguments):
        traces.append(1)
        return make_train_step(NETWORK, optimizer, accumulate=3, penalty=rule)(*arguments)

    penalised_step = jax.jit(counted)
    plain, expected = step(new_state(), random_batch(ROWS), LAM, TAU)
    for setting in (strength(0.7, 0.3, 0.05), strength(0.2, 0.0, 0.4), strength(1.0, 2.0, 0.0)):
        state = state.replace(importance=state.importance[:, ::-1])
        args = rule.args(setting, state.importance)
        after, metrics = penalised_step(state, random_batch(ROWS), LAM, TAU, setting)
        np.testing.assert_allclose(metrics.loss, expected.loss, rtol=1e-5)
        np.testing.assert_allclose(metrics.bin_loss, expected.bin_loss, rtol=1e-5)
        np.testing.assert_allclose(metrics.penalty.terms.group, group_penalty(state.params, args), rtol=1e-5)
        np.testing.assert_allclose(metrics.penalty.terms.value, value_penalty(state.params, args), rtol=1e-5)
        gradient = jax.jit(
            jax.grad(lambda params, args=args: group_penalty(params, args) + value_penalty(params, args))
        )(state.params)
        for one, two, own in zip(*map(jax.tree.leaves, (plain.params, after.params, gradient)), strict=True):
            np.testing.assert_allclose(one - two, own, rtol=1e-3, atol=1e-5)  # gradient descent at rate 1
    assert len(traces) == 1


def test_without_a_penalty_nothing_of_it_is_there(step):
    state, metrics = step(new_state(), random_batch(ROWS), LAM, TAU)
    assert state.importance is None
    assert metrics.penalty is None


def test_the_proximal_step_zeroes_groups_reports_them_and_never_recompiles():
    rule, optimizer, state = penalised("proximal")
    traces = []

    def counted(*arguments):
        traces.append(1)
        return make_train_step(NETWORK, optimizer, penalty=rule)(*arguments)

    step = jax.jit(counted, donate_argnums=0)
    state = jax.tree.map(jnp.array, state)  # buffers of its own, to be donated
    dead = []
    for setting in (strength(1.0, 0.0, 0.0), strength(1.0, 0.05, 0.0), strength(0.5, 100.0, 0.1)):
        state, metrics = step(state, random_batch(ROWS), LAM, TAU, setting)
        counts = sparsity(state.params, rule.groups)
        for name in ("zero_query", "zero_key", "dead_heads"):
            assert float(getattr(metrics.penalty.sparsity, name)) == float(getattr(counts, name))
        dead.append(int(counts.dead_heads))
    assert dead == [0, 0, MODEL.n_layers * MODEL.n_heads]
    assert len(traces) == 1

    params, opt_state, importance = jax.tree.map(np.array, (state.params, state.opt_state, state.importance))
    after, metrics = step(state, random_batch(ROWS), LAM, TAU, strength(1.0, np.inf, 0.0))
    assert int(after.skipped) == 1  # 0 · ∞ has no value
    assert_same((after.params, after.opt_state, after.importance), (params, opt_state, importance))
