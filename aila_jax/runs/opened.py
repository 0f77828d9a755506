"""A trained model and its corpus."""

from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.inference.language_model import LanguageModel, load
from aila_jax.presets import with_data_dir


def load_with_window(checkpoint: str, window: int | None) -> LanguageModel:
    """A checkpoint's model, read with windows of `window` tokens where that is given."""
    model = load(checkpoint)
    return model if window is None else model.with_window(window)


def dataset_of(model: LanguageModel, data_dir: str = "") -> Dataset:
    """The corpus a model was trained on, encoded with its own tokenizer; refused if its text has changed
    since.
    """
    dataset = load_dataset(with_data_dir(model.config, data_dir).data, model.tokenizer)
    trained_on = model.meta["data"]["fingerprint"]
    if dataset.fingerprint != trained_on:
        raise ValueError(
            f"the corpus {dataset.name!r} has fingerprint {dataset.fingerprint[:12]}, the model was trained"
            f" on {trained_on[:12]}: its text has changed (another file, or for pydocs another Python"
            " version), so splits may overlap. Fix: evaluate with the text it was trained on"
        )
    return dataset
