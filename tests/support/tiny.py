"""What the tests of training and after share: a small text corpus, a small configuration, and one run of
it.
"""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from aila_jax import runs
from aila_jax.config import Config, DataConfig, LocalityConfig, ModelConfig, SweepConfig, TrainConfig
from aila_jax.data.dataset import Dataset
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.network import Network
from aila_jax.model.transformer import Transformer
from aila_jax.partition.build import build_partition
from aila_jax.runs import Run
from aila_jax.types import Batch

SUBJECTS = "the cat|a small dog|the old owl|one grey goose|my brother|the baker".split("|")
VERBS = "saw|heard|followed|liked|found|painted".split("|")
PLACES = "near the river|in the garden|on the hill|by the sea|under a tree".split("|")


def sentences(count: int, seed: int) -> str:
    """`count` lines of a small grammar, so that a model has something to learn in a few steps."""
    draw = random.Random(seed)
    lines = (
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(SUBJECTS)} {draw.choice(PLACES)} ."
        for _ in range(count)
    )
    return "".join(f"{line}\n" for line in lines)


def write_corpus(directory: Path) -> DataConfig:
    """Three text files in `directory` and the settings that read them; the cache lies beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    files = {}
    for setting, count, seed in (("files", 130, 0), ("valid_files", 23, 1), ("test_files", 17, 2)):
        path = directory / f"{setting}.txt"
        path.write_text(sentences(count, seed), encoding="utf-8")
        files[setting] = (str(path),)
    return DataConfig(corpus="text", vocab_size=300, cache_dir=str(directory / "cache"), **files)


def make_config(data: DataConfig, **train: Any) -> Config:
    """A conditional run of 24 steps with microbatches; checkpoints at 8, 16 and 24, of which the newest two
    are kept.

    The second epoch begins between the checkpoint at 16 and the last step.
    """
    settings = {
        "steps": 24,
        "batch_size": 8,
        "accumulate": 2,
        "learning_rate": 2e-2,
        "warmup_steps": 4,
        "log_every": 5,
        "eval_every": 12,
        "eval_batches": 2,
        "checkpoint_every": 8,
    }
    return Config(
        data=data,
        model=ModelConfig(length=16, d_model=16, n_heads=2, d_ff=32, n_layers=2, film=True, dropout=0.1),
        locality=LocalityConfig(mode="conditional"),
        train=TrainConfig(**{**settings, **train}),
        sweep=SweepConfig(lams=(0.0, 0.5, 1.0), taus=(0.5, 1.0), batch_size=8),
    )


@dataclass(frozen=True)
class Trained:
    """One finished run, shared by all tests; nobody may change its files."""

    run: Run
    config: Config
    model: LanguageModel
    dataset: Dataset


def train_tiny(directory: Path) -> Trained:
    """Trains the run of `make_config` into `directory`."""
    config = make_config(write_corpus(directory / "text"))
    run = runs.train(config, directory / "run", quiet=True)
    model = run.load()
    return Trained(run, config, model, runs.dataset_of(model))


VOCAB_SIZE = 40
MODEL = ModelConfig(length=12, d_model=16, n_heads=2, d_ff=32, n_layers=2, film=True)


def random_batch(rows: int, seed: int = 0) -> Batch:
    """Random tokens with some unscored positions."""
    draw = np.random.default_rng(seed)
    batch = Batch.from_tokens(draw.integers(0, VOCAB_SIZE, (rows, MODEL.length)).astype(np.int32))
    return batch.replace(
        weights=(batch.weights * (draw.random(batch.weights.shape) < 0.8)).astype(np.float32)
    )


@cache
def fresh_params(model: ModelConfig = MODEL) -> Any:
    """Parameters at initialisation, made larger so that attention is far from uniform and FiLM is not the
    identity.
    """
    config = Config(model=model)
    network = Network(Transformer(model, VOCAB_SIZE), build_partition(config.partition))
    params = network.init(example_batch(config), jax.random.key(3))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(4), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.2 * jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    )


def sgd() -> optax.GradientTransformation:
    """Plain gradient descent at rate 1: an update is minus the gradient."""
    return optax.sgd(1.0)
