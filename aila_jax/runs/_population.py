"""λ × seed × learning rate: many trained models by one program, each a run of its own."""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aila_jax.checkpoint import DIRECTORY, CheckpointStore, find_checkpoint, whole_steps
from aila_jax.config import Config, DialMode, require, to_dict, user_path
from aila_jax.config.checks import check_flag, check_instance
from aila_jax.config.options import PopulationOptions
from aila_jax.evaluation.population_rows import Made, MemberRow, Population, sorted_rows
from aila_jax.model.network import Network
from aila_jax.model.transformer import build_transformer
from aila_jax.partition.rule_tables import RuleTables, build_rules
from aila_jax.planning.here import check_fits_here
from aila_jax.planning.vocabulary import vocabulary_of
from aila_jax.presets import FromPreset
from aila_jax.progress import Progress
from aila_jax.reporting.population_files import write_population
from aila_jax.reporting.training_log import read_training_log
from aila_jax.runs._start import Before, what_is_before
from aila_jax.runs._train import (
    BIDIRECTIONAL_WARNING,
    Aside,
    Text,
    batches_of,
    known_files,
    partition_of,
    read_text,
    run_hooks,
    tables_of,
    training_log,
)
from aila_jax.runs.setup import Measured, evaluated_lams, initial_state, member_draws, step_draws
from aila_jax.runs.workdir import RunFolder, as_begun, locked, preset_record, write_run_files
from aila_jax.training.anchors import AnchorsAtWarmup, make_anchors
from aila_jax.training.best import ValidationWatch
from aila_jax.training.loop import NonFiniteError
from aila_jax.training.optimizer import build_optimizer
from aila_jax.training.population import LOOP, VMAP, Member, Program, Seats, fit_members
from aila_jax.training.sharding import Sharding, describe_devices, mesh_sharding
from aila_jax.training.state import TrainState
from aila_jax.training.stopping import StopRequests


@dataclass(frozen=True)
class Plan:
    """One member before its training goes on.

    Attributes:
      workdir: its run directory.
      config: its settings.
      folder: the directory, held.
      before: its newest checkpoint, if any.
    """

    workdir: Path
    config: Config
    folder: RunFolder
    before: Before

    @property
    def step(self) -> int:
        """Steps done."""
        return 0 if self.before.found is None else self.before.found.step

    @property
    def watch(self) -> ValidationWatch:
        """What it has seen of its validation loss."""
        return ValidationWatch(
            self.config.train, None if self.before.found is None else self.before.found.seen
        )

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.step == self.config.train.steps or self.watch.stops


@dataclass(frozen=True)
class Shared:
    """What all members read and are.

    Attributes:
      text: the corpus; its batches are no member's.
      network: decoder and partition.
      tables: what the relation knows of token types.
      sharding: where evaluations go.
      preset: the preset that the configuration came from.
    """

    text: Text
    network: Network
    tables: RuleTables | None
    sharding: Sharding
    preset: FromPreset | None


def population(
    config: Config,
    workdir: str | Path,
    *,
    lams: Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    learning_rates: Sequence[float] | None = None,
    form: str = "auto",
    together: int = 0,
    quiet: bool = False,
    preset: FromPreset | None = None,
) -> Population:
    """Trains a model for every seed, learning rate and λ, by one compiled step, each into a run directory of
    its own in `workdir`.

    A member is the run that `train` would make of the same settings, and is read and gone on with like any
    other. The same call goes on with members that were stopped, and leaves finished ones as they are. A
    member with too many updates that are not finite ends alone.

    Writes population.csv and population.json beside the members.

    Args:
      config: what the members have in common.
      workdir: the folder of their run directories.
      lams: λ of the members, in [0, 1], where locality.mode is `fixed` or `curriculum`; by default that of
        `config`.
      seeds: of the members; by default that of `config`.
      learning_rates: the highest of each; by default that of `config`.
      form: `loop`, `vmap`, or `auto`: the faster of both, tried for a few steps.
      together: members of a device side by side under vmap at most; 0 is all.
      quiet: print nothing.
      preset: as in `train`.

    Raises:
      ValueError: as `train`; also for settings that several members cannot share. TrainingStopped: every
        member is saved, and the same call goes on.
    """
    fix = "aila.presets.tiny(), or another preset"
    require(isinstance(config, Config), "config", config, "an aila.Config", fix)
    workdir, quiet = user_path(workdir, "workdir"), check_flag("quiet", quiet)
    check_instance("preset", preset, FromPreset | None, "a FromPreset or None", "leave it out")
    options = PopulationOptions(
        lams=lams, seeds=seeds, learning_rates=learning_rates, form=form, together=together
    )
    return train_population(config, workdir, options, quiet, preset)


def train_population(
    config: Config,
    workdir: str | Path,
    options: PopulationOptions,
    quiet: bool = False,
    preset: FromPreset | None = None,
) -> Population:
    """`population`, by options."""
    workdir = user_path(workdir, "workdir")
    configs = member_configs(config, options)
    mesh_sharding(config)  # refuses before any work
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(_no_run(workdir)))
        plans = []
        for name, one in configs.items():
            folder = stack.enter_context(locked(workdir / name))
            one = as_begun(workdir / name, one, quiet)
            plans.append(Plan(workdir / name, one, folder, what_is_before(one, workdir / name, None)))
        _check_alike(plans)
        plans, made = _train_all(plans, options, quiet, preset)
        rows = sorted_rows(row for plan in plans for row in _rows(plan, made.failures))
        found = Population(workdir, config, rows, made.facts)
        write_population(found)
    return found


def member_configs(config: Config, options: PopulationOptions) -> dict[str, Config]:
    """Name of the run directory → settings, of every member.

    Raises:
      ValueError: settings that members cannot share, or that one of them cannot have.
    """
    locality, train = config.locality, config.train
    drawn = locality.mode == DialMode.CONDITIONAL
    limit = "'fixed' or 'curriculum' where members have a λ of their own (lams)"
    fix = "set --config.locality.mode=fixed, or leave --lams out"
    require(options.lams is None or not drawn, "locality.mode", str(locality.mode), limit, fix)
    fix = "set --config.train.schedule=exact"
    require(train.schedule == "exact", "train.schedule", train.schedule, "'exact' in a population", fix)
    fix = "set --config.train.parallel=jit"
    require(train.parallel == "jit", "train.parallel", train.parallel, "'jit' in a population", fix)
    mesh = config.mesh.fsdp * config.mesh.tensor
    limit = "1 in a population: a member is whole on its device"
    fix = "set --config.mesh.fsdp=1 --config.mesh.tensor=1, or train the members one by one"
    require(mesh == 1, "mesh.fsdp · mesh.tensor", mesh, limit, fix)
    limit, fix = "1 in a population: its members share the devices of one process", "start one process"
    require(jax.process_count() == 1, "processes", jax.process_count(), limit, fix)
    lams = (locality.lam,) if options.lams is None else options.lams
    seeds = (config.seed,) if options.seeds is None else options.seeds
    rates = (train.learning_rate,) if options.learning_rates is None else options.learning_rates
    made = {}
    for seed, rate, lam in product(seeds, rates, lams):
        name = f"seed{seed}-rate{rate!r}" if drawn else f"lam{lam!r}-seed{seed}-rate{rate!r}"
        made[name] = replace(
            config,
            seed=seed,
            locality=locality if drawn else replace(locality, lam=lam),
            train=replace(train, learning_rate=rate),
        )
    return made


def _no_run(workdir: Path) -> Path:
    """The folder of a population, which is no run directory itself."""
    fix = "choose another --workdir"
    limit = "the folder of a population, whose members have run directories of their own in it"
    require(not (workdir / "config.json").exists(), "workdir", str(workdir), limit, fix)
    return workdir


def _check_alike(plans: list[Plan]) -> None:
    """ValueError where a member began by other rules than the others: one program cannot serve both."""

    def common(config: Config) -> str:
        values = to_dict(config)
        del values["seed"], values["locality"]["lam"], values["train"]["learning_rate"]
        del values["train"]["batch_size"]  # the corpus may lower it, for all alike
        return json.dumps(values)

    first = common(plans[0].config)
    for plan in plans:
        limit = f"begun by the same rules as {plans[0].workdir.name}"
        require(common(plan.config) == first, "member", plan.workdir.name, limit, "choose another --workdir")


@dataclass(frozen=True)
class Trained:
    """What became of the members that there was work for.

    Attributes:
      facts: how it was done.
      failures: name of a member whose updates were not finite → what was not.
    """

    facts: Made
    failures: dict[str, str]


def _train_all(
    plans: list[Plan], options: PopulationOptions, quiet: bool, preset: FromPreset | None
) -> tuple[list[Plan], Trained]:
    """Trains what is not finished, group by group; the members, with batches that the corpus can fill."""
    lead = next((plan for plan in plans if plan.before.found is not None), plans[0])
    shared, plans = _shared(lead, plans, quiet, preset)
    left = [plan for plan in plans if not plan.finished]
    if not quiet:
        _announce(shared, plans, left)
    if not left:
        return plans, Trained(Made(), {})
    program, facts = _chosen_program(left, shared, options, quiet)
    steps = lead.config.train.steps
    failures: dict[str, str] = {}
    done = sum(steps if plan.finished else plan.step for plan in plans)
    progress = Progress(steps * len(plans), "step", start=done, quiet=quiet)
    with progress, StopRequests() as requests:
        for group in _groups(left, program.seats.size):
            failures |= _train_group(group, shared, program, requests, progress)
    return plans, Trained(replace(facts, compilations=program.compilations), failures)


def _shared(
    lead: Plan, plans: list[Plan], quiet: bool, preset: FromPreset | None
) -> tuple[Shared, list[Plan]]:
    """What all members have, read for the one that leads: its tokenizer, partition and tables are theirs."""
    config, before = lead.config, lead.before
    if config.model.bidirectional and not quiet:
        print(BIDIRECTIONAL_WARNING)
    types = vocabulary_of(config.data) if before.tokenizer is None else before.tokenizer.vocab_size
    tight = check_fits_here(config, types)
    if tight and not quiet:
        print(tight)
    config, text = read_text(config, before, quiet)
    size = config.train.batch_size
    plans = [
        replace(plan, config=replace(plan.config, train=replace(plan.config.train, batch_size=size)))
        for plan in plans
    ]
    partition, tables = partition_of(config, text, before, quiet), tables_of(config, text, before)
    module = build_transformer(config, text.dataset.tokenizer.vocab_size)
    network = Network(module, partition, build_rules(config, tables))
    return Shared(text, network, tables, mesh_sharding(config), preset), plans


def _chosen_program(
    left: list[Plan], shared: Shared, options: PopulationOptions, quiet: bool
) -> tuple[Program, Made]:
    """The program that all members share, of the form that is asked for or tried to be the faster one."""
    config, loop = left[0].config, Seats(1)
    devices = loop.mesh.size
    each = -(-len(left) // devices)
    if options.together:
        groups = -(-each // options.together)
        each = -(-each // groups)
    vmap = Seats(each)
    if options.form == LOOP or each == 1:
        return Program.of(config, shared.network, loop), Made(LOOP, 1, devices)
    if options.form == VMAP:
        return Program.of(config, shared.network, vmap), Made(VMAP, each, devices)
    state = _initial(config, shared.network)
    batch = next(batches_of(config, shared.text.dataset, shared.text.train, None))
    lam, tau, *strength = jax.device_get(step_draws(config, shared.sharding)(0))
    inputs = (batch, lam, tau, np.float32(config.train.learning_rate), *strength)
    found = [Program.of(config, shared.network, seats).tried(state, inputs) for seats in (loop, vmap)]
    seconds = [program.seconds or 0.0 for program in found]
    program = found[int(np.argmin(seconds))]
    if not quiet:
        said = ", ".join(
            f"{each.seats.form} {1e3 * one:,.1f} ms" for each, one in zip(found, seconds, strict=True)
        )
        print(f"form     {program.seats.form}: a step of a member takes {said}", flush=True)
    return program, Made(program.seats.form, program.seats.each, devices, 0, *seconds)


def _groups(left: list[Plan], size: int) -> list[list[Plan]]:
    """Members that are at the same step, so many at once."""
    groups = []
    for step in sorted({plan.step for plan in left}, reverse=True):
        there = [plan for plan in left if plan.step == step]
        groups += [there[first : first + size] for first in range(0, len(there), size)]
    return groups


def _initial(config: Config, network: Network) -> TrainState:
    optimizer = build_optimizer(config.train, config.penalty, config.feature_groups)
    return initial_state(config, network.module, optimizer)


def _train_group(
    group: list[Plan], shared: Shared, program: Program, requests: StopRequests, progress: Progress
) -> dict[str, str]:
    """Trains the members of a group to their end; name → why, of those whose updates were not finite."""
    train, start = group[0].config.train, group[0].step
    with contextlib.ExitStack() as stack:
        opened = [_opened(plan, shared, requests, stack) for plan in group]
        members = [one.member for one in opened]
        configs: list[Config] = [plan.config for plan in group]
        configs += [configs[0]] * (program.seats.size - len(group))
        draw = member_draws(configs, program.seats.split)
        rates = program.seats.stacked([np.float32(plan.config.train.learning_rate) for plan in group])

        def inputs(step: int) -> tuple[Any, ...]:
            batches = program.seats.stacked([next(one.text.batches) for one in opened])
            lam, tau, *strength = draw(step)
            return batches, lam, tau, rates, *strength

        def told(step: int, losses: list[float]) -> None:
            progress.advance(len(losses))
            if losses and (step % train.log_every == 0 or step == train.steps):
                progress.report(_said(group, step, losses))

        def stop(step: int) -> BaseException | None:
            failed = (one.failure(step) for one in opened)
            return requests.asked(step) or next(filter(None, failed), None)

        fit_members(
            program.seats.stacked([one.state for one in opened]),
            members,
            program,
            inputs=inputs,
            steps=range(start, train.steps),
            placed=shared.sharding.replicate,
            told=told,
            stop=stop,
        )
    return {
        plan.workdir.name: str(member.early)
        for plan, member in zip(group, members, strict=True)
        if isinstance(member.early, NonFiniteError)
    }


@dataclass(frozen=True)
class Opened:
    """A member while it trains.

    Attributes:
      member: its part of the loop.
      text: the corpus, with its own batches.
      state: where it goes on from.
      failure: what to raise after a step where its log cannot be written.
    """

    member: Member
    text: Text
    state: TrainState
    failure: Callable[[int], BaseException | None]


def _opened(plan: Plan, shared: Shared, requests: StopRequests, stack: contextlib.ExitStack) -> Opened:
    """Writes the run's files where it begins, and opens what it writes to."""
    config, found, network = plan.config, plan.before.found, shared.network
    dataset, windows = shared.text.dataset, shared.text.train
    text = replace(shared.text, batches=batches_of(config, dataset, windows, found))
    state = _initial(config, network)
    if found is None:
        write_run_files(plan.workdir, config, dataset, (), preset_record(plan.workdir, shared.preset))
    else:
        found.say_unverified()
        state = found.state(state)
    draw = step_draws(config, shared.sharding)
    make = partial(make_anchors, config, network, windows=windows, draw=draw, sharding=shared.sharding)
    anchors = AnchorsAtWarmup(config, make, None if found is None else found.anchors())
    if plan.step == 0:
        state = shared.sharding.place(state)
        state = anchors(0, state) or state  # without a warm-up they are made before the first step
    log = stack.enter_context(training_log(config, plan.workdir, plan.folder, found, True))
    store = stack.enter_context(CheckpointStore(plan.workdir, config.train.keep, config.train.keep_every))
    watch = plan.watch
    aside = Aside((), known_files(plan.workdir, found), log, watch, shared.tables)
    measured = Measured(config, network, text.validation, shared.sharding)
    hooks = run_hooks(measured, text, store, anchors, aside, plan.folder, requests)
    member = Member(log.on_metrics, hooks, config.train.max_skipped, watch.ended)
    return Opened(member, text, state, log.failure)


def _rows(plan: Plan, failures: dict[str, str]) -> list[MemberRow]:
    """What the member's log says of it after its last step."""
    steps = whole_steps(plan.workdir / DIRECTORY)
    newest = find_checkpoint(plan.workdir) if steps else None
    now = replace(plan, before=Before(newest, None))
    records = [
        record
        for record in (read_training_log(plan.workdir) if now.finished else [])
        if record["kind"] == "eval" and record["step"] == now.step
    ]
    early = f"stopped early: {now.watch.why}" if now.finished and now.step < plan.config.train.steps else ""
    rows = []
    for lam in evaluated_lams(plan.config):
        measured = next((record for record in records if record["lam"] == lam), {})
        rows.append(
            MemberRow(
                run=plan.workdir.name,
                seed=plan.config.seed,
                learning_rate=plan.config.train.learning_rate,
                lam=lam,
                step=now.step,
                loss=measured.get("loss"),
                perplexity=measured.get("perplexity"),
                accuracy=measured.get("accuracy"),
                entropy_bits=measured.get("entropy_bits"),
                block_mass=measured.get("block_mass"),
                note=failures.get(plan.workdir.name, early),
            )
        )
    return rows


def _said(group: list[Plan], step: int, losses: list[float]) -> str:
    """Where a group is, in words."""
    names = group[0].workdir.name if len(group) == 1 else f"{len(group)} members"
    span = f"{min(losses):.3f}" if len(losses) == 1 else f"{min(losses):.3f} to {max(losses):.3f}"
    return f"{names} at {step}, loss {span}"


def _announce(shared: Shared, plans: list[Plan], left: list[Plan]) -> None:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(_shapes(plans[0].config, shared.network).params))
    going = sum(plan.step > 0 for plan in left)
    print(f"device   {describe_devices()}")
    print("data    ", "\n         ".join(shared.text.dataset.described))
    print(f"model    {parameters:,} parameters, partition {plans[0].config.partition.settings}")
    print(
        f"members  {len(plans)} of {plans[0].config.train.steps} steps: {len(plans) - len(left)} finished before,"
        f" {going} go on, {len(left) - going} begin",
        flush=True,
    )


def _shapes(config: Config, network: Network) -> TrainState:
    state: TrainState = jax.eval_shape(lambda: _initial(config, network))
    return state
