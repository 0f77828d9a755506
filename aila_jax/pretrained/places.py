"""What a path or a name is that a pretrained model may be at; asked without JAX, which takes seconds."""

import importlib
import re
from pathlib import Path
from types import ModuleType

from aila_jax.config.checks import user_path
from aila_jax.json_files import read_json
from aila_jax.pretrained.folder import CONFIG

SUFFIX = ".gguf"
_NAME = re.compile(r"(?P<owner>\w[\w.\-]*)/\w[\w.\-]*")


def is_hub_name(text: str) -> bool:
    """Whether this is OWNER/NAME rather than a path: nothing is there, nor a folder called like the owner,
    whose content may be misspelled; and no GGUF file is meant.
    """
    found = _NAME.fullmatch(text)
    if found is None or text.endswith(SUFFIX):
        return False
    return not (Path(text).exists() or Path(found["owner"]).exists())


def has_hub() -> bool:
    """Whether `huggingface_hub` is installed."""
    return hub_module() is not None


def hub_module() -> ModuleType | None:
    """`huggingface_hub`; None where it is not installed."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        return None


def is_pretrained(path: Path) -> bool:
    """Whether a path is that of a pretrained model rather than of a run."""
    if path.is_file():
        return path.suffix == SUFFIX
    file = path / CONFIG
    if not file.is_file():
        return False
    try:
        found = read_json(file)
    except ValueError:
        found = None
    named = isinstance(found, dict) and "model_type" in found
    # What else lies there says that it is meant for one: then its config.json is refused, not called a run's.
    return named or any(path.glob("*.safetensors"))


def is_elsewhere(path: str | Path) -> bool:
    """Whether this names a pretrained model, here or on the hub, rather than a run."""
    return is_hub_name(str(path)) or is_pretrained(user_path(path))
