"""A pretrained model whose weights are not read yet: everything about it is checked here, before memory is
taken.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from aila_jax.config import (
    Config,
    DataConfig,
    MarginConfig,
    ModelConfig,
    PartitionConfig,
    RelationConfig,
    require,
)
from aila_jax.config.checks import check_whole, user_path
from aila_jax.config.choices import PartitionKind
from aila_jax.config.model import usual_margin
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.pretrained.families.gpt2 import GPT2, Gpt2
from aila_jax.pretrained.families.llama import LLAMA, MISTRAL, QWEN2, Llama
from aila_jax.pretrained.families.neox import NEOX, NeoX
from aila_jax.pretrained.folder import CONFIG, Folder
from aila_jax.pretrained.places import SUFFIX, is_hub_name
from aila_jax.pretrained.source import Source, TokenizerText
from aila_jax.pretrained.stored import Stored

Family = Llama | Gpt2 | NeoX
FAMILIES: dict[str, Family] = {one.model_type: one for one in (LLAMA, MISTRAL, QWEN2, GPT2, NEOX)}
USUAL_LENGTH = 1024  # memory of attention grows with its square


SENTENCES = PartitionConfig(PartitionKind.SEGMENTS, unit="sentence")
SINK = RelationConfig(sink=True)


@dataclass(frozen=True)
class Reading:
    """How a pretrained model is read.

    Attributes:
      length: L, tokens that it reads at once; None is the most that it was made for, and at most 1,024.
      partition: its blocks.
      relation: what is inside beyond them.
      margin: None is the one of `usual_margin`.
      begin: the type that stands before every text; None is the tokenizer's own, and empty is none.
    """

    length: int | None = None
    partition: PartitionConfig = SENTENCES
    relation: RelationConfig = SINK
    margin: MarginConfig | None = None
    begin: str | None = None


@dataclass(frozen=True)
class Opened:
    """Files of a pretrained model and what they say, without the weights.

    Attributes:
      source: the files.
      reading: how they are read.
      hub_name: OWNER/NAME where they came from the hub; else empty.
    """

    source: Source
    reading: Reading
    hub_name: str = ""

    @property
    def name(self) -> str:
        """What the model is called."""
        path = self.source.path
        return self.hub_name.split("/")[-1] or (path.stem if path.is_file() else path.resolve().name)

    @cached_property
    def family(self) -> Family:
        settings = self.source.settings
        kind = settings.values.get("model_type")
        known = isinstance(kind, str) and kind in FAMILIES
        settings.need(known, "model_type", kind, f"one of {', '.join(FAMILIES)}")
        return FAMILIES[str(kind)]

    @cached_property
    def model(self) -> ModelConfig:
        """The decoder, with the margin."""
        settings = self.source.settings
        longest = self.family.longest(settings)
        length = min(longest, USUAL_LENGTH) if self.reading.length is None else self.reading.length
        limit = f"at most {longest}, the positions that the model has"
        require(length <= longest, "length", length, limit, f"length={longest}")
        margin = self.reading.margin or usual_margin(length)
        return replace(self.family.config(settings, length), margin=margin)

    @cached_property
    def tokenizer_text(self) -> TokenizerText:
        return self.source.tokenizer()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.tokenizer_text.json)

    @cached_property
    def config(self) -> Config:
        """The whole configuration."""
        model = self.model  # first: what says that there is no config.json
        asked = self.reading.begin
        begin = self.tokenizer_text.begin if asked is None else asked
        if begin:
            self.tokenizer.type_id(begin)
        return Config(
            data=DataConfig(tokenizer=self.tokenizer_text.path, begin=begin),
            partition=self.reading.partition,
            relation=self.reading.relation,
            model=model,
        )

    @cached_property
    def tensors(self) -> tuple[Stored, ...]:
        """Every tensor that is read, each of which is there, of the right shape, and none beside them.

        Raises:
          ValueError: a tensor is missing, has another shape, or is not known; or the tokenizer has more types
            than the embedding has rows.
        """
        shapes, where = self.source.shapes, str(self.source.path)
        style, vocab_size = self.source.style(self.family.style), self.tokenizer.vocab_size
        asked = _as_spelled(list(style.tensors(self.model, vocab_size)), frozenset(shapes))
        fix = "fetch the model again, or take one whose config.json is its own"
        for one in asked:
            found = shapes.get(one.name)
            require(
                found is not None,
                f"tensor {one.name} in {where}",
                "missing",
                f"there, {list(one.shape)}",
                fix,
            )
            assert found is not None
            name = f"shape of {one.name} in {where}"
            if one.rows and one.targets[0] != "position":
                limit = f"at least {vocab_size}, as many as the tokenizer has types"
                tokenizer_fix = "put the tokenizer.json of this model beside it"
                require(
                    bool(found) and found[0] >= vocab_size,
                    f"rows of {one.name} in {where}",
                    found[:1],
                    limit,
                    tokenizer_fix,
                )
            fits = found[1:] == one.shape[1:] and (
                (one.rows and found[:1] >= one.shape[:1]) or found == one.shape
            )
            require(fits, name, list(found), f"{list(one.shape)}{' or more rows' if one.rows else ''}", fix)
        unread = sorted(shapes.keys() - {one.name for one in asked})
        if self.model.tied:  # what a file repeats of the embedding is not asked
            unread = [name for name in unread if name != f"{style.names['output']}.weight"]
        limit = "a tensor of this architecture, since another would change what the model computes"
        require(not unread, f"tensor in {where}", unread[0] if unread else "", limit, "take another model")
        return tuple(asked)

    @property
    def unused_rows(self) -> int:
        """Rows of the embedding that no type of the tokenizer has; they are left out."""
        name = next(one.name for one in self.tensors if one.targets == ("embedding",))
        return self.source.shapes[name][0] - self.tokenizer.vocab_size


def _as_spelled(asked: list[Stored], names: frozenset[str]) -> list[Stored]:
    """The tensors by the names of this file: that of a bare decoder lacks the name before the first dot."""
    first = next(one.name for one in asked if one.targets == ("embedding",))
    prefix = first[: first.index(".") + 1]
    if first in names or first.removeprefix(prefix) not in names:
        return asked
    return [replace(one, name=one.name.removeprefix(prefix)) for one in asked]


def open_pretrained(path: str | Path, reading: Reading, fetch: Callable[[str], Path] | None = None) -> Opened:
    """The model at a path, or of a hub's name.

    Args:
      path: a folder, a .gguf file, or OWNER/NAME where `fetch` is given.
      reading: how it is read.
      fetch: gets the folder of a hub's name.

    Raises:
      ValueError: nothing is there, or it is neither folder nor GGUF file.
    """
    if reading.length is not None:
        check_whole("length", reading.length, 1, "length=256, say")
    file, name = user_path(path), ""
    if fetch is not None and is_hub_name(str(path)):
        name = str(path)
        file = fetch(name)
    limit = f"a folder with {CONFIG}, or a {SUFFIX} file"
    right = file.is_dir() or (file.is_file() and file.suffix == SUFFIX)
    require(right, "path", str(path), limit, "correct the path, or fetch the model first")
    if file.is_dir():
        return Opened(Folder(file), reading, name)
    from aila_jax.pretrained.gguf_file import GgufFile  # late: gguf is of no use to anything else

    return Opened(GgufFile(file), reading, name)
