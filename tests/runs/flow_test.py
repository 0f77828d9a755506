"""`aila certify --flow`: what it prints and writes, of every input, a text, a continuation and a split."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aila_jax import runs
from aila_jax.config import MarginConfig, RelationConfig
from aila_jax.config.options import CertifyOptions
from aila_jax.runs.opened import OpenedRun
from tests.support.tiny import Trained

PLAIN = RelationConfig()


def read(folder: Path) -> dict:
    return json.loads((folder / "reach.json").read_text(encoding="utf-8"))


def gated(trained: Trained, relation: RelationConfig = PLAIN) -> OpenedRun:
    """The shared run, read with a gate and a relation."""
    run = runs.open_run(trained.run.workdir)
    config = replace(run.model.config, relation=relation)
    config = replace(config, model=replace(config.model, margin=MarginConfig(gate=1.0)))
    return replace(run, model=replace(run.model, config=config))


def test_of_every_input_where_positions_make_the_blocks(trained: Trained, tmp_path: Path) -> None:
    text = runs.flow(trained.run.workdir, CertifyOptions(flow=True, hard=True), tmp_path)
    assert "attention outside is exactly 0 by hard attention" in text
    assert "whatever it is: for every input with these positions." in text
    document = read(tmp_path)
    assert document["unconditional"] and document["condition"] == "for every input with these positions"
    sizes = np.arange(16) % 5 + 1
    tokens, blocks = document["summary"]
    assert (tokens["unit"], tokens["mean"], tokens["largest"]) == ("tokens", sizes.mean(), 5)
    assert [tokens[name] for name in ("lower", "median", "upper")] == np.quantile(
        sizes, (0.25, 0.5, 0.75)
    ).tolist()
    assert blocks["largest"] == 1 and document["meta"]["checkpoint_step"] == 24
    with open(tmp_path / "reach.csv", encoding="utf-8", newline="") as file:
        assert [int(row["tokens"]) for row in csv.DictReader(file)] == sizes.tolist()


def test_of_a_text_with_the_list_for_one_prediction(trained: Trained, tmp_path: Path) -> None:
    run = gated(trained, RelationConfig(pointers="ends", horizon=1))
    text = runs.flow(run, CertifyOptions(flow=True, text="the cat saw the old owl", position=6), tmp_path)
    document = read(tmp_path)
    listed = document["listed"]
    assert listed["tokens"] == run.model.reach("the cat saw the old owl").tokens(6).tolist()
    assert "the prediction after token 6" in text and "block 1, tokens 5–6: " in text
    assert document["hard_by"] == "the gate, which λ = 1 shuts" and document["meta"]["text"].startswith(
        "the cat"
    )
    with pytest.raises(ValueError, match="position is 99; it must be a position with a prediction"):
        runs.flow(run, CertifyOptions(flow=True, text="the cat", position=99), tmp_path)


def test_of_a_continuation_and_of_blocks_that_tokens_make(trained: Trained, tmp_path: Path) -> None:
    run = gated(trained, RelationConfig(shift=1))
    options = CertifyOptions(flow=True, prompt="the cat saw", max_tokens=20)
    text = runs.flow(run, options, tmp_path)
    document = read(tmp_path)
    assert len(document["generated"]) == 20 and "the whole answer: " in text
    assert document["answer"] == sorted(set(document["answer"]))
    lines = replace(run.model.config.relation, shift=0, layers=("own", "clauses"))
    with pytest.raises(
        ValueError, match=r"text, prompt, split is None; it must be given where tokens make the blocks"
    ):
        runs.flow(with_clauses(run, lines), CertifyOptions(flow=True), tmp_path)
    conditional = runs.flow(
        with_clauses(run, lines), CertifyOptions(flow=True, text="the cat saw ."), tmp_path
    )
    assert "whatever it is: for every text with the same blocks." in conditional
    assert not read(tmp_path)["unconditional"]


def with_clauses(run: OpenedRun, relation: RelationConfig) -> OpenedRun:
    from aila_jax.partition.rule_tables import fit_rule_tables

    model = replace(run.model, config=replace(run.model.config, relation=relation))
    return replace(run, model=replace(model, rule_tables=fit_rule_tables(relation, model.tokenizer, None)))


def test_of_a_split_all_windows_are_summed_up(trained: Trained, tmp_path: Path) -> None:
    run = gated(trained, RelationConfig(sink=True))
    text = runs.flow(run, CertifyOptions(flow=True, split="validation", max_batches=2), tmp_path)
    document = read(tmp_path)
    assert document["condition"] == "for every input with these positions and documents"
    assert document["windows"] == 16 and "16 windows of validation" in text
    assert document["summary"][0]["largest"] <= 6 and document["summary"][0]["predictions"] <= 16 * 16
    one = run.model.reach(list(range(5, 21)))
    assert document["summary"][0]["mean"] == pytest.approx(float(one.token_sizes.mean()), abs=0.5)
    assert not (tmp_path / "reach.csv").exists()


def test_a_setting_that_is_not_hard_is_refused_before_anything_is_read(
    trained: Trained, tmp_path: Path
) -> None:
    for more in ({}, {"prompt": "the cat"}, {"split": "validation"}, {"text": "the cat"}):
        with pytest.raises(
            ValueError, match=r"lam is 1; it must be such that attention outside is exactly 0"
        ):
            runs.flow(trained.run.workdir, CertifyOptions(flow=True, **more), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": 3}, "position is 3; it must be left out without flow"),
        ({"prompt": "a"}, "prompt is 'a'; it must be left out without flow"),
        ({"flow": True, "max_tokens": 3}, "max_tokens is 3; it must be left out without a prompt"),
        ({"flow": True, "bound": "parameters"}, "bound is 'parameters'; it must be 'auto' with flow"),
        ({"flow": True, "text": "a", "prompt": "a"}, "text, prompt is 'given together'; it must be one of"),
        ({"flow": True, "split": "test", "position": 0}, "position is 0; it must be left out with a split"),
        ({"flow": True, "prompt": "a", "hard": True}, "hard is True; it must be left out with a prompt"),
        ({"flow": True, "max_batches": 2}, "max_batches is 2; it must be left out unless"),
    ],
)
def test_options_that_nothing_would_read_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CertifyOptions(**options)
