"""The whole way through the public names: text, training, loading, the dial's grid, the report, generated
text.
"""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import aila_jax as aila
from aila_jax import runs
from aila_jax.config.options import PromptOptions, SweepOptions
from aila_jax.evaluation.baselines import baselines
from aila_jax.reporting import read_sweep
from tests.support.tiny import make_config, write_corpus


def test_from_a_text_file_to_a_report(tmp_path, capsys):
    config = make_config(write_corpus(tmp_path / "text"), steps=16, checkpoint_every=16, eval_every=16)
    run = aila.train(config, tmp_path / "run")
    assert "parameters" in capsys.readouterr().out

    model = aila.load(tmp_path / "run")
    tokens = np.array([model.tokenizer.encode("the cat saw")[:8]], np.int32)
    output = model.apply(tokens, lam=0.5, tau=1.0)
    assert np.all(np.isfinite(output.logits))

    result = runs.sweep(run.workdir, SweepOptions(lams=(0.0, 0.5, 1.0), taus=(1.0,)), quiet=True)
    with open(tmp_path / "run" / "sweep.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["lam"]) for row in rows] == [0.0, 0.5, 1.0]
    assert [float(row["perplexity_token"]) for row in rows] == [
        cell.perplexity_token for cell in result.cells
    ]
    assert json.loads((tmp_path / "run" / "sweep.json").read_text())["meta"]["baselines"]["unigram"]
    assert read_sweep(tmp_path / "run").cells == result.cells

    # The dial turns: attention narrows and moves into the blocks, in one checkpoint.
    entropy, mass = (
        [getattr(cell, name) for cell in result.cells] for name in ("entropy_bits", "block_mass")
    )
    assert entropy == sorted(entropy, reverse=True)
    assert mass == sorted(mass)
    assert entropy[0] - entropy[2] > 0.5
    assert mass[2] > 0.9 > mass[0] + 0.2
    assert result.cells[0].loss < np.log(300) - 1

    samples = [
        {
            "lam": lam,
            "tau": 1.0,
            "prompt": "the cat",
            "text": model.generate("the cat", lam=lam, max_tokens=12),
        }
        for lam in (0.0, 1.0)
    ]
    page = runs.report(run.workdir, samples=samples)
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "run" / "report.html"
    assert "the cat" in html
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", html)  # opens without a network
    assert f"Attention weights of run, step {run.step} over one text" in html
    assert runs.report(run.workdir).read_text(encoding="utf-8") == html  # the same page, samples and all
    again = aila.report(run.workdir, tmp_path / "again.html").read_text(encoding="utf-8")
    assert again == html
    assert all(
        f'id="{part}"' in html for part in ("numbers", "samples", "attention", "losses", "figure-training")
    )
    for name in ("dial", "tradeoff", "heads", "training"):
        assert (tmp_path / "run" / f"{name}.png").stat().st_size > 1000
    continued = PromptOptions(prompt="the cat", lam=1.0, max_tokens=12)
    assert runs.generate(run.workdir, continued)[0][0].text == samples[1]["text"]
    assert f"{result.cells[0].targets:,} targets" in runs.describe_sweep(result)


@pytest.mark.medium
def test_the_small_preset_learns_wikitext2_and_its_dial_works(wikitext2, tmp_path):
    """150 steps of the preset `small`: better than word frequencies, and λ moves attention into the
    blocks.
    """
    config = aila.presets.with_data_dir(aila.presets.small(), str(wikitext2))
    train = replace(
        config.train, steps=150, warmup_steps=30, eval_every=150, checkpoint_every=150, eval_batches=4
    )
    config = replace(config, train=train, data=replace(config.data, cache_dir=str(tmp_path / "cache")))
    run = aila.train(config, tmp_path / "run", quiet=True)
    model = run.load()
    dataset = runs.dataset_of(model)
    result = aila.sweep(model, dataset, lams=(0.0, 1.0), taus=(1.0,), max_batches=20, quiet=True)
    low, high = result.cells
    validation = dataset.splits["validation"].tokens
    compared = baselines(
        dataset.splits["train"].tokens, validation[:-1], validation[1:], model.tokenizer.vocab_size
    )
    assert max(low.perplexity_token, high.perplexity_token) < compared["unigram"].perplexity_token
    assert high.block_mass > low.block_mass + 0.2
    assert high.entropy_bits < low.entropy_bits - 0.5
