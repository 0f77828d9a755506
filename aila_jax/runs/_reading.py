"""What the page shows of a model itself: one text over the dial, and sample texts."""

from dataclasses import dataclass
from typing import Any

from aila_jax.config import Config, PartitionKind, RelationConfig, require
from aila_jax.config.options import GenerateOptions, ReportOptions
from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.inputs import read_text
from aila_jax.inference.language_model import LanguageModel
from aila_jax.inference.text_reading import ReadingGrid, TextReading, read_over_dial
from aila_jax.partition.rule_tables import tables_for
from aila_jax.progress import Progress
from aila_jax.reporting.page_data import MAX_WEIGHT_BYTES, heads_that_fit, most_tokens
from aila_jax.reporting.plots_attention import chosen_of

# Line ends are blocks where blocks came with the data; other partitions read it as one line.
SAMPLE_LINES = (
    "Return a new list",
    "containing the first item",
    "of each list ,",
    "or None if the list",
    "has no items .",
    "The old list",
    "is not changed .",
)
LAMS = tuple(index / 10 for index in range(11))  # of a model without a sweep
PROMPT_WORDS = 5


@dataclass(frozen=True)
class PageGrid:
    """The settings that a page has.

    Attributes:
      lams: values of λ.
      taus: values of τ.
      start_tau: the τ that the page opens with.
      hard: block attention only.
      room: bytes for the weights, in base64.
    """

    lams: tuple[float, ...]
    taus: tuple[float, ...]
    start_tau: float
    hard: bool
    room: int = MAX_WEIGHT_BYTES


@dataclass(frozen=True)
class FromModel:
    """What a model adds to a page.

    Attributes:
      reading: one text over the dial, or None.
      samples: generated texts.
      missing: why something is left out, a line each.
    """

    reading: TextReading | None = None
    samples: tuple[dict[str, Any], ...] = ()
    missing: tuple[str, ...] = ()


def shows_sample_text(model: LanguageModel) -> bool:
    """Whether the program's own sentence shows the model's blocks: not where lines are none of them."""
    return model.config.partition.kind != PartitionKind.GIVEN or model.given == "lines"


def sample_sentence(model: LanguageModel) -> str:
    """A sentence of this program's, with line ends where lines are blocks, and its marks as the corpus has
    them.
    """
    text = ("\n" if model.config.partition.kind == PartitionKind.GIVEN else " ").join(SAMPLE_LINES)
    data = model.config.data
    if data.corpus == "wikitext2" or data.tokenizer == "word":
        return text  # a mark is a word of its own there
    return text.replace(" ,", ",").replace(" .", ".")


def read_page_text(model: LanguageModel, options: ReportOptions, grid: PageGrid) -> FromModel:
    """The text of `options` at every setting of the grid, with as many layers and heads as fit on the page.

    The sample sentence is cut to what the model reads and the page holds; a text of the user's never is.
    Where not even one head fits at every τ, the text is read at the one that the page opens with.

    Raises:
      ValueError: a text that is too long for the model or the page, or a layer or head that there is not.
    """
    config = model.config.model
    layers = chosen_of("layers", options.layers, config.n_layers)
    heads = chosen_of("heads", options.heads, config.n_heads)
    tokens, ids = read_text(model, options.text or sample_sentence(model))
    most = most_tokens(len(grid.lams), not config.bidirectional, grid.room)
    longest = min(config.length, most)
    limit = f"at most {longest} for this model" + (" on a page" if most < config.length else "")
    fits = not options.text or len(tokens) <= longest
    require(fits, "text", f"{len(tokens)} tokens", limit, "shorten it")
    tokens, ids = tokens[:longest], None if ids is None else ids[:longest]
    shape = len(layers), len(heads)
    missing: tuple[str, ...] = ()
    for taus in (grid.taus, (grid.start_tau,)):
        settings = len(grid.lams) * len(taus)
        kept = heads_that_fit(settings, shape, len(tokens), not config.bidirectional, grid.room)
        if kept[0]:
            break
        missing = (
            f"Attention and loss by token are shown at τ = {grid.start_tau:g} alone: those of so long a text do"
            " not fit on the page at every τ.",
        )
    where = ReadingGrid(
        grid.lams,
        taus,
        tuple(layers[index] for index in kept[0]),
        tuple(heads[index] for index in kept[1]),
        grid.hard,
    )
    return FromModel(reading=read_over_dial(model, tokens, where, ids), missing=missing)


def write_sample_texts(model: LanguageModel, options: ReportOptions, grid: PageGrid) -> FromModel:
    """A continuation of the prompt at every setting of the grid, from one seed; and why not, where the model
    cannot write any.
    """
    if not options.sample_tokens:
        return FromModel()
    if model.config.model.bidirectional:
        return FromModel(missing=("No sample text: a model without a causal mask cannot write any.",))
    if grid.hard != model.config.model.hard:
        return FromModel(
            missing=("No sample text: the model writes with the attention of its training alone.",)
        )
    if not shows_sample_text(model) and not options.prompt:
        return FromModel(
            missing=("No sample text: a prompt of the program's does not show the model's blocks.",)
        )
    text = options.text or sample_sentence(model)
    prompt = options.prompt or " ".join(text.split("\n")[0].split()[:PROMPT_WORDS])
    samples = []
    with Progress(len(grid.taus) * len(grid.lams), "sample") as progress:
        for lam in grid.lams:
            for tau in grid.taus:
                asked = GenerateOptions(lam=lam, tau=tau, max_tokens=options.sample_tokens)
                [[written]] = model.continuations(prompt, asked)
                samples.append({"lam": lam, "tau": tau, "prompt": prompt, "text": written.text})
                progress.advance()
    return FromModel(samples=tuple(samples))


def read_as_scored(model: LanguageModel, result: SweepResult) -> LanguageModel:
    """The model read with the partition and relation that the rows were read with; a sweep may have had
    others than training.

    Raises:
      ValueError: rows of a partition or relation with a table that the checkpoint has not.
    """
    if not result.recorded:
        return model
    relation = result.config.relation
    if relation == model.config.relation:
        return _read_in_blocks(model, result.config)
    try:
        tables = tables_for(relation, model.tokenizer, model.rule_tables)
    except ValueError:
        limit = "that of the checkpoint, or one without a table of entropies: rows hold none"
        require(False, "relation of the sweep", relation.settings, limit, "pass --checkpoint=none")
    # The relation of training need not fit other blocks.
    blocks = _read_in_blocks(model.with_relation(RelationConfig()), result.config)
    return blocks.with_relation(relation, tables)


def _read_in_blocks(model: LanguageModel, config: Config) -> LanguageModel:
    """The model read with the partition of a configuration."""
    if config.partition == model.config.partition:
        return model
    limit = "that of the checkpoint, windows or given: rows hold no table of another one"
    require(
        not config.partition.fitted,
        "partition.kind of the sweep",
        config.partition.kind,
        limit,
        "pass --checkpoint=none",
    )
    return model.with_partition(config.partition)
