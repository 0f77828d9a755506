"""The corpus of a trained model."""

from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.evaluation.language_model import LanguageModel
from aila_jax.presets import with_data_dir


def dataset_of(model: LanguageModel, data_dir: str = "") -> Dataset:
    """The corpus a model was trained on, encoded with its own tokenizer; refused if its text has changed since."""
    dataset = load_dataset(with_data_dir(model.config, data_dir).data, model.tokenizer)
    trained_on = model.meta["data"]["fingerprint"]
    if dataset.fingerprint != trained_on:
        raise ValueError(
            f"the corpus {dataset.name!r} has fingerprint {dataset.fingerprint[:12]}, the model was trained on {trained_on[:12]}: "
            "its text has changed (another file, or for pydocs another Python version), so splits may overlap. "
            "Fix: evaluate with the text it was trained on"
        )
    return dataset
