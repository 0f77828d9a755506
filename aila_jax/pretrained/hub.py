"""A model of the Hugging Face hub by its name, where `huggingface_hub` is installed (extra `hub`)."""

from pathlib import Path

from aila_jax.pretrained.folder import CONFIG, INDEX, TEMPLATE, TOKENIZER, TOKENIZER_CONFIG
from aila_jax.pretrained.places import hub_module

FILES = (CONFIG, INDEX, TOKENIZER, TOKENIZER_CONFIG, TEMPLATE, "*.safetensors")


def fetched(name: str) -> Path:
    """The folder of a model in the hub's cache, fetched where it is not there.

    Raises:
      ValueError: no such folder here, and no `huggingface_hub` or nothing of that name on the hub.
    """
    hub = hub_module()
    if hub is None:
        raise ValueError(
            f"path is {name!r}; it must be a folder or a .gguf file that is there, or, with huggingface_hub"
            " installed, a name on the hub. Fix: correct the path, or pip install aila_jax[hub]"
        )
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # of the network, of the name, of the disk: each has errors of its own
        raise ValueError(
            f"path is {name!r}; it must be a folder that is there, or a name that the hub knows"
            f" ({type(error).__name__}: {str(error)[:200]}). Fix: correct it"
        ) from None
