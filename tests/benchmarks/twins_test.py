"""Tests that the twins are our model: the same loss and gradient from the same weights at λ = 0."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aila_jax.inference.inputs import example_batch
from aila_jax.model.interface import Dial, Request
from aila_jax.model.network import Network
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import build_partition
from benchmarks.forms import OursForm, PlainForm, TorchForm
from benchmarks.ours import add_film, make_batch, model_config
from benchmarks.plain_jax import PlainTransformer, make_plain_eval, make_plain_step
from benchmarks.proof import FLOAT32, compare
from benchmarks.runner import PROOF_STEPS, prove
from benchmarks.shapes import make_shape
from benchmarks.workload import draw_tokens, draw_weights

QUICK = make_shape("quick", cpu=True)
TOKENS = draw_tokens(QUICK)
SIZES = ("length", "d_model", "n_heads", "d_ff", "n_layers")
LLAMA = replace(  # the parts of `base` at the sizes of the toy
    make_shape("base", cpu=True).config.model, **{name: getattr(QUICK.config.model, name) for name in SIZES}
)
SHAPES = {"small": QUICK, "base": replace(QUICK, config=replace(QUICK.config, model=LLAMA))}
FORMS = [PlainForm(), PlainForm("fused"), PlainForm(one_hot=True), PlainForm(chunk=50)]

medium = pytest.mark.medium  # together a minute of compilations


@pytest.fixture(scope="module", params=SHAPES)
def shape(request):
    """A toy shape with the parts of each preset."""
    return SHAPES[request.param]


@pytest.fixture(scope="module")
def weights(shape):
    """The weights that all have."""
    return draw_weights(shape.config.model, shape.vocab_size)


@pytest.fixture(scope="module")
def reference(shape, weights):
    """Loss, gradient, loss of every target and accuracy of our model at λ = 0, straight from its logits."""
    batch = make_batch(TOKENS[0])
    module = Transformer(shape.config.model, shape.vocab_size)
    blocks = build_partition(shape.config.partition)(batch)

    def loss_fn(params):
        output = module.apply(
            {"params": params},
            batch.tokens,
            batch.positions,
            blocks,
            batch.doc_ids,
            Dial(0.0, 1.0),
            Request(),
        )
        chosen = jnp.take_along_axis(jax.nn.log_softmax(output.logits), batch.targets[..., None], axis=-1)
        return -jnp.mean(chosen), output.logits

    (loss, logits), gradient = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(weights)
    correct = int(np.sum(np.argmax(np.asarray(logits), axis=-1) == batch.targets))
    return float(loss), gradient, correct


@pytest.fixture(scope="module")
def evidence(shape):
    """What our own training step and sweep cell compute, in the benchmark's hands."""
    return prove(
        OursForm(conditional=True, film=True).start(shape, TOKENS, exact=True),
        ("train", "sweep"),
        shape.tokens,
    )


@medium
def test_weights_are_those_of_our_model(shape, weights):
    for film in (False, True):
        config = model_config(OursForm(film=film), shape, exact=True)
        network = Network(Transformer(config, shape.vocab_size), build_partition(shape.config.partition))
        wanted = jax.eval_shape(
            lambda network=network: network.init(example_batch(shape.config), jax.random.key(0))
        )
        drawn = add_film(weights) if film else weights
        assert jax.tree.map(lambda x: (x.shape, x.dtype), wanted) == jax.tree.map(
            lambda x: (x.shape, x.dtype), drawn
        )


@medium
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_plain_jax_has_our_loss_and_gradient(form, shape, weights, reference):
    loss, gradient, correct = reference
    model = PlainTransformer(shape.config.model, shape.vocab_size, form)
    optimizer = optax.sgd(1.0)  # an update is minus the gradient
    params, _, found, norm = jax.jit(make_plain_step(model, optimizer))(
        weights, optimizer.init(weights), TOKENS[0]
    )
    assert float(found) == pytest.approx(loss, abs=1e-5)
    assert float(norm) == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-4)
    jax.tree.map(
        lambda old, new, wanted: np.testing.assert_allclose(old - new, wanted, atol=2e-6),
        weights,
        params,
        gradient,
    )
    total, first = jax.jit(make_plain_eval(model))(weights, TOKENS[0])
    assert float(total) / shape.tokens == pytest.approx(loss, abs=1e-5)
    assert int(first) == correct


@medium
def test_plain_jax_has_our_updates(shape, evidence):
    mine = prove(PlainForm().start(shape, TOKENS, exact=True, tasks=("train",)), ("train",), shape.tokens)
    proof = compare("plain", "full float32", mine, evidence, FLOAT32)
    assert len(mine.losses) == PROOF_STEPS
    assert proof.loss_after < proof.loss - 0.03  # the updates do something, so that equal ones mean something


@medium
def test_ours_with_film_is_our_model(shape, evidence, reference):
    loss, gradient, correct = reference
    assert evidence.losses[0] == pytest.approx(loss, abs=1e-5)
    assert evidence.gradient_norms[0] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-4)
    assert evidence.sweep_loss == pytest.approx(loss, abs=1e-5)
    assert evidence.accuracy == correct / shape.tokens


@medium
def test_another_model_is_not_taken_for_it(shape, evidence):
    """The weights make attention matter: a model with λ = 0.6 has another loss."""
    runner = OursForm(stats=False).start(shape, TOKENS, exact=True, tasks=("sweep",))
    compare("ordinary", "full float32", prove(runner, ("sweep",), shape.tokens), evidence, FLOAT32)
    runner.zero = runner.fixed
    with pytest.raises(ValueError, match="is not the same model"):
        compare("dialled", "full float32", prove(runner, ("sweep",), shape.tokens), evidence, FLOAT32)


@pytest.mark.external  # PyTorch: pip install '.[bench]', then sh launch/test.sh -m external tests/benchmarks
def test_torch_has_our_loss_gradient_and_updates(shape, evidence, reference):
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[bench]'")
    loss, gradient, _ = reference
    runner = TorchForm().start(shape, TOKENS, exact=True)
    runner._gradients(0)
    found = runner.model.embedding.grad.numpy()
    np.testing.assert_allclose(found, gradient["embedding"], atol=2e-6)
    kernel = np.concatenate(
        [
            gradient["layer_1"]["attention"][name]["kernel"].reshape(32, 32).T
            for name in ("query", "key", "value")
        ]
    )
    np.testing.assert_allclose(runner.model.layers[1].qkv.weight.grad.numpy(), kernel, atol=2e-6)
    mine = prove(runner, ("train", "sweep"), shape.tokens)
    assert mine.losses[0] == pytest.approx(loss, abs=1e-5)
    compare("torch", "full float32", mine, evidence, FLOAT32)
