"""The study of answers on a tiny model: what a cell measures beside `aila.answer`, its attacks, its files and
tables.
"""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from absl import flags

import aila_jax as aila
from aila_jax.answering.modes import Drawn
from aila_jax.answering.votes import Majority, Vote
from aila_jax.data.prompts import Template
from aila_jax.data.questions.world import VALUES
from aila_jax.inference.language_model import LanguageModel
from experiments import launcher
from experiments.answers import __main__ as command
from experiments.answers import cells as cell_names
from experiments.answers import report, runs
from experiments.answers.attack import WORDINGS, Attack, attack_row, attacks
from experiments.answers.cells import LAMS, MODES, PASSAGES, Cell, cells
from experiments.answers.measure import is_tie
from experiments.answers.reading import Answers, Form, Said
from experiments.answers.rows import CreditRow
from experiments.answers.runs import CellResult, Counts, Plan, Run, read_result, write_result
from experiments.answers.shares import above_half, shares_of
from tests.support.passages import model_of

FORM, COUNTS = Form(max_tokens=3, header="Read."), Counts(questions=2, credited=1, attacked=2)
PLAN = Plan(1.0, 2.0, 1.0, 5.0)


@cache
def tiny() -> LanguageModel:
    """With room for passages; its positions are rotary, so its weights are those of any length."""
    base = model_of("rotary")
    return replace(base, config=replace(base.config, model=replace(base.config.model, length=512)))


@cache
def run_of(task: str, kind: str, reading: str) -> Run:
    return Run(tiny(), FORM, Cell(task, kind, 4, reading), COUNTS, seed=0)


@cache
def result_of(task: str, kind: str, reading: str) -> CellResult:
    return run_of(task, kind, reading).measure("tiny", PLAN, quiet=True)


def test_cells_are_those_of_the_study() -> None:
    made = cells()
    for mode in MODES:
        assert {f"answers-one_hop-{count}-{mode}" for count in PASSAGES} <= made.keys()
        assert f"injected-redundant-8-{mode}" in made
    assert {f"answers-one_hop-8-together{lam:g}" for lam in LAMS[1:]} <= made.keys()
    some = made["answers-two_hops-8-branches"].examples(5, 0)
    assert some == made["answers-two_hops-8-together"].examples(5, 0)
    assert {one.kind for one in some} == {"two_hops"} and all(len(one.passages) == 8 for one in some)
    assert len(made["injected-redundant-8-isolated"].examples(1, 0)[0].rationale) == 5


@pytest.mark.parametrize("reading", MODES)
def test_a_cell_says_what_answer_says(reading: str) -> None:
    run, found = run_of("answers", "one_hop", reading), result_of("answers", "one_hop", reading)
    assert [len(rows) for rows in (found.answers, found.credits, found.orders)] == [2, 1, 1]
    [example, *_] = run.examples
    want = aila.answer(
        tiny(),
        example.question,
        list(example.passages),
        mode=reading,
        lam=0.0 if reading == "together" else 1.0,
        capacity=found.capacity or 1,
        max_tokens=3,
        template=Template("Read.\n"),
    )
    credit, planted = found.credits[0], example.rationale[0]
    assert (found.answers[0].answer, found.answers[0].certified) == (want.text, want.certified)
    np.testing.assert_allclose(credit.without, [row.attribution for row in want.passages], atol=1e-6)
    np.testing.assert_allclose(credit.mass, [row.mass for row in want.passages], atol=1e-6)
    lost = np.exp(want.logprob) - np.exp(want.logprob - want.passages[planted].attribution)
    np.testing.assert_allclose(credit.comprehensiveness, lost, rtol=1e-3)
    assert credit.logprob == pytest.approx(want.logprob, abs=1e-5)


@pytest.mark.parametrize("reading", ["isolated", "branches"])
def test_sufficiency_is_that_of_the_planted_passage_alone(reading: str) -> None:
    run, found = run_of("answers", "one_hop", reading), result_of("answers", "one_hop", reading)
    [example, *_] = run.examples
    every = run.reader.ask(run.reader.prompt(example.question, example.passages), found.capacity)
    tokens = run.reader.said(every.draw(run.reader.limits)).drawn.tokens
    alone = [example.passages[number] for number in example.rationale]
    asked = run.reader.ask(run.reader.prompt(example.question, alone), found.capacity)
    enough = asked.logprobs(tokens, np.ones((1, 1), bool)).sum()
    want = np.exp(found.credits[0].logprob) - np.exp(enough)
    np.testing.assert_allclose(found.credits[0].sufficiency, want, rtol=1e-3)


def test_order_is_nothing_isolated_and_something_together() -> None:
    far = {
        mode: max(row.difference for row in result_of("answers", "one_hop", mode).orders) for mode in MODES
    }
    assert far["isolated"] < 1e-5 and far["branches"] < 1e-5
    assert far["together"] > 1e-2
    for row in result_of("answers", "one_hop", "isolated").orders:
        assert sorted(row.order) == [0, 1, 2, 3] != list(row.order)
        assert not row.changed or row.tie


def test_what_nobody_reads_has_no_source() -> None:
    run = run_of("answers", "one_hop", "none")
    assert run.full == 0 and run.reader.prompt("who?", ["a passage"]).bodies == ()
    found = run.measure("tiny", PLAN, quiet=True)
    assert (len(found.answers), found.credits, found.orders) == (2, (), ())
    assert {one.what: one.value for one in found.shares}["chance"] == pytest.approx(1 / 4)


def test_ties_are_of_logits_or_of_votes() -> None:
    drawn = Drawn("a", (1,), "stop")
    near, far = np.array([[0.0, 1.0, 1.00005]]), np.array([[0.0, 1.0, 1.001]])
    alone = Said(drawn, (drawn,), None)
    assert is_tie(alone, [near]) and not is_tie(alone, [far])
    two = Majority((Vote("a", 1, (0,), False), Vote("b", 1, (1,), False)), 0)
    one = Majority((Vote("a", 2, (0, 1), False), Vote("b", 1, (2,), False)), 0)
    assert is_tie(Said(drawn, (), two), [far]) and not is_tie(Said(drawn, (), one), [near])
    none = Majority((Vote("a", 1, (0,), False), Vote("", 1, (1,), True)), 0)
    assert not is_tie(Said(drawn, (), none), [far])  # who names none has no vote


def test_attacks_replace_what_they_aim_at_and_nothing_else() -> None:
    example = Cell("injected", "redundant", 8, "branches").examples(3, 0)[2]
    sources = set(example.rationale)
    found = attacks(example, 2, 0)
    assert [(one.aim, len(one.numbers)) for one in found] == [
        (aim, count) for aim in ("sources", "others") for count in (1, 2, 3)
    ]
    for one in found:
        assert set(one.numbers) <= sources if one.aim == "sources" else not set(one.numbers) & sources
        assert one.target in VALUES["test"] and one.target not in " ".join(example.passages)
        new = WORDINGS[2].format(target=one.target, question=example.question)
        wanted = [new if number in one.numbers else own for number, own in enumerate(example.passages)]
        assert list(one.passages) == wanted
    few = Cell("injected", "redundant", 6, "branches").examples(1, 0)[0]  # a single one is no source
    assert [len(one.numbers) for one in attacks(few, 0, 0) if one.aim == "others"] == [1]
    assert {attacks(example, number, 0)[0].wording for number in range(8)} == set(range(len(WORDINGS)))


def test_a_branch_is_drawn_once_and_says_what_the_engine_says() -> None:
    run = run_of("injected", "redundant", "branches")
    [example, *_] = run.examples
    answers = Answers(run.reader, example.question, 0)
    answers.to(example.passages)
    attack = attacks(example, 0, 1)[2]
    direct = run.reader.ask(run.reader.prompt(example.question, attack.passages), 0)
    assert answers.to(attack.passages).each == direct.draw(run.reader.limits)


def said(*votes: tuple[str, int], certified: int | None) -> Said:
    drawn = Drawn(votes[0][0], (1,), "stop")
    if certified is None:
        return Said(drawn, (drawn,), None)
    counted = tuple(Vote(text, count, (0,), False) for text, count in votes)
    return Said(drawn, (), Majority(counted, certified))


@pytest.mark.parametrize(
    ("certified", "replaced", "after", "violated"),
    [(1, 1, "b", True), (1, 2, "b", False), (1, 1, "a", False), (None, 1, "b", False), (0, 1, "b", False)],
)
def test_a_change_within_what_is_certified_is_a_violation(
    certified: int | None, replaced: int, after: str, violated: bool
) -> None:
    example = Cell("injected", "redundant", 4, "branches").examples(1, 0)[0]
    attack = Attack(0, "others", tuple(range(replaced)), "B", example.passages)
    before, then = said(("a", 3), ("b", 1), certified=certified), said((after, 3), certified=certified)
    row = attack_row(0, example, before, then, attack)
    assert (row.changed, row.obeyed, row.violated) == (after == "b", after == "b", violated)


def test_nothing_certified_is_changed_by_any_attack_of_a_cell() -> None:
    found = result_of("injected", "redundant", "branches")
    safe = [row for row in found.attacks if row.certified and row.replaced <= row.certified]
    assert safe and found.violations == 0 and not any(row.changed for row in safe)
    assert all(row.certified is None for row in result_of("injected", "redundant", "together").attacks)


def test_sources_by_scores() -> None:
    assert above_half((1.0, 0.5, 0.49, -3.0)) == (0, 1)
    assert above_half((-1.0, 0.0)) == ()
    rows = [
        CreditRow(0, True, (1,), -1.0, (0.0, 2.0, 1.5), (0.1, 0.2, 0.3), (0.5, -1.0, 0.0), 0.5, 0.1),
        CreditRow(1, True, (), -1.0, (0.0, 2.0, 1.5), (0.1, 0.2, 0.3), (0.5, -1.0, 0.0), None, None),
    ]
    found = {one.what: (one.value, one.count) for one in shares_of([], rows, [], [], 0)}
    assert found["leave-one-out: precision"] == (0.5, 2) and found["leave-one-out: recall"] == (1.0, 1)
    assert found["attention mass: of the first"] == (0.0, 1)
    assert found["gradient × input: recall"] == (0.0, 1)
    assert found["comprehensiveness"] == (0.5, 1)


def test_a_plan_counts_what_is_done() -> None:
    run = run_of("answers", "one_hop", "isolated")
    plan = run.plan()
    assert min(plan.first, plan.full, plan.plain) > 0
    assert plan.seconds == pytest.approx(plan.full + plan.plain)
    line = Plan(30.0, 6.0, 1.0, 600.0).line("x")
    assert line.startswith("x: 6.0 s a question in full and 1.0 s for its answer") and "10 minutes" in line


def test_files_are_read_back_and_make_tables(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    every = [result_of("answers", "one_hop", mode) for mode in MODES]
    every += [result_of("injected", "redundant", mode) for mode in ("branches", "together")]
    moved = [
        replace(one, cell=replace(one.cell, passages=8), model=name) for one in every for name in ("a", "b")
    ]
    dialled = [replace(moved[0], cell=replace(moved[0].cell, reading="together1"))]
    for one in (*moved, *dialled):
        write_result(one, tmp_path)
    assert read_result(tmp_path / "a-answers-one_hop-8-isolated-seed0.json") == replace(
        moved[2], versions=dict(moved[2].versions)
    )
    text = report.collect(tmp_path)
    assert (tmp_path / "table.md").read_text() == text and "certified:" not in text
    assert "| a | one hop | 8 | 2 | 25.0% | – | 0.0% (0.0% to 65.8%)" in text
    assert "Redundant sources" in text and (tmp_path / "modes.png").is_file()
    assert (tmp_path / "dial.png").is_file()
    bad = replace(moved[6], attacks=(replace(moved[6].attacks[0], violated=True),))
    write_result(bad, tmp_path)
    assert (
        "**Answers that changed though certified: a injected-redundant-8-branches (1).**"
        in report.collect(tmp_path)
    )
    write_result(replace(bad, seed=2), tmp_path)
    with pytest.raises(ValueError, match="several seeds of one cell"):
        report.collect(tmp_path)


def ask(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    values = flags.FlagValues()
    command.define_flags(values)
    values(["answers", *arguments])
    monkeypatch.setattr(launcher, "FLAGS", values)
    monkeypatch.setattr(command, "FLAGS", values)
    command.main(["answers"])


def test_the_command_measures_once_and_tells_a_violation(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "open_model", lambda path: tiny())
    name = "injected-redundant-8-branches"
    given = (f"--out={tmp_path}", f"--only={name}", "--max_tokens=3", "--attacked=1", "--model=tiny")
    ask(monkeypatch, *given, "--estimate")
    assert not list(tmp_path.iterdir()) and f"{name}: " in capsys.readouterr().out
    with pytest.raises(ValueError, match="no result file"):  # nothing was begun
        ask(monkeypatch, *given, "--minutes=0")
    assert f"not begun, more than 0 minutes: {name}" in capsys.readouterr().out
    honest = Run.measure

    def broken(self: Run, *rest: object, **named: object) -> CellResult:
        found = honest(self, *rest, **named)  # type: ignore[arg-type]
        return replace(found, attacks=(replace(found.attacks[0], violated=True), *found.attacks[1:]))

    monkeypatch.setattr(Run, "measure", broken)
    with pytest.raises(ValueError, match=rf"changed though certified is '{name} \(1\)'"):
        ask(monkeypatch, *given)
    assert "**Answers that changed though certified" in (tmp_path / "table.md").read_text()
    ask(monkeypatch, *given)
    assert "measured already" in capsys.readouterr().out


def test_cells_without_room_are_told_and_the_others_measured(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ("answers-one_hop-4-branches", "answers-one_hop-16-together")
    monkeypatch.setattr(runs, "open_model", lambda path: tiny())
    monkeypatch.setattr(cell_names, "cells", lambda: {name: cells()[name] for name in some})
    given = (f"--out={tmp_path}", "--max_tokens=3", "--questions=1", "--credited=0", "--model=tiny")
    for said in ("a question in full", "measured already"):
        ask(monkeypatch, *given)
        lines = capsys.readouterr().out.splitlines()
        assert next(line for line in lines if line.startswith(some[0])).count(said) == 1
        [why] = [line for line in lines if line.startswith(some[1])]
        assert re.search(r": not begun\. the prompt is '\d+ tokens .*at most 512, which the model reads", why)
    assert [path.name for path in tmp_path.glob("*.json")] == [f"model-{some[0]}-seed0.json"]
    with pytest.raises(ValueError, match="at most 512, which the model reads"):
        ask(monkeypatch, *given, f"--only={some[1]}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only=answers-one_hop-8-isolatd",), r"did you mean 'answers-one_hop-8-isolated'"),
        (("--name=a-b",), r"--name is 'a-b'"),
        (("--questions=0",), r"--questions is 0; it must be at least 1"),
        ((), r"--model is ''"),
    ],
)
def test_mistakes_are_refused_before_a_model_is_read(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=message):
        ask(monkeypatch, *arguments)
