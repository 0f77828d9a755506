"""The rules of the house, read from the source: who takes which settings, who imports whom, and how much fits
on a line (CONTRIBUTING.md).
"""

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path

import pytest

import aila_jax
from aila_jax import runs

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("aila_jax", "launch", "experiments")
MAX_PARAMETERS, MAX_COLUMNS = 8, 110

# `**`: what goes through it is no setting that a function could name.
UNPACKED = {
    "aila_jax/checkpoint/found.py:Checkpoint.anchors": "arrays and numbers of a record",
    "aila_jax/checkpoint/found.py:Checkpoint.state": "arrays of a record",
    "aila_jax/checkpoint/manifest.py:read_manifest": "JSON becomes a dataclass",
    "aila_jax/checkpoint/record.py:read_record": "JSON becomes a dataclass",
    "aila_jax/cli/options.py:read_options": "flags become the options that they were made from",
    "aila_jax/config/relation.py:relation_of": "a line of settings becomes a dataclass",
    "aila_jax/config/serialize.py:from_dict": "JSON becomes a dataclass",
    "aila_jax/data/cache.py:_write": "NumPy takes arrays by name",
    "aila_jax/data/pydocs.py:Pydocs.__init__": "TensorFlow Datasets' own arguments",
    "aila_jax/data/tfds_builders.py:_from_class": "TensorFlow Datasets' own arguments",
    "aila_jax/data/tfds_builders.py:_offline.split_generators": "TensorFlow Datasets' own arguments",
    "aila_jax/data/wikitext2.py:Wikitext2.__init__": "TensorFlow Datasets' own arguments",
    "aila_jax/exporting/programs/with_dial.py:Dialled._attend": "what transformers passes to attention",
    "aila_jax/inference/attention_maps.py:save_maps": "NumPy takes arrays by name",
    "aila_jax/model/scanned.py:_all_but_weights": "what jax.checkpoint passes to a policy",
    "aila_jax/partition/match.py:match_n_in.measure": "the one setting that is searched is named by the kind",
    "aila_jax/partition/statistics.py:BlockSums.__add__": "sums of its fields, each by name",
    "aila_jax/reporting/plots.py:dial_figure": "a line's style, by Matplotlib's names",
    "aila_jax/reporting/plots.py:tradeoff_figure": "a line's style, by Matplotlib's names",
    "aila_jax/reporting/plots_influence.py:influence_figure": "a line's style, by Matplotlib's names",
    "aila_jax/evaluation/influence_rows.py:_head_rows": "a record that adds to another's fields",
    "aila_jax/evaluation/influence_rows.py:_row": "a record that adds to another's fields",
    "aila_jax/evaluation/influence_rows.py:influence_result": "a record that adds to another's fields",
    "aila_jax/evaluation/sweep_rows.py:cell_row": "a record that adds to another's fields",
    "aila_jax/evaluation/sweep_rows.py:head_rows": "a record that adds to another's fields",
    "aila_jax/evaluation/origin.py:Record.from_json": "JSON becomes a dataclass",
    "aila_jax/evaluation/origin.py:_built": "JSON becomes a dataclass",
    "aila_jax/evaluation/sweep.py:sweep_grid": "a record that adds to another's fields",
    "aila_jax/reporting/tables.py:row_from": "JSON becomes a dataclass",
    "aila_jax/thresholds/measure.py:measure": "a record that adds to another's fields",
    "aila_jax/training/logs.py:_step_from_json": "JSON becomes a dataclass",
    "aila_jax/training/proximal.py:proximal_adamw.update": "Optax's extra arguments",
    "experiments/ablations/report.py:ablation_figure": "a line's style, by Matplotlib's names",
    "experiments/faults/cuts.py:_saves_said.said": "what `CheckpointStore.save` takes",
    "experiments/faults/inputs.py:_Makers.calls": "arguments that are drawn",
    "experiments/faults/inputs.py:_Makers.grids": "arguments that are drawn",
    "experiments/faults/inputs.py:_Makers.options": "arguments that are drawn",
    "experiments/faults/nonfinite.py:_spoiled_optimizer.update": "what Optax passes on",
    "experiments/faults/writes.py:failing.failing_call.fails": "what the function takes that fails",
    "experiments/faults/power.py:recorded.watched.call": "what functions of `os` take",
    "experiments/faults/subject.py:small_config": "settings of training, over usual ones",
    "experiments/faults/victims.py:_answer": "settings of `answer`, for two calls",
    "experiments/faults/victims.py:kill_at.before.killed": "what the function takes that is killed",
    "experiments/faults/victims.py:kill_at.heard": "what JAX tells its listeners",
    "experiments/leak/report.py:_points": "a line's style, by Matplotlib's names",
    "experiments/leak/report.py:leak_figure": "a line's style, by Matplotlib's names",
}
# Files that read or write JSON, or what is shaped like it: the one place for dict[str, Any].
JSON = {
    "aila_jax/reporting/answer_files.py": "answer.json",
    "aila_jax/reporting/answer_page.py": "the data of answer.html",
    "aila_jax/reporting/reach_files.py": "reach.json",
    "experiments/answers/runs.py": "a result file",
    "experiments/faults/commands.py": "settings, as files hold them",
    "experiments/faults/inputs.py": "arguments that are drawn",
    "experiments/faults/nonfinite.py": "what Orbax gives: trees of arrays by name",
    "experiments/faults/report.py": "a result file",
    "experiments/faults/subject.py": "settings by name, as JAX has them",
    "experiments/frontier/measure.py": "a result file",
    "experiments/smollm2/measure.py": "a result file",
    "experiments/leak/report.py": "Matplotlib's styles",
    "aila_jax/checkpoint/arrays.py": "what Orbax takes and gives: trees of arrays by name",
    "aila_jax/checkpoint/found.py": "what Orbax takes and gives: trees of arrays by name",
    "aila_jax/checkpoint/lineage.py": "`meta` of a checkpoint's record",
    "aila_jax/checkpoint/manifest.py": "manifest.json",
    "aila_jax/checkpoint/record.py": "a checkpoint's record",
    "aila_jax/checkpoint/run_files.py": "`meta` of a checkpoint's record",
    "aila_jax/checkpoint/store.py": "what Orbax takes and gives: trees of arrays by name",
    "aila_jax/cli/config_flag.py": "settings as a file gives them, before they are checked",
    "aila_jax/config/partition.py": "a partition's settings, as result files hold them",
    "aila_jax/data/questions/json_lines.py": "a record of JSON lines",
    "aila_jax/config/relation.py": "a relation's settings, as result files hold them",
    "aila_jax/config/serialize.py": "settings as files hold them",
    "aila_jax/exporting/dial.py": "dial.json",
    "aila_jax/exporting/export.py": "dial.json, adapter_config.json, and `meta`",
    "aila_jax/exporting/peft.py": "adapter_config.json",
    "aila_jax/exporting/programs/with_dial.py": "dial.json",
    "aila_jax/json_files.py": "JSON itself",
    "aila_jax/pretrained/families/gpt2.py": "config.json",
    "aila_jax/pretrained/families/llama.py": "config.json",
    "aila_jax/pretrained/families/neox.py": "config.json",
    "aila_jax/pretrained/gguf_file.py": "metadata of a GGUF file",
    "aila_jax/pretrained/gguf_settings.py": "metadata of a GGUF file, as config.json",
    "aila_jax/pretrained/gguf_tokenizer.py": "tokenizer.json",
    "aila_jax/pretrained/loading.py": "a tree of parameters, and `meta`",
    "aila_jax/pretrained/settings.py": "config.json",
    "aila_jax/pretrained/writing.py": "config.json",
    "aila_jax/data/text_lists.py": "records of JSON lines",
    "aila_jax/inference/scores.py": "lines of scores.jsonl",
    "aila_jax/data/pipeline.py": "Grain's state of an iterator",
    "aila_jax/data/tokenizer_file.py": "tokenizer.json",
    "aila_jax/data/prepared.py": "TensorFlow Datasets' interface",
    "aila_jax/diagnosis/files.py": "diagnosis.json",
    "aila_jax/evaluation/blocks.py": "`meta` of blocks.json",
    "aila_jax/columns.py": "rows as JSON has them",
    "aila_jax/evaluation/origin.py": "`meta` of result files",
    "aila_jax/reporting/tables.py": "rows as JSON has them",
    "aila_jax/reporting/influence_files.py": "influence.json",
    "aila_jax/inference/language_model.py": "`meta` of a checkpoint's record",
    "aila_jax/presets.py": "settings for a ConfigDict",
    "aila_jax/reporting/block_files.py": "blocks.json",
    "aila_jax/reporting/certificate_files.py": "certificate.json",
    "aila_jax/reporting/html.py": "data of the page",
    "aila_jax/reporting/html_tables.py": "data of the page",
    "aila_jax/reporting/page_data.py": "data of the page",
    "aila_jax/reporting/pages.py": "data of the page",
    "aila_jax/reporting/plots.py": "Matplotlib's styles",
    "aila_jax/reporting/plots_training.py": "records of metrics.jsonl",
    "aila_jax/reporting/records.py": "sweep.json",
    "aila_jax/reporting/samples.py": "samples.json",
    "aila_jax/reporting/results.py": "`config` and `meta` of result files",
    "aila_jax/reporting/training_log.py": "records of metrics.jsonl",
    "aila_jax/runs/_attention.py": "records of metrics.jsonl",
    "aila_jax/runs/_reading.py": "samples.json",
    "aila_jax/runs/_report.py": "samples.json",
    "aila_jax/runs/page.py": "samples.json",
    "aila_jax/runs/setup.py": "a record of metrics.jsonl",
    "aila_jax/runs/workdir.py": "config.json",
    "aila_jax/thresholds/rows.py": "threshold.json",
    "aila_jax/training/logs.py": "records of metrics.jsonl",
    "experiments/kept.py": "parts of a measurement, as their file has them",
    "experiments/results.py": "result files of rows",
    "experiments/one_checkpoint/curves.py": "settings of result files",
    "experiments/one_checkpoint/recipe.py": "changes to settings, as files hold them",
}


@cache
def sources() -> dict[str, ast.Module]:
    """Each file's tree, by its path from the root."""
    found = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in found}


def functions(
    tree: ast.AST, inside: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its dotted name within its file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{inside}{node.name}", node
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from functions(node, f"{inside}{node.name}." if named else inside)


def check(found: set[str], allowed: Set[str] = frozenset()) -> None:
    """What breaks a rule is what is allowed to, no more and no less."""
    assert not found - allowed, f"breaks the rule: {sorted(found - allowed)}"
    assert not allowed - found, f"needs no exception now: {sorted(allowed - found)}"


def test_settings_are_named_where_they_are_passed() -> None:
    """No `**settings`, taken or given."""
    found = set()
    for path, tree in sources().items():
        for name, function in functions(tree):
            if function.args.kwarg:
                found.add(f"{path}:{name}")
            for call in own_calls(function):
                if any(keyword.arg is None for keyword in call.keywords):
                    found.add(f"{path}:{name}")
    check(found, UNPACKED.keys())


def own_calls(function: ast.AST) -> Iterator[ast.Call]:
    """The calls of a function, without those of functions inside it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Call):
            yield node
        yield from own_calls(node)


def called_by_users(path: str, name: str) -> bool:
    """Whether it is `aila.NAME`, or a method of a class of that name."""
    home = aila_jax._HOME.get(name.partition(".")[0])
    return bool(home) and f"{module_of(path)}.".startswith(f"{home}.")


def test_a_function_that_no_user_calls_has_at_most_eight_parameters() -> None:
    found = set()
    for path, tree in sources().items():
        for name, function in functions(tree):
            arguments = function.args
            names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            many = len([one for one in names if one.arg not in ("self", "cls")]) > MAX_PARAMETERS
            if many and not called_by_users(path, name):
                found.add(f"{path}:{name}")
    check(found)


def test_names_of_runs_are_loaded_from_where_types_are_read() -> None:
    tree = sources()["aila_jax/runs/__init__.py"]
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == runs._HOME
    assert all(
        getattr(runs, name) is getattr(importlib.import_module(home), name) for name, home in typed.items()
    )


LATER = ("matplotlib", "scipy", "orbax", "tensorboardX", "gguf", "grain", "tensorflow_datasets")


def test_who_loads_trains_or_sweeps_does_not_wait_for_what_comes_later() -> None:
    program = (
        f"import sys; from aila_jax import load, train, sweep; print(*({set(LATER)} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.stdout.split() == []


def imports(tree: ast.Module) -> Iterator[str]:
    """Modules that are imported when a file is: not inside functions, nor for types alone."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def graph() -> dict[str, set[str]]:
    """Who imports whom, among the project's modules."""
    modules = {module_of(path): tree for path, tree in sources().items()}
    return {
        name: {other for other in imports(tree) if other in modules and other != name}
        for name, tree in modules.items()
    }


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def circles(edges: dict[str, set[str]]) -> set[str]:
    """Groups that reach each other, each as "a, b, c" (Tarjan's strongly connected components)."""
    reach = {start: reached(start, edges) for start in edges}
    groups = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in edges if a in reach[a]}
    return {", ".join(sorted(group)) for group in groups}


def reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    """Everything at the end of a way of one import or more."""
    seen: set[str] = set()
    open_ends = [start]
    while open_ends:
        fresh = edges.get(open_ends.pop(), set()) - seen
        seen |= fresh
        open_ends.extend(fresh)
    return seen


def test_no_modules_import_each_other() -> None:
    check(circles(graph()))


def test_no_folders_import_each_other() -> None:
    """Folders of the package, files at its top alone; `__init__` of the package loads nothing of itself."""

    def folder(module: str) -> str:
        return ".".join(module.split(".")[:2])

    edges: dict[str, set[str]] = {}
    for module, others in graph().items():
        if module.startswith("aila_jax."):
            here = edges.setdefault(folder(module), set())
            here |= {folder(other) for other in others if other != "aila_jax"} - {folder(module)}
    check(circles(edges))


def test_loose_dictionaries_are_json() -> None:
    """`dict[str, Any]` and `Mapping[str, Any]` hold what a file has, and no settings on their way."""
    found = {
        path
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and re.fullmatch(r"(dict|Mapping)\[str, (typing\.)?Any\]", ast.unparse(node))
    }
    check(found, JSON.keys())
    aliases = {
        f"{path}:{ast.unparse(node)}"
        for path, tree in sources().items()
        for node in tree.body
        if isinstance(node, ast.Assign) and re.search(r"= (dict|Mapping)\[str, Any\]", ast.unparse(node))
    }
    assert not aliases


def documented() -> Iterator[tuple[str, str]]:
    """Every docstring, with the file and name that it stands at."""
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node, clean=False)
                if text:
                    yield f"{path}:{getattr(node, 'name', '')}", text


def test_lines_of_docstrings_fit() -> None:
    """The opening quotes are not counted here: ruff counts whole lines of code."""
    found = {place for place, text in documented() if max(map(len, text.splitlines())) > MAX_COLUMNS}
    check(found)


def test_fields_are_documented_one_a_line() -> None:
    """`Args:` and `Attributes:`: no "start, end: …", which no documentation tool can render."""
    found = {place for place, text in documented() for _ in shared_fields(text)}
    check(found)


def shared_fields(text: str) -> Iterator[str]:
    """Entries for more than one field."""
    inside, depth = False, None
    for line in text.splitlines():
        if re.fullmatch(r" *(Args|Attributes):", line):
            inside, depth = True, len(line) - len(line.lstrip()) + 2
        elif inside and line.strip() and len(line) - len(line.lstrip()) < (depth or 0):
            inside = False
        elif inside and re.match(rf" {{{depth}}}\w+(, \w+)+:", line):
            yield line


@pytest.mark.parametrize(("text", "shared"), [
    ("Args:\n  a: one.\n  b, c: two.\nReturns: d, e: no.", ["  b, c: two."]),
    ("Args:\n  a: one,\n    b, c: more of it.\n", []),
])  # fmt: skip
def test_a_shared_field_is_found(text: str, shared: list[str]) -> None:
    assert list(shared_fields(text)) == shared


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {"a, b, c"}
