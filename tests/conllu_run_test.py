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
