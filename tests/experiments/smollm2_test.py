"""The study of SmolLM2 with a dial: its text, its measure of sentences alone, its goals, its command."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config import Config
from experiments.frontier.measure import Reading, read_batches
from experiments.smollm2 import measure, report
from experiments.smollm2.measure import (
    Point,
    SmolResult,
    alone,
    curve_of,
    isolates,
    keeps_out,
    own_positions,
    read_result,
    write_result,
)
from experiments.smollm2.runs import CONTROL, LAMS, localised_runs, relations
from experiments.smollm2.text import detokenised, paragraphs, write_texts

BASE = "tests/pretrained/files/neox"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("It cost 1 @,@ 500 , or 0 @.@ 5 % .", "It cost 1,500, or 0.5%."),
        ("a half @-@ open door ( the left ) ;", "a half-open door (the left);"),
        ('He said " stay here " , and left .', 'He said "stay here", and left.'),
        ("It 's the boys ' own ; they do n't mind .", "It's the boys' own; they don't mind."),
        ("5 – 6 kilograms at $ 3", "5–6 kilograms at $3"),
        ("a species of <unk> lobster", "a species of <unk> lobster"),
    ],
)
def test_a_line_reads_as_it_was_written(line, wanted):
    assert detokenised(line) == wanted


def test_headings_are_left_out_and_paragraphs_kept(tmp_path):
    text = " \n = Title = \n \n First one . \n \n = = Part = = \n \n Second one . \n"
    assert paragraphs(text) == ["First one.", "Second one."]
    for name in ("train", "valid", "test"):
        (tmp_path / f"wiki.{name}.tokens").write_text(text)
    found = write_texts(tmp_path, tmp_path / "text")
    assert found["valid"].read_text() == "First one.\n\nSecond one.\n"
    found["valid"].write_text("kept")
    assert write_texts(tmp_path, tmp_path / "text")["valid"].read_text() == "kept"


def test_blocks_alone_are_what_each_is_as_a_text_of_its_own():
    """Perplexity of every sentence read by itself after the begin token, each last token's target being the
    first of the next.
    """
    model = aila.from_pretrained(BASE, length=24)
    begin = model.tokenizer.type_id(model.config.data.begin)
    sentences = [model.tokenizer.encode(text) for text in (" a b.", " c d e.", " f.", " g h.")]
    tokens = np.concatenate([[begin], *sentences])
    batch = model.batch(tokens[None])
    batch = replace(
        batch, weights=(batch.weights * (np.arange(len(tokens)) > 0)).astype(np.float32)
    )  # but the first
    losses, at = [], 1
    for sentence in sentences:
        logits = np.asarray(model.apply(np.array([[begin, *sentence]]), lam=1.0).logits, np.float64)[0, 1:]
        following = tokens[at + 1 : at + 1 + len(sentence)]
        rows = logits[: len(following)]
        losses += list(np.log(np.exp(rows).sum(-1)) - rows[np.arange(len(following)), following])
        at += len(sentence)
    assert int(batch.weights.sum()) == len(losses)
    np.testing.assert_allclose(alone(model, [batch]), np.exp(np.mean(losses)), rtol=1e-5)
    together = read_batches(with_rows(model, 1), [batch], 1.0).perplexity
    assert abs(together / np.exp(np.mean(losses)) - 1) > 1e-4  # the sink is farther away there


def with_rows(model, rows):
    config = model.config
    return replace(model, config=replace(config, sweep=replace(config.sweep, batch_size=rows)))


def test_positions_of_their_own_begin_after_the_begin_token():
    ids = np.array([[0, 0, 0, 1, 1, 2, 2, 2], [3, 3, 4, 4, 4, 4, 5, -1]])
    wanted = [[0, 1, 2, 1, 2, 1, 2, 3], [0, 1, 1, 2, 3, 4, 1, 1]]
    np.testing.assert_array_equal(own_positions(ids), wanted)


def test_alone_is_said_of_blocks_and_a_sink_only_and_influence_where_keys_are_outside():
    named = {name: replace(Config(), partition=one.partition, relation=one.relation,
             model=replace(Config().model, n_layers=4, length=64)) for name, one in relations(4).items()}  # fmt: skip
    assert [name for name, config in named.items() if isolates(config)] == ["sentences"]
    assert [name for name, config in named.items() if not keeps_out(config)] == ["sentences-lower"]
    assert not keeps_out(localised_runs(named["sentences"])[CONTROL])


def test_the_control_has_nothing_outside_and_its_adapters_are_always_on():
    runs = localised_runs(aila.from_pretrained(BASE, length=32).config)
    assert set(runs) == {"localised-sentences", "localised-sentences-ends", CONTROL}
    control, trained = runs[CONTROL], runs["localised-sentences"]
    assert control.relation.layers == ("all", "all")
    assert (control.locality.mode, control.locality.lam) == ("fixed", 1.0)
    assert control.locality.taught == trained.locality.taught == 0.5
    assert replace(control, relation=trained.relation, locality=trained.locality) == trained
    lower = relations(30)["sentences-lower"].relation
    assert lower.layers == ("own",) * 15 + ("all",) * 15 and lower.sink


def reading(lam: float, perplexity: float, entropy: float, outside: float, gate: bool = True) -> Reading:
    return Reading(
        lam, gate, perplexity, 0.3, entropy, 0.5, 0.0, 0.5 - outside, outside, 0.95 if lam == 1 else 0.1
    )


def result(name: str, readings, tokens: int = 299_008) -> SmolResult:
    curve = (Point(100, 1.0, 40.0), Point(200, 1.0, 30.0))
    return SmolResult(name, 0, "c", 65_280, tokens, tuple(readings), 21.0, (), curve, Config())


def test_a_measurement_goes_on_where_it_was_stopped(monkeypatch, tmp_path):
    model, made = aila.from_pretrained(BASE, length=24), []

    def read(read, batches, lam):
        made.append((lam, read.config.model.margin.gate))
        if len(made) == 3:
            raise KeyboardInterrupt
        return reading(lam, 20.0 + lam, 2.0, 0.1)

    for name, found in (("fixed_batches", []), ("influences", ()), ("alone", 30.0)):
        monkeypatch.setattr(measure, name, lambda *_, found=found: found)
    monkeypatch.setattr(measure, "read_batches", read)
    with pytest.raises(KeyboardInterrupt):
        measure.measure("untrained", model, None, LAMS, tmp_path)
    found = measure.measure("untrained", model, None, LAMS, tmp_path)
    gate = model.config.model.margin.gate
    assert gate > 0
    assert made == [(lam, gate) for lam in (0.0, 0.25, 0.5, 0.5, 0.75, 1.0)] + [(1.0, 0.0)]
    assert [one.perplexity for one in found.readings] == [20.0, 20.25, 20.5, 20.75, 21.0, 21.0]
    assert found.alone == 30.0


def write_all(folder: Path) -> None:
    untrained = [reading(lam, p, e, o) for lam, p, e, o in zip(
        LAMS, (20.0, 24.0, 40.0, 60.0, 80.0), (3.0, 2.7, 2.3, 1.9, 1.8), (0.4, 0.25, 0.1, 0.02, 0.0), strict=True
    )]  # fmt: skip
    trained = [reading(lam, p, e, o) for lam, p, e, o in zip(
        LAMS, (20.0, 21.0, 23.0, 25.5, 24.0), (3.0, 2.5, 2.2, 1.9, 1.8), (0.4, 0.2, 0.1, 0.02, 0.0), strict=True
    )]  # fmt: skip
    soft = reading(1.0, 24.0, 1.8, 0.001, gate=False)
    write_result(result("untrained-sentences", [*untrained, soft], 0), folder, "untrained-sentences-seed0")
    write_result(result("localised-sentences", [*trained, soft]), folder, "localised-sentences-seed0")
    write_result(result(CONTROL, [reading(1.0, 16.0, 3.0, 0.0)]), folder, f"{CONTROL}-seed0")


def test_goals_by_hand(tmp_path):
    write_all(tmp_path)
    text = report.collect(tmp_path)
    found = {one.what: one for one in report.goals({
        name: read_result(tmp_path / f"{name}-seed0.json")
        for name in ("untrained-sentences", "localised-sentences", CONTROL)
    })}  # fmt: skip
    values = {name.removeprefix("sentences: "): one.value for name, one in found.items()}
    assert values["λ = 1 ÷ base"] == pytest.approx(24 / 20)
    assert values["largest step's share of the change in entropy"] == pytest.approx(0.5 / 1.2)
    assert values["the same of mass inside"] == pytest.approx(0.2 / 0.4)
    assert values["largest perplexity ÷ the worse of its neighbours"] == pytest.approx(25.5 / 24)
    # ln(80/24) gained, of which ln(20/16) is what the control gained
    assert values["gain that is not adaptation"] == pytest.approx(1 - np.log(20 / 16) / np.log(80 / 24))
    assert values["λ = 0 beside the base, relative difference"] == 0.0
    assert not found["sentences: the same of mass inside"].holds
    assert found["sentences: λ = 1 ÷ base"].holds
    assert "| sentences: λ = 1 ÷ base | 1.2 | ≤ 1.25 | yes |" in text
    assert (
        "The control, the same adapters always on where nothing is outside, has 16.00, 0.800 times the base."
        in text
    )
    assert "| sentences | 299,008 | 4.000 | 1.200 | 81 % |" in text
    assert "Not measured yet: untrained-sentences-ends, " in text
    assert (tmp_path / "dial.png").is_file() and (tmp_path / "curve.png").is_file()


def test_the_curve_is_that_of_the_log_without_the_last(tmp_path):
    lines = [
        '{"step": 2, "kind": "train", "loss": 1.0}',
        '{"step": 2, "kind": "eval", "lam": 1.0, "perplexity": 9.0}',
        '{"step": 4, "kind": "eval", "lam": 1.0, "perplexity": 8.0}',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    config = Config()
    config = replace(config, train=replace(config.train, steps=4, batch_size=2))
    assert curve_of(tmp_path, config) == (Point(2 * 2 * config.model.length, 1.0, 9.0),)


def test_the_base_is_read_with_the_blocks_of_each_relation(tmp_path):
    """At λ = 0 all models are the base; what of its attention is inside depends on the blocks."""
    write_all(tmp_path)
    others = {
        "untrained-sentences-ends": [reading(0.0, 20.1, 3.0, 0.3), reading(1.0, 70.0, 2.0, 0.0)],
        "untrained-windows32-shift16": [reading(1.0, 90.0, 1.7, 0.0)],
        "localised-sentences-ends": [*(reading(lam, 20.1, 3.0 - lam, 0.3 - lam / 4) for lam in LAMS),
                                     reading(1.0, 22.0, 2.0, 0.0, gate=False)],
    }  # fmt: skip
    for name, readings in others.items():
        write_result(result(name, readings), tmp_path, f"{name}-seed0")
    text = report.collect(tmp_path)
    assert "| untrained-windows32-shift16 | – | – | – | – | 90.00 |" in text
    inside = text.partition("Attention inside.")[2]
    assert "| untrained-sentences-ends | 0.700 | – | – | – | 1.000 |" in inside
    assert "| untrained-sentences | 0.600 |" in inside
    assert "| sentences-ends: λ = 0 beside the base, relative difference | 0 | ≤ 0 | yes |" in text
