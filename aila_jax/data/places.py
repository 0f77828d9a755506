"""Where a corpus is now: its files may have moved since its settings were written."""

from dataclasses import replace
from pathlib import Path

from aila_jax.config import DataConfig, user_path
from aila_jax.data.text_files import matching_files

_PATTERNS = ("files", "valid_files", "test_files")


def moved_to(config: DataConfig, data_dir: str) -> DataConfig:
    """The same settings, for a corpus that is in `data_dir`; an empty one changes nothing.

    For `wikitext2` and `tfds` it is the folder that data.data_dir and data.tfds_data_dir name. For `text` and
    `conllu` (and `question_files`) every path or glob is looked for under it: whole, then without its first
    folder, then without its first two, and so on.

    Raises:
      ValueError: a corpus that reads no files of the user's, or a path that is nowhere in the folder.
    """
    if not data_dir:
        return config
    if config.corpus in ("wikitext2", "wikitext2_passages"):
        return replace(config, data_dir=data_dir)
    if config.corpus == "tfds":
        return replace(config, tfds_data_dir=data_dir)
    if config.corpus not in ("text", "conllu", "question_files"):
        raise ValueError(
            f"--data_dir is {data_dir!r}, but data.corpus is {config.corpus!r}, which does not read it. Fix:"
            " leave --data_dir out, or add --config.data.corpus=wikitext2"
        )
    files, valid_files, test_files = (
        tuple(_found(pattern, user_path(data_dir), name) for pattern in getattr(config, name))
        for name in _PATTERNS
    )
    return replace(config, files=files, valid_files=valid_files, test_files=test_files)


def _found(pattern: str, folder: Path, setting: str) -> str:
    """The pattern as it matches in the folder, by the longest tail of it that does."""
    parts = [part for part in Path(pattern).parts if part not in (Path(pattern).anchor, "..", "~")]
    for start in range(len(parts)):
        place = str(folder.joinpath(*parts[start:]))
        if matching_files(place):
            return place
    raise ValueError(
        f"data.{setting} has {pattern!r}, and --data_dir is {str(folder)!r}; it must hold"
        f" {str(Path(*parts))!r} or {parts[-1]!r}. Fix: name the folder that holds the files now"
    )
