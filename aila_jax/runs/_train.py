"""Training: a readable list of stages, and what a run does beside its steps."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aila_jax.cards import Card, Shown, count
from aila_jax.checkpoint import Ancestor, Checkpoint, CheckpointStore, Record
from aila_jax.checkpoint.record import BEST
from aila_jax.checkpoint.run_files import Known
from aila_jax.config import Config, MarginForm, require, user_path
from aila_jax.config.checks import check_flag, check_instance, check_whole
from aila_jax.config.relation import relation_line
from aila_jax.config.train import DEFAULT_BATCH_SIZE
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.data.packing import Windows
from aila_jax.data.pipeline import TrainBatches
from aila_jax.guarantees.bounds import block_mass_bound, self_scaling_gap
from aila_jax.inference.chat import CHAT
from aila_jax.inference.corpus import split_windows
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loading.models import load
from aila_jax.model.network import Network
from aila_jax.model.transformer import build_transformer
from aila_jax.partition.build import Partition
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.kinds import Classes
from aila_jax.partition.rule_tables import RuleTables, build_rules, fit_rule_tables
from aila_jax.planning.here import check_fits_here
from aila_jax.planning.vocabulary import vocabulary_of
from aila_jax.presets import FromPreset
from aila_jax.processes import here
from aila_jax.runs._start import Before, Source, check_start, start_config, what_is_before
from aila_jax.runs.lease import RunTaken
from aila_jax.runs.setup import Measured, initial_state, step_draws
from aila_jax.runs.workdir import (
    RunFolder,
    RunMoved,
    agree_on_run,
    as_begun,
    locked,
    preset_record,
    run_meta,
    with_preset_then,
    write_run_files,
)
from aila_jax.training.anchors import AnchorsAtWarmup, make_anchors
from aila_jax.training.best import StoppedEarly, ValidationWatch
from aila_jax.training.forecast import tried
from aila_jax.training.logs import LogPlan, LogUnwritable, NoLog, TrainingLog
from aila_jax.training.loop import Hook, NonFiniteError, fit
from aila_jax.training.optimizer import build_optimizer, learning_rates
from aila_jax.training.penalty import penalty_rule
from aila_jax.training.sharding import (
    AXIS,
    Sharding,
    describe_devices,
    map_step,
    mesh_line,
    mesh_sharding,
    mesh_step,
)
from aila_jax.training.state import TrainState
from aila_jax.training.step import Objective, make_train_step
from aila_jax.training.stopping import StopRequests
from aila_jax.training.vote import StopVote

BIDIRECTIONAL_WARNING = (
    "WARNING: model.bidirectional is set. Every position attends to later tokens, its own target among them,"
    " so losses, perplexities and accuracies of this run are NOT those of a language model. For replication"
    " only."
)


@dataclass(frozen=True, repr=False)
class Run(Shown):
    """A finished training run.

    Attributes:
      workdir: its directory.
      config: its configuration.
      step: steps done.
      began: steps that were done before; as many as `step` where the run was finished already.
    """

    workdir: Path
    config: Config
    step: int
    began: int = 0

    def __post_init__(self) -> None:
        user_path(self.workdir, "workdir")
        check_instance("config", self.config, Config, "a Config", "take the run that aila_jax.train returns")
        check_whole("step", self.step, 0)
        check_whole("began", self.began, 0)

    def load(self) -> LanguageModel:
        """The trained model, read back from its checkpoint."""
        return load(self.workdir)

    def card(self) -> Card:
        config = self.config
        facts = {
            "corpus": config.data.corpus,
            "model": f"{count(config.model.n_layers, 'layer')}, width {config.model.d_model}",
            "partition, λ": f"{config.partition.kind}, {config.locality.mode}",
            "seed": config.seed,
            "model of it": "run.load()",
        }
        return Card(f"Run {self.workdir}, step {self.step} of {config.train.steps}", facts)


@dataclass(frozen=True)
class Text:
    """What a run reads: its corpus, the windows of two splits, and the training batches, at the position
    where the run is.
    """

    dataset: Dataset
    train: Windows
    validation: Windows
    batches: TrainBatches


def train(
    config: Config | None,
    workdir: str | Path,
    quiet: bool = False,
    *,
    start: LanguageModel | str | Path | None = None,
    preset: FromPreset | None = None,
) -> Run:
    """Trains a model as `config` says into `workdir`, continuing a run of the same configuration that is
    there already.

    Writes config.json, run.json, metrics.jsonl, TensorBoard files and checkpoints.

    Args:
      config: the settings; None, with a start only: those of the start.
      workdir: the run directory.
      quiet: print nothing.
      start: a loaded model, or the path of a run: begin with its weights and its tokenizer, and with its
        partition where `config` asks for the same one. The optimizer begins anew, at step 0 of `config`. A
        run that goes on does not read it again.
      preset: what the command line knows and a `Config` does not: the preset's name that it came from. A run
        that began from it by name goes on with its own settings where only the preset has changed since.

    Raises:
      ValueError: bad settings or data, a run of another configuration or with another corpus in `workdir`, a
        process that trains into it now, or a start with another tokenizer, of other shapes, or that is not
        what the run began from. NonFiniteError: more non-finite updates than `train.max_skipped`.
        TrainingStopped: Ctrl-C, SIGTERM or SIGHUP; the last step is saved, and the same call continues from
        it. LogUnwritable: the log or the progress could not be written; likewise. RunMoved: `workdir` was
        moved; nothing more is saved. RunTaken: another process holds it now; likewise.
    """
    start = check_start(start)
    if config is None and start is not None:
        config = start_config(start, workdir)
    require(
        isinstance(config, Config),
        "config",
        config,
        "an aila.Config",
        "aila.presets.tiny(), or another preset",
    )
    assert config is not None, "it is a Config"
    workdir, quiet = user_path(workdir, "workdir"), check_flag("quiet", quiet)
    fix = "leave it out"
    check_instance("preset", preset, FromPreset | None, "a FromPreset or None", fix)
    with locked(workdir) as folder:
        return _train(config, workdir, folder, start, quiet or not here.first(), preset)


def _train(
    config: Config,
    workdir: Path,
    folder: RunFolder,
    source: Source | None,
    quiet: bool,
    preset: FromPreset | None,
) -> Run:
    mesh_sharding(config)  # refuses before any work
    config = as_begun(workdir, config, quiet)
    config = with_preset_then(workdir, config, preset, quiet)
    before = what_is_before(config, workdir, source)
    found = before.found
    if config.model.bidirectional and not quiet:
        print(BIDIRECTIONAL_WARNING)
    types = vocabulary_of(config.data) if before.tokenizer is None else before.tokenizer.vocab_size
    tight = check_fits_here(config, types)  # refuses what cannot fit before any text is read
    if tight and not quiet:
        print(tight)
    config, text = read_text(config, before, quiet)
    sharding = mesh_sharding(config)
    partition = partition_of(
        config, text, before, quiet
    )  # may refuse a file of classes, which must leave the directory as it was
    agree_on_run(config, text.dataset, found)
    if found is None and here.first():
        write_run_files(workdir, config, text.dataset, before.lineage, preset_record(workdir, preset))

    tables = tables_of(config, text, before)
    module = build_transformer(config, text.dataset.tokenizer.vocab_size)
    network = Network(module, partition, build_rules(config, tables))
    optimizer = build_optimizer(config.train, config.penalty, config.feature_groups)
    state = sharding.begin(partial(initial_state, config, network.module, optimizer), before.params)
    before = before.without_params
    if found is not None:
        found.say_unverified()
        state = sharding.place(found.state(state))
    start, watch = int(state.step), ValidationWatch(config.train, None if found is None else found.seen)
    if start == config.train.steps or watch.stops:
        if not quiet:
            early = f", stopped early: {watch.why}" if start < config.train.steps else ""
            print(f"{workdir} is already finished: step {start} of {config.train.steps}{early}")
        return Run(workdir, config, start, start)
    draw = step_draws(config, sharding)
    make = partial(make_anchors, config, network, windows=text.train, draw=draw, sharding=sharding)
    anchors = AnchorsAtWarmup(config, make, None if found is None else found.anchors())
    if start == 0:
        state = anchors(0, state) or state  # without a warm-up they are made before the first step
    if not quiet:
        _announce(config, workdir, text.dataset, partition, before.lineage, state)
        if not sharding.plain:
            print(f"mesh     {mesh_line(sharding, state)}", flush=True)

    train_step = mapped_step(config, network, optimizer, sharding, state)
    # Somebody's model may be too large for this machine. All processes take part, and the first one says it.
    if before.lineage and (here.count() > 1 or not quiet):
        train_step, state, said = _foretold(config, train_step, state, text, draw, sharding)
        if not quiet:
            print(said, flush=True)
    log = training_log(config, workdir, folder, found, quiet)
    with (
        log,
        CheckpointStore(workdir, config.train.keep, config.train.keep_every) as store,
        StopRequests() as requests,
    ):
        vote = StopVote()
        aside = Aside(before.lineage, known_files(workdir, found), log, watch, tables, before.chat)
        measured = Measured(config, network, text.validation, sharding)
        hooks = run_hooks(measured, text, store, anchors, aside, folder, requests)
        loop = partial(
            fit,
            state,
            train_step=train_step,
            inputs=lambda step: (
                sharding.shard_own(next(text.batches), config.train.batch_size),
                *draw(step),
            ),
            steps=config.train.steps,
            on_metrics=log.on_metrics,
            hooks=hooks,
            max_skipped=config.train.max_skipped,
            stop=lambda step: vote(step, requests.asked(step) or log.failure(step)) or watch.ended(step),
        )
        with _explained(store, log):
            done, why = _fitted(loop)
    if not quiet:
        _say_best(watch, done, why)
    return Run(workdir, config, done, start)


def _fitted(run: Callable[[], TrainState]) -> tuple[int, str]:
    """The steps done when the loop has ended, and why it ended early; empty: it did not."""
    try:
        return int(run().step), ""
    except StoppedEarly as stopped:
        return stopped.step, str(stopped)


@contextlib.contextmanager
def _explained(store: CheckpointStore, log: TrainingLog) -> Iterator[None]:
    """Says of what goes wrong in the loop what is saved, and whether it is that the log cannot be written."""
    try:
        yield
    except NonFiniteError as error:
        error.args = (f"{error}. Last good checkpoint: {store.latest()}",)
        raise
    except (LogUnwritable, RunMoved, RunTaken):
        raise
    except Exception as error:
        if not log.unwritable():
            raise
        raise LogUnwritable(
            f"{log.unwritable()}, and the checkpoint could not be saved either ({_first_line(error)})."
            f" Newest checkpoint: {store.latest()}. Fix: make room, then give the same command again"
        ) from error


def read_text(config: Config, before: Before, quiet: bool) -> tuple[Config, Text]:
    """The corpus, encoded with the checkpoint's tokenizer where there is one, and the batches from where it
    stopped; and the configuration, with batches that the corpus can fill.
    """
    dataset, found = load_dataset(config.data, before.tokenizer), before.found
    windows = split_windows(config, dataset, "train")
    config = _filled(config, len(windows), quiet) if found is None else config
    batches = batches_of(config, dataset, windows, found)
    return config, Text(dataset, windows, split_windows(config, dataset, "validation"), batches)


def batches_of(config: Config, dataset: Dataset, windows: Windows, found: Checkpoint | None) -> TrainBatches:
    """The batches of a run, from where its checkpoint stopped where there is one; ValueError where that has
    read another corpus.
    """
    rows = mesh_sharding(config).rows_here(config.train.batch_size)
    batches = TrainBatches(windows, config.train.batch_size, config.seed, rows)
    if found is not None:
        began = str(found.record.data.get("fingerprint"))
        limit, fix = (
            f"the run's own ({began})",
            "give it the texts that it began with, validation and test too, or choose another --workdir",
        )
        require(dataset.fingerprint == began, "the corpus", dataset.fingerprint, limit, fix)
        batches.set_state(found.record.data.get("position", {}))
    return batches


def _filled(config: Config, windows: int, quiet: bool) -> Config:
    """The same with a batch of all the training windows that there are, where the default size is above
    their number: nobody asked for that one.
    """
    asked, parts = config.train.batch_size, jax.device_count() // config.mesh.tensor
    evenly = parts * config.train.accumulate
    fits = windows - windows % evenly
    if asked != DEFAULT_BATCH_SIZE or windows >= asked or fits == 0:
        return config
    if not quiet:
        print(f"batch    {fits} sequences a step, not {asked}: the training split has {windows}")
    return replace(config, train=replace(config.train, batch_size=fits))


def partition_of(config: Config, text: Text, before: Before, quiet: bool) -> Partition:
    """The checkpoint's partition, or one that is fitted to the training split now."""
    if (there := before.partition()) is not None:
        return there
    return fit_partition(config.partition, text.dataset.tokenizer, text.dataset.splits["train"], quiet)


def tables_of(config: Config, text: Text, before: Before) -> RuleTables | None:
    """The checkpoint's tables of the relation, or those that are fitted to the training split now."""
    if (there := before.rule_tables()) is not None:
        return there
    return fit_rule_tables(config.relation, text.dataset.tokenizer, text.dataset.splits["train"])


def mapped_step(
    config: Config, network: Network, optimizer: Any, sharding: Sharding, state: TrainState
) -> Callable[..., Any]:
    """The training step, mapped over the devices."""
    penalty, objective = penalty_rule(config), Objective.of(config)
    make = partial(
        make_train_step,
        network,
        optimizer,
        objective,
        accumulate=config.train.accumulate,
        penalty=penalty,
    )
    whole = int(penalty is not None)
    if sharding.plain:
        return map_step(make(axis_name=AXIS), sharding, config.train.parallel, whole)
    return mesh_step(make(sharding=sharding), sharding, state, whole)


def _foretold(
    config: Config,
    train_step: Callable[..., Any],
    state: TrainState,
    text: Text,
    draw: Callable[[int], tuple[Any, ...]],
    sharding: Sharding,
) -> tuple[Callable[..., Any], TrainState, str]:
    """The compiled step, the state as it was, and what a step takes in words."""
    position = text.batches.get_state()
    inputs = (sharding.shard_own(next(text.batches), config.train.batch_size), *draw(0))
    text.batches.set_state(position)
    tokens = config.train.batch_size * config.model.length
    train_step, state, forecast = tried(train_step, state, inputs, tokens, sharding)
    return train_step, state, f"takes    {forecast.line(config.train.steps - int(state.step))}"


def _first_line(error: Exception) -> str:
    """What an error says, or its kind where it says nothing, without the pages that some libraries add."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def training_log(
    config: Config, workdir: Path, folder: RunFolder, found: Checkpoint | None, quiet: bool
) -> TrainingLog:
    if not here.first():
        return NoLog()
    plan = LogPlan(
        start=0 if found is None else found.step,
        steps=config.train.steps,
        every=config.train.log_every,
        tokens_per_step=config.train.batch_size * config.model.length,
        learning_rates=learning_rates(config.train),
    )
    return TrainingLog(
        workdir,
        plan,
        interval=None if found is None else found.record.log,
        unmoved=folder.unmoved,
        quiet=quiet,
    )


def known_files(workdir: Path, found: Checkpoint | None) -> Known:
    """What its checkpoint knows of a run's files, and those that a run begins with."""
    return (Known() if found is None else found.files).of_settings(workdir)


@dataclass(frozen=True)
class Aside:
    """What a checkpoint remembers beside its arrays and its corpus.

    Attributes:
      lineage: what the run began with.
      known: what the run's files held before this part of it.
      log: the steps since its last record.
      watch: what the run has seen of its validation loss.
      rule_tables: what its relation knows of token types.
      chat: how the model writes a conversation; None where it came without a template.
    """

    lineage: tuple[Ancestor, ...]
    known: Known
    log: TrainingLog
    watch: ValidationWatch
    rule_tables: RuleTables | None = None
    chat: dict[str, str] | None = None


def run_hooks(
    measured: Measured,
    text: Text,
    store: CheckpointStore,
    anchors: AnchorsAtWarmup,
    aside: Aside,
    folder: RunFolder,
    requests: StopRequests,
) -> tuple[Hook, ...]:
    """What a run does beside its steps: anchors, evaluations, checkpoints."""
    config, log, watch = measured.config, aside.log, aside.watch
    save = partial(_save, config, text, store, anchors, measured.network, aside)
    save = partial(_in_peace, save, folder, requests)
    measure = partial(_measure, measured, log, watch, save)
    # Anchors first, so that a checkpoint of the same step has them.
    return (
        Hook(config.train.warmup_end, anchors, at_end=False, once=True),
        Hook(config.train.eval_every, measure),
        Hook(config.train.checkpoint_every, save, on_stop=True),
    )


def _save(
    config: Config,
    text: Text,
    store: CheckpointStore,
    anchors: AnchorsAtWarmup,
    network: Network,
    aside: Aside,
    step: int,
    state: TrainState,
) -> None:
    """Writes a checkpoint."""
    dataset, watch = text.dataset, aside.watch
    data = {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "position": text.batches.get_state(),
        "given": dataset.given,
    }
    meta = {**run_meta(dataset, aside.lineage), **({BEST: asdict(watch.seen)} if watch.on else {})}
    if aside.chat is not None:
        meta[CHAT] = aside.chat
    meta |= aside.known.with_grown(aside.log.files()).to_meta()
    record = Record.of(config, dataset.tokenizer, data, meta, aside.log.interval())
    store.save(step, state, record, anchors.made, network.partition, watch.kept, aside.rule_tables)
    aside.log.restart_clock()


def _in_peace(
    save: Callable[[int, TrainState], None],
    folder: RunFolder,
    requests: StopRequests,
    step: int,
    state: TrainState,
) -> None:
    """The hook that saves: into the directory that the run began in, and to the end whatever signals come."""
    folder.unmoved()
    with requests.saving(step):
        save(step, state)


def _measure(
    measured: Measured,
    log: TrainingLog,
    watch: ValidationWatch,
    save: Callable[[int, TrainState], None],
    step: int,
    state: TrainState,
) -> None:
    """The hook that evaluates: on `train.eval_batches` batches, after the last step on all.

    What is watched is always the loss on the same batches, after the last step too.
    """
    train = measured.config.train
    records, last = [], step == train.steps
    if watch.on:
        records = measured.records(state.whole, train.eval_batches)
        watch.see(step, float(np.mean([record["loss"] for record in records])))
        if last := last or watch.stops:
            log.finish(step)
    if not records or (last and train.eval_batches):
        records = measured.records(state.whole, train.last_eval_batches if last else train.eval_batches)
    for record in records:
        log.write(step, "eval", record)
    if watch.kept == step:
        save(step, state)
    log.restart_clock()


def _say_best(watch: ValidationWatch, done: int, why: str) -> None:
    if why:
        print(f"stopped  early after step {done}: {why}")
    if watch.on:
        print(f"best     {watch.best}", flush=True)


def _announce(
    config: Config,
    workdir: Path,
    dataset: Dataset,
    partition: Partition,
    lineage: tuple[Ancestor, ...],
    state: TrainState,
) -> None:
    parameters, trained = (
        sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (state.whole, state.params)
    )
    frozen = "" if trained == parameters else f", {trained:,} of them trained"
    relation = "" if config.relation.plain else f" relation {relation_line(config.relation)},"
    print(f"device   {describe_devices()}")
    print("data    ", "\n         ".join(dataset.described))
    print(
        f"model    {parameters:,} parameters{frozen}, partition {config.partition.settings},{relation} locality"
        f" {config.locality.mode}"
    )
    if state.base is not None:
        print(f"margin   {_margin_line(config)}")
    if isinstance(partition, Classes) and partition.note:
        print(f"classes  {partition.note}")
    if lineage:
        print(f"start    {lineage[0]}")
    steps = f"steps {int(state.step)} to {config.train.steps}"
    print(f"run      {workdir}, seed {config.seed}, {steps}", flush=True)


def _margin_line(config: Config) -> str:
    """The margin at λ = 1, and what it guarantees alone, whatever the weights are."""
    margin, length = config.model.margin, config.model.length
    gate = "; with its gate exactly nothing is outside at λ = 1" if margin.gate else ""
    if margin.form == MarginForm.FIXED or margin.c < 1.0:
        return f"{margin.line}{gate}"
    least = block_mass_bound(2, max(length - 2, 0), self_scaling_gap(1.0, margin.c, margin.m0, 0.0), 1.0)
    alone = f"alone at least {least:.3f} of the attention inside where two keys are, for every text, at τ = 1"
    return f"{margin.line}, {alone}{gate}"
