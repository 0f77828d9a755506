"""The decoder: its size, its dials, its normalisations, and that statistics cost nothing unless asked for."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax import presets
from aila_jax.config import Config, MarginConfig, ModelConfig
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.layers import Norm, dropout, fold_in_each, head_scale, unit_norm
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Block, Setting, Transformer, build_transformer
from aila_jax.partition.relations import Relation
from aila_jax.types import GLOBAL_ID

VOCAB, LENGTH = 13, 9
SMALL = {"length": LENGTH, "d_model": 8, "n_heads": 2, "d_ff": 8, "n_layers": 2}
TOKENS = np.random.default_rng(0).integers(0, VOCAB, (2, LENGTH)).astype(np.int32)
POSITIONS = np.tile(np.arange(LENGTH, dtype=np.int32), (2, 1))
BLOCKS, DOCS = POSITIONS // 3, 0 * POSITIONS
INPUTS = (TOKENS, POSITIONS, BLOCKS, DOCS)


@cache
def built(**options) -> tuple[Transformer, dict]:
    """A model and its parameters, matrices enlarged so that attention is far from uniform."""
    module = Transformer(ModelConfig(**SMALL, **options), VOCAB)
    params = jax.jit(lambda key: module.init(key, *INPUTS, Dial(0.0, 1.0), Request())["params"])(
        jax.random.key(0)
    )
    return module, jax.tree.map(lambda x: 12 * x if x.ndim > 1 else x, params)


@partial(jax.jit, static_argnums=0)
def compiled(module: Transformer, params, dial: Dial, request: Request) -> ModelOutput:
    return module.apply({"params": params}, *INPUTS, dial, request)


def run(module: Transformer, params, dial: Dial, request: Request | None = None) -> ModelOutput:
    """The output, with all statistics unless asked otherwise. One compilation for each model, request and
    shape of the dial.
    """
    dial = jax.tree.map(jnp.float32, dial)
    return compiled(
        module, params, dial, Request(stats=StatsRequest(delta=True)) if request is None else request
    )


def count(config: ModelConfig, vocab: int) -> int:
    """Parameters, by shapes alone."""
    row = np.zeros((1, config.length), np.int32)
    shapes = jax.eval_shape(
        lambda key: Transformer(config, vocab).init(key, row, row, row, row, Dial(0.0, 1.0), Request()),
        jax.random.key(0),
    )
    return sum(x.size for x in jax.tree.leaves(shapes))


def test_parameters_of_the_paper_preset() -> None:
    """D 512, F 2,048, L 256, 2 layers, V 33,278, tied embeddings, FiLM:

    embedding 33,278·512 = 17,038,336; positions 256·512 = 131,072; final norm: scale, shift and two FiLM
    vectors = 2,048; a layer: query, key, value 3·512² = 786,432; out 512² + 512 = 262,656; in 512·2,048 +
    2,048 = 1,050,624; out again 2,048·512 + 512 = 1,049,088; norms: two FiLM vectors = 1,024 and four vectors
    = 2,048; together 3,151,872.
    """
    config = presets.paper()
    assert (
        count(config.model, config.data.vocab_size)
        == 17_038_336 + 131_072 + 2 * 3_151_872 + 2_048
        == 23_475_200
    )


def test_parameters_of_the_small_preset() -> None:
    """D 128, F 512, L 128, V 4,096: 524,288 + 16,384 + 2·(49,152 + 16,512 + 66,048 + 65,664 + 256 + 512) +
    512.
    """
    config = presets.small()
    assert count(config.model, config.data.vocab_size) == 524_288 + 16_384 + 2 * 198_144 + 512 == 937_472


def test_norm_before_attention_has_no_parameters_and_the_others_do() -> None:
    _, params = built()
    assert "attention_norm" not in params["layer_0"]
    assert (
        set(params["layer_0"]["mlp_norm"]["LayerNorm_0"])
        == set(params["final_norm"]["LayerNorm_0"])
        == {"scale", "bias"}
    )
    assert set(params["layer_0"]["attention"]["query"]) == {"kernel"}
    assert set(built(qkv_bias=True)[1]["layer_0"]["attention"]["query"]) == {"kernel", "bias"}


def test_norm_is_right_at_large_means() -> None:
    x = (1e4 + np.random.default_rng(1).standard_normal((2, 3, 64))).astype(np.float32)
    found = Norm(affine=False, film=False).apply({}, x, jnp.float32(0))
    wide = x.astype(np.float64)
    wide = wide - wide.mean(-1, keepdims=True)
    want = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(
        found, want, atol=2e-3
    )  # float32 holds a mean of 1e4 to 1e-3; the fast variance is off by factors
    assert (np.linalg.norm(found, axis=-1) <= np.sqrt(64) * (1 + 1e-5)).all()


def test_embeddings_are_tied() -> None:
    module, params = built()
    out = run(module, params, Dial(0.5, 1.0))
    assert set(params) == {"embedding", "position", "layer_0", "layer_1", "final_norm"}
    np.testing.assert_allclose(
        out.logits,
        np.asarray(out.features, np.float64) @ np.asarray(params["embedding"], np.float64).T,
        atol=1e-3,
    )
    assert run(module, params, Dial(0.5, 1.0), Request(logits=False)).logits is None


def test_film_is_the_identity_at_initialisation_and_at_lambda_zero() -> None:
    plain, film = built()[0], built(film=True)[0]
    start = built(film=True)[1]
    moved = jax.tree_util.tree_map_with_path(lambda path, x: x + 0.5 if "film" in str(path) else x, start)
    at_start = run(film, start, Dial(0.7, 1.0)).logits
    np.testing.assert_allclose(at_start, run(plain, start, Dial(0.7, 1.0)).logits, atol=1e-5)
    np.testing.assert_array_equal(
        run(film, moved, Dial(0.0, 1.0)).logits, run(film, start, Dial(0.0, 1.0)).logits
    )
    assert np.abs(run(film, moved, Dial(0.7, 1.0)).logits - at_start).max() > 0.1


def test_film_scales_by_one_plus_lambda_a_and_shifts_by_lambda_c() -> None:
    x = np.random.default_rng(2).standard_normal((2, 3, 4)).astype(np.float32)
    a, c = np.float32([0.1, -0.4, 2.0, 0.0]), np.float32([1.0, 0.0, -2.0, 0.5])
    lam = np.float32([0.3, 1.0])
    found = Norm(affine=False, film=True).apply({"params": {"film_scale": a, "film_shift": c}}, x, lam)
    y = np.asarray(Norm(affine=False, film=False).apply({}, x, lam))
    np.testing.assert_allclose(found, y * (1 + lam[:, None, None] * a) + lam[:, None, None] * c, atol=1e-6)


@pytest.mark.parametrize(("kind", "turned"), [("qk", ("query", "key")), ("qkv", ("query", "key", "value"))])
def test_dial_weights_are_w_plus_lambda_w_prime(kind: str, turned: tuple[str, ...]) -> None:
    """At λ the output is that of a model without dial weights whose kernels are W + λW′; at λ = 0 and at
    initialisation W alone.
    """
    plain, (module, start) = built()[0], built(dial_weights=kind)
    moved = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 0.3 * np.cos(np.arange(x.size)).reshape(x.shape), start
    )
    assert {name for name in moved["layer_0"]["attention"] if name.endswith("_dial")} == {
        f"{name}_dial" for name in turned
    }
    folded = {}
    for lam in (0.0, 0.7):
        folded[lam] = jax.tree.map(lambda x: x, moved)
        for layer in ("layer_0", "layer_1"):
            attention = dict(moved[layer]["attention"])
            for name in turned:
                attention[name] = {
                    "kernel": attention[name]["kernel"] + lam * attention.pop(f"{name}_dial")["kernel"]
                }
            folded[lam][layer] = {**moved[layer], "attention": attention}
        want = run(plain, folded[lam], Dial(lam, 1.0)).logits
        np.testing.assert_allclose(run(module, moved, Dial(lam, 1.0)).logits, want, rtol=1e-4, atol=1e-4)
    both = run(module, moved, Dial(np.float32([0.0, 0.7]), 1.0)).logits  # each example turns by its own λ
    np.testing.assert_allclose(
        both[0], run(plain, folded[0.0], Dial(0.0, 1.0)).logits[0], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        both[1], run(plain, folded[0.7], Dial(0.7, 1.0)).logits[1], rtol=1e-4, atol=1e-4
    )
    assert (
        np.abs(run(module, moved, Dial(0.7, 1.0)).logits - run(module, moved, Dial(0.0, 1.0)).logits).max()
        > 0.1
    )
    begun = {
        **start,
        **{
            layer: {
                **start[layer],
                "attention": {k: v for k, v in start[layer]["attention"].items() if not k.endswith("_dial")},
            }
            for layer in ("layer_0", "layer_1")
        },
    }
    np.testing.assert_allclose(
        run(module, start, Dial(0.7, 1.0)).logits, run(plain, begun, Dial(0.7, 1.0)).logits, atol=1e-5
    )


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_each_layer_has_its_share_of_lambda(beta: float) -> None:
    """With W_Q = 0 all scores are 0, so delta is the margin in use: λ · ((ℓ + 1)/N)^β · m, per example."""
    module, params = built(layer_beta=beta, margin=MarginConfig(nats=5.0))
    params = jax.tree_util.tree_map_with_path(lambda path, x: 0 * x if "query" in str(path) else x, params)
    lam = np.float32([0.8, 0.3])
    delta = np.asarray(run(module, params, Dial(lam, 1.0)).stats.delta)[:, :, :, 3:]
    want = lam[None, :] * 5.0 * np.array([[0.5], [1.0]]) ** beta
    np.testing.assert_allclose(delta, np.broadcast_to(want[:, :, None, None], delta.shape), rtol=1e-5)
    own = run(module, params, Dial(lam, 1.0, layer_scale=np.float32([0.25, 0.0]))).stats.delta[:, :, :, 3:]
    np.testing.assert_allclose(
        own,
        np.broadcast_to((lam[None, :] * np.array([[1.25], [0.0]]))[:, :, None, None], own.shape),
        atol=1e-5,
    )


@pytest.mark.parametrize("linear", [0.0, 0.25])
@pytest.mark.parametrize(("form", "expected"), [("fixed", 5.0), ("self_scaling", 8.0)])
def test_the_margins_curve_bends_the_dial_and_leaves_its_ends(
    form: str, expected: float, linear: float
) -> None:
    """With W_Q = 0 all scores and their ranges are 0, so delta is the margin in use: (a λ_ℓ + (1 − a) λ_ℓ^p)
    · m, or · m0, per example.
    """
    module, params = built(layer_beta=1.0, margin=MarginConfig(form=form, nats=5.0, power=3.0, linear=linear))
    params = jax.tree_util.tree_map_with_path(lambda path, x: 0 * x if "query" in str(path) else x, params)
    for lam in ([0.8, 0.3], [0.0, 1.0]):
        delta = np.asarray(run(module, params, Dial(np.float32(lam), 1.0)).stats.delta)[:, :, :, 3:]
        lam_NxB = np.array(lam)[None, :] * np.array([[0.5], [1.0]])
        want = (linear * lam_NxB + (1 - linear) * lam_NxB**3) * expected
        np.testing.assert_allclose(delta, np.broadcast_to(want[:, :, None, None], delta.shape), rtol=1e-5)


def test_hard_attention_is_hard_in_every_layer_whatever_its_share_of_lambda() -> None:
    module, params = built(layer_beta=3.0)
    want = run(built()[0], params, Dial(1.0, 1.0), Request(stats=StatsRequest(), hard=True))
    np.testing.assert_allclose(want.stats.block_mass, 1.0, atol=1e-6)
    own = Dial(1.0, 1.0, layer_scale=np.float32([0.5, 0.0]))
    eager = module.apply(
        {"params": params}, *INPUTS, Dial(1.0, 1.0), Request(stats=StatsRequest(), hard=True)
    )
    for found in (
        run(module, params, dial, Request(stats=StatsRequest(), hard=True)) for dial in (Dial(1.0, 1.0), own)
    ):
        jax.tree.map(np.testing.assert_array_equal, found, want)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), eager, found)


def test_qk_normalisation_bounds_the_logits() -> None:
    """|s| ≤ g_h, so that |delta − λm| ≤ 2 g_h whatever the weights; and the bound is nearly met by aligned
    directions.
    """
    module, params = built(qk_norm=True, g_max=6.0)
    raw = np.float32([-1.0, 2.0])
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: raw if "qk_scale" in str(path) else 50 * x, params
    )
    g = 6.0 / (1 + np.exp(-raw.astype(np.float64)))
    np.testing.assert_allclose(head_scale(raw, 6.0), g, rtol=1e-6)
    for lam in (0.0, 0.5):
        delta = np.asarray(run(module, params, Dial(lam, 1.0)).stats.delta)[..., 3:]
        largest = np.abs(delta - lam * 8.0).max(axis=(0, 1, 3))
        assert (largest <= 2 * g * (1 + 1e-5)).all()
        assert (largest >= g).all()


def test_unit_norm_is_never_longer_than_one() -> None:
    sizes = 10.0 ** np.arange(-6, 7).reshape(1, -1, 1, 1)
    x = (sizes * np.random.default_rng(3).standard_normal((1, 13, 2, 4))).astype(np.float32)
    found = np.linalg.norm(np.asarray(unit_norm(x), np.float64), axis=-1)
    before = np.linalg.norm(x.astype(np.float64), axis=-1)
    assert (found <= 1 + 1e-6).all()
    np.testing.assert_allclose(found, before / np.sqrt(before**2 + 1e-6), rtol=1e-5)


def test_dropout_changes_outputs_but_no_attention_weight() -> None:
    config = ModelConfig(**SMALL, dropout=0.5)
    block = Block(config)
    x = 3 * np.random.default_rng(4).standard_normal((2, LENGTH, 8)).astype(np.float32)
    one = jnp.float32(0.5)
    setting = Setting(Relation(BLOCKS), one, jnp.float32(1), Request(stats=StatsRequest()))
    arguments = (x, one, setting)
    params = jax.tree.map(lambda w: 12 * w, block.init(jax.random.key(0), *arguments, None))
    quiet, stats = block.apply(params, *arguments, None)
    noisy, noisy_stats = block.apply(params, *arguments, jax.random.split(jax.random.key(1)))
    assert np.abs(quiet - noisy).max() > 0.1
    jax.tree.map(np.testing.assert_array_equal, stats, noisy_stats)


def test_dropout_keeps_the_mean_and_gives_each_example_the_mask_of_its_own_key() -> None:
    x = np.ones((3, 40, 50), np.float32)
    keys = jax.random.split(jax.random.key(2), 3)
    found = np.asarray(dropout(x, keys, 0.25))
    assert np.unique(found).tolist() == pytest.approx([0.0, 4 / 3])
    assert (found == 0).mean(axis=(1, 2)) == pytest.approx(
        np.full(3, 0.25), abs=0.04
    )  # 4 standard deviations of 2,000 draws
    for row in range(3):
        np.testing.assert_array_equal(dropout(x[row:], keys[row:], 0.25)[0], found[row])
    assert (found[0] != found[1]).any()
    sites = [np.asarray(dropout(x, fold_in_each(keys, site), 0.25)) for site in (0, 1)]
    assert (sites[0] != sites[1]).any()
    np.testing.assert_array_equal(dropout(x, None, 0.25), x)
    np.testing.assert_array_equal(dropout(x, keys, 0.0), x)


def jaxpr(module: Transformer, request: Request) -> str:
    params = built(dtype=module.config.dtype)[1]
    return str(
        jax.make_jaxpr(lambda p, lam: module.apply({"params": p}, *INPUTS, Dial(lam, 1.0), request))(
            params, 0.5
        )
    )


def test_statistics_cost_nothing_unless_asked_for() -> None:
    module, _ = built()
    plain, asked = jaxpr(module, Request()), jaxpr(module, Request(stats=StatsRequest()))
    assert len(re.findall(r"= log\b", asked)) == 2
    assert not re.findall(r"= log\b", plain)
    assert len(plain.splitlines()) < 0.8 * len(asked.splitlines())


def test_weights_are_one_more_output_and_only_on_request() -> None:
    module, params = built()
    plain, asked = (
        run(module, params, Dial(0.5, 1.0), Request(stats=StatsRequest(), weights=weights))
        for weights in (False, True)
    )
    assert plain.weights is plain.stats.weights is asked.stats.weights is None
    assert asked.weights.shape == (2, 2, 2, LENGTH, LENGTH)
    jax.tree.map(np.testing.assert_array_equal, asked.replace(weights=None), plain)
    alone = run(module, params, Dial(0.5, 1.0), Request(weights=True))
    assert alone.stats is None
    np.testing.assert_array_equal(alone.weights, asked.weights)
    assert (
        run(built(dtype="bfloat16")[0], params, Dial(0.5, 1.0), Request(weights=True)).weights.dtype
        == jnp.float32
    )


def test_bfloat16_keeps_parameters_softmax_and_logits_in_float32() -> None:
    module, params = built(dtype="bfloat16")
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    out = run(module, params, Dial(0.5, 1.0))
    assert out.features.dtype == jnp.bfloat16
    assert out.logits.dtype == out.stats.entropy_bits.dtype == jnp.float32
    kinds = re.findall(
        r":(\w+)\[[^\]]*\] = (exp|log|reduce_max|rsqrt|dot_general)\b",
        jaxpr(module, Request(stats=StatsRequest())),
    )
    assert {kind for kind, name in kinds if name in ("exp", "log", "rsqrt")} == {"f32"}
    assert {kind for kind, name in kinds if name == "dot_general"} == {"bf16", "f32"}
    wide = run(built()[0], params, Dial(0.5, 1.0))
    np.testing.assert_allclose(out.stats.entropy_bits, wide.stats.entropy_bits, atol=0.15)
    np.testing.assert_allclose(out.logits, wide.logits, atol=0.05 * float(np.abs(wide.logits).max()))


def test_localist_positions_live_on_their_blocks_group_and_the_shared_coordinates() -> None:
    """D 8 in 2 groups of 4, of which the first coordinate each (a quarter) is shared; blocks 0, 1 and 2 of
    three positions.
    """
    module = Transformer(ModelConfig(**SMALL, localist=True), VOCAB, groups=2)
    blocks = BLOCKS.copy()
    blocks[:, 1] = GLOBAL_ID
    weights = np.random.default_rng(2).standard_normal((2, LENGTH, VOCAB)).astype(np.float32)

    def total(params):
        return jnp.sum(
            weights
            * module.apply(
                {"params": params}, TOKENS, POSITIONS, blocks, DOCS, Dial(0.0, 1.0), Request()
            ).logits
        )

    used = np.asarray(jax.jit(jax.grad(total))(built()[1])["position"] != 0).astype(int)
    first, second = [1, 1, 1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_array_equal(used, [first, [1] * 8, first, second, second, second, first, first, first])


def test_localist_positions_without_groups_are_refused() -> None:
    module = Transformer(ModelConfig(**SMALL, localist=True), VOCAB)
    with pytest.raises(
        ValueError,
        match=(
            r"groups is 0; it must be above 0 for localist positions. Fix: make the model with build_transf"
        ),
    ):
        module.apply({"params": built()[1]}, *INPUTS, Dial(0.0, 1.0), Request())


def test_the_configuration_gives_localist_positions_their_groups() -> None:
    config = Config(model=ModelConfig(localist=True))
    assert build_transformer(config, VOCAB).groups == config.feature_groups == 26
    assert build_transformer(Config(), VOCAB) == Transformer(ModelConfig(), VOCAB)


def test_weights_are_drawn_with_the_deviation_that_is_asked_for() -> None:
    """A matrix that writes to the residual stream has it over √(2N)."""
    _, usual = built()
    _, larger = built(init_std=0.08)
    ratios = jax.tree.map(lambda one, other: other / one, usual, larger)
    for path, ratio in jax.tree_util.tree_leaves_with_path(ratios):
        if ratio.ndim > 1:
            np.testing.assert_allclose(ratio, 4.0, rtol=1e-5, err_msg=jax.tree_util.keystr(path))
    wide = Transformer(ModelConfig(**SMALL | {"d_model": 64, "d_ff": 64}, init_std=0.3), VOCAB)
    drawn = wide.init(jax.random.key(1), *INPUTS, Dial(0.0, 1.0), Request())["params"]
    assert np.std(drawn["embedding"]) == pytest.approx(0.3, rel=0.1)
    assert np.std(drawn["layer_0"]["mlp_out"]["kernel"]) == pytest.approx(0.3 / 2, rel=0.1)
