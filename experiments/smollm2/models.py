"""The pretrained model with its blocks, and its text."""

from dataclasses import replace
from pathlib import Path

import aila_jax
from aila_jax import presets
from aila_jax.config import Config, TrainedPart, require
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.inference.language_model import LanguageModel
from experiments.smollm2.runs import LENGTH, relations
from experiments.smollm2.text import write_texts


def base_config(path: str, data_dir: str, folder: Path) -> Config:
    """The configuration of the pretrained model at `path`, on WikiText-2's text, which is written into
    `folder`.

    Raises:
      ValueError: there is no model, or no text.
    """
    require(bool(path), "--model", path, "the path of a pretrained model", "sh launch/smollm2.sh fetches one")
    require(bool(data_dir), "--data_dir", data_dir, "the folder of WikiText-2", "--data_dir=$WIKITEXT2")
    from aila_jax.runs import start_config

    texts = {split: (str(file),) for split, file in write_texts(Path(data_dir), folder / "text").items()}
    config = start_config(path, None, LENGTH)
    data = replace(
        config.data,
        corpus="text",
        files=texts["train"],
        valid_files=texts["valid"],
        test_files=texts["test"],
        repeated="keep",
    )
    return replace(config, data=data)


def untrained(path: str, base: Config, name: str) -> LanguageModel:
    """The model itself with the blocks of a relation, and the margin that localising begins with."""
    blocks, made = relations(base.model.n_layers)[name], presets.localised(base, length=LENGTH)
    model = aila_jax.from_pretrained(
        path,
        length=LENGTH,
        partition=blocks.partition,
        relation=blocks.relation,
        margin=made.model.margin,
    )
    config = replace(
        model.config,
        seed=base.seed,
        data=base.data,
        sweep=made.sweep,
        train=replace(made.train, trained=TrainedPart.ALL, steps=1),
    )
    return replace(model, config=config)


def dataset_of(model: LanguageModel) -> Dataset:
    """The text in the model's tokens."""
    return load_dataset(model.config.data, model.tokenizer)
