"""Does another version of the code give the same numbers, bit for bit?

    python -m benchmarks.same_numbers --old=REVISION --new=REVISION

Checks both revisions out, runs the same commands in each on this machine (training of fixed seeds over the
kinds of blocks, margins, penalties and heads; sweeps, certificates, influence, thresholds, diagnosis,
pictures, generation), and compares every number they leave: the arrays of each checkpoint, and each number of
each result file. Prints what differs; exit 1 if anything does. Commands are of the public command line alone,
so that the structure underneath may change. `--only` takes a part.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TIMES = {"tokens_per_second", "seconds"}
PLACES = {"commit", "versions", "device"}
RENAMED = {"teach": "distill"}  # settings that the older version has by another name
MODEL = (
    "--config.model.length=16 --config.model.d_model=16 --config.model.n_heads=2 --config.model.d_ff=32"
    " --config.data.corpus=text --config.data.files=train.txt --config.data.valid_files=valid.txt"
    " --config.data.test_files=test.txt --config.data.vocab_size=300 --config.data.cache_dir=cache"
    " --config.train.steps=24 --config.train.batch_size=8 --config.train.warmup_steps=4"
    " --config.train.log_every=5 --config.train.eval_every=12 --config.train.checkpoint_every=12"
    " --config.train.eval_batches=2 --config.sweep.lams=(0,0.5,1) --config.sweep.taus=(0.5,1.0)"
    " --config.sweep.batch_size=8"
)
RUNS = {
    "certified": "--config=certified",
    "tiny": "--config=tiny --config.model.dropout=0.1 --config.train.accumulate=2",
    "small": "--config=small --config.seed=3",
    "self_scaling": "--config=small --config.model.margin.form=self_scaling --config.model.dtype=bfloat16",
    "hard": "--config=small --config.model.hard=true --config.locality.mode=fixed --config.locality.lam=1",
    "proximal": (
        "--config=small --config.penalty.solver=proximal --config.penalty.eta=1e-2"
        " --config.model.localist=true"
    ),
    "anchors": (
        "--config=small --config.anchors.estimator=attention --config.anchors.k=2"
        " --config.penalty.solver=subgradient --config.penalty.eta=1e-3 --config.penalty.weights=anchors"
    ),
    "segments": (
        "--config=certified_windows5 --config.partition.kind=segments --config.partition.unit=sentence"
        " --config.model.document_mask=true"
    ),
    "learned": "--config=certified_windows5 --config.partition.kind=learned_segments --config.partition.mean_length=4",
    "classes": (
        "--config=certified_windows5 --config.partition.kind=induced_classes --config.partition.classes=6"
        " --config.train.parallel=pmap"
    ),
    "given": "--config=certified_windows5 --config.partition.kind=given",
    "curriculum": (
        "--config=small --config.locality.mode=curriculum --config.model.qk_norm=true"
        " --config.train.loss_chunk=64"
    ),
}
READINGS = {
    "sweep": "sweep --checkpoint={run} --delta --out={run}/read",
    "test": "sweep --checkpoint={run} --split=test --lams=1 --out={run}/read/test --max_batches=2",
    "influence": "influence --checkpoint={run} --positions=8 --draws=2 --without_attention --out={run}/read",
    "certify": "certify --checkpoint={run} --out={run}/read",
    "empirical": "certify --checkpoint={run} --bound=empirical --out={run}/read/empirical",
    "blocks": "blocks --checkpoint={run} --out={run}/read",
    "generate": "generate --checkpoint={run} --prompt=the --lam=1 --max_tokens=8",
    "evaluate": "evaluate --checkpoint={run} --lam=1",
    "diagnose": "diagnose --checkpoint={run} --out={run}/read",
}
EXTRA = {
    ("proximal", "threshold"): "threshold --checkpoint={run} --gradients=2 --at_zero=1 --out={run}/read",
    ("anchors", "anchors"): "anchors --checkpoint={run} --out={run}/read",
    ("tiny", "window"): "sweep --checkpoint={run} --window=3 --out={run}/read/window3",
    ("tiny", "text"): "certify --checkpoint={run} --text='the cat saw' --out={run}/read/text",
}


def checkout(revision: str, folder: Path) -> Path:
    """The files of a revision in a folder of its own."""
    root = Path(__file__).resolve().parents[1]
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", revision], cwd=root, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def work(code: Path, folder: Path, names: list[str]) -> dict[str, str]:
    """Runs every command in `folder` with the code of `code`; what each prints, and what each run's arrays
    hash to.
    """
    golden = Path(__file__).resolve().parents[1] / "tests" / "runs" / "golden"
    folder.mkdir()
    for name in ("train.txt", "valid.txt", "test.txt"):
        shutil.copy(golden / name, folder)
    found: dict[str, str] = {}

    def aila(label: str, arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(code), "JAX_PLATFORMS": "cpu"}
        command = f"{sys.executable} -m aila_jax.cli.main {arguments}"
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        found[f"printed/{label}"] = f"exit {done.returncode}\n{done.stdout}" + (
            done.stderr[-500:] if done.returncode else ""
        )
        print(f"  {label}: exit {done.returncode}", flush=True)

    for name in names:
        aila(f"{name}/train", f"train {RUNS[name]} {quoted(MODEL)} --workdir={name}")
        for label, command in READINGS.items():
            aila(f"{name}/{label}", command.format(run=name))
        for (run, label), command in EXTRA.items():
            if run == name:
                aila(f"{name}/{label}", command.format(run=name))
    hashed = subprocess.run(
        [sys.executable, "-c", ARRAYS, *names],
        cwd=folder,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    found.update({f"arrays/{line.split()[0]}": line for line in hashed.stdout.splitlines()})
    assert hashed.returncode == 0, hashed.stderr
    return found | numbers(folder)


def quoted(arguments: str) -> str:
    """Arguments for a shell, each in quotes."""
    return " ".join(f"'{part}'" for part in arguments.split())


# Reads arrays with Orbax alone, so that no code of either version decides what is compared.
ARRAYS = """
import hashlib, pathlib, sys
import jax, numpy as np, orbax.checkpoint as ocp
for name in sys.argv[1:]:
    for step in sorted((pathlib.Path(name) / "checkpoints").iterdir()):
        if not step.name.isdigit():
            continue
        for item in ("params", "state", "anchors", "partition"):
            if not (step / item).is_dir():
                continue
            tree = ocp.StandardCheckpointer().restore((step / item).resolve())
            if item == "params":  # the mark of format 2, which is no number of a run
                tree.pop("aila_checkpoint", None)
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                text = hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()
                print(f"{name}/{step.name}/{item}/{jax.tree_util.keystr(path, simple=True, separator='/')}", text)
"""


def numbers(folder: Path) -> dict[str, str]:
    """Each result file's content: JSON without what names the moment, CSV and Markdown as they are, pictures
    by hash.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "checkpoints/" in name or name.startswith("cache") or path.name.startswith("events."):
            continue
        if path.suffix == ".json":
            found[name] = json.dumps(timeless(json.loads(path.read_text(encoding="utf-8"))), sort_keys=True)
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            found[name] = "\n".join(json.dumps(timeless(json.loads(line)), sort_keys=True) for line in lines)
        elif path.suffix in (".csv", ".md", ".txt"):
            found[name] = path.read_text(encoding="utf-8")
        elif path.suffix == ".png":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def timeless(value: object) -> object:
    """Without the commit, versions and speeds, and with today's names of settings."""
    if isinstance(value, dict):
        return {
            RENAMED.get(key, key): timeless(entry)
            for key, entry in value.items()
            if key not in TIMES | PLACES
        }
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", required=True)
    parser.add_argument("--only", nargs="*", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--keep", help="a folder for both versions' files; temporary by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(given.keep or temporary).resolve()
        sides = {}
        for side in ("old", "new"):
            print(f"{side}: {getattr(given, side)}", flush=True)
            stored = base / f"{side}.json"
            if stored.is_file():
                sides[side] = json.loads(stored.read_text(encoding="utf-8"))
                continue
            sides[side] = work(
                checkout(getattr(given, side), base / side / "code"), base / side / "work", given.only
            )
            stored.write_text(json.dumps(sides[side]), encoding="utf-8")
    old, new = sides["old"], sides["new"]
    differing = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    for name in differing:
        print(
            f"\nDIFFERS {name}\n  old: {old.get(name, 'absent')[:600]}\n  new:"
            f" {new.get(name, 'absent')[:600]}"
        )
    arrays = sum(name.startswith("arrays/") for name in old)
    failed = sum(not text.startswith("exit 0") for name, text in new.items() if name.startswith("printed/"))
    print(
        f"\n{len(old)} things compared, {arrays} of them arrays of checkpoints: {len(differing)} differ;"
        f" {failed} command(s) failed in the new one"
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
