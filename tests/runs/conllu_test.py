"""Training on annotated files: the annotation is what attention is held to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config import (
    Config,
    DataConfig,
    LocalityConfig,
    ModelConfig,
    PartitionConfig,
    TrainConfig,
    check_unread,
)
from aila_jax.config.options import BlocksOptions, ReportOptions
from aila_jax.data.conllu_blocks import TAGS
from aila_jax.evaluation.certify import certify
from aila_jax.inference.language_model import LanguageModel
from aila_jax.partition.listing import _marked
from aila_jax.runs._reading import PageGrid, read_page_text
from aila_jax.types import Batch
from tests.support.untrained import untrained_model

EXAMPLE = Path(__file__).parents[1] / "data" / "examples" / "sentences.conllu"


def annotated(blocks: str) -> LanguageModel:
    """An untrained model whose blocks are those of annotated files."""
    base = untrained_model()
    data = DataConfig(corpus="conllu", files=(str(EXAMPLE),), conllu_blocks=blocks, tokenizer="word")
    config = replace(base.config, data=data, partition=PartitionConfig(kind="given"))
    return replace(base, config=config).with_partition(config.partition)


@pytest.mark.parametrize("blocks", ["classes", "constituents"])
def test_a_text_without_its_annotation_has_no_blocks_and_none_are_made_up(blocks: str) -> None:
    """As one block its certificate would be that of a text with nothing outside, whatever the margin."""
    model = annotated(blocks)
    tokens = model.tokenizer.encode("the cat saw the dog")
    for read in (
        lambda **given: model.attention(tokens, **given),
        lambda **given: certify(model, 1.0, text=tokens, **given),
    ):
        with pytest.raises(
            ValueError,
            match=(
                rf"block_ids is None; it must be given for a text where blocks are the annotation's {blocks}"
            ),
        ):
            read()
        read(block_ids=[index % 2 for index in range(len(tokens))])
    lines = annotated("sentences")
    assert certify(lines, 1.0, text=tokens).counts.n_out.max() == 0
    grid = PageGrid((0.0,), (1.0,), 1.0, False)
    reading = read_page_text(lines, ReportOptions(), grid).reading
    assert not reading.inside[-1, 0]  # the report's sample has line ends there


def test_an_annotation_that_no_partition_reads_is_refused(tmp_path: Path) -> None:
    data = DataConfig(corpus="conllu", files=(str(EXAMPLE),), conllu_blocks="constituents")
    refused = (
        r"data\.conllu_blocks is 'constituents'; it must be left at 'sentences' when partition\.kind is"
        r" 'windows'"
    )
    for begin in (
        lambda: runs.train(Config(data=data), tmp_path, quiet=True),
        lambda: runs.blocks(Config(data=data), out=tmp_path),
    ):
        with pytest.raises(ValueError, match=refused):
            begin()
    assert not list(tmp_path.glob("*.json"))
    check_unread(Config(data=data, partition=PartitionConfig(kind="given")))
    model = annotated("classes")  # trained on its classes, it may be read with windows all the same
    assert model.with_partition(PartitionConfig(size=3)).config.partition.size == 3


def test_a_clause_that_goes_on_after_another_is_numbered_in_examples() -> None:
    model = untrained_model()
    tokens = np.asarray(model.tokenizer.encode("the cat saw the dog"))[:5]
    marks = np.full(5, "")
    again = _marked(model.tokenizer, tokens, np.array([7, 7, 9, 9, 7]), marks, None)
    assert again.count("[1] ") == 2
    assert again.split(" ‖ ")[1].startswith("[2] ")
    assert "[" not in _marked(model.tokenizer, tokens, np.array([7, 7, 9, 9, 9]), marks, None)


@pytest.mark.medium
def test_attention_stays_inside_the_annotated_classes(tmp_path: Path) -> None:
    config = Config(
        data=DataConfig(
            corpus="conllu",
            files=(str(EXAMPLE),),
            conllu_blocks="classes",
            tokenizer="word",
            cache_dir=str(tmp_path / "cache"),
        ),
        partition=PartitionConfig(kind="given"),
        model=ModelConfig(length=12, d_model=8, n_heads=1, d_ff=8, n_layers=1, hard=True),
        locality=LocalityConfig(mode="fixed", lam=1.0),
        train=TrainConfig(steps=2, batch_size=2, warmup_steps=1, eval_every=2, checkpoint_every=2),
    )
    model = aila.load(runs.train(config, tmp_path / "run", quiet=True).workdir)
    corpus = runs.dataset_of(model)
    batch: Batch = corpus.windows("train", 12, model.config.model.document_mask).batch
    ids = np.asarray(model.partition(batch))
    first = [model.tokenizer.decode([token]) for token in batch.tokens[0]]
    names = [*TAGS, "line end"]
    assert list(zip(first, (names[index] for index in ids[0]), strict=True))[:7] == [
        ("The", "DET"),
        ("old", "ADJ"),
        ("bridge", "NOUN"),
        ("creaked", "VERB"),
        (".", "PUNCT"),
        ("\n", "line end"),
        ("She", "PRON"),
    ]
    out = model.apply(batch.tokens[:1], lam=1.0, block_ids=ids[:1])
    np.testing.assert_allclose(out.stats.block_mass, 1.0, atol=1e-6)


def test_blocks_lists_the_annotated_classes_by_name(tmp_path: Path) -> None:
    """Shares and words counted from the files by hand of a loop over their lines."""
    config = Config(
        data=DataConfig(
            corpus="conllu",
            files=(str(EXAMPLE),),
            conllu_blocks="classes",
            tokenizer="word",
            cache_dir=str(tmp_path / "cache"),
        ),
        partition=PartitionConfig(kind="given"),
        model=ModelConfig(length=12, d_model=8, n_heads=1, d_ff=8, n_layers=1),
    )
    report = runs.blocks(config, BlocksOptions(split="train"), tmp_path / "blocks")
    dataset = aila.load_dataset(config.data)
    train, tokenizer = dataset.splits["train"], dataset.tokenizer
    words: dict[str, list[str]] = {}
    for token, number in zip(train.tokens, train.given_ids, strict=True):
        words.setdefault([*TAGS, "line end"][number], []).append(tokenizer.decode([int(token)]))
    listed = {entry.name: entry for entry in report.listing.classes}
    for name, found in words.items():
        assert listed[name].share == pytest.approx(len(found) / len(train.tokens))
        assert listed[name].types == len(set(found))
        assert listed[name].frequent[0][1] == pytest.approx(
            max(found.count(word) for word in found) / len(found)
        )
    assert sum(entry.share for entry in report.listing.classes) == pytest.approx(1.0)
    assert "The/DET old/ADJ bridge/NOUN" in report.listing.examples[0]
    assert report.listing.note == "classes of the text's own annotation"
