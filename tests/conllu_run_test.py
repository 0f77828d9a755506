"""Training on annotated files: the annotation is what attention is held to."""

from pathlib import Path

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config import Config, DataConfig, LocalityConfig, ModelConfig, PartitionConfig, TrainConfig
from aila_jax.data.conllu_blocks import TAGS
from aila_jax.types import Batch

EXAMPLE = Path(__file__).parent / "data" / "examples" / "sentences.conllu"


@pytest.mark.medium
def test_attention_stays_inside_the_annotated_classes(tmp_path: Path) -> None:
    config = Config(
        data=DataConfig(
            corpus="conllu", files=(str(EXAMPLE),), conllu_blocks="classes", tokenizer="word", cache_dir=str(tmp_path / "cache")
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
            corpus="conllu", files=(str(EXAMPLE),), conllu_blocks="classes", tokenizer="word", cache_dir=str(tmp_path / "cache")
        ),
        partition=PartitionConfig(kind="given"),
        model=ModelConfig(length=12, d_model=8, n_heads=1, d_ff=8, n_layers=1),
    )
    report = runs.blocks(config=config, out=str(tmp_path / "blocks"), split="train")
    dataset = aila.load_dataset(config.data)
    train, tokenizer = dataset.splits["train"], dataset.tokenizer
    words: dict[str, list[str]] = {}
    for token, number in zip(train.tokens, train.given_ids, strict=True):
        words.setdefault([*TAGS, "line end"][number], []).append(tokenizer.decode([int(token)]))
    listed = {entry.name: entry for entry in report.listing.classes}
    for name, found in words.items():
        assert listed[name].share == pytest.approx(len(found) / len(train.tokens))
        assert listed[name].types == len(set(found))
        assert listed[name].frequent[0][1] == pytest.approx(max(found.count(word) for word in found) / len(found))
    assert sum(entry.share for entry in report.listing.classes) == pytest.approx(1.0)
    assert "The/DET old/ADJ bridge/NOUN" in report.listing.examples[0]
    assert report.listing.note == "classes of the text's own annotation"
