"""What measurements of a model take: the model or where it is, and the corpus it was trained on."""

from pathlib import Path

from aila_jax.config import Config, require
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.data.packing import Windows
from aila_jax.inference.language_model import LanguageModel, check_tokenizer
from aila_jax.partition.returning import refuse_returning
from aila_jax.presets import with_data_dir


def dataset_of(model: LanguageModel, data_dir: str | Path = "") -> Dataset:
    """The corpus a model was trained on, encoded with its own tokenizer; refused if its text has changed
    since.
    """
    limit = "given for a pretrained model, which has no corpus of its own"
    fix = "dataset=aila_jax.load_dataset(aila_jax.Config().data, model.tokenizer), say"
    require("data" in model.meta or "pretrained" not in model.meta, "dataset", None, limit, fix)
    dataset = load_dataset(with_data_dir(model.config, data_dir).data, model.tokenizer)
    trained_on = str(model.meta.get("data", {}).get("fingerprint"))
    if dataset.fingerprint != trained_on:
        raise ValueError(
            f"the corpus {dataset.name!r} has fingerprint {dataset.fingerprint[:12]}, the model was trained"
            f" on {trained_on[:12]}: its text has changed (another file, or for pydocs another Python"
            " version), so splits may overlap. Fix: evaluate with the text it was trained on;"
            " --data_dir=FOLDER says where it is now"
        )
    return dataset


def as_dataset(model: LanguageModel, dataset: Dataset | None, data_dir: str | Path = "") -> Dataset:
    """The data set that is given, if its tokenizer is the model's, or else the model's own corpus."""
    if dataset is None:
        return dataset_of(model, data_dir)
    check_tokenizer(model, dataset)
    return dataset


def windows_of(model: LanguageModel, dataset: Dataset, split: str) -> Windows:
    """The windows of a split as the model reads them; ValueError for text of another tokenizer, a split that
    there is not, and blocks that the model's relation cannot read.
    """
    check_tokenizer(model, dataset)
    return split_windows(model.config, dataset, split)


def split_windows(config: Config, dataset: Dataset, split: str) -> Windows:
    """The windows of a split for a model of this configuration, with its begin token first; ValueError for a
    split that there is not, and blocks that its relation cannot read.
    """
    windows = dataset.windows(split, config.model.length, config.model.document_mask, config.data.begin)
    refuse_returning(config, windows.batch.given_ids, windows.batch.doc_ids, f"the blocks of split {split!r}")
    return windows
