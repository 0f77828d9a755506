"""No program of generation, sweeps, influence, certificates, anchors, reach, scores and pictures holds an
array of L × L, unless weights are asked for, and then those alone.
"""

from ast import literal_eval
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from aila_jax.config import AttentionRoute, Config, ModelConfig, RelationConfig, SweepConfig
from aila_jax.config.options import CertifyOptions, InfluenceOptions, SweepOptions
from aila_jax.data.dataset import Dataset, encode_documents
from aila_jax.data.documents import Document
from aila_jax.data.tokenizer import train_tokenizer
from aila_jax.diagnosis.measure import keys_inside
from aila_jax.evaluation.certify import certify_by
from aila_jax.evaluation.influence import influence
from aila_jax.evaluation.sweep import sweep_grid
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.text_reading import ReadingGrid, read_over_dial
from aila_jax.partition.relation_statistics import relation_statistics
from aila_jax.training.anchors import make_anchors
from aila_jax.training.sharding import batch_sharding
from tests.support.squares import lowered_into, squares
from tests.support.tiny import sentences

LENGTH = 641  # above every tile, and above the vocabulary and all widths


@cache
def model(route: str = "auto", related: bool = False) -> LanguageModel:
    """2 layers of 2 heads that read 641 tokens, never trained; with a relation of sinks, ends and shifts."""
    shape = ModelConfig(
        length=LENGTH, d_model=8, n_heads=2, d_ff=16, n_layers=2, attention=AttentionRoute(route)
    )
    relation = RelationConfig(sink=True, pointers="ends", shift=2) if related else RelationConfig()
    config = Config(model=shape, relation=relation, sweep=SweepConfig(batch_size=2))
    config = replace(config, data=replace(config.data, vocab_size=300))
    tokenizer = train_tokenizer(config.data, [Document("grammar", (sentences(50, 0),))])
    empty = LanguageModel(None, config, tokenizer, "untrained", 0, {})
    params = jax.jit(lambda key: empty.network.init(example_batch(config), key))(jax.random.key(0))
    return replace(empty, params=params)


@cache
def dataset() -> Dataset:
    tokenizer = model().tokenizer
    splits = {
        split: encode_documents(tokenizer, [Document(split, (sentences(300, seed),))])
        for seed, split in enumerate(("train", "validation", "test"))
    }
    return Dataset("grammar", tokenizer, splits, "none", "lines", ())


def text(of: LanguageModel) -> list[int]:
    return of.tokenizer.encode(sentences(120, 5))[:LENGTH]


def swept(of: LanguageModel, pointers: str = "none") -> None:
    options = SweepOptions(lams=(0.5,), taus=(1.0,), max_batches=1, delta=True, pointers=pointers)
    sweep_grid(of, dataset(), options, quiet=True)


def with_anchors(of: LanguageModel) -> LanguageModel:
    """Anchors by attention, as training makes them after its warm-up."""
    config = replace(
        of.config,
        anchors=replace(of.config.anchors, estimator="attention", max_batches=1),
        train=replace(of.config.train, batch_size=2, warmup_steps=1),
    )
    draw = lambda step: (np.float32([0.2, 0.8]), np.float32([1.0, 1.0]))  # noqa: E731
    made = make_anchors(
        config,
        of.network,
        of.params,
        windows=dataset().windows("train", LENGTH, False),
        draw=draw,
        sharding=batch_sharding(2, "train.batch_size"),
    )
    return replace(of, anchors=made)


def influenced(of: LanguageModel) -> None:
    influence(of, dataset(), InfluenceOptions(positions=3, draws=2, lams=(0.5,)), quiet=True)


def counted(of: LanguageModel) -> None:
    """Keys inside, reach and their statistics."""
    batch = of.batch(np.asarray([text(of)]))
    keys_inside(of, batch)
    relation_statistics(of.network.rules, of.partition, [batch], False)
    certify_by(of, CertifyOptions(bound="empirical", max_batches=1), dataset())


def said(of: LanguageModel) -> None:
    of.score(of.tokenizer.decode(text(of)))
    of.generate(of.tokenizer.decode(text(of)[:600]), max_tokens=3)
    of.logit_lens(text(of), positions=[5])


PATHS: dict[str, Callable[[LanguageModel], object]] = {
    "sweep": swept,
    "influence": influenced,
    "keys, reach, certificates": counted,
    "score, generation, lens": said,
}
# What compiles long is looked at in the longer tests; plain blocks here.
CASES = [
    pytest.param(name, related, marks=pytest.mark.medium if related or name != "influence" else ())
    for name in PATHS
    for related in (False, True)
    if related or name == "influence"
]


@pytest.fixture
def folder(tmp_path: Path):
    with lowered_into(tmp_path):
        yield tmp_path


@pytest.mark.parametrize(("name", "related"), CASES)
def test_nothing_is_square(name: str, related: bool, folder: Path) -> None:
    PATHS[name](model(related=related))
    assert list(folder.glob("*.mlir")), "nothing was compiled: the test shows nothing"
    assert squares(folder, LENGTH) == []


def test_anchors_and_their_pointers_are_not_square(folder: Path) -> None:
    swept(with_anchors(model()), "anchors")
    assert squares(folder, LENGTH) == []


def test_the_reference_is_seen_to_be_square(folder: Path) -> None:
    of = model("reference")
    of.apply(np.asarray([text(of)]), lam=0.5)
    assert any(str((1, 2, LENGTH, LENGTH)) in one for one in squares(folder, LENGTH))


def test_pictures_hold_what_they_show(folder: Path) -> None:
    """Of one head of one layer its own weights; of one query its row alone."""
    of = model()
    read_over_dial(of, text(of), ReadingGrid((0.5,), (1.0,), (1,), (1,)))
    shapes = {one.split(": ")[1] for one in squares(folder, LENGTH)}
    assert shapes, "the weights that are asked for"
    for shape in shapes:
        assert np.prod(literal_eval(shape)) == LENGTH**2, shape


def test_weights_of_one_query_are_a_row(folder: Path) -> None:
    of = model()
    row = of.attention_weights(text(of), layers=[1], heads=[1, 0], queries=[600, 3], lam=0.5)
    assert squares(folder, LENGTH) == []
    whole = of.apply(np.asarray([text(of)]), lam=0.5, weights=True).weights
    want = np.asarray(whole)[1:, 0][:, [1, 0]][:, :, [600, 3]]
    np.testing.assert_allclose(row, want, atol=1e-6)
