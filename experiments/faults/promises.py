"""The promises of docs/reliability.md, and what tells whether each is kept."""

import shlex
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.faults.apart import ROOT, environment
from experiments.faults.power import FORMS


@dataclass(frozen=True)
class Scale:
    """How much is injected.

    Attributes:
      kills: processes that are killed.
      cuts: forms of a disk after a power cut.
      resumed: disks that a run goes on from.
      writes: failures of each call of each work.
      values: values of a JSON file that are changed at most.
      inputs: cases that are given.
      lines: commands that are called.
      soak: seconds.
      marks: of the tests that a promise stands on, as pytest takes them.
    """

    kills: int
    cuts: tuple[str, ...]
    resumed: int
    writes: int
    values: int
    inputs: int
    lines: int
    soak: float
    marks: str


SCALES = {
    "small": Scale(
        kills=15,
        cuts=FORMS[:1],
        resumed=1,
        writes=1,
        values=5,
        inputs=200,
        lines=13,
        soak=120.0,
        marks="not slow and not gpu and not external",
    ),
    "whole": Scale(
        kills=300,
        cuts=FORMS,
        resumed=10,
        writes=4,
        values=10**6,
        inputs=10_000,
        lines=300,
        soak=1800.0,
        marks="not gpu and not external",
    ),
}


@dataclass(frozen=True)
class Kept:
    """What became of a promise.

    Attributes:
      promise: its name.
      injected: what was done, in words.
      cases: how often.
      kept: of them, those after which all was as promised.
      broken: those after which it was not, a line each; ten at most.
      skipped: those that this machine could not try.
      seconds: that it took.
    """

    promise: str
    injected: str
    cases: int
    kept: int
    broken: tuple[str, ...]
    skipped: int
    seconds: float


Found = tuple[str, int, list[str], int]  # what was done, cases, what broke, skipped


def _kills(folder: Path, scale: Scale) -> Found:
    from experiments.faults.kills import drawn, killed

    kills = killed(folder, drawn(scale.kills, seed=0))
    reached = [one for one in kills if one.killed]
    wrong = [f"{one.work} killed at {one.place} {one.number}: {one.wrong}" for one in kills if one.wrong]
    works = ", ".join(dict.fromkeys(one.work for one in kills))
    return (
        f"SIGKILL while compiling, stepping, evaluating, saving, caching, at any time: {works}",
        len(reached),
        wrong,
        0,
    )


def _cuts(folder: Path, scale: Scale) -> Found:
    from experiments.faults.cuts import cut_training
    from experiments.faults.subject import small_config

    cuts = cut_training(folder / "run", small_config(), scale.resumed, scale.cuts)
    said = f"power cut before each of {cuts.moments} calls, as {len(scale.cuts)} extremes; {cuts.resumed} gone on from"
    return said, cuts.disks, cuts.broken, 0


def _damage(folder: Path, scale: Scale) -> Found:
    import contextlib
    import io

    from aila_jax import runs
    from experiments.faults.damage import damaged_files, damaged_values
    from experiments.faults.subject import small_config

    run = runs.train(small_config(), folder / "run", quiet=True).workdir
    runs.sweep(run, quiet=True)
    with contextlib.redirect_stderr(io.StringIO()):
        files = damaged_files(run, folder / "files")
        values = damaged_values(run, folder / "values", scale.values)
    said = (
        f"every file flipped, cut, zeroed, deleted ({files.tried}); values of its JSON changed ({values.tried});"
        f" {files.survived} times an older checkpoint went on"
    )
    return said, files.tried + values.tried, [*files.missed, *files.lost, *values.missed], 0


def _writes(folder: Path, scale: Scale) -> Found:
    from experiments.faults.writes import SOON, every_write, failed_writes

    found = failed_writes(folder, every_write(scale.writes))
    wrong = [f"{one.work}, {one.call} {one.number}, {one.error}: {one.wrong}" for one in found if one.wrong]
    slowest = max(one.seconds for one in found)
    return (
        f"ENOSPC, EDQUOT, EROFS, EIO, ESTALE at each call that writes; told within {slowest:.1f} s (limit {SOON:g})",
        len(found),
        wrong,
        0,
    )


def _not_finite(folder: Path, scale: Scale) -> Found:
    from experiments.faults.nonfinite import PLACES, VALUES, spoiled_runs

    found = spoiled_runs(folder, VALUES[: scale.writes])
    wrong = [f"{one.place} {one.value}, often: {one.often}: {one.wrong}" for one in found if one.wrong]
    values = ", ".join(f"{one:g}" for one in VALUES[: scale.writes])
    return f"{values} in {', '.join(PLACES)}: in one update, and in all", len(found), wrong, 0


def _inputs(folder: Path, scale: Scale) -> Found:
    from aila_jax import runs
    from experiments.faults.commands import drawn_lines, given_lines
    from experiments.faults.inputs import given
    from experiments.faults.subject import small_config

    run = runs.train(small_config(), folder / "run", quiet=True).workdir
    runs.sweep(run, quiet=True)
    found = given(run, folder / "files", scale.inputs, seed=0)
    said = given_lines(run, folder / "lines", drawn_lines(scale.lines, seed=0))
    share = f"{found.computed:.0%} of them computed"
    wrong = [f"aila {' '.join(one.line)}: {one.wrong}" for one in said if one.wrong]
    return (
        f"options, settings, calls, grids, prompts and corpora, drawn ({found.cases}; {share}); command lines ({len(said)},"
        f" of which {sum(one.code == 0 for one in said)} did their work)",
        found.cases + len(said),
        found.wrong + wrong,
        0,
    )


def _soak(folder: Path, scale: Scale) -> Found:
    from experiments.faults.soak import growth, more, slowing, soak

    samples = soak(folder, scale.soak)
    grown, slower = growth(samples), slowing(samples)
    wrong = [f"memory grew by {grown:.1%}"] if grown > 0.01 else []
    for what in ("files", "threads"):
        counts = [getattr(one, what) for one in samples]
        wrong += [f"more {what} than before: {sorted(set(counts))}"] if more(counts) else []
    tenths = [samples[index * (len(samples) - 1) // 10].resident / 2**20 for index in range(11)]
    last = samples[-1]
    said = (
        f"{last.seconds / 60:.0f} minutes, {last.step:,} steps, {len(samples)} times saved, swept and asked:"
        f" memory {grown:+.1%} (MiB by tenths: {', '.join(f'{one:.0f}' for one in tenths)}), {last.files} files,"
        f" {last.threads} threads, speed {slower:.2f} of the beginning's"
    )
    return said, len(samples), wrong, 0


NAMED: list[str] = []  # the tests that promises stand on


def _tests(*chosen: str) -> Callable[[Path, Scale], Found]:
    """A promise that tests keep: files, or parts of them by `-k`."""

    NAMED.extend(one for one in chosen if one.startswith("tests/"))

    def run(folder: Path, scale: Scale) -> Found:
        folder.mkdir(parents=True)
        report = folder / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            scale.marks,
            *chosen,
        ]
        command += [f"--junitxml={report}", "-p", "no:cacheprovider", "-p", "experiments.faults.without"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment(),
        )
        if not report.is_file():
            raise ChildProcessError(
                f"{shlex.join(command)} ended with {done.returncode} and no report: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        cases = list(ElementTree.parse(report).iter("testcase"))
        broken = [
            f"{case.get('classname')}.{case.get('name')}"
            for case in cases
            if case.find("failure") is not None or case.find("error") is not None
        ]
        skipped = sum(case.find("skipped") is not None for case in cases)
        return (
            " ".join(one for one in chosen if one.startswith("tests/")),
            len(cases) - skipped,
            broken,
            skipped,
        )

    return run


PROMISES: dict[str, Callable[[Path, Scale], Found]] = {
    "SIGKILL loses and tears nothing": _kills,
    "a power cut loses nothing committed": _cuts,
    "damage is found, named, survived": _damage,
    "failed writes are loud": _writes,
    "non-finite numbers reach no checkpoint": _not_finite,
    "sweeps and studies resume": _tests("tests/runs/sweep_kept_test.py", "tests/experiments/kept_test.py"),
    "other devices, other processes": _tests(
        "tests/runs/mesh_test.py", "tests/processes", "tests/runs/processes_test.py"
    ),
    "old runs load for ever": _tests(
        "tests/runs/golden_test.py", "tests/runs/golden_kinds_test.py", "tests/runs/old_rules_test.py"
    ),
    "strangers' files are only data": _tests("tests/strangers_test.py"),
    "every input is refused or served": _inputs,
    "retention": _tests("tests/checkpoint/store_test.py", "tests/runs/best_test.py"),
    "no slow leak": _soak,
    "two on one directory": _tests("tests/runs/lease_test.py"),
}


def tried(promise: str, scale: Scale) -> Kept:
    """Injects what a promise is about."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aila-faults-") as folder:
        said, cases, broken, skipped = PROMISES[promise](Path(folder) / "here", scale)
    return Kept(
        promise,
        said,
        cases,
        cases - len(broken),
        tuple(broken[:10]),
        skipped,
        round(time.monotonic() - began, 1),
    )
