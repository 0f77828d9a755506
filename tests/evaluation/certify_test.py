"""Certificates of loaded models: against what attention measures, for texts, and by the scores seen on a
corpus.
"""

import csv
import json
import shutil
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aila_jax import runs
from aila_jax.config import MarginConfig, PartitionConfig, RelationConfig
from aila_jax.config.options import CertifyOptions, Reading
from aila_jax.evaluation.certify import certify, key_counts, largest_scores, scored_batches
from aila_jax.evaluation.origin import Scope, SweepMeta
from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from aila_jax.model.interface import Dial, Request
from aila_jax.model.stats import StatsRequest
from aila_jax.model.transformer import Transformer
from aila_jax.reporting.records import write_sweep
from aila_jax.reporting.tables import names_of
from aila_jax.runs import _certify as certifying
from aila_jax.runs._certify import measured_heads
from tests.support.tiny import Trained
from tests.support.untrained import untrained_model


@cache
def swept_row(run: str) -> HeadRow:
    """What a sweep measured of one head at λ = 1, τ = 1."""
    return HeadRow(
        **dict.fromkeys([name for name in names_of(HeadRow)[8:] if name[:7] in ("entropy", "block_m")], 0.25),
        **dict.fromkeys(("delta_imposed", "delta_measured", "delta_share")),
        run=run,
        seed=0,
        commit="c",
        split="validation",
        lam=1.0,
        tau=1.0,
        layer=0,
        head=1,
    )


def model_of(**options: Any) -> LanguageModel:
    """The untrained model with other options, its parameters drawn anew."""
    base = untrained_model()
    model = replace(base, config=replace(base.config, model=replace(base.config.model, **options)))
    params = jax.jit(lambda key: model.network.init(example_batch(model.config), key))(jax.random.key(0))
    return replace(model, params=jax.tree.map(lambda x: 6 * x if x.ndim > 1 else x + 0.3, params))


def measured(model: LanguageModel, tokens: np.ndarray, lam: float, tau: float, **given: Any):
    stats = model.apply(tokens, lam=lam, tau=tau, **given).stats
    return np.asarray(stats.block_mass, np.float64), np.asarray(stats.entropy_bits, np.float64)


@pytest.mark.parametrize(
    "options",
    [
        {"film": True, "margin": MarginConfig(nats=40.0)},
        {"qk_norm": True, "margin": MarginConfig(nats=14.0), "layer_beta": 1.0},
        {"film": True, "margin": MarginConfig(form="self_scaling", power=2.0)},
    ],
    ids=["parameters", "QK-norm", "self-scaling"],
)
def test_what_is_measured_keeps_to_the_certificate(options: dict[str, Any]) -> None:
    model = model_of(**options)
    tokens = np.random.default_rng(0).integers(0, model.tokenizer.vocab_size, (6, 24)).astype(np.int32)
    for lam, tau in ((0.6, 1.0), (1.0, 0.5)):
        found = certify(model, lam, tau)
        mass, entropy = measured(model, tokens, lam, tau)
        assert (mass >= found.block_mass[:, None] - 1e-5).all()
        assert (entropy <= found.entropy_bits[:, None] + 1e-4).all()
    assert certify(model, 1.0).share_said > 0.0


def test_a_model_read_with_layer_factors_of_ones_own_is_certified_with_the_same() -> None:
    model = model_of(score_cap=2.0, margin=MarginConfig(nats=10.0))
    tokens = np.random.default_rng(0).integers(0, model.tokenizer.vocab_size, (6, 24)).astype(np.int32)
    for scale in ([1.0, 0.0], [0.5, 0.9]):
        mass, entropy = measured(model, tokens, 1.0, 1.0, layer_scale=scale)
        found = certify(model, 1.0, layer_scale=scale)
        assert (mass >= found.block_mass[:, None] - 1e-5).all() and (
            entropy <= found.entropy_bits[:, None] + 1e-4
        ).all()
        np.testing.assert_allclose(found.gap.nats[:, 0], 10.0 * np.array(scale) - 4.0, atol=1e-4)
    assert (
        mass[0] < certify(model, 1.0).block_mass[0] - 1e-3
    ).any()  # [0.5, 0.9] breaks what the whole margin guarantees
    np.testing.assert_array_equal(
        certify(model, 0.7, layer_scale=[1.0, 1.0]).block_mass, certify(model, 0.7).block_mass
    )


def test_a_shorter_length_has_the_first_positions_of_a_longer_one() -> None:
    model = model_of(qk_norm=True)
    np.testing.assert_array_equal(
        certify(model, 0.8, 2.0, 11).block_mass, certify(model, 0.8, 2.0).block_mass[:, :, :11]
    )


def test_a_text_is_certified_with_its_own_blocks() -> None:
    base = model_of(qk_norm=True, margin=MarginConfig(nats=14.0))
    model = replace(base, config=replace(base.config, partition=PartitionConfig(kind="given")))
    tokens, blocks = list(range(5, 13)), [0, 0, 1, 1, 0, 2, -1, -1]
    found = certify(model, 1.0, text=tokens, block_ids=blocks)
    mass, entropy = measured(
        model, np.array([tokens], np.int32), 1.0, 1.0, block_ids=np.array([blocks], np.int32)
    )
    counts = list(zip(found.counts.n_in[0].tolist(), found.counts.n_out[0].tolist(), strict=True))
    assert counts == [(1, 0), (2, 0), (1, 2), (2, 2), (3, 2), (1, 5)]  # position by position; padding is none
    assert found.counts.queries.tolist() == [1] * 6
    assert (mass[:, 0, :, :6].mean(axis=-1) >= found.head_block_mass - 1e-5).all()
    assert (entropy[:, 0, :, :6].mean(axis=-1) <= found.head_entropy_bits + 1e-4).all()
    assert found.mean_block_mass > certify(model, 1.0).mean_block_mass
    lines = certify(model, 1.0, text="the cat saw\nthe old owl\n")
    assert lines.counts.n_out.any() and not lines.counts.worst


def test_the_largest_scores_are_those_of_the_inputs_read(trained: Trained) -> None:
    """Against scores made here from the model's own inputs of each layer, query by query."""
    model = trained.model
    batches = list(scored_batches(model, trained.dataset, Reading("validation", False, 8, 2, "spread")))
    found = largest_scores(model, batches, 0.5, 0.7)
    cfg = model.config.model
    want = np.zeros((cfg.n_layers, cfg.n_heads))
    for batch in batches:
        _, kept = model.module.apply(
            {"params": model.params},
            batch.tokens,
            batch.positions,
            model.partition(batch),
            batch.doc_ids,
            Dial(np.float32(0.5), np.float32(0.7)),
            Request(),
            capture_intermediates=lambda module, _: module.name in ("query", "key"),
        )
        for layer in range(cfg.n_layers):
            inner = kept["intermediates"][f"layer_{layer}"]["attention"]
            q, k = (np.asarray(inner[name]["__call__"][0], np.float64) for name in ("query", "key"))
            for row in range(len(q)):
                for t in np.flatnonzero(batch.doc_ids[row] >= 0):
                    scores = np.einsum("hk,jhk->hj", q[row, t], k[row, : t + 1]) / np.sqrt(q.shape[-1])
                    want[layer] = np.maximum(want[layer], np.abs(scores).max(axis=-1))
    np.testing.assert_allclose(found, want, rtol=1e-4)


def test_an_empirical_certificate_holds_on_what_was_read_and_says_that_it_is_no_guarantee(
    trained: Trained,
) -> None:
    found = certify(
        trained.model,
        1.0,
        1.0,
        bound="empirical",
        dataset=trained.dataset,
        split="validation",
        batch_size=8,
        max_batches=2,
    )
    assert found.gap.empirical
    assert (found.gap.score_bound < certify(trained.model, 1.0).gap.score_bound).all()
    for batch in scored_batches(trained.model, trained.dataset, Reading("validation", False, 8, 2, "spread")):
        mass, entropy = measured(trained.model, batch.tokens, 1.0, 1.0)
        real = batch.doc_ids >= 0
        for row in range(len(real)):
            assert (mass[:, row][..., real[row]] >= found.block_mass[..., real[row]] - 1e-5).all()
            assert (entropy[:, row][..., real[row]] <= found.entropy_bits[..., real[row]] + 1e-4).all()


def test_the_largest_scores_are_those_at_the_layer_factors(trained: Trained) -> None:
    batches = list(
        scored_batches(trained.model, trained.dataset, Reading("validation", False, 8, 1, "spread"))
    )
    found = certify(
        trained.model,
        1.0,
        bound="empirical",
        dataset=trained.dataset,
        batch_size=8,
        max_batches=1,
        layer_scale=[0.0, 1.0],
    )
    np.testing.assert_array_equal(
        found.gap.score_bound, largest_scores(trained.model, batches, 1.0, 1.0, np.float32([0.0, 1.0]))
    )
    plain = largest_scores(trained.model, batches, 1.0, 1.0)
    np.testing.assert_array_equal(found.gap.score_bound[0], plain[0])  # nothing comes before the first layer
    assert (found.gap.score_bound[1] != plain[1]).all()


def test_new_values_of_the_dial_do_not_recompile_the_search_for_scores(trained: Trained) -> None:
    batches = list(
        scored_batches(trained.model, trained.dataset, Reading("validation", False, 8, 1, "spread"))
    )
    largest_scores(trained.model, batches, 0.5, 0.7)
    from aila_jax.evaluation.certify import _largest

    before = _largest._cache_size()
    largest_scores(trained.model, batches, 0.25, 1.5)
    assert _largest._cache_size() == before


def test_the_largest_score_is_made_only_where_asked_for() -> None:
    model = model_of()
    batch = model.batch(np.zeros((1, 24), np.int32))

    def outputs(asked: StatsRequest) -> str:
        def run(params):
            return model.module.apply(
                {"params": params},
                batch.tokens,
                batch.positions,
                model.partition(batch),
                batch.doc_ids,
                Dial(0.5, 1.0),
                Request(stats=asked),
            )

        return str(jax.make_jaxpr(run)(model.params))

    assert outputs(StatsRequest()).count("abs") == 0 < outputs(StatsRequest(largest=True)).count("abs")
    assert isinstance(model.module, Transformer)


def test_counts_of_a_split_are_those_that_attention_reports(trained: Trained) -> None:
    model = trained.model
    batches = list(scored_batches(model, trained.dataset, Reading("validation", False, 8, 2, "spread")))
    counts = key_counts(model, batches)
    seen: dict[tuple[int, int], int] = {}
    for batch in batches:
        stats = model.apply(batch.tokens).stats
        n_in, n_keys = np.asarray(stats.n_in[0]), np.asarray(stats.n_keys[0])
        for place in zip(*np.nonzero(batch.doc_ids >= 0), strict=True):
            pair = int(n_in[place]), int(n_keys[place] - n_in[place])
            seen[pair] = seen.get(pair, 0) + 1
    assert seen == dict(
        zip(
            zip(counts.n_in[0].tolist(), counts.n_out[0].tolist(), strict=True),
            counts.queries.tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"bound": "empirical"}, r"dataset is None; it must be given for bound='empirical'.* Fix: dataset="),
        (
            {"split": "nonsense"},
            r"split is 'nonsense'; it must be left out unless bound='empirical' or a flow over a split",
        ),
        ({"max_batches": 3}, r"max_batches is 3; it must be left out unless bound='empirical'"),
        ({"text": ""}, r"text is ''; it must be at least one token"),
        ({"text": "a", "length": 3}, r"length is 3; it must be left out with a text"),
        ({"block_ids": [1]}, r"block_ids is \[1\]; it must be left out without a text"),
        ({"text": [True]}, r"text is \[True\]; it must be a text, or whole numbers: its token ids"),
        ({"arithmetic": "tf32"}, r"arithmetic is 'tf32'; it must be float32 or bfloat16"),
        ({"lam": -0.1}, r"lam is -0\.1; it must be a number in \[0, 1\]"),
    ],
)
def test_bad_input_is_refused(call: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(model_of(), **call)


def test_a_data_set_of_another_tokenizer_or_without_the_split_is_refused(trained: Trained) -> None:
    with pytest.raises(ValueError, match=r"dataset\.tokenizer is .*; it must be the model's"):
        certify(model_of(), bound="empirical", dataset=trained.dataset)
    with pytest.raises(ValueError, match=r"split is 'dev'; it must be one of train"):
        certify(trained.model, bound="empirical", dataset=trained.dataset, split="dev")


def test_the_command_writes_its_files_and_finds_what_a_sweep_measured(
    trained: Trained, tmp_path: Path
) -> None:
    text = runs.certify(trained.run.workdir, out=tmp_path / "new")
    assert text.startswith(
        f"{trained.model.run}, step 24: λ = 1, τ = 1, 16 positions\nscores bounded by the weights"
    )
    alone = runs.certify(
        trained.run.workdir, CertifyOptions(text="the cat saw the old owl"), tmp_path / "text"
    )
    assert "step 24, for the text 'the cat saw the old owl' alone: λ = 1, τ = 1, " in alone.splitlines()[0]
    assert alone.splitlines()[1].endswith("; blocks as in this text")
    assert (
        json.loads((tmp_path / "text" / "certificate.json").read_text(encoding="utf-8"))["meta"]["text"]
        == "the cat saw the old owl"
    )
    with (tmp_path / "text" / "certificate.csv").open(encoding="utf-8") as file:
        rows = [
            (row["position"], row["n_in"], row["n_out"])
            for row in csv.DictReader(file)
            if row["layer"] == row["head"] == "0"
        ]
    size, n_tokens = (
        trained.model.config.partition.size,
        len(trained.model.tokenizer.encode("the cat saw the old owl")),
    )
    assert n_tokens > size  # a second block has begun: its first query has 1 key inside
    assert rows == [(str(t), str(t % size + 1), str(t - t % size)) for t in range(n_tokens)]
    coarse = runs.certify(trained.run.workdir, CertifyOptions(arithmetic="bfloat16"), tmp_path / "coarse")
    assert coarse.splitlines()[1].startswith(
        "scores bounded by the weights (matrix products in bfloat16 or finer); blocks"
    )
    written = {
        name: json.loads((tmp_path / name / "certificate.json").read_text(encoding="utf-8"))
        for name in ("new", "coarse")
    }
    assert {name: document["arithmetic"] for name, document in written.items()} == {
        "new": "float32",
        "coarse": "bfloat16",
    }
    assert written["coarse"]["heads"][0]["score_bound"] > 1.01 * written["new"]["heads"][0]["score_bound"]
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"certificate.json", "certificate.csv", "certificate.png", "certificate.svg"}
    row = swept_row(trained.model.run)
    cell = {field.name: getattr(row, field.name, 1.0) for field in fields(CellRow)} | {
        "hard": False,
        "targets": 1,
    }
    cell |= {"pointers": None, "pointer_queries": None, "determined": None}
    meta = SweepMeta(checkpoint_step=trained.model.step, scope=Scope(max_batches=0))
    write_sweep(SweepResult((CellRow(**cell),), (row,), trained.model.config, meta), tmp_path)

    def measured(
        model: LanguageModel = trained.model, home: Path = tmp_path, lam: float = 1.0, hard: bool = False
    ) -> dict[tuple[int, int], HeadRow] | None:
        options = CertifyOptions(lam=lam, hard=hard)
        return measured_heads(runs.OpenedRun(model, home, home).own_sweep(), options, model.config)

    assert measured() == {(0, 1): row}
    assert measured(lam=0.5) is None
    assert measured(hard=True) is None
    assert measured(trained.model.with_window(3)) is None
    assert measured(replace(trained.model, step=8)) is None
    assert measured(home=tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("given", "beside"), [({}, True), ({"length": 6}, False), ({"text": "the cat saw"}, False)]
)
def test_what_a_sweep_measured_stands_beside_a_certificate_of_the_same_positions_only(
    trained: Trained, tmp_path: Path, given: dict[str, Any], beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = swept_row(trained.model.run)
    monkeypatch.setattr(certifying, "measured_heads", lambda *_: {(0, 1): row})
    text = runs.certify(trained.run.workdir, CertifyOptions(**given), tmp_path)
    assert (" measured " in text) == beside


@pytest.mark.parametrize("scalar", [np.float32, jnp.float32, np.array])
def test_lambda_and_tau_may_be_scalars_of_numpy_and_jax(trained: Trained, scalar: Any) -> None:
    found, plain = (
        certify(trained.model, lam=scalar(1.0), tau=scalar(0.5)),
        certify(trained.model, lam=1.0, tau=0.5),
    )
    assert found.least_block_mass == plain.least_block_mass
    with pytest.raises(ValueError, match=r"lam is 2\.0; it must be a number in \[0, 1\]"):
        certify(trained.model, lam=scalar(2.0))
    with pytest.raises(ValueError, match=r"lam is array\(\[1\., 1\.\]\); it must be a number"):
        certify(trained.model, lam=np.ones(2))


def test_one_text_and_other_windows_leave_the_certificate_of_every_text_alone(
    trained: Trained, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained.run.workdir, tmp_path / "run"))
    runs.certify(str(run))
    written = (run / "certificate" / "certificate.json").read_bytes()
    runs.certify(run, CertifyOptions(text="the cat"))
    runs.certify(runs.open_run(run, window=3))
    assert (run / "certificate" / "certificate.json").read_bytes() == written
    assert (run / "certificate" / "text" / "certificate.csv").is_file()
    assert (run / "window3" / "certificate" / "certificate.png").is_file()


@pytest.mark.parametrize("options", [{}, {"score_cap": 4.0}, {"qk_norm": True}], ids=str)
def test_weights_that_are_not_finite_are_refused_whatever_bounds_the_scores(options: dict[str, Any]) -> None:
    model = model_of(**options)
    params = dict(model.params)
    params["embedding"] = jax.numpy.full_like(params["embedding"], np.nan)
    for hard in (False, True):
        with pytest.raises(ValueError, match=r"parameters are not finite; .* from before training diverged"):
            certify(replace(model, params=params), 1.0, hard=hard)


@pytest.mark.parametrize(
    "relation",
    [
        RelationConfig(sink=True, shift=2),
        RelationConfig(pointers="ends", horizon=2, sink=True),
        RelationConfig(pointers="random", layers=("own", "windows:8")),
        RelationConfig(layers=("windows:3", "all"), sink=True),
    ],
    ids=lambda relation: ", ".join(relation.settings),
)
@pytest.mark.parametrize("gate", [0.0, 0.5])
def test_what_is_measured_keeps_to_the_certificate_of_a_relation(
    relation: RelationConfig, gate: float
) -> None:
    """Over own block, pointers and sinks together, layer by layer; and at λ = 1 a gate leaves nothing
    outside.
    """
    base = model_of(score_cap=2.0, margin=MarginConfig(nats=7.0, gate=gate))
    model = replace(base, config=replace(base.config, relation=relation))
    tokens = np.random.default_rng(0).integers(0, model.tokenizer.vocab_size, (6, 24)).astype(np.int32)
    for lam, tau in ((0.8, 0.7), (1.0, 2.0)):
        found = certify(model, lam, tau)
        output = model.apply(tokens, lam=lam, tau=tau)
        mass, entropy = (
            np.asarray(one, np.float64) for one in (output.stats.block_mass, output.stats.entropy_bits)
        )
        n_in = np.broadcast_to(found.counts.n_in, (2, 24))
        assert (np.asarray(output.stats.n_in) == n_in[:, None]).all()
        assert (mass >= found.block_mass[:, None] - 1e-5).all()
        assert (entropy <= found.entropy_bits[:, None] + 1e-4).all()
        assert found.non_interfering == (gate > 0 and lam == 1.0)
        if found.non_interfering:
            assert (mass >= 1 - 1e-6).all()
        text = certify(model, lam, tau, text=tokens[0].tolist())
        np.testing.assert_array_equal(text.counts.n_in, found.counts.n_in)
