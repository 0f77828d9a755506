"""The options of each command: type, default, limit and help text of an option stand here and nowhere else.

The command line makes its flags and `--help` from these classes, and Python callables build them. An option
outside its limits raises ValueError when its options are made. None means the run's own setting, which
`ReadingOptions.reading` puts in its place. What a command works on (a run, a sweep) and where it writes are
no options; `OpenOptions` say how a run is opened.
"""

import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from math import inf
from numbers import Real
from typing import Any, TypeVar

from aila_jax.config.checks import (
    as_kind,
    check_lam,
    check_tau,
    check_text,
    numbers,
    one_of,
    plain,
    real,
    require,
    whole,
)
from aila_jax.config.relation import relation_line, relation_of
from aila_jax.config.root import Config
from aila_jax.config.sweep import PARTS
from aila_jax.config.train import MAX_FLOAT32

T = TypeVar("T")

SPLITS = ("train", "validation", "test")
FORMATS = ("folder", "peft")
MEMBER_FORMS = ("auto", "loop", "vmap")
ANSWER_MODES = ("together", "isolated", "branches")
POINTERS = ("auto", "none", "anchors", "answers", "relation")

# (name, value) → the value as it is kept; ValueError where it is outside its limit.
Check = Callable[[str, Any], Any]


@dataclass(frozen=True)
class AtLeast:
    """A limit from below.

    Attributes:
      least: the smallest value.
      why: what makes it so, for the message.
      fix: what to do about a smaller one.
    """

    least: float
    why: str = ""
    fix: str = ""

    def __call__(self, name: str, value: Any) -> Any:
        integer = isinstance(self.least, int)
        right = whole(value) if integer else isinstance(value, Real) and value < inf
        kind = "finite and " if not integer else "" if right and not self.why else "a whole number, "
        limit = f"{kind}at least {self.least:g}{self.why}"
        require(right and value >= self.least, name, value, limit, self.fix or f"set --{name}={self.least}")
        return value


@dataclass(frozen=True)
class OneOf:
    """A choice of names."""

    allowed: tuple[str, ...]

    def __call__(self, name: str, value: str) -> str:
        one_of(name, value, self.allowed)
        return value


def is_lam(name: str, value: Any) -> float:
    return check_lam(value, name)


def is_tau(name: str, value: Any) -> float:
    return check_tau(value, name)


def are_lams(name: str, values: Any) -> tuple[float, ...]:
    return tuple(check_lam(value, name) for value in numbers(name, "λ", values))


def are_lams_of_members(name: str, values: Any) -> tuple[float, ...]:
    values = _several(values)
    return _each_once(name, are_lams(name, values), values)


def are_seeds_of_members(name: str, values: Any) -> tuple[int, ...]:
    values = _several(values)
    found = numbers(name, "seed", values)
    right = all(value.is_integer() and 0 <= value < 2**32 for value in found)
    require(right, name, values, "whole numbers in [0, 2**32)", f"{name}=(0, 1, 2), say")
    return _each_once(name, tuple(int(value) for value in found), values)


def are_rates_of_members(name: str, values: Any) -> tuple[float, ...]:
    values = _several(values)
    found = numbers(name, "learning rate", values)
    right = all(0.0 < value <= MAX_FLOAT32 for value in found)
    require(right, name, values, f"above 0 and at most {MAX_FLOAT32:g}", f"{name}=(0.001, 0.003), say")
    return _each_once(name, tuple(found), values)


def _several(values: Any) -> Any:
    """What is no sequence yet and can be one."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str | bytes) else values


def _each_once(name: str, found: tuple[T, ...], values: Sequence[Any]) -> tuple[T, ...]:
    """They differ: two equal members would be one run twice."""
    require(len(found) == len(values), name, tuple(values), "values that differ", "give each of them once")
    return found


def are_taus(name: str, values: Any) -> tuple[float, ...]:
    return tuple(check_tau(value, name) for value in numbers(name, "τ", values))


def are_indices(name: str, values: Any) -> tuple[int, ...]:
    found = numbers(name, "number counted from 0", values)
    right = all(value.is_integer() and 0 <= value < 2**31 for value in found)
    require(right, name, values, "whole numbers, counted from 0", f"{name}=(0,), say")
    return tuple(int(value) for value in found)


def some_lams(name: str, values: Any) -> tuple[float, ...]:
    """One value of λ, or several in a sequence."""
    return are_lams(name, (plain(values),) if one_number(values) else values)


def some_taus(name: str, values: Any) -> tuple[float, ...]:
    """One value of τ, or several in a sequence."""
    return are_taus(name, (plain(values),) if one_number(values) else values)


def each_lam(name: str, value: Any) -> float | tuple[float, ...]:
    """λ of all prompts, or of each of several."""
    return _one_or_each(some_lams(name, value))


def each_tau(name: str, value: Any) -> float | tuple[float, ...]:
    """τ of all prompts, or of each of several."""
    return _one_or_each(some_taus(name, value))


def _one_or_each(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(values) == 1 else values


def is_mesh(name: str, values: Any) -> tuple[int, ...]:
    found = values if isinstance(values, Sequence) and not isinstance(values, str | bytes) else ()
    right = len(found) == 3 and all(whole(one) and one >= 1 for one in found)
    limit = "three whole numbers of at least 1: devices along data, fsdp and tensor"
    require(right, name, values, limit, f"--{name}=1,1,1 is one device")
    return tuple(int(one) for one in found)


def above_zero(name: str, value: float) -> float:
    require(
        real(value) and 0.0 < value < inf, name, value, "a number above 0, and finite", f"--{name}=80, say"
    )
    return value


def one_number(value: Any) -> bool:
    """Whether it is one number."""
    return isinstance(plain(value), Real)


def are_texts(name: str, values: Any) -> tuple[str, ...]:
    """One text, or several in a sequence; none of them empty."""
    found = (values,) if isinstance(values, str) else values
    right = isinstance(found, list | tuple) and all(isinstance(one, str) and one for one in found)
    require(right, name, values, "a text or several, none of them empty", f"{name}='.', say")
    for one in found:
        whole_text = not any(0xD800 <= ord(character) < 0xE000 for character in one)
        require(whole_text, name, one, "Unicode text", "give it as UTF-8")
    return tuple(found)


def is_share(name: str, value: float) -> float:
    right = real(value) and 0.0 < value < 1.0
    require(right, name, value, "a number above 0 and below 1", f"--{name}=0.9")
    return value


def is_whole_share(name: str, value: float) -> float:
    right = real(value) and 0.0 < value <= 1.0
    require(right, name, value, "a number above 0, at most 1", f"--{name}=0.9; 1 is all")
    return value


def is_count_of_likeliest(name: str, value: int) -> int:
    right = whole(value) and 0 <= value <= 100
    require(
        right, name, value, "a whole number from 0 to 100", f"--{name}=5; 0 names none beside the drawn one"
    )
    return value


def is_seed(name: str, value: int) -> int:
    require(whole(value) and 0 <= value < 2**32, name, value, "a whole number in [0, 2**32)", "seed=0, say")
    return value


def is_step(name: str, value: Any) -> str:
    text = str(value) if whole(value) else value
    right = text in ("", "best") or (isinstance(text, str) and text.isdecimal())
    require(right, name, value, "the number of a step, or best", f"--{name}=best, or leave it out")
    return str(text)


def is_relation(name: str, value: Any) -> str:
    check_text(name, value, fix=f"--{name}=pointers=ends,sink, say")
    return relation_line(relation_of(value))


def is_text(name: str, value: str) -> str:
    fix = f'pass --{name}="Return a new list", say'
    check_text(name, value, fix=fix)
    require(bool(value.strip()), name, value, "a text of at least one token", fix)
    return value


def option(help_text: str, default: Any = MISSING, check: Check | None = None) -> Any:
    """A field of an options class: its help text, its default (none: it is needed), and its limit."""
    return field(default=default, metadata={"help": help_text, "check": check})


def _plain_kind(options: Any, name: str) -> Any:
    """The type of an option that is a text, a number or a flag, needed or not; None for others."""
    hint = typing.get_type_hints(options)[name]
    return next((kind for kind in (str, int, float, bool) if hint in (kind, kind | None)), None)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Checks each of its options; a default that is None is left to the run's own setting."""

    def __post_init__(self) -> None:
        for each in fields(self):
            check, value = each.metadata["check"], plain(getattr(self, each.name))
            if value is None and each.default is None:
                continue
            value = value if check is None else check(each.name, value)
            object.__setattr__(self, each.name, value)
            kind = _plain_kind(self.__class__, each.name)
            if kind is not None:
                object.__setattr__(self, each.name, as_kind(kind, value, each.name))


FALLBACK_HELP = "Where the newest checkpoint is damaged, take the newest whole one, and say so."


@dataclass(frozen=True, kw_only=True)
class OpenOptions(Options):
    """How a run is opened."""

    window: int | None = option(
        "Read the model with windows of so many tokens, up to its length. Default: as trained.", None
    )
    relation: str | None = option(
        "Read the model with another relation: settings of relation with commas between them, as in"
        " pointers=ends,horizon=4,sink or shift=2; layers with + between them; plain for blocks alone. Default:"
        " as trained.",
        None,
        is_relation,
    )
    data_dir: str = option(
        "The folder that holds the corpus now: wiki.{train,valid,test}.tokens, the files of data.files, or"
        " prepared data sets. Empty: as in the config.",
        "",
    )
    fallback: bool = option(FALLBACK_HELP, False)
    step: str = option(
        "The number of a step, or best: the lowest validation loss of a run with train.keep_best. Default: the"
        " newest.",
        "",
        is_step,
    )


def is_coordinator(name: str, value: str) -> str:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    right = value == "" or (bool(host and colon) and port.isdecimal() and 0 < int(port) < 2**16)
    limit = "HOST:PORT, with a port from 1 to 65535"
    require(right, name, value, limit, f"--{name}=HOST:12345, the machine of process 0 and a free port of it")
    return value


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(Options):
    """The place of this process in a job of several; by default what Slurm, Kubernetes or Cloud TPU say of
    it, and alone where they say nothing.
    """

    coordinator: str = option(
        "HOST:PORT of process 0, as the others reach it. Default: as the cluster says.", "", is_coordinator
    )
    processes: int | None = option(
        "Processes in all; 1 is this one alone, whatever the cluster says. Default: as the cluster says.",
        None,
        AtLeast(1),
    )
    process: int | None = option(
        "The number of this one, from 0. Default: as the cluster says.", None, AtLeast(0)
    )
    patience: float = option(
        "Seconds that a process may give no sign of life; then the job ends, and says which it was.",
        45.0,
        AtLeast(1.0),
    )
    wait: float = option("Seconds until all processes must have come.", 300.0, AtLeast(1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.process is None or self.processes is None:
            return
        limit = f"from 0 to {self.processes - 1}: processes is {self.processes}"
        fix = "count them from 0, or raise --processes"
        require(self.process < self.processes, "process", self.process, limit, fix)


@dataclass(frozen=True)
class Reading:
    """How a run's text is read, each with the run's own setting where none was asked for.

    Attributes:
      split: `train`, `validation` or `test`.
      hard: block attention only.
      batch_size: sequences a batch.
      max_batches: 0 is the whole split.
      part: which windows are read where that is not the whole split (`sweep.part`).
    """

    split: str
    hard: bool
    batch_size: int
    max_batches: int
    part: str


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Options):
    """Of every measurement that reads a split."""

    split: str | None = option(
        "train, validation or test. Default: the run's sweep.split.", None, OneOf(SPLITS)
    )
    hard: bool | None = option(
        "Hard block attention: nothing outside the block; needs λ = 1. Default: as trained.", None
    )
    batch_size: int | None = option(
        "Sequences a batch, at least 1. Default: the run's sweep.batch_size.", None, AtLeast(1)
    )

    def reading(self, config: Config) -> Reading:
        """What is asked for, and the run's own setting for the rest."""
        own = config.sweep
        return Reading(
            split=own.split if self.split is None else self.split,
            hard=config.model.hard if self.hard is None else self.hard,
            batch_size=own.batch_size if self.batch_size is None else self.batch_size,
            max_batches=own.max_batches,
            part=own.part,
        )


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(ReadingOptions):
    """Of every measurement that scores a whole split."""

    max_batches: int | None = option(
        "Score only so many batches; 0 is all. Default: the run's sweep.max_batches.",
        None,
        AtLeast(0, fix="0 scores the whole split"),
    )
    part: str | None = option(
        "Which windows --max_batches leaves: spread over the split, or the first. Default: the run's"
        " sweep.part.",
        None,
        OneOf(PARTS),
    )

    def reading(self, config: Config) -> Reading:
        found = super().reading(config)
        return replace(
            found,
            max_batches=found.max_batches if self.max_batches is None else self.max_batches,
            part=found.part if self.part is None else self.part,
        )


LAM_HELP = "λ in [0, 1]: 0 is distributed, 1 localist."
LAMS_HELP = "Values of λ with commas between them. Default: the run's sweep.lams, or 1 with hard attention."
TAU_HELP = "τ, 1e-6 to 1e6: the attention's temperature."


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(ScoringOptions):
    """One cell of the dial."""

    lam: float = option(LAM_HELP, 0.0, is_lam)
    tau: float = option(TAU_HELP, 1.0, is_tau)


@dataclass(frozen=True, kw_only=True)
class SweepOptions(ScoringOptions):
    """A grid of λ and τ."""

    lams: Sequence[float] | None = option(LAMS_HELP, None, are_lams)
    taus: Sequence[float] | None = option(
        "Values of τ with commas between them. Default: the run's sweep.taus.", None, are_taus
    )
    delta: bool = option("Also measure score gaps between in-block and out-of-block keys.", False)
    pointers: str = option(
        "What pointer fidelity is measured on: anchors, answers (rule corpora), relation (its pointers), none,"
        " or auto: what there is, in this order.",
        "auto",
        OneOf(POINTERS),
    )


@dataclass(frozen=True, kw_only=True)
class InfluenceOptions(ReadingOptions):
    """How far predictions depend on tokens outside their block."""

    lams: Sequence[float] | None = option(LAMS_HELP, None, are_lams)
    tau: float = option(TAU_HELP, 1.0, is_tau)
    positions: int = option(
        "Queries to measure, at least 2; as many as the default, or all that a small split has.",
        256,
        AtLeast(2, ": a spread needs two", "set positions to 256"),
    )
    draws: int = option(
        "Draws of the resampled tokens, at least 2.", 4, AtLeast(2, ": a spread needs two", "set draws to 4")
    )
    seed: int = option("Seed of the queries and draws, at least 0.", 0, AtLeast(0, fix="seed=0"))
    without_attention: bool = option(
        "Also score the split with attention removed, at the smallest and largest λ.", False
    )


@dataclass(frozen=True, kw_only=True)
class CertifyOptions(ScoringOptions):
    """What is guaranteed of attention."""

    lam: float = option(LAM_HELP, 1.0, is_lam)
    tau: float = option(TAU_HELP, 1.0, is_tau)
    length: int | None = option("Positions, at least 1. Default: the model's length.", None, AtLeast(1))
    bound: str = option(
        "What scores are bounded by: parameters, qk_norm, score_cap, self_scaling, empirical (the largest"
        " seen on the split; no guarantee), or auto.",
        "auto",
    )
    arithmetic: str | None = option(
        "Coarsest that matrix products will be in where the model serves: float32 or bfloat16 (accelerators,"
        " unless told otherwise). Default: this machine's.",
        None,
    )
    target_mass: float = option(
        "Also say which margin would guarantee this block mass, in (0, 1).", 0.9, is_share
    )
    text: str | Sequence[int] | None = option(
        "Certify this text alone, whose blocks are known, not every text. It has its own length.", None
    )
    flow: bool = option(
        "Say which tokens and blocks can have influenced each prediction, through all layers, instead of bounding"
        " attention in each layer. Needs a setting at which attention outside is exactly 0: lam=1 with"
        " model.margin.gate=1, or --hard. Of every input where windows make the blocks, else of --text, --prompt"
        " or --split.",
        False,
    )
    position: int | None = option(
        "With --flow: also list what can have influenced the prediction after this token, counted from 0.",
        None,
        AtLeast(0),
    )
    prompt: str | None = option(
        "With --flow: continue this prompt (at --lam and --tau, with the sampling of aila generate) and say what"
        " can have influenced each new token, what earlier new tokens had read included.",
        None,
        is_text,
    )
    max_tokens: int | None = option(
        "With --prompt: tokens to add, at least 1. Default: 64.", None, AtLeast(1, fix="raise it")
    )

    def __post_init__(self) -> None:
        for name in ("split", "batch_size", "max_batches", "part"):
            self.check_read(name, getattr(self, name))
        fix = "leave it out"
        limit = "left out with a text, which has its own"
        require(self.text is None or self.length is None, "length", self.length, limit, fix)
        super().__post_init__()
        self._check_flow()

    def _check_flow(self) -> None:
        """ValueError for options of a flow claim without one, and for what it does not read."""
        fix = "add flow=True, or leave it out"
        for name in ("position", "prompt"):
            require(
                self.flow or getattr(self, name) is None,
                name,
                getattr(self, name),
                "left out without flow",
                fix,
            )
        prompted = self.prompt is not None
        limit, fix = "left out without a prompt", "add the prompt, or leave it out"
        require(prompted or self.max_tokens is None, "max_tokens", self.max_tokens, limit, fix)
        if not self.flow:
            return
        limit, fix = (
            "'auto' with flow, which asks whether attention outside is exactly 0",
            "leave the bound out",
        )
        require(self.bound == "auto", "bound", self.bound, limit, fix)
        read = [name for name in ("text", "prompt", "split") if getattr(self, name) is not None]
        require(
            len(read) <= 1, ", ".join(read), "given together", "one of text, prompt and split", "choose one"
        )
        limit, fix = "left out with a split, whose windows are summed up", "pass the text of one of them"
        require(self.split is None or self.position is None, "position", self.position, limit, fix)
        limit, fix = "left out with a prompt, which is continued as trained", "leave it out"
        require(not prompted or self.hard is None, "hard", self.hard, limit, fix)

    def check_read(self, name: str, value: Any) -> None:
        """ValueError for something of a corpus where none is read."""
        limit = "left out unless bound='empirical' or a flow over a split, which alone read a corpus"
        fix = "ask for bound='empirical', or leave it out"
        read = self.bound == "empirical" or (self.flow and self.split is not None)
        require(read or value is None, name, value, limit, fix)


@dataclass(frozen=True, kw_only=True)
class AnchorsOptions(Options):
    """A listing of anchors."""

    top: int = option("Types to list, lowest entropy first, at least 1.", 20, AtLeast(1))
    examples: int = option("Blocks of text to show, at least 1.", 8, AtLeast(1))
    split: str = option("The text that is read: train, validation or test.", "validation", OneOf(SPLITS))
    batches: int = option("Batches of that text, at least 1.", 8, AtLeast(1))


@dataclass(frozen=True, kw_only=True)
class AttentionOptions(Options):
    """Pictures of attention over a text."""

    text: str = option("The text to look at, at most as many tokens as the model reads.", check=is_text)
    lam: Sequence[float] = option(
        "Values of λ with commas between them; a figure for each.", (0.0, 0.5, 1.0), are_lams
    )
    tau: float = option(TAU_HELP, 1.0, is_tau)
    layers: Sequence[int] | None = option(
        "Layers to draw, counted from 0, with commas between them. Default: all.", None
    )
    heads: Sequence[int] | None = option(
        "Heads to draw, counted from 0, with commas between them. Default: all.", None
    )
    by_word: bool = option("By whole words: the sum over a word's keys, the mean over its queries.", False)
    mean_heads: bool = option("The mean over the heads of each layer.", False)
    mean_layers: bool = option("The mean over layers.", False)
    npz: str = option(
        "Also write the weights of all λ, with tokens and block ids, to this .npz file. Default: none.", ""
    )


@dataclass(frozen=True, kw_only=True)
class BlocksOptions(Options):
    """What a partition makes of a corpus."""

    n_in: float | None = option(
        "With --config: choose the partition's free setting (size of windows, mean length of learned"
        " segments, number of classes) for so many keys in a query's block, itself included, on average.",
        None,
        AtLeast(1.0),
    )
    split: str = option("The text whose windows are read: train, validation or test.", "train", OneOf(SPLITS))
    batches: int = option("Read only so many batches of 64 windows; 0 is all.", 0, AtLeast(0))
    top: int = option("Types to list of each class, or boundary types, at least 1.", 20, AtLeast(1))
    examples: int = option("Stretches of text to show, at least 1.", 8, AtLeast(1))


@dataclass(frozen=True, kw_only=True)
class DiagnoseOptions(Options):
    """Which failure signatures a run shows."""

    batches: int = option(
        "Batches of text for each thing that is measured, at least 1.", 8, AtLeast(1, fix="set --batches=8")
    )


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """A folder that others read."""

    format: str = option(
        "folder: whole weights as transformers reads them, what turns with λ put into them. peft: the adapters"
        " alone, with lora_alpha = λ · r.",
        "folder",
        OneOf(FORMATS),
    )
    lam: float = option(
        "λ of the weights and of the guarantee, and where the program's dial stands by default.", 1.0, is_lam
    )
    tau: float = option(TAU_HELP, 1.0, is_tau)
    base: str = option(
        "With --format=peft: the folder or the hub's name of the base. Default: the folder that the model was"
        " read from.",
        "",
    )
    length: int | None = option(
        "Of a pretrained model: tokens that it reads at once. Default: as many as it was made for, at most"
        " 1,024.",
        None,
        AtLeast(1),
    )


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(Options):
    """A continuation of a prompt."""

    lam: Sequence[float] | float = option(f"{LAM_HELP} Of several prompts also one for each.", 0.0, each_lam)
    tau: Sequence[float] | float = option(f"{TAU_HELP} Of several prompts also one for each.", 1.0, each_tau)
    max_tokens: int = option("Tokens to add, at least 1.", 64, AtLeast(1, fix="raise it"))
    sample_temperature: float = option(
        "Spread of the sampling, not of the attention; 0 is greedy.",
        0.8,
        AtLeast(0.0, fix="0 is greedy, 1 samples as trained"),
    )
    top_k: int = option(
        "Sample among so many likeliest tokens; 0 is all.",
        40,
        AtLeast(0, fix="1 is greedy, 0 samples among all tokens"),
    )
    top_p: float = option(
        "Sample among the fewest of these tokens that together hold so much of the probability; 1 is all.",
        1.0,
        is_whole_share,
    )
    logprobs: int | None = option(
        "Also say the log-probability of each new token, and so many of the likeliest tokens in its place, 0 to"
        " 100. Default: neither.",
        None,
        is_count_of_likeliest,
    )
    seed: int = option("Seed of the sampling; that of the first of several samples.", 0, is_seed)
    samples: int = option(
        "Continuations of each prompt, at least 1; sample i has the seed --seed + i.", 1, AtLeast(1)
    )
    stop: Sequence[str] | None = option(
        "A text that ends the continuation and is left out of it; may be given several times. \\n is a line"
        " end, \\t a tab. Default: none.",
        None,
        are_texts,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        last = self.seed + self.samples - 1
        limit = "at most 2**32 − 1 for the last sample's seed"
        require(last < 2**32, "seed + samples − 1", last, limit, "lower seed or samples")


@dataclass(frozen=True, kw_only=True)
class PromptOptions(GenerateOptions):
    """The prompts of the command line, and how they are continued."""

    prompt: str = option("The text to continue.", "")
    prompt_file: str = option(
        "Prompts from a file instead: a plain file is one (without a line end at its end), of JSON lines each"
        ' record with "text" is one. `-` reads standard input.',
        "",
    )
    chat: bool = option(
        "The prompt is a message to a chat model, whose chat template is put around it; the answer ends with"
        " its end token.",
        False,
    )
    stream: bool = option("Print the text of a single prompt as it is drawn.", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("prompt", "prompt_file") if getattr(self, name)]
        fix = 'pass --prompt="Return a new", or --prompt_file=FILE'
        require(len(given) == 1, "prompt, prompt_file", tuple(given), "one of the two", fix)
        if self.stream:
            fix = "leave --stream out"
            require(self.samples == 1, "samples", self.samples, "1 with --stream", fix)
            require(self.logprobs is None, "logprobs", self.logprobs, "left out with --stream", fix)


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(Options):
    """An answer from passages, and what is asked about its sources."""

    lam: float = option(f"{LAM_HELP} At 1 passages are isolated unless --mode says otherwise.", 1.0, is_lam)
    tau: float = option(TAU_HELP, 1.0, is_tau)
    mode: str | None = option(
        "How passages are read. together: one text, in which later passages read earlier ones as far as λ lets"
        " them. isolated: at equal positions and blind to each other (λ = 1). branches: each alone with the"
        " question, and the branches vote; only votes certify that an answer is unchanged whatever some passages"
        " say. Default: isolated at λ = 1, together below.",
        None,
        OneOf(ANSWER_MODES),
    )
    capacity: int = option(
        "Positions of every passage in the mode isolated: the question stands after so many, whatever passages"
        " there are. A longer passage is refused.",
        128,
        AtLeast(1, fix="as many as the longest passage has tokens"),
    )
    max_tokens: int = option("Tokens of the answer, at most.", 32, AtLeast(1, fix="raise it"))
    stop: Sequence[str] | None = option(
        "A text that ends the answer and is left out of it; may be given several times. Default: a line end, and"
        " with --chat the model's end token alone.",
        None,
        are_texts,
    )
    chat: bool = option(
        "Put the model's chat template around header, passages and question, for a model that came with one.",
        False,
    )
    pairs: bool = option("Also leave passages out two by two: P(P − 1)/2 more runs of the question.", False)
    shapley: int = option(
        "Also estimate Shapley values of the passages from so many permutations; each costs up to P runs of the"
        " question. 0: none.",
        0,
        AtLeast(0, fix="0 for none, or 20, say"),
    )
    seed: int = option("Seed of the permutations.", 0, is_seed)
    abstain: Sequence[str] | None = option(
        "In branches, an answer that counts as none, and has no vote; may be given several times. An empty one"
        " always does. Default: unknown.",
        None,
        are_texts,
    )
    cache_dir: str = option(
        "A folder that keys and values of passages are kept in, for other questions and other runs. Empty: they"
        " are kept in memory alone, as long as the process lives.",
        "",
    )
    cache_mib: int = option(
        "MiB that this folder may take; what was not used for the longest is removed.", 2048, AtLeast(1)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode is None:
            object.__setattr__(self, "mode", "isolated" if self.lam == 1.0 else "together")
        check_mode(str(self.mode), self.lam)


def check_mode(mode: str, lam: float) -> None:
    """ValueError for a mode of answers that this λ does not allow."""
    limit = "1 in the mode isolated, where passages cannot see each other"
    require(mode != "isolated" or lam == 1.0, "lam", lam, limit, "lam=1, or mode='together' for λ below 1")


@dataclass(frozen=True, kw_only=True)
class AskOptions(AnswerOptions):
    """The question of the command line, and how it is answered."""

    question: str = option("What is asked.", check=is_text)
    passages: str = option(
        'The passages: a folder, whose .txt files are taken by name, or a .jsonl file of {"id": …, "text": …}'
        " lines.",
    )
    header: str | None = option(
        "What stands before the passages. Default: an instruction, in one line.", None
    )
    passage_form: str | None = option(
        "How a passage is written, with {passage} where its text stands. Default: a line of its own.", None
    )
    question_form: str | None = option(
        "How the question is written, with {question} where it stands; the answer follows at once. Default:"
        " Question: {question}, and Answer: on a line of its own but with --chat.",
        None,
    )


@dataclass(frozen=True, kw_only=True)
class RecruitOptions(Options):
    """Word classes by description length."""

    top: int = option("Types to list of each class, at least 1.", 20, AtLeast(1))


@dataclass(frozen=True, kw_only=True)
class ReportOptions(Options):
    """What the page of a sweep shows beside its rows."""

    beside: str = option(
        "A second sweep (its folder or file) to show side by side with the first, under one dial.", ""
    )
    log: str = option(
        "A metrics.jsonl, for the training curve. Default: the one beside the sweep, if there is one.", ""
    )
    checkpoint: str = option(
        "A run directory or checkpoint to read the text with, or `none`. Default: that of the sweep's folder,"
        " if it holds one.",
        "",
    )
    text: str = option(
        "The text whose attention and losses to show. Default: a sentence of the program's own.",
        "",
    )
    layers: Sequence[int] | None = option(
        "Layers whose attention to keep, counted from 0, with commas between them. Default: as many as fit.",
        None,
        are_indices,
    )
    heads: Sequence[int] | None = option(
        "Heads of each layer to keep, counted from 0, with commas between them. Default: as many as fit.",
        None,
        are_indices,
    )
    prompt: str = option(
        "What sample texts continue. Default: the samples.json beside the sweep, or the text's first words.",
        "",
    )
    sample_tokens: int = option(
        "Tokens of each sample text that is generated for the page; 0: none are.",
        32,
        AtLeast(0, fix="0 generates none"),
    )
    fallback: bool = option(FALLBACK_HELP, False)


UNITS = ("nats", "bits")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """Surprisal of the tokens of texts."""

    lam: Sequence[float] | float = option(f"{LAM_HELP} Several with commas between them.", 0.0, some_lams)
    tau: Sequence[float] | float = option(f"{TAU_HELP} Several with commas between them.", 1.0, some_taus)
    stride: int | None = option(
        "Tokens from one window to the next in texts longer than the model reads at once, at least 1 and at most"
        " what it reads; each token is scored once. Default: half of what it reads.",
        None,
        AtLeast(1),
    )
    line_start: bool = option(
        "Read a line end before each text, so that its first token is scored too.", False
    )
    unit: str = option("Of surprisal: nats or bits.", "nats", OneOf(UNITS))
    hard: bool | None = option(
        "Hard block attention: nothing outside the block; needs λ = 1. Default: as trained.", None
    )
    batch_size: int = option("Windows that are read at once, at least 1.", 8, AtLeast(1))
    top: int = option("Likeliest tokens that are kept beside each token, at least 0.", 0, AtLeast(0))


@dataclass(frozen=True, kw_only=True)
class ScoreTextOptions(ScoreOptions):
    """The texts of the command line, and how they are scored."""

    text: str = option("The text to score.", "")
    file: str = option(
        "Texts to score instead: a plain file is one text, of JSON lines (.jsonl, or what its lines are) each"
        ' record with "text" (or "blocks") is one. `-` reads standard input.',
        "",
    )
    by_line: bool = option("Each line of a plain file is a text.", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("text", "file") if getattr(self, name)]
        fix = "pass --text='Return a new list', or --file=texts.jsonl"
        require(len(given) == 1, "text, file", tuple(given), "one of the two", fix)
        fix = "pass --file, or leave --by_line out"
        require(bool(self.file) or not self.by_line, "by_line", True, "left out without a file", fix)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """What training begins with."""

    start: str = option(
        "A run directory or checkpoint whose weights and tokenizer a new run begins with, and whose"
        " settings it has where no --config is given. Empty: weights drawn from the seed.",
        "",
    )


@dataclass(frozen=True, kw_only=True)
class PopulationOptions(Options):
    """Which members a population has, every seed with every learning rate and every λ, and how they share the
    program.
    """

    lams: Sequence[float] | None = option(
        "λ of the members with commas between them, each in [0, 1]; needs locality.mode fixed or curriculum."
        " Default: the config's locality.",
        None,
        are_lams_of_members,
    )
    seeds: Sequence[int] | None = option(
        "Seeds of the members with commas between them. Default: the config's seed.",
        None,
        are_seeds_of_members,
    )
    learning_rates: Sequence[float] | None = option(
        "Highest learning rates of the members with commas between them. Default: the config's"
        " train.learning_rate.",
        None,
        are_rates_of_members,
    )
    form: str = option(
        "loop: one member after another on a device; vmap: several side by side; auto: whichever is faster in a"
        " few steps of both that are thrown away.",
        "auto",
        OneOf(MEMBER_FORMS),
    )
    together: int = option(
        "With vmap: members of a device side by side at most, at least 2; 0 is all that there are.",
        0,
        AtLeast(0, fix="0 is all"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        fix = "set form=loop, or raise together"
        require(self.together != 1, "together", self.together, "0 or at least 2: one alone is the loop", fix)


@dataclass(frozen=True, kw_only=True)
class LocaliseOptions(Options):
    """Which model gets a dial, and how it learns to live with it."""

    start: str = option(
        "The model: a Hugging Face folder, a GGUF file, a name of the hub, or a run. Its weights stay as they"
        " are, and are not copied into the checkpoints, which know them by their checksum."
    )
    length: int | None = option(
        "Tokens that it reads at once. Default: 256, or a run's own where that is less.", None, AtLeast(1)
    )
    rank: int | None = option(
        "Rank of the adapters on queries, keys, values and attention's output. Default: 8.", None, AtLeast(1)
    )
    tokens: int = option("Training tokens, in steps of 8 sequences.", 300_000, AtLeast(1))
    full: bool = option("Train all weights, without adapters; λ = 0 is not the base then.", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        limit, fix = "left out with full, which has no adapters", "leave one of the two out"
        require(not self.full or self.rank is None, "rank", self.rank, limit, fix)


@dataclass(frozen=True, kw_only=True)
class PlanOptions(Options):
    """What a run is planned for."""

    mesh: Sequence[int] | None = option(
        "Devices along data, fsdp and tensor: groups that hold all weights, devices that share them, and"
        " devices that share every layer's heads. Default: the configuration's, one along data where that is 0.",
        None,
        is_mesh,
    )
    device: str = option(
        "h100, h200, a100, a100-40gb, l4, tpu-v4, tpu-v5e, tpu-v5p, tpu-v6e, or cpu: this machine.", "cpu"
    )
    tokens: int | None = option(
        "Tokens to train on, at least 1. Default: as many as the configuration's steps read.",
        None,
        AtLeast(1),
    )
    utilisation: float = option(
        "Share of the devices' peak speed that is reached, above 0, at most 1. The default is an assumption.",
        0.4,
        is_whole_share,
    )
    memory_gb: float | None = option(
        "Memory of a device in GB (1e9 bytes), in place of the listed one.", None, above_zero
    )
    tflops: float | None = option(
        "Peak TFLOP/s of a device in the compute type, in place of the listed ones.", None, above_zero
    )
    vocabulary: int | None = option(
        "Token types. Default: data.vocab_size, or those of the tokenizer.json that is named.",
        None,
        AtLeast(1),
    )


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Options):
    """Whether checkpoints are what was saved."""

    key_file: str = option(
        "A file with the key that every checkpoint must be signed with. Default: that of"
        " AILA_CHECKPOINT_KEY_FILE; without either, signatures are not looked at.",
        "",
    )


@dataclass(frozen=True, kw_only=True)
class ThresholdOptions(Options):
    """How strong a penalty must be for each feature group to be zero."""

    path: bool = option(
        "Also train on with a rising penalty until every group is zero; takes longest.", False
    )
    path_levels: int | None = option(
        "Levels of the path at most, each 1.35 times the one before, from λη = 2e-4; it ends where every"
        " group is zero. Default: 20.",
        None,
        AtLeast(1),
    )
    gradients: int = option("Batches of 8 sequences for the gradients, at least 1.", 256, AtLeast(1))
    at_zero: int = option("Those of them in which every group is set to zero in turn.", 4, AtLeast(1))

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = "left out without the path"
        require(self.path or self.path_levels is None, "path_levels", self.path_levels, limit, "add --path")
