"""Captured results against a float64 forward pass, transformers' layers, and identities."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config import AdapterConfig, PartitionConfig
from aila_jax.inference.inside import capture as capturing
from aila_jax.inference.inside.capture import Capture
from aila_jax.inference.inside.reading import Setting, read
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.interface import Request
from aila_jax.model.tap import site_of
from tests.oracles.forward import forward
from tests.support.inside import DEEP, MODELS, TEXTS, deep_model
from tests.support.untrained import untrained_model

FILES = Path(__file__).parents[2] / "pretrained" / "files"
FAMILIES = ["gpt2", "llama", "neox", "qwen2"]
DOCUMENTS = ([0] * 7 + [1] * 5, [3] * 2)
DOC_IDS = np.array([DOCUMENTS[0], [3] * 2 + [-1] * 10])
POSITIONS = np.array([[*range(7), *range(5)], [*range(2), *range(10)]])


def lists(model: LanguageModel) -> list[list[int]]:
    """A long and a short text, as ids."""
    first, second = (model.tokenizer.encode(text) for text in TEXTS)
    return [first[:12], second[:2]]


def padded(texts: list[list[int]]) -> np.ndarray:
    """As rows of one length."""
    return np.array([[*row, *[0] * (12 - len(row))] for row in texts])


@pytest.mark.parametrize("name", MODELS)
def test_every_result_is_that_of_a_float64_pass(name: str) -> None:
    model, lam, tau = MODELS[name](), 0.6, 0.8
    model = replace(
        model, config=replace(model.config, model=replace(model.config.model, document_mask=True))
    )
    texts = lists(model)
    found = model.capture(texts, "*", lam=lam, tau=tau, doc_ids=DOCUMENTS, quiet=True)
    tokens = padded(texts)
    sink = not model.config.relation.plain
    want = forward(model, tokens, POSITIONS, DOC_IDS, lam, tau, model.config.partition.size, sink)
    assert found.names == model.result_names and set(want) == set(found.names)
    for one in found.names:
        seen = np.asarray(found[one], np.float64)
        assert seen.dtype == np.float64 and seen.shape == want[one].shape, one
        np.testing.assert_allclose(seen, want[one], rtol=2e-5, atol=2e-5, err_msg=one)


def test_the_float64_pass_tells_another_setting() -> None:
    """The comparison above sees λ, τ, the sink and the documents."""
    model = deep_model()
    texts = lists(model)
    found = np.asarray(model.capture(texts, "logits", lam=0.6, doc_ids=DOCUMENTS, quiet=True)["logits"])
    tokens = padded(texts)
    one_document = np.where(DOC_IDS < 0, DOC_IDS, 0)
    for docs, lam, tau, sink in (
        (DOC_IDS, 0.5, 1.0, True), (DOC_IDS, 0.6, 0.9, True), (DOC_IDS, 0.6, 1.0, False),
        (one_document, 0.6, 1.0, True),
    ):  # fmt: skip
        want = forward(model, tokens, POSITIONS, docs, lam, tau, 4, sink)["logits"]
        assert np.abs(found - want).max() > 1e-2


@pytest.fixture(scope="module")
def families() -> dict[str, LanguageModel]:
    blocks = PartitionConfig(size=4)
    return {name: aila.from_pretrained(FILES / name, length=48, partition=blocks) for name in FAMILIES}


def check_sums(model: LanguageModel, found: Capture) -> None:
    """What layers add is the difference of what they read and what they give on."""
    parallel = model.config.model.parallel
    for layer in range(model.config.model.n_layers):
        before, attended, fed, after = (
            np.asarray(found[f"layer_{layer}.{one}"])
            for one in ("residual_before", "attention.output", "feed_forward.output", "residual")
        )
        np.testing.assert_allclose(before + attended + fed, after, rtol=1e-4, atol=1e-4)
        if layer:
            np.testing.assert_array_equal(before, found[f"layer_{layer - 1}.residual"])
        assert (f"layer_{layer}.residual_middle" in found.names) == (not parallel)
        if not parallel:
            np.testing.assert_allclose(before + attended, found[f"layer_{layer}.residual_middle"], atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_of_each_family_it_is_what_transformers_and_the_dialled_model_have(
    families: dict[str, LanguageModel], name: str
) -> None:
    model = families[name]
    with np.load(FILES / name / "expected.npz") as expected:
        tokens, layers, logits = (expected[one] for one in ("tokens", "layers", "logits"))
    found = model.capture(tokens, "*", quiet=True)
    assert np.abs(found.stack("layer_*.residual") - layers).max() < 1e-4
    assert np.abs(found["logits"] - logits[..., : found["logits"].shape[-1]]).max() < 1e-4
    dialled = model.capture(tokens, "*", lam=0.6, quiet=True)
    assert np.abs(dialled["logits"] - found["logits"]).max() > 1e-2
    check_sums(model, dialled)
    check_sums(model, found)
    want = model.apply(tokens, lam=0.6, weights=True)
    np.testing.assert_allclose(dialled.stack("*.weights"), want.weights, atol=1e-5)
    np.testing.assert_allclose(dialled["logits"], want.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_logits_are_those_of_attention_and_apply(name: str) -> None:
    model = MODELS[name]()
    for lam, hard in ((0.6, False), (1.0, True)):
        found = model.capture(TEXTS[0], "*", lam=lam, hard=hard, quiet=True)
        check_sums(model, found)
        maps = model.attention_dial(TEXTS[0], lams=(lam,), hard=hard)[0]
        assert found.pieces[0] == maps.tokens
        np.testing.assert_allclose(found.stack("*.weights")[:, 0], maps.weights, atol=2e-6)
        np.testing.assert_array_equal(found.block_ids[0], maps.block_ids)


def test_each_text_of_a_batch_has_its_own_dial_and_sees_no_padding() -> None:
    model, names = untrained_model(), ("layer_*.residual", "logits")
    texts = TEXTS[::-1]
    both = model.capture(texts, names, lam=(0.2, 0.9), tau=(1.0, 0.7), quiet=True)
    for text, (lam, tau) in enumerate(((0.2, 1.0), (0.9, 0.7))):
        alone = model.capture(texts[text], names, lam=lam, tau=tau, quiet=True)
        for name in both.names:
            own = both[name][text, : len(both.pieces[text])]
            np.testing.assert_allclose(own, alone[name][0], rtol=1e-5, atol=1e-5)


def test_block_ids_are_those_that_are_given() -> None:
    model = untrained_model()
    given = replace(
        model, config=replace(model.config, partition=replace(model.config.partition, kind="given"))
    )
    ids = lists(model)[0]
    blocks = [0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3]
    found = given.capture(ids, "*.weights", lam=1.0, hard=True, block_ids=blocks, quiet=True)
    outside = np.asarray(blocks)[:, None] != np.asarray(blocks)[None]
    weights = np.asarray(found.stack("*.weights"))
    assert (weights[..., outside] == 0).all() and (weights.sum(-1) > 0.99).all()
    assert found.block_ids[0].tolist() == blocks


def test_adapters_act_in_what_is_captured() -> None:
    """λ · (x A) B is in the queries."""
    model = untrained_model()
    shape = replace(model.config.model, adapters=AdapterConfig(rank=2, on=("query",)))
    turned = replace(model, config=replace(model.config, model=shape))
    params = dict(model.params)
    attention = dict(params["layer_0"]["attention"])
    draw = np.random.default_rng(0)
    down, up = (draw.normal(size=size).astype(np.float32) for size in ((16, 2), (2, 2, 8)))
    other = {"query_down": {"kernel": down}, "query_up": {"kernel": up}}
    params["layer_0"] = {**params["layer_0"], "attention": {**attention, **other}}
    zero = {"query_down": {"kernel": down}, "query_up": {"kernel": 0 * up}}
    second = params["layer_1"]
    params["layer_1"] = {**second, "attention": {**second["attention"], **zero}}
    names = ("layer_0.attention.input", "layer_0.attention.queries")
    found = replace(turned, params=params).capture(TEXTS[0], names, lam=0.5, quiet=True)
    read_in = np.asarray(found[names[0]], np.float64)
    kernel = np.asarray(attention["query"]["kernel"], np.float64)
    want = np.einsum("bld,dhk->blhk", read_in, kernel) + 0.5 * np.einsum(
        "bld,dr,rhk->blhk", read_in, down, up
    )
    np.testing.assert_allclose(found[names[1]], want, rtol=1e-5, atol=1e-5)


def test_bfloat16_results_have_the_types_that_are_told() -> None:
    model = deep_model()
    model = replace(model, config=replace(model.config, model=replace(DEEP, dtype="bfloat16")))
    found = model.capture(TEXTS[0], "*", lam=0.5, quiet=True)
    for name in found.names:
        assert str(found[name].dtype) == site_of(name).dtype(model.config.model), name
    assert found.memory.held == sum(found[name].nbytes for name in found.names)


@pytest.mark.parametrize("name", MODELS)
def test_the_estimate_is_what_the_compiler_plans(name: str) -> None:
    model = MODELS[name]()
    texts = read(model, [list(range(1, 25))] * 4, Setting())
    wanted = capturing.matching(model.config.model, ("layer_*.residual", "logits"))
    memory = capturing.memory_of(model, texts, wanted, 2048.0)
    lowered = capturing._results.lower(
        model.network, model.params, texts.batch, texts.dial, Request(), wanted, {}
    )
    plan = lowered.compile().memory_analysis()
    assert plan is not None
    pointers = 8 * len(wanted)
    assert abs(plan.output_size_in_bytes - memory.held) <= pointers + 64
    assert plan.temp_size_in_bytes < memory.working < 10 * plan.temp_size_in_bytes


def test_memory_is_told_and_bounded(capsys: pytest.CaptureFixture) -> None:
    model, names = untrained_model(), "*.weights"
    found = model.capture(TEXTS, names)
    assert found.memory.held == 2 * 2 * 2 * 4 * len(found.pieces[0]) ** 2
    assert "capture: " in capsys.readouterr().err
    model.capture(TEXTS, names, quiet=True)
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match=r"capture needs .* it may take 0.001 MiB.*limit_mib=1"):
        model.capture(TEXTS, names, limit_mib=0.001)


def test_what_no_result_depends_on_is_not_computed() -> None:
    model = deep_model()
    texts = read(model, TEXTS[0], Setting())
    args = (model.network, model.params, texts.batch, texts.dial, Request(logits=False))

    def products(name: str) -> int:
        return capturing._results.lower(*args, (name,), {}).compile().as_text().count(" dot(")

    first, last = products("layer_0.residual"), products("layer_5.residual")
    assert 0 < first <= last / 5


def test_weights_of_the_model_are_arguments_of_the_program() -> None:
    model = deep_model()
    texts = read(model, TEXTS[0], Setting())
    args = (model.network, model.params, texts.batch, texts.dial, Request(), ("logits",), {})
    text = capturing._results.lower(*args).as_text()
    shapes = {leaf.shape for leaf in jax.tree.leaves(model.params) if leaf.ndim > 1}
    constants = [line for line in text.splitlines() if "stablehlo.constant" in line]
    assert constants
    for shape in shapes:
        named = f"tensor<{'x'.join(map(str, shape))}xf32>"
        assert named in text and not any(named in line and "dense<0.0" not in line for line in constants)


def test_a_new_dial_compiles_nothing_again() -> None:
    model = untrained_model()
    model.capture(TEXTS, "logits", lam=0.3, quiet=True)
    before = capturing._results._cache_size()
    model.capture(TEXTS, "logits", lam=(0.5, 1), tau=2, quiet=True)
    assert capturing._results._cache_size() == before


@pytest.mark.parametrize(
    ("names", "near"),
    [("layer_0.attention.weight", "layer_0.attention.weights"), ("layer_*.resid", r"layer_\*.residual"),
     ("layer_9.residual", "layer_1.residual"), (("logits", "final"), "final_norm")],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_nearest_and_the_list(names: object, near: str) -> None:
    with pytest.raises(ValueError, match=rf"layer_0 to layer_1 with .residual_before.*did you mean.*{near}"):
        untrained_model().capture(TEXTS[0], names)


def test_results_by_name_as_rows_and_in_stacks() -> None:
    found = untrained_model().capture(TEXTS[0], ("layer_*.residual", "logits"), quiet=True)
    assert found.stack("layer_*.residual").shape == (2, 1, 12, 16)
    with pytest.raises(ValueError, match="a pattern of results of one shape"):
        found.stack("*")
    with pytest.raises(ValueError, match=r"nearest here: layer_0.residual"):
        found["layer_0.residual_before"]
    rows = found.rows()
    assert [row.name for row in rows] == list(found.names)
    assert (rows[0].shape, rows[0].type, rows[-1].meaning) == ("1, 12, 16", "float32", "next-token logits")
    assert "3 results" in repr(found)
