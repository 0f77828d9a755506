"""What made a result, as result files hold it under `meta`: training, versions, commit, device, scope.

In files it is JSON; read back, what every version knows are fields, and the rest stays as it was in `more`.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aila_jax.evaluation.attention_cost import AttentionCost


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record that is JSON in files.

    Attributes:
      more: what else the file has: keys of experiments, of users and of other versions.
    """

    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], place: str = "meta") -> Self:
        """The record of a JSON object.

        Raises:
          ValueError: it is no object, or lacks what it must have; the message names the place.
        """
        made = _made(cls, values, place)
        return cls(**made, more={name: value for name, value in values.items() if name not in made})

    def to_json(self) -> dict[str, Any]:
        """The record as JSON has it: a field that may be left out is left out where it is None."""
        left_out = {one.name for one in dataclasses.fields(self) if one.default is None}
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name != "more"}
        kept = {name: _plain(value) for name, value in values.items()
                if value is not None or name not in left_out}  # fmt: skip
        return {**kept, **self.more}


@dataclass(frozen=True, kw_only=True)
class DataOrigin(Record):
    """The corpus.

    Attributes:
      name: of the corpus.
      fingerprint: of its tokens.
    """

    name: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Sparsity(Record):
    """What the group-sparsity penalty left of a checkpoint.

    Attributes:
      groups: of the input coordinates.
      zero_query: share of the groups of W_Q that are 0.
      zero_key: the same of W_K.
      dead_heads: heads whose queries or keys are all 0.
      heads: of the model, all layers.
    """

    groups: int
    zero_query: float
    zero_key: float
    dead_heads: int
    heads: int


@dataclass(frozen=True, kw_only=True)
class Scope(Record):
    """How much of the split was scored.

    Attributes:
      max_batches: 0 is all of it.
      batch_size: sequences a batch; None where the file does not say.
      part: which windows a part of the split is (`sweep.part`).
    """

    max_batches: int
    batch_size: int | None = None
    part: str = "first"


@dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """A model that counts, on the same targets.

    Attributes:
      perplexity_token: per token.
      concentration: of its prior, where it has one.
    """

    perplexity_token: float
    concentration: float | None = None


@dataclass(frozen=True, kw_only=True)
class Origin(Record):
    """What made any result. A field is None where the file does not say.

    Attributes:
      training: the run's own record: versions, commit, device and corpus of its training.
      checkpoint_step: the step that was read.
      data: the corpus that it was read on.
      versions: of Python and the packages, by name.
      commit: of the source tree.
      device: that measured it.
      sparsity: of a model trained with a group-sparsity penalty. It belongs to the checkpoint and not to a
        cell: no λ or τ of the dial changes it.
      relation: what the model was read with, its settings that differ from those of plain blocks; None for
        plain blocks, {} where the model was trained with another relation (`training.relation`).
    """

    training: Mapping[str, Any] | None = None
    checkpoint_step: int | None = None
    data: DataOrigin | None = None
    versions: Mapping[str, str] | None = None
    commit: str | None = None
    device: str | None = None
    sparsity: Sparsity | None = None
    relation: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class SweepMeta(Origin):
    """What made a sweep.

    Attributes:
      scope: how much of the split was scored.
      baselines: on the targets scored, by name.
      without_attention: what attention is worth, where it was measured.
    """

    scope: Scope | None = None
    baselines: Mapping[str, Baseline] | None = None
    without_attention: tuple[AttentionCost, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class InfluenceMeta(Origin):
    """What made a measurement of influence.

    Attributes:
      draws_seed: of the resampled tokens.
      unit: of the divergences.
      resampled_from: the distribution that tokens were drawn from.
      without_attention: what attention is worth, where it was measured.
    """

    draws_seed: int | None = None
    unit: str | None = None
    resampled_from: str | None = None
    without_attention: tuple[AttentionCost, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PartitionOrigin(Record):
    """What made the blocks of a corpus, which need no run.

    Attributes:
      config: the settings as they were saved.
      seed: of the run, where there is one.
      commit: of the source tree.
      versions: of Python and the packages, by name.
      data: fingerprint of the corpus.
    """

    config: Mapping[str, Any]
    seed: int | None = None
    commit: str
    versions: Mapping[str, str]
    data: str


def _made(cls: type, values: Any, place: str) -> dict[str, Any]:
    """The fields that a JSON object has, built."""
    known = {one.name: one for one in dataclasses.fields(cls) if one.name != "more"}
    needed = [name for name, one in known.items() if one.default is dataclasses.MISSING]
    missing = [name for name in needed if not isinstance(values, Mapping) or name not in values]
    if missing or not isinstance(values, Mapping):
        raise ValueError(
            f"{place} is {values!r:.200}; it must have {', '.join(missing) or 'keys'}. Fix: add it, or leave"
            f" {place} out."
        )
    hints = typing.get_type_hints(cls)
    return {
        name: _built(hints[name], value, f"{place}.{name}") for name, value in values.items() if name in known
    }


def _built(hint: Any, value: Any, place: str) -> Any:
    """A JSON value as what the field holds."""
    if value is None:
        return None
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kind = next(option for option in options if option is not type(None))
    items = typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_json(value, place)
    if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_built(items[0], one, f"{place}[{index}]") for index, one in enumerate(value))
    if typing.get_origin(kind) is Mapping and isinstance(value, Mapping):
        return {name: _built(items[1], one, f"{place}.{name}") for name, one in value.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind(**_made(kind, value, place))
    return value


def _plain(value: Any) -> Any:
    """A field as JSON has it."""
    if isinstance(value, Record):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
