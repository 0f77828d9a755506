"""Diagnosis of real models: silent on a healthy run, and right about runs made to fail in each way."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from aila_jax import runs
from aila_jax.config import LocalityConfig, MarginConfig, PenaltyConfig
from aila_jax.config.options import DiagnoseOptions, SweepOptions
from aila_jax.diagnosis import signatures
from aila_jax.diagnosis.diagnose import diagnose
from aila_jax.diagnosis.measure import FactFinder
from aila_jax.evaluation.sweep import sweep_grid
from aila_jax.loading.models import load
from aila_jax.loss.group_sparsity import query_key_kernels, with_query_key_kernels
from aila_jax.loss.importance import size_weights
from aila_jax.model.interface import Dial
from aila_jax.thresholds.stationarity import group_thresholds
from aila_jax.training.locality import training_dial
from tests.support.tiny import make_config, write_corpus
from tests.support.untrained import with_dial_weights

BATCHES = 2
DIAL = SweepOptions(lams=(0, 0.2, 0.4, 0.6, 0.8, 1), taus=(1,))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    """A small model that learned its grammar for every λ: 150 steps, about 7 epochs."""
    directory = tmp_path_factory.mktemp("healthy")
    settings = {
        "steps": 150,
        "accumulate": 1,
        "learning_rate": 1e-2,
        "warmup_steps": 10,
        "eval_every": 150,
        "checkpoint_every": 150,
    }
    config = make_config(write_corpus(directory / "text"), **settings)
    model = replace(config.model, dropout=0.0, margin=MarginConfig(nats=6.0, power=1.3))
    locality = LocalityConfig(mode="conditional", power=2.0, at_zero=0.4)
    config = replace(config, model=model, locality=locality, sweep=replace(config.sweep, batch_size=32))
    runs.train(config, directory / "run", quiet=True)
    return directory / "run"


@pytest.fixture(scope="module")
def loaded(healthy):
    model = load(healthy)
    return model, runs.dataset_of(model)


def facts_of(loaded, folder, *, params=None, dataset=None, **changes):
    """Facts of the healthy model with other parameters, text or configuration."""
    model, text = loaded
    model = replace(
        model, params=model.params if params is None else params, config=replace(model.config, **changes)
    )
    return FactFinder(model, text if dataset is None else dataset, folder, BATCHES, quiet=True).facts()


def findings(facts) -> dict:
    return {finding.name: finding for finding in diagnose(facts).findings}


@pytest.mark.medium
def test_a_healthy_run_is_silent_and_its_file_says_what_was_looked_at(healthy, tmp_path):
    found = runs.diagnose(healthy, DiagnoseOptions(batches=BATCHES), tmp_path, quiet=True)
    assert found.findings == ()
    assert found.passed == tuple(signatures.CHECKS)
    assert found.not_assessed == ()
    text = runs.describe_diagnosis(found)
    assert text.startswith("run: healthy, no failure signature found.")
    document = json.loads((tmp_path / "diagnosis.json").read_text(encoding="utf-8"))
    assert document["format"] == "aila_jax diagnosis, version 1"
    assert [point["lam"] for point in document["facts"]["dial"]] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert document["facts"]["training"]["losses"][-1][0] == pytest.approx(
        document["facts"]["training"]["epochs"]
    )
    assert document["meta"]["batches"] == BATCHES


def test_a_split_whose_first_windows_are_of_another_kind_is_judged_as_a_whole(loaded, healthy):
    """Its first half is made of tokens in no order: whoever reads the first windows sees nothing else."""
    model, text = loaded
    tokens = text.splits["validation"].tokens.copy()
    half = len(tokens) // 2
    tokens[:half] = np.random.default_rng(0).permutation(tokens[:half])
    mixed = replace(
        text, splits={**text.splits, "validation": replace(text.splits["validation"], tokens=tokens)}
    )
    config = replace(model.config, sweep=replace(model.config.sweep, batch_size=4))
    finder = FactFinder(replace(model, config=config), mixed, healthy, BATCHES, quiet=True)
    part = finder.split_loss("validation", 0.0)
    finder.batches = 1000
    whole = finder.split_loss("validation", 0.0)
    assert (whole.error, part.windows) == (0.0, 4 * BATCHES)
    assert part.error is not None
    assert abs(part.mean - whole.mean) < 0.25 * abs(whole.mean)
    first = SweepOptions(lams=(0,), taus=(1,), split="validation", max_batches=BATCHES, part="first")
    worst = sweep_grid(replace(model, config=config), mixed, first, quiet=True).cells[0]
    assert worst.loss > whole.mean * 1.3


def test_weights_that_outgrew_the_margin(loaded, healthy):
    """Queries and keys grown eightfold: scores that the margin of 6 nats cannot outweigh."""
    params = with_query_key_kernels(loaded[0].params, 8.0 * query_key_kernels(loaded[0].params))
    facts = facts_of(loaded, healthy, params=params)
    finding = findings(facts)[signatures.STAYS_HIGH]
    assert "of its mass inside the block, below 0.9" in finding.seen
    assert finding.causes[0].startswith("The margin is too small: m = 6 nats, while scores reach |s| = ")
    assert "model.margin.form=self_scaling" in finding.changes[0]
    largest = float(finding.causes[0].split("|s| = ")[1].split(",")[0])
    assert 3.0 < largest <= facts.scores.bound


def test_dead_heads_under_a_penalty_that_is_too_strong(loaded, healthy):
    """All queries and keys 0, as a penalty above its threshold leaves them: one λ is like the other, and no
    head ever comes back.
    """
    params = with_query_key_kernels(loaded[0].params, 0.0 * query_key_kernels(loaded[0].params))
    facts = facts_of(loaded, healthy, params=params, penalty=PenaltyConfig(solver="proximal", eta=0.5))
    finding = findings(facts)[signatures.DEAD_HEADS]
    assert finding.seen.startswith("4 of 4 heads have W_Q = W_K = 0")
    assert "λη = " in " ".join(finding.causes)
    assert "lower penalty.eta" in finding.changes[-1]
    assert facts.missing == (
        "stationarity thresholds: every head is dead, and a dead head has no gradient",
        "the papers' threshold: it is about localist positions (model.localist)",
    )


def test_entropy_inside_blocks_counts_the_keys_after_the_query_in_a_bidirectional_model(loaded, healthy):
    """Windows of 5 of the 16 tokens of a sequence: five keys for each query, the last block one; causal
    attention has 1, 2, … 5.
    """
    found = []
    for bidirectional in (False, True):
        config = replace(loaded[0].config.model, bidirectional=bidirectional, document_mask=False)
        model = replace(loaded[0], config=replace(loaded[0].config, model=config))
        found.append(FactFinder(model, loaded[1], healthy, BATCHES, quiet=True).blocks().entropy_bits)
    assert loaded[0].config.partition.size == 5
    assert found == pytest.approx(
        [np.log2([1, 2, 3, 4, 5] * 3 + [1]).mean(), np.log2([5] * 15 + [1]).mean()], abs=0.02
    )  # the last sequence is a part


def test_blocks_of_one_direction_are_as_incoherent_as_can_be(loaded, healthy):
    """Positions that differ in length alone: 1 − ρ_max is noise there, which is no reason to say nothing."""
    model = loaded[0]
    assert FactFinder(*loaded, healthy, BATCHES, quiet=True).blocks().rho < 0.999
    position_LxD = np.zeros_like(model.params["position"])
    position_LxD[:, 0] = 1e4 * np.arange(len(position_LxD))
    found = FactFinder(
        replace(model, params={**model.params, "position": position_LxD}),
        loaded[1],
        healthy,
        BATCHES,
        quiet=True,
    ).blocks()
    assert (found.rho, found.undefined) == (0.999, "")
    found = FactFinder(model.with_window(16), loaded[1], healthy, BATCHES, quiet=True).blocks()
    assert (found.rho, found.undefined) == (None, "fewer than 3 blocks (1) always correlate fully")


def test_heads_that_turn_with_the_dial_are_dead_only_where_nothing_is_left(loaded, healthy):
    """W = 0 with a W′ of its own is no dead head; without it, it is."""
    turning = with_dial_weights(loaded[0])
    nothing = 0.0 * query_key_kernels(turning.params)
    width = loaded[0].config.model.d_model // loaded[0].config.model.n_heads  # of W; W′ comes after it
    for size, dead in ((1.0, 2), (0.0, 4)):
        model = replace(
            turning, params=with_query_key_kernels(turning.params, nothing.at[0, ..., width:].set(size))
        )
        assert FactFinder(model, loaded[1], healthy, BATCHES, quiet=True).penalty().dead_heads == dead


def test_weights_that_are_not_finite_are_told_of_and_guarantee_nothing(loaded, healthy):
    params = with_query_key_kernels(loaded[0].params, np.nan * query_key_kernels(loaded[0].params))
    facts = facts_of(loaded, healthy, params=params)
    assert set(findings(facts)) == {signatures.NON_FINITE}
    assert facts.scores.bound is None
    assert any(line.startswith("what is guaranteed: parameters are not finite") for line in facts.missing)


def test_a_loss_beyond_what_perplexity_can_say_is_told_of(loaded, healthy):
    """Finite weights, 10⁴ times as large: a loss of thousands of nats, whose exponential float64 does not
    hold.
    """
    facts = facts_of(
        loaded, healthy, params={**loaded[0].params, "embedding": 1e4 * loaded[0].params["embedding"]}
    )
    assert facts.dial[0].perplexity == np.inf
    assert signatures.NON_FINITE in findings(facts)


# compiles the gradient of every group of two layers: python -m pytest tests/diagnosis_run_test.py -m medium
@pytest.mark.medium
def test_a_penalty_is_compared_with_its_thresholds(loaded, healthy):
    """Stationarity of living groups: a penalty of 10⁶ is above it for all of them, one of 10⁻⁹ for none."""
    config = replace(loaded[0].config, model=replace(loaded[0].config.model, localist=True))
    finders = []
    for eta in (1e6, 1e-9):
        penalised = replace(config, penalty=PenaltyConfig(solver="proximal", eta=eta, ramp=False))
        finders.append(FactFinder(replace(loaded[0], config=penalised), loaded[1], healthy, 1, quiet=True))
    strong, weak = (finder.penalty() for finder in finders)
    assert [strong.share_above, weak.share_above] == [1.0, 0.0]
    assert strong.stationarity == weak.stationarity > 1e-9
    dial = Dial(*training_dial(config, len(finders[0].text("train")[0].tokens)))
    trained = replace(loaded[0], config=finders[0].model.config)
    direct = group_thresholds(trained, finders[0].text("train"), dial, layers=(0, 1), quiet=True)
    weights = np.asarray(size_weights(config.model.d_model, config.model.n_heads, config.feature_groups)).T
    assert strong.stationarity == pytest.approx(
        np.median(direct.gradient / weights), rel=0.2
    )  # one batch of several is at zero
    assert strong.level == pytest.approx(
        1e6 * 0.6 / 3, rel=1e-5
    )  # E[λ]: λ = u² in 60 % of the draws, 0 in 40 %
    assert strong.dead_heads == 0
    assert strong.predicted == weak.predicted > 0
    assert finders[0].missing == []


def test_a_model_that_one_end_of_the_dial_ruins(loaded, healthy):
    """A shift of the last LayerNorm that grows with λ, as if no training had ever seen λ above 0."""
    norm = loaded[0].params["final_norm"]
    shift = 5.0 * jax.random.normal(jax.random.key(0), norm["film_shift"].shape)
    params = {**loaded[0].params, "final_norm": {**norm, "film_shift": shift}}
    finding = findings(
        facts_of(loaded, healthy, params=params, locality=LocalityConfig(mode="fixed", lam=0.0))
    )[signatures.COLLAPSES]
    assert "times as much; it is above 1.3 times the best, rising to 1.8 times" in finding.seen
    assert finding.seen.endswith("0.8, 1.")
    assert finding.causes[0] == "The model was trained at λ = 0 alone, and is read at other λ."
    assert "locality.mode=conditional" in finding.changes[0]


def test_validation_text_that_the_model_does_not_know(loaded, healthy):
    """The same tokens in a random order: the loss on the training text is long down, and generalisation is
    bad.
    """
    stream = loaded[1].splits["validation"]
    shuffled = replace(stream, tokens=np.random.default_rng(0).permutation(stream.tokens))
    dataset = replace(loaded[1], splits={**loaded[1].splits, "validation": shuffled})
    facts = facts_of(loaded, healthy, dataset=dataset)
    early = replace(facts.training, losses=tuple((epoch / 2, loss) for epoch, loss in facts.training.losses))
    finding = findings(replace(facts, training=early))[signatures.OVERFITS]
    assert "locality.mode=curriculum" in finding.changes[-1]


def test_attention_that_is_not_used_and_a_dial_that_is_one_step(loaded, healthy):
    """Output projections near 0 make attention worthless; scores that FiLM multiplies by 25 at λ = 0.2 leave
    no entropy to take away.
    """

    def changed(path, x):
        names = [part.key for part in path]
        return (
            0.01 * x
            if "out" in names
            else 0 * x + 20
            if names[-2:] == ["attention_norm", "film_scale"]
            else x
        )

    found = findings(
        facts_of(loaded, healthy, params=jax.tree_util.tree_map_with_path(changed, loaded[0].params))
    )
    assert "Removing attention from every layer changes perplexity by" in found[signatures.UNUSED].seen
    assert "he step from λ = 0 to 0.2 carries" in found[signatures.NOT_GRADED].seen


def test_the_runs_own_sweep_is_read_where_it_serves(loaded, healthy, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(healthy, tmp_path / "run"))
    result = runs.sweep(folder, DIAL, quiet=True)
    made = []
    monkeypatch.setattr(FactFinder, "measured", lambda self, lams, **_: made.append(lams) or result)
    found = FactFinder(*loaded, folder, BATCHES, quiet=True).dial()
    assert [(point.lam, point.perplexity) for point in found] == [
        (cell.lam, cell.perplexity_token) for cell in result.cells
    ]
    # A file from before a setting existed holds the model that has its default.
    document = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    del document["config"]["model"]["margin"]["linear"], document["sha256"]
    (folder / "sweep.json").write_text(json.dumps(document), encoding="utf-8")
    FactFinder(*loaded, folder, BATCHES, quiet=True).dial()
    assert made == []
    for model in (replace(loaded[0], step=10), replace(loaded[0], config=replace(loaded[0].config, seed=1))):
        FactFinder(model, loaded[1], folder, BATCHES, quiet=True).dial()
    assert made == [(0.0, 0.2, 0.4, 0.6, 0.8, 1.0)] * 2
    for scope in ({"max_batches": 1}, {"split": "train"}):  # not what the run's configuration calls its sweep
        runs.sweep(folder, replace(DIAL, **scope), quiet=True)
        FactFinder(*loaded, folder, BATCHES, quiet=True).dial()
    assert len(made) == 4


def test_a_missing_log_is_named(loaded, healthy, tmp_path):
    finder = FactFinder(*loaded, tmp_path, BATCHES, quiet=True)
    training = finder.training()
    assert (training.losses, training.skipped) == ((), None)
    assert finder.missing == [f"the training log: there is no metrics.jsonl in {tmp_path.name}"]


def test_discarded_updates_are_read_from_the_log(loaded, healthy, tmp_path):
    lines = (healthy / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    last = max(record["step"] for record in records if record["kind"] == "train")
    changed = [
        record | ({"skipped": 2} if record["kind"] == "train" and record["step"] == last else {})
        for record in records
    ]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in changed), encoding="utf-8"
    )
    assert FactFinder(*loaded, tmp_path, BATCHES, quiet=True).training().skipped == 2


def test_hard_attention_has_no_dial_to_assess(loaded, healthy):
    model = replace(loaded[0].config.model, hard=True)
    found = diagnose(facts_of(loaded, healthy, model=model, locality=LocalityConfig(mode="fixed", lam=1.0)))
    assert found.findings == ()
    assert any("hard attention is read at λ = 1 only" in text for text in found.not_assessed)


def test_the_papers_threshold_of_hard_attention_is_missing_and_no_error(loaded, healthy):
    model = replace(loaded[0].config.model, hard=True, localist=True)
    penalty = PenaltyConfig(solver="subgradient", eta=1e-5)
    facts = facts_of(
        loaded, healthy, model=model, locality=LocalityConfig(mode="fixed", lam=1.0), penalty=penalty
    )
    assert facts.penalty.predicted is None
    assert (
        "the papers' threshold: its δ is measured at λ = 0, where hard attention cannot be read"
        in facts.missing
    )


def test_a_curriculum_is_known_by_the_lam_that_it_reached(loaded, healthy):
    model, text = loaded
    rising = replace(model.config, locality=LocalityConfig(mode="curriculum", lam=1.0, end=1.0))
    half = replace(model, config=rising, step=model.config.train.steps // 2)
    assert FactFinder(half, text, healthy, BATCHES, quiet=True).training().lam == pytest.approx(0.5)


def test_with_biases_flat_heads_are_not_told_of(loaded, healthy):
    """Their scores may be alike at any height."""
    model = loaded[0]
    biased = replace(model, config=replace(model.config, model=replace(model.config.model, qkv_bias=True)))
    finder = FactFinder(biased, loaded[1], healthy, BATCHES, quiet=True)
    assert finder.penalty().flat_heads == 0
    assert finder.missing == ["whether heads are flat: with biases their scores may be alike at any height"]


def test_no_text_is_refused_before_any_work(healthy):
    with pytest.raises(ValueError, match="batches is 0; it must be at least 1"):
        runs.diagnose(healthy, DiagnoseOptions(batches=0))
