"""Whether a flag names what it should, asked of the file system alone, before a command loads JAX: that takes
seconds, for which a wrong path need not wait.

What a checkpoint or a sweep holds is checked where it is read.
"""

import os
from collections.abc import Callable
from pathlib import Path

from aila_jax.config import Config, require, user_path

# (flag, its value) → nothing; ValueError where it is not there. An empty value asks for nothing.
PathCheck = Callable[[str, str], None]


def is_run(flag: str, value: str) -> None:
    """A run directory with a checkpoint, its checkpoints folder, or one step's folder."""
    if not value:
        return
    path = user_path(value)
    steps = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    found = path.is_dir() and (
        path.resolve().name.isdigit() or any(each.name.isdigit() for each in steps.iterdir())
    )
    place = "" if path.exists() or path.is_absolute() else f" (relative paths start at {Path.cwd()})"
    fix = f"train first, or correct the path{place}"
    require(found, flag, value, "a run directory that holds a checkpoint", fix)


def is_model(flag: str, value: str) -> None:
    """A run, or a pretrained model: a folder with config.json, a GGUF file, or a name on the hub."""
    from aila_jax.pretrained.places import has_hub, is_hub_name, is_pretrained

    if value and is_hub_name(value):
        limit = (
            "a run or a pretrained model that is there, or, with huggingface_hub installed, a name on the hub"
        )
        require(has_hub(), flag, value, limit, "train first, correct the path, or pip install aila_jax[hub]")
    elif not (value and is_pretrained(user_path(value))):
        is_run(flag, value)


def is_run_or_none(flag: str, value: str) -> None:
    """The same, or the word none."""
    if value != "none":
        is_run(flag, value)


def is_sweep(flag: str, value: str) -> None:
    """A folder with sweep.json, or that file."""
    found = Path(value).is_file() or (Path(value) / "sweep.json").is_file()
    limit = "a folder with sweep.json, or that file"
    require(not value or found, flag, value, limit, "sweep first, or correct the path")


def is_log(flag: str, value: str) -> None:
    """A training log, or the folder of one."""
    found = Path(value).is_file() or (Path(value) / "metrics.jsonl").is_file()
    limit = "a metrics.jsonl, or a folder that holds one"
    require(not value or found, flag, value, limit, "correct the path, or leave it out")


def is_text_file(flag: str, value: str) -> None:
    """A file to read from, or standard input."""
    right = value in ("", "-") or user_path(value).is_file()
    require(
        right, flag, value, "a file that is there, or -", "correct the path, or pass - for standard input"
    )


def is_passages(flag: str, value: str) -> None:
    """A folder of texts, or a file of JSON lines."""
    path = user_path(value, flag)
    right = path.is_dir() or (path.is_file() and path.suffix.lower() == ".jsonl")
    limit = "a folder of .txt files, or a .jsonl file, that is there"
    require(right, flag, value, limit, "correct the path")


def is_folder(flag: str, value: str) -> None:
    """A folder to read from."""
    require(not value or user_path(value).is_dir(), flag, value, "a folder that is there", "correct the path")


def is_output_folder(flag: str, value: str) -> None:
    """A folder to write to, which may be made."""
    _writable(flag, value, Path(value))


def is_new_folder(flag: str, value: str) -> None:
    """A folder to make, or an empty one."""
    folder = user_path(value, flag)
    free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    limit = "a folder that is new or empty: nothing is written over"
    require(free, flag, value, limit, "choose another folder")
    _writable(flag, value, folder)


def is_output_file(flag: str, value: str) -> None:
    """A file to write, whose folder may be made."""
    fix = f"add a file name, such as {str(Path(value) / 'report.html')!r}"
    require(not value or not Path(value).is_dir(), flag, value, "a file to write", fix)
    _writable(flag, value, Path(value).parent)


def is_workdir(flag: str, value: str) -> None:
    """A run directory, which may be made."""
    _writable(flag, value, user_path(value))


def _writable(flag: str, value: str, folder: Path) -> None:
    """The nearest folder above that is there must be one, and let a new one be made in it."""
    there = next(each for each in (folder, *folder.parents) if each.exists() or each.is_symlink())
    limit, fix = f"below a folder, which {str(there)!r} is not", "choose another folder"
    require(not value or there.is_dir(), flag, value, limit, fix)
    limit, fix = f"writable, which {str(there)!r} is not", "choose another folder, or change its permissions"
    require(not value or os.access(there, os.W_OK | os.X_OK), flag, value, limit, fix)


def check_config_paths(config: Config, data_dir: str, fits: bool) -> None:
    """What a configuration's settings name: the user's files of text, and folders of data.

    Args:
      config: the settings.
      data_dir: where its text is now; empty: where the settings say.
      fits: whether the partition is fitted now, and not a run's own.

    Raises:
      ValueError: one is not there.
    """
    # These load NumPy, which --help need not wait for.
    from aila_jax.data.places import moved_to
    from aila_jax.data.text_files import find_files

    data, partition = moved_to(config.data, data_dir), config.partition
    for setting in ("data_dir", "tfds_data_dir"):
        is_folder(f"--config.data.{setting}", getattr(data, setting))
    for setting in ("files", "valid_files", "test_files"):
        find_files(getattr(data, setting), f"data.{setting}")
    tokenizer, limit = data.tokenizer, "bpe, word, characters, or the path of a tokenizer.json that is there"
    own = data.own_tokenizer and fits
    require(
        not own or user_path(tokenizer).is_file(),
        "--config.data.tokenizer",
        tokenizer,
        limit,
        "correct the path",
    )
    file, limit = partition.class_file, "the path of a file that is there"
    require(
        not (file and fits) or user_path(file).is_file(),
        "--config.partition.class_file",
        file,
        limit,
        "correct the path",
    )
