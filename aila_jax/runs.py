"""The composition root: training, evaluation, sweep, report and demo as readable lists of stages."""

import json
import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aila_jax.checkpoint import DIRECTORY, Checkpoint, CheckpointStore, Record, find_checkpoint, whole_steps
from aila_jax.config import Config, from_dict, require, to_dict
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.data.pipeline import TrainBatches, eval_batches
from aila_jax.evaluation.anchor_listing import AnchorListing, list_anchors
from aila_jax.evaluation.attention_maps import AttentionMaps
from aila_jax.evaluation.baselines import baselines
from aila_jax.evaluation.evaluator import evaluate as evaluate_batches
from aila_jax.evaluation.language_model import LanguageModel, example_batch, load
from aila_jax.evaluation.rows import CellRow, SweepResult
from aila_jax.evaluation.sweep import sweep as sweep_grid
from aila_jax.metrics.sums import summarize
from aila_jax.model.forward import init_params
from aila_jax.model.transformer import Transformer, build_transformer
from aila_jax.partition.build import build_partition
from aila_jax.presets import tiny, with_data_dir
from aila_jax.provenance import git_commit, versions
from aila_jax.reporting import (
    attention_figure,
    attention_page,
    dial_figure,
    dial_table,
    heads_figure,
    read_sweep,
    read_training_log,
    save_figure,
    tradeoff_figure,
    training_figure,
    write_sweep,
)
from aila_jax.reporting import report as write_report
from aila_jax.reporting.anchor_files import write_anchors
from aila_jax.reporting.attention_data import most_tokens
from aila_jax.reporting.files import write_atomically
from aila_jax.reporting.grid import nearest_tau
from aila_jax.training.anchors import AnchorsAtWarmup, make_anchors
from aila_jax.training.locality import draw_locality
from aila_jax.training.logs import TrainingLog
from aila_jax.training.loop import Hook, NonFiniteError, fit
from aila_jax.training.optimizer import build_optimizer, learning_rates
from aila_jax.training.penalty import initial_importance, penalty_rule, penalty_strength
from aila_jax.training.placement import AXIS, Placement, describe_devices, map_step, place
from aila_jax.training.state import TrainState, create_state
from aila_jax.training.step import make_train_step
from aila_jax.training.stopping import stop_requests


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
      workdir: its directory. config: its configuration. step: steps done.
    """

    workdir: Path
    config: Config
    step: int

    def load(self) -> LanguageModel:
        """The trained model, read back from its checkpoint."""
        return load(self.workdir)


def train(config: Config, workdir: str | Path, quiet: bool = False) -> Run:
    """Trains a model as `config` says into `workdir`, continuing a run of the same configuration that is there already.

    Writes config.json, run.json, metrics.jsonl, TensorBoard files and checkpoints.

    Raises:
      ValueError: bad settings or data, or a run of another configuration in `workdir`.
      NonFiniteError: more non-finite updates than `train.max_skipped`.
      TrainingStopped: Ctrl-C or SIGTERM; the last step is saved, and the same call continues from it.
    """
    workdir = Path(workdir).expanduser()
    placement = place(config.train.batch_size, accumulate=config.train.accumulate)
    found = _existing_run(workdir, config)
    if config.model.bidirectional and not quiet:
        print(BIDIRECTIONAL_WARNING)
    dataset = load_dataset(config.data, None if found is None else found.tokenizer)
    windows = dataset.windows("train", config.model.length, config.model.document_mask)
    batches = TrainBatches(windows, config.train.batch_size, config.seed)
    if found is not None:
        batches.set_state(found.record.data["position"])
    validation = dataset.windows("validation", config.model.length, config.model.document_mask)
    if found is None:
        _write_run_files(workdir, config, dataset)

    module = build_transformer(config, dataset.tokenizer.vocab_size)
    partition = build_partition(config.partition)
    optimizer = build_optimizer(config.train, config.penalty, config.feature_groups)
    state = initial_state(config, module, optimizer)
    if found is not None:
        state = found.state(state)
    start = int(state.step)
    state = placement.replicate(state)
    draw = step_draws(config, placement)
    make = partial(make_anchors, config, module, partition, windows=windows, draw=draw, placement=placement)
    anchors = AnchorsAtWarmup(config, make, None if found is None else found.anchors())
    if start == 0:
        state = anchors(0, state) or state  # without a warm-up they are made before the first step
    if not quiet:
        _announce(config, workdir, dataset, state, start)

    penalty = penalty_rule(config)
    step_fn = make_train_step(
        module,
        partition,
        optimizer,
        hard=config.model.hard,
        loss_chunk=config.train.loss_chunk,
        accumulate=config.train.accumulate,
        axis_name=AXIS,
        penalty=penalty,
    )
    train_step = map_step(step_fn, placement, config.train.parallel, whole=int(penalty is not None))
    log = TrainingLog(
        workdir,
        start=start,
        steps=config.train.steps,
        tokens_per_step=config.train.batch_size * config.model.length,
        log_every=config.train.log_every,
        learning_rates=learning_rates(config.train),
        quiet=quiet,
    )
    with log, CheckpointStore(workdir, config.train.keep) as store, stop_requests() as stop:

        def save(step: int, state: TrainState) -> None:
            data = {"name": dataset.name, "fingerprint": dataset.fingerprint, "position": batches.get_state()}
            store.save(step, state, Record.of(config, dataset.tokenizer, data, run_meta(dataset)), anchors.made)
            log.restart_clock()

        def measure(step: int, state: TrainState) -> None:
            last = step == config.train.steps
            chosen = list(eval_batches(validation, config.train.batch_size, 0 if last else config.train.eval_batches))
            for lam in evaluated_lams(config):
                log.write(step, "eval", eval_record(config, module, partition, state.params, chosen, placement, lam))
            log.restart_clock()

        # Anchors first, so that a checkpoint of the same step has them.
        at_warmup = Hook(config.train.warmup_end, anchors, at_end=False, once=True)
        hooks = (at_warmup, Hook(config.train.eval_every, measure), Hook(config.train.checkpoint_every, save, on_stop=True))
        try:
            state = fit(
                state,
                train_step=train_step,
                batches=batches,
                draw=draw,
                placement=placement,
                steps=config.train.steps,
                on_metrics=log.on_metrics,
                hooks=hooks,
                max_skipped=config.train.max_skipped,
                stop=stop,
            )
        except NonFiniteError as error:
            error.args = (f"{error}. Last good checkpoint: {store.latest()}",)
            raise
    return Run(workdir, config, int(state.step))


BIDIRECTIONAL_WARNING = (
    "WARNING: model.bidirectional is set. Every position attends to later tokens, its own target among them, so losses, "
    "perplexities and accuracies of this run are NOT those of a language model. For replication only."
)


def initial_state(config: Config, module: Transformer, optimizer: Any) -> TrainState:
    """Parameters and optimizer state at step 0, from the run's seed."""
    key_params, key_dropout = jax.random.split(jax.random.key(config.seed))
    params = init_params(module, build_partition(config.partition), example_batch(config), key_params)
    return create_state(params, optimizer, jax.random.key_data(key_dropout), initial_importance(config))


def locality_draws(config: Config, placement: Placement) -> Any:
    """step → (λ [B], τ [B]) on the devices, one compiled draw for all steps; a function of seed and step only."""
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    draw = jax.jit(partial(draw_locality, config.locality, config.train.steps, config.train.batch_size), out_shardings=placement.batch)
    return lambda step: draw(key, np.int32(step))


def step_draws(config: Config, placement: Placement) -> Any:
    """step → what a training step takes beside its batch: (λ [B], τ [B]) and, with a penalty, its strength."""
    draw = locality_draws(config, placement)
    if config.penalty.solver == "none":
        return draw
    strength = jax.jit(partial(penalty_strength, config), out_shardings=placement.replicated)
    return lambda step: (*draw(step), strength(np.int32(step)))


def evaluated_lams(config: Config) -> tuple[float, ...]:
    """The λ at which training is watched: both ends of the dial for conditional training, its own λ otherwise."""
    return (0.0, 1.0) if config.locality.mode == "conditional" else (config.locality.lam,)


def eval_record(
    config: Config, module: Transformer, partition: Any, params: Any, batches: list[Any], placement: Placement, lam: float
) -> dict[str, Any]:
    """The numbers of one evaluation during training, at λ and the run's τ."""
    batch_size = config.train.batch_size
    lams, taus = np.full(batch_size, lam, np.float32), np.full(batch_size, config.locality.tau, np.float32)
    sums = evaluate_batches(
        module,
        partition,
        params,
        batches,
        lam=lams,
        tau=taus,
        placement=placement,
        hard=config.model.hard,
        loss_chunk=config.train.loss_chunk,
        answers=batches[0].pointers is not None,
    )
    summary = summarize(sums)
    pointed = summary.pointers
    answers = {}
    if pointed is not None:
        answers = {"pointer_fidelity": float(pointed.fidelity.mean()), "accuracy_determined": pointed.accuracy_determined}
    return {
        "lam": lam,
        "tau": config.locality.tau,
        "loss": summary.loss,
        "perplexity": float(np.exp(summary.loss)),
        "accuracy": summary.accuracy,
        "entropy_bits": float(summary.entropy_bits.mean()),
        "block_mass": float(summary.block_mass.mean()),
        "targets": summary.targets,
        **answers,
    }


def run_meta(dataset: Dataset) -> dict[str, Any]:
    """Versions, commit, device and data fingerprint: what makes a run reproducible."""
    return {
        "versions": versions(),
        "commit": git_commit(),
        "device": describe_devices(),
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint},
    }


def evaluate(
    checkpoint: str,
    *,
    lam: float = 0.0,
    tau: float = 1.0,
    split: str | None = None,
    hard: bool | None = None,
    data_dir: str = "",
    window: int | None = None,
    batch_size: int | None = None,
    max_batches: int | None = None,
    quiet: bool = False,
) -> CellRow:
    """Evaluates a checkpoint at one λ and τ on the corpus it was trained on; `window` as in `sweep`."""
    model = load(checkpoint)
    model = model if window is None else model.with_window(window)
    dataset = dataset_of(model, data_dir)
    result = sweep_grid(
        model, dataset, lams=(lam,), taus=(tau,), split=split, hard=hard, batch_size=batch_size, max_batches=max_batches, quiet=quiet
    )
    return result.cells[0]


def sweep(
    checkpoint: str,
    *,
    lams: tuple[float, ...] | None = None,
    taus: tuple[float, ...] | None = None,
    split: str | None = None,
    hard: bool | None = None,
    delta: bool = False,
    pointers: str = "auto",
    data_dir: str = "",
    out: str = "",
    window: int | None = None,
    batch_size: int | None = None,
    max_batches: int | None = None,
    quiet: bool = False,
) -> SweepResult:
    """Evaluates a checkpoint over λ × τ and writes sweep.csv, sweep_heads.csv and sweep.json to `out`.

    Args:
      checkpoint: run directory or checkpoint. data_dir: where its corpus is now, if elsewhere than in training.
      out: folder for the files; by default the run directory, or, with `window`, the folder windowSIZE in it.
      window: read the model with windows of another size than in training (`LanguageModel.with_window`).
      Everything else: see `aila_jax.evaluation.sweep.sweep`.
    """
    model = load(checkpoint)
    model = model if window is None else model.with_window(window)
    beside = run_directory(checkpoint) / ("" if window is None else f"window{window}")
    directory = check_writable(Path(out) if out else beside)
    dataset = dataset_of(model, data_dir)
    result = sweep_grid(
        model,
        dataset,
        lams=lams,
        taus=taus,
        split=split,
        hard=hard,
        delta=delta,
        pointers=pointers,
        batch_size=batch_size,
        max_batches=max_batches,
        quiet=quiet,
    )
    config = model.config
    batches = config.sweep.max_batches if max_batches is None else max_batches
    most = batches * (batch_size or config.sweep.batch_size) * config.model.length
    # The baselines see the very tokens that the model was scored on.
    scored = dataset.splits[result.cells[0].split].tokens[: most + 1 if most else None]
    compared = baselines(dataset.splits["train"].tokens, scored, dataset.tokenizer.vocab_size)
    result = replace(result, meta={**result.meta, "baselines": compared})
    write_sweep(result, directory)
    return result


def anchors(
    checkpoint: str, *, top: int = 20, examples: int = 8, split: str = "validation", batches: int = 8, data_dir: str = "", out: str = ""
) -> list[AnchorListing]:
    """Lists a checkpoint's anchors, and those that the other estimator would give with its parameters, and writes them to `out`.

    Args:
      checkpoint: run directory or checkpoint. top: types listed. examples: blocks shown.
      split, batches: which text is read for the examples and for how often a type is an anchor, and how many batches of it.
      data_dir: where its corpus is now. out: folder of anchors.json and the CSV files; the run directory by default.

    Raises:
      ValueError: a checkpoint without anchors, because its run makes none or because its warm-up had not ended.
    """
    for name, value in (("top", top), ("examples", examples), ("batches", batches)):
        require(value >= 1, name, value, "at least 1", f"set --{name}=8")
    model = load(checkpoint)
    own, config = model.need_anchors(), model.config
    directory = check_writable(Path(out) if out else run_directory(checkpoint))
    dataset = dataset_of(model, data_dir)
    other = replace(config, anchors=replace(config.anchors, estimator="attention" if own.estimator == "corpus" else "corpus"))
    placement = place(config.train.batch_size, accumulate=config.train.accumulate)
    windows = dataset.windows("train", config.model.length, config.model.document_mask)
    draw, params = step_draws(config, placement), placement.replicate(model.params)
    compared = make_anchors(other, model.module, model.partition, params, windows=windows, draw=draw, placement=placement)
    text = list(eval_batches(dataset.windows(split, config.model.length, config.model.document_mask), config.sweep.batch_size, batches))
    listings = [list_anchors(model, made, text, top=top, examples=examples, used=made is own) for made in (own, compared)]
    write_anchors(listings, directory)
    return listings


def report(
    sweep_path: str | Path,
    out: str | Path = "",
    log: str | Path = "",
    checkpoint: str | Path = "",
    text: str = "",
    samples: list[dict[str, Any]] | None = None,
) -> Path:
    """Draws figures beside a sweep's files and writes the self-contained HTML page; returns the page's path.

    Args:
      sweep_path: the folder of sweep.json, or the file. out: the page; report.html beside the sweep by default.
      log: a metrics.jsonl; that of the same folder by default, where there is one. samples: generated texts to show.
      checkpoint: the run or checkpoint whose attention the page shows; the folder's own by default, where it holds one. "none" leaves
        attention out, and so does a folder without one: rows are enough for everything else.
      text: the text whose attention is shown; a sentence of this module's by default, as many tokens of it as fit.
    """
    folder = Path(sweep_path) if Path(sweep_path).is_dir() else Path(sweep_path).parent
    result = read_sweep(sweep_path)
    page = Path(out) if out else folder / "report.html"
    check_writable(page.parent)
    log_path = Path(log) if log else folder / "metrics.jsonl"
    records = read_training_log(log_path) if log or log_path.exists() else None
    maps = None
    if _shows_attention(checkpoint, folder, text):
        model = load(checkpoint or folder)
        same = model.run == result.cells[0].run
        model, hard = (_as_scored(model, result), result.cells[0].hard) if same else (model, model.config.model.hard)
        maps = dial_maps(model, text, nearest_tau(result), hard)
    draw_figures(result, records, page.parent)
    return write_report(result, page, log=records, samples=samples, maps=maps)


def _shows_attention(checkpoint: str | Path, folder: Path, text: str) -> bool:
    """Whether a report has a checkpoint to show the attention of; ValueError where a text is given for none."""
    shown = str(checkpoint) != "none" and (bool(checkpoint) or bool(whole_steps(folder / DIRECTORY)))
    require(shown or not text, "text", text, "left out where there is no checkpoint", "pass --checkpoint=RUN, or leave --text out")
    return shown


def _as_scored(model: LanguageModel, result: SweepResult) -> LanguageModel:
    """The model read with the partition that the rows were read with; a sweep may have had other windows than training."""
    config = from_dict(Config, result.config) if result.config else model.config
    return model if config.partition == model.config.partition else model.with_partition(config.partition)


SAMPLE_TEXT = "Return a new list containing the first item of each list , or None if the list has no items . The old list is not changed ."
SLIDER_LAMS = tuple(index / 10 for index in range(11))


def dial_maps(model: LanguageModel, text: str = "", tau: float = 1.0, hard: bool = False) -> tuple[AttentionMaps, ...]:
    """A model's attention over `text` along the dial, for the report's slider: eleven λ, or λ = 1 alone for hard blocks.

    The sample sentence, taken where `text` is empty, is cut to what the model reads and the page holds; `text` is never cut.
    """
    config = model.config.model
    lams = (1.0,) if hard else SLIDER_LAMS
    longest = min(config.length, most_tokens(len(lams), config.n_layers, config.n_heads, not config.bidirectional))
    tokens = model.tokenizer.encode(text or SAMPLE_TEXT)
    require(not text or len(tokens) <= longest, "text", f"{len(tokens)} tokens", f"at most {longest} for this model", "shorten it")
    return model.attention_dial(tokens[:longest], lams=lams, tau=tau, hard=hard)


def attention(
    checkpoint: str,
    *,
    text: str,
    lam: tuple[float, ...] = (0.0, 0.5, 1.0),
    tau: float = 1.0,
    layers: tuple[int, ...] | None = None,
    heads: tuple[int, ...] | None = None,
    out: str | Path = "",
) -> list[Path]:
    """Draws a checkpoint's attention over `text`: a figure (PNG and SVG) for each λ, and attention.html with a slider over them.

    Args:
      checkpoint: run directory or checkpoint. out: folder for the files; `attention` in the run directory by default.
      Everything else: see `LanguageModel.attention_dial` and `attention_figure`.

    Returns:
      The paths written.
    """
    model = load(checkpoint)
    maps = model.attention_dial(text, lams=lam, tau=tau)
    page = attention_page(maps)
    figures = {f"attention_lam{one.lam:g}_tau{tau:g}": attention_figure(one, layers, heads) for one in maps}
    directory = check_writable(Path(out) if out else run_directory(checkpoint) / "attention")
    written = [path for name, figure in figures.items() for path in save_figure(figure, directory / name)]
    write_atomically(directory / "attention.html", page.encode("utf-8"))
    return [*written, directory / "attention.html"]


def draw_figures(result: SweepResult, log: list[dict[str, Any]] | None, directory: Path) -> list[Path]:
    """dial, tradeoff and heads figures, and the training curve where there is a log, as PNG and SVG."""
    figures = {"dial": dial_figure(result), "tradeoff": tradeoff_figure(result), "heads": heads_figure(result)}
    if log:
        figures["training"] = training_figure(log)
    return [path for name, figure in figures.items() for path in save_figure(figure, directory / name)]


def generate(checkpoint: str, *, prompt: str, lam: float = 0.0, tau: float = 1.0, **sampling: Any) -> str:
    """The prompt's continuation by a checkpoint at λ and τ; `sampling` as in `LanguageModel.generate`."""
    return load(checkpoint).generate(prompt, lam=lam, tau=tau, **sampling)


DEMO_PROMPT = "Return a new list containing"


def demo(workdir: str | Path = "runs/demo") -> SweepResult:
    """The whole way on the embedded corpus: train, reload, dial, report; prints the table and where to look next."""
    run = train(tiny(), workdir)
    result = sweep(str(run.workdir))
    model = run.load()
    samples = [{"lam": lam, "tau": 1.0, "prompt": DEMO_PROMPT, "text": model.generate(DEMO_PROMPT, lam=lam)} for lam in (0.0, 0.5, 1.0)]
    page = report(run.workdir, samples=samples)
    print(describe_sweep(result))
    print(
        f"\nOpen {page} in a browser (it has sliders for the dial and for attention), or look at {run.workdir}/dial.png; rows are in {run.workdir}/sweep.csv."
    )
    print(f"Turn the dial yourself: aila generate --checkpoint={run.workdir} --prompt='{DEMO_PROMPT}' --lam=0.6")
    return result


def describe_sweep(result: SweepResult) -> str:
    """The dial's table at τ = 1 (or the first τ), the targets scored, and the baselines."""
    taus = [row.tau for row in result.cells]
    tau = 1.0 if 1.0 in taus else taus[0]
    lines = [dial_table(result, tau=tau)]
    for name, entry in result.meta.get("baselines", {}).items():
        lines.append(f"{name} baseline, same text: perplexity per token {entry['perplexity_token']:.1f}")
    if "sparsity" in result.meta:
        counts = result.meta["sparsity"]
        lines.append(
            f"group-sparsity penalty: {counts['zero_query']:.0%} of the query groups and {counts['zero_key']:.0%} of the key groups are 0, "
            f"{counts['dead_heads']} of {counts['heads']} heads are dead"
        )
    return "\n".join(lines)


def dataset_of(model: LanguageModel, data_dir: str = "") -> Dataset:
    """The corpus a model was trained on, encoded with its own tokenizer; refused if its text has changed since."""
    dataset = load_dataset(with_data_dir(model.config, data_dir).data, model.tokenizer)
    trained_on = model.meta["data"]["fingerprint"]
    if dataset.fingerprint != trained_on:
        raise ValueError(
            f"the corpus {dataset.name!r} has fingerprint {dataset.fingerprint[:12]}, the model was trained on {trained_on[:12]}: "
            "its text has changed (another file, or for pydocs another Python version), so splits may overlap. "
            "Fix: evaluate with the text it was trained on"
        )
    return dataset


def run_directory(checkpoint: str | Path) -> Path:
    """The run directory that a checkpoint path lies in."""
    return find_checkpoint(checkpoint).directory.parent


def check_writable(directory: Path) -> Path:
    """Makes the folder; ValueError where that, or writing in it, is not possible."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"output folder is {str(directory)!r}; it cannot be made ({error.strerror}). Fix: choose another folder"
        ) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ValueError(f"output folder is {str(directory)!r}; it is not writable. Fix: choose another folder, or change its permissions")
    return directory


def _existing_run(workdir: Path, config: Config) -> Checkpoint | None:
    """The newest checkpoint of the run in `workdir`, or None where there is none yet."""
    check_writable(workdir)
    file = workdir / "config.json"
    if not file.exists():
        require(not (workdir / "checkpoints").exists(), "workdir", str(workdir), "empty or a run directory", "choose another --workdir")
        return None
    try:
        old = json.loads(file.read_text(encoding="utf-8"))
        other = from_dict(Config, old) != config
    except ValueError as error:
        raise ValueError(f"{file} is not a configuration that this version reads ({error}). Fix: choose another --workdir") from error
    if other:
        changed = sorted(_differences(old, to_dict(config)))
        raise ValueError(
            f"workdir is {str(workdir)!r}; it holds a run with another configuration ({'; '.join(changed)}). Fix: choose another --workdir"
        )
    # None: stopped before its first checkpoint. A damaged one must raise, not begin again over the others.
    return find_checkpoint(workdir) if whole_steps(workdir / DIRECTORY) else None


def _differences(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    found = []
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{path}{key}.")
        elif json.dumps(before) != json.dumps(after):
            found.append(f"{path}{key}: {before!r} there, {after!r} asked")
    return found


def _write_run_files(workdir: Path, config: Config, dataset: Dataset) -> None:
    write_atomically(workdir / "config.json", (json.dumps(to_dict(config), indent=2) + "\n").encode())
    write_atomically(workdir / "run.json", (json.dumps({"seed": config.seed, **run_meta(dataset)}, indent=2) + "\n").encode())


def _announce(config: Config, workdir: Path, dataset: Dataset, state: TrainState, start: int) -> None:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    sizes = ", ".join(f"{split} {len(stream.tokens):,}" for split, stream in dataset.splits.items())
    print(f"device   {describe_devices()}")
    print(f"data     {dataset.name}: {sizes} tokens of {dataset.tokenizer.vocab_size:,} types")
    print(f"model    {parameters:,} parameters, partition {asdict(config.partition)}, locality {config.locality.mode}")
    print(f"run      {workdir}, seed {config.seed}, steps {start} to {config.train.steps}", flush=True)
