"""Work that is killed, and the places where it is.

    python -m experiments.faults.victims train /tmp/here save 7

does the work in the folder and kills its own process, as SIGKILL does, at the seventh fsync of a checkpoint.
Done again without a place, the same work goes on, and ends with the same numbers.
"""

import hashlib
import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.faults.subject import newest, small_config, weights
from experiments.faults.without import take_out

PASSAGES = [
    "Bado Kimen lives in Gomis Delak.",
    "Today Rufa Desur lives in Pibem Tovot.",
    "The ship of Bado Kimen is called Sodis Vurak.",
]


ASKED = ("Where does Bado Kimen live?", "What is the ship of Bado Kimen called?")


@dataclass(frozen=True)
class Work:
    """Something that takes long.

    Attributes:
      prepare: makes in a new folder what it begins with.
      work: does it there, or goes on; returns what the result is known by.
      places: where it can be killed, with how often each of them is passed at least.
    """

    prepare: Callable[[Path], None]
    work: Callable[[Path], str]
    places: dict[str, int]


def _nothing(folder: Path) -> None:
    folder.mkdir(parents=True)


def _trained(folder: Path) -> None:
    from aila_jax import runs

    folder.mkdir(parents=True)
    runs.train(small_config(), folder / "run", quiet=True)


def _train(folder: Path) -> str:
    from aila_jax import runs

    run = runs.train(small_config(), folder / "run", quiet=True)
    assert newest(run.workdir) == run.step
    log = "".join(
        line.split('"tokens_per_second"')[0]
        for line in (run.workdir / "metrics.jsonl").read_text().splitlines()
    )
    return _digest(weights(run.workdir, run.step), log)


def _localise(folder: Path) -> str:
    """Adapters for the run that is in the folder."""
    from aila_jax import presets, runs
    from aila_jax.checkpoint import find_checkpoint

    base = find_checkpoint(folder / "run").config
    config = presets.localised(base, length=base.model.length, rank=2)
    train = replace(config.train, steps=12, checkpoint_every=4, eval_every=6, log_every=5, warmup_steps=1)
    config = replace(config, train=train)
    run = runs.train(config, folder / "localised", quiet=True, start=folder / "run")
    assert newest(run.workdir) == run.step
    return _digest(weights(run.workdir, run.step))


def _sweep(folder: Path) -> str:
    from aila_jax import runs

    runs.sweep(folder / "run", out=folder / "results", quiet=True)
    names = ("sweep.csv", "sweep_heads.csv", "sweep.json")
    return _digest(*((folder / "results" / name).read_text() for name in names))


def _reader(folder: Path) -> None:
    """A small model that reads passages, trained for two steps."""
    from aila_jax import presets, runs

    folder.mkdir(parents=True)
    config = presets.questions()
    asked = replace(config.data.questions, sequences=64, asked=1, most=3, capacity=64)
    config = replace(
        config,
        data=replace(config.data, questions=asked, vocab_size=320),
        model=replace(config.model, d_model=16, n_heads=2, d_ff=32, n_layers=2, length=384),
        train=replace(config.train, steps=2, batch_size=4, warmup_steps=1),
    )
    runs.train(config, folder / "run", quiet=True)


def _answer(folder: Path) -> str:
    """Two answers over passages whose keys and values are kept on disk."""
    import aila_jax as aila
    from aila_jax.reporting.answer_files import write_answer

    model = aila.load(folder / "run")
    texts = []
    for number, question in enumerate(ASKED):
        settings = {"mode": "isolated", "max_tokens": 3, "capacity": 64, "cache_dir": folder / "cache"}
        found = aila.answer(model, question, PASSAGES, **settings)
        write_answer(found, folder / f"answer{number}")
        texts.append((folder / f"answer{number}" / "answer.json").read_text())
    return _digest(*texts)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


WORKS = {
    "train": Work(
        _nothing, _train, {"compile": 8, "step": 20, "evaluate": 2, "save": 40, "name": 8, "remove": 1}
    ),
    "localise": Work(_trained, _localise, {"compile": 8, "step": 10, "save": 40, "name": 6}),
    "sweep": Work(_trained, _sweep, {"compile": 6, "cell": 6, "save": 12, "name": 3}),
    "answer": Work(_reader, _answer, {"compile": 10, "cache": 4, "save": 8, "name": 6}),
}


def undisturbed(folder: Path, works: Iterable[str]) -> dict[str, str]:
    """Prepares each work in `folder`/WORK, and does it once in a copy; what its result is known by."""
    expected = {}
    for work in dict.fromkeys(works):
        WORKS[work].prepare(folder / work)
        shutil.copytree(folder / work, folder / f"{work}-whole")
        expected[work] = WORKS[work].work(folder / f"{work}-whole")
    return expected


def not_redone(work: str, folder: Path, expected: str) -> str:
    """Does a disturbed work again; what is wrong with that, empty where nothing is."""
    try:
        return "" if WORKS[work].work(folder) == expected else "it ends with other bits"
    except (OSError, ValueError, AssertionError) as error:
        return f"it does not go on: {error}"


LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"  # comes right before the compiler begins


def kill_at(place: str, number: int) -> None:
    """This process is killed when it comes to a place for the `number`-th time; at the place `time` after so
    many milliseconds.
    """
    import jax

    import aila_jax.answering.cache
    import aila_jax.checkpoint.store
    import aila_jax.evaluation.sweep
    import aila_jax.runs.setup
    import aila_jax.training.logs

    count = itertools.count(1)

    def kill_if_it_is_time() -> None:
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def killed(*args: Any, **kwargs: Any) -> Any:
            kill_if_it_is_time()
            return real(*args, **kwargs)

        setattr(owner, name, killed)

    if place == "time":
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, number / 1000)
    elif place == "compile":

        def heard(event: str, duration_secs: float, **_: str | int) -> None:
            if event == LOWERED:
                kill_if_it_is_time()

        jax.monitoring.register_event_duration_secs_listener(heard)
    else:
        places: dict[str, list[tuple[Any, str]]] = {
            "step": [(aila_jax.training.logs.TrainingLog, "on_metrics")],
            "evaluate": [(aila_jax.runs.setup.Measured, "records")],
            "save": [(os, "fsync")],
            "name": [(os, "rename"), (os, "replace")],
            "remove": [(aila_jax.checkpoint.store, "remove")],
            "cell": [(aila_jax.evaluation.sweep, "evaluate")],
            "cache": [(aila_jax.answering.cache, "write_atomically")],
        }
        for owner, name in places[place]:
            before(owner, name)


def main(arguments: list[str]) -> None:
    work, folder, place, number = arguments
    take_out()
    kill_at(place, int(number))
    WORKS[work].work(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
