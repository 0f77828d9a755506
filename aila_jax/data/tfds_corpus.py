"""A TensorFlow data set as a corpus: one document an example, from one text feature."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aila_jax.config import DataConfig
from aila_jax.data.documents import SPLITS, Corpus, Document, unix_line_ends
from aila_jax.data.held_out import Source, fill_splits, leave_out_repeated
from aila_jax.data.tfds_builders import find_builder, without_tensorflow

_SETTINGS = {"train": "tfds_train", "validation": "tfds_validation", "test": "tfds_test"}
_CHUNK = 4096  # examples read at a time: of each, the text alone is kept


def read_tfds(config: DataConfig, directory: Path) -> Corpus:
    """The corpus of `data.tfds_name`; it is read whole into memory.

    The lines of an example's text are its pieces; a feature that is a sequence of texts gives the pieces as
    they are. Examples without a word are left out. Splits that the data set lacks are held out from the end
    of the training split.

    Args:
      config: the data settings.
      directory: where a data set that is prepared nowhere yet is prepared.

    Raises:
      ValueError: what `find_builder` refuses; no text feature, several and none named, or another one than
        named; an unknown split,
        overlapping ones, text that is not UTF-8, or files that cannot be read.
    """
    builder = find_builder(
        config.tfds_name, config.tfds_data_dir, directory, lambda made: _check_key(made, config)
    )
    key = text_key(builder.info.features, config)
    splits = _splits(builder, config)
    _refuse_overlap(builder, splits, config)
    documents = {
        split: list(_documents(builder, splits[split], key)) if split in splits else [] for split in SPLITS
    }
    for split, expression in splits.items():
        if not documents[split]:
            raise ValueError(
                f"data.{_SETTINGS[split]} is {expression!r}; it has no text in {key!r}. Fix: choose another"
                " split"
            )
    source = Source(f"the split {splits['train']!r} of {config.tfds_name!r}", _SETTINGS, by_line=False)
    filled = fill_splits(documents, config, source)
    notes: tuple[str, ...] = ()
    if config.repeated == "leave_out":
        filled, notes = leave_out_repeated(filled)
    return Corpus(f"tfds {config.tfds_name}", {split: tuple(filled[split]) for split in SPLITS}, notes=notes)


def _check_key(builder: Any, config: DataConfig) -> None:
    with without_tensorflow():
        text_key(builder.info.features, config)


def text_key(features: Any, config: DataConfig) -> str:
    """`data.tfds_text`, or the only text feature; ValueError names the text features there are."""
    names = sorted(text_features(features))  # files do not keep the order of features
    found = (
        f"the text features of {config.tfds_name!r} are {', '.join(names)}"
        if names
        else f"{config.tfds_name!r} has no text feature"
    )
    if config.tfds_text:
        if config.tfds_text not in names:
            raise ValueError(
                f"data.tfds_text is {config.tfds_text!r}; {found}. Fix: set --config.data.tfds_text to one of"
                " them"
            )
        return config.tfds_text
    if len(names) != 1:
        raise ValueError(
            f"data.tfds_text is ''; {found}, it must be one. Fix: set --config.data.tfds_text, or choose"
            " another data set"
        )
    return names[0]


def text_features(features: Any, path: str = "") -> Iterator[str]:
    """The names of all features that are a text or a sequence of texts; outer/inner where they are nested."""
    if isinstance(features, tfds.features.FeaturesDict):
        for name, feature in features.items():
            yield from text_features(feature, f"{path}/{name}" if path else name)
    else:
        inner = features.feature if isinstance(features, tfds.features.Sequence) else features
        if (
            isinstance(inner, tfds.features.Tensor)
            and inner.shape == ()
            and np.dtype(inner.np_dtype).kind in "OSU"
        ):
            yield path


def _splits(builder: Any, config: DataConfig) -> dict[str, str]:
    """The data set's split, or part of one, for each of ours that it has; `train` is always among them."""
    known = list(builder.info.splits)
    found = {}
    for split, setting in _SETTINGS.items():
        expression = getattr(config, setting) or (split if split in known or split == "train" else "")
        if not expression:
            continue
        try:
            builder.info.splits[expression]
        except Exception as error:  # the library raises KeyError, ValueError and others
            raise ValueError(
                f"data.{setting} is {expression!r}; the splits of {config.tfds_name!r} are"
                f" {', '.join(known)}, or parts of them such as {known[0]}[:90%]. Fix: set"
                f" --config.data.{setting} to one of them"
            ) from error
        found[split] = expression
    return found


def _refuse_overlap(builder: Any, splits: dict[str, str], config: DataConfig) -> None:
    """Raises ValueError where two of our splits share an example."""
    ranges = [
        (split, part.filename, part.skip, part.skip + part.take)
        for split, expression in splits.items()
        for part in builder.info.splits[expression].file_instructions
    ]
    for first, file, start, end in ranges:
        for second, other, begin, stop in ranges:
            if first < second and file == other and start < stop and begin < end:
                raise ValueError(
                    f"data.{_SETTINGS[first]} {splits[first]!r} and data.{_SETTINGS[second]}"
                    f" {splits[second]!r} of {config.tfds_name!r} share examples; splits must not overlap."
                    " Fix: cut them, as in train[:90%] and train[90%:]"
                )


def _documents(builder: Any, expression: str, key: str) -> Iterator[Document]:
    """The documents of a split, in its order."""
    try:
        with without_tensorflow():
            source = builder.as_data_source(expression)
            for start in range(0, len(source), _CHUNK):
                rows = range(start, min(start + _CHUNK, len(source)))
                for row, example in zip(rows, source.__getitems__(rows), strict=True):
                    pieces = _pieces(example, key)
                    if any(piece.strip() for piece in pieces):
                        yield Document(f"{expression} {row}", pieces)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{builder.info.name} {expression} is not UTF-8 in {key!r} ({error}). Fix: prepare it with UTF-8"
            " text"
        ) from error
    except (RuntimeError, OSError, IndexError, KeyError) as error:
        raise ValueError(
            f"{builder.data_path} cannot be read ({error}). Fix: prepare the data set again"
        ) from error


def _pieces(example: Any, key: str) -> tuple[str, ...]:
    for name in key.split("/"):
        example = example[name]
    if isinstance(example, (bytes, str)):
        return tuple(_text(example).removesuffix("\n").split("\n"))
    return tuple(_text(piece) for piece in example)


def _text(value: bytes | str) -> str:
    return unix_line_ends(value.decode() if isinstance(value, bytes) else str(value))
