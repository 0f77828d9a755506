"""The summary's sentences, every figure worked out by hand from the rows."""

import dataclasses
from collections.abc import Callable

import pytest

from aila_jax.evaluation.origin import SweepMeta
from aila_jax.evaluation.rows import SweepResult
from aila_jax.reporting.summary import sentences


@pytest.fixture
def known(make_sweep: Callable[..., SweepResult]) -> SweepResult:
    """Three cells at τ = 1 with round numbers, in no order, and one at τ = 2 that must not count."""
    result = make_sweep(lams=(0.0, 0.5, 1.0), taus=(1.0, 2.0))
    values = {
        0.0: (80.0, 0.25, 4.0, 0.2, 2.0),
        0.5: (60.0, 0.3, 3.2, 0.5, 5.0),
        1.0: (100.0, 0.2, 2.0, 0.9, 9.0),
    }
    names = ("perplexity_token", "accuracy", "entropy_bits", "block_mass", "block_mass_lift")
    cells = []
    for cell in result.cells:
        changes = (
            dict(zip(names, values[cell.lam], strict=True)) if cell.tau == 1.0 else {"perplexity_token": 1.0}
        )
        cells.append(dataclasses.replace(cell, **changes))
    return dataclasses.replace(result, cells=tuple(cells[::-1]))


def test_sentences_hold_the_figures_of_the_rows(known: SweepResult) -> None:
    change, entropy, mass, best, steepest, scale = sentences(known)
    assert (
        change == "From λ = 0 to λ = 1 at τ = 1, perplexity per token goes from 80.00 to 100.0 (+25.0 %) and"
        " accuracy from 25.0 % to 20.0 %."
    )
    assert entropy == "Attention entropy goes from 4.00 to 2.00 bits."
    assert (
        mass
        == "Block mass, the share of attention inside the query's own block, goes from 20.0 % to 90.0 %: "
        "2.00 times and 9.00 times that of uniform attention."
    )
    assert best == "The lowest perplexity of the λ measured is 60.00 per token, at λ = 0.5."
    assert steepest == "The steepest step, from λ = 0.5 to 1, carries 60.0 % of the fall in entropy."
    assert (
        scale
        == "For scale, perplexity per token on the validation split is 812.4 for the unigram model, 171.9 for"
        " the bigram model, and 60.00 at this model's best λ, over 215,488 targets."
    )


def test_what_is_inside_beside_the_block_is_told_apart(known: SweepResult) -> None:
    def mass(**parts: dict[float, float]) -> str:
        cells = [
            dataclasses.replace(cell, **{name: of_lam.get(cell.lam, 0.5) for name, of_lam in parts.items()})
            for cell in known.cells
        ]
        return sentences(dataclasses.replace(known, cells=tuple(cells)))[2]

    own, sink = {0.0: 0.15, 1.0: 0.4}, {0.0: 0.05, 1.0: 0.3}
    assert mass(block_mass_local=own, sink_mass=sink) == (
        "Block mass, the share of attention on the query's own block and sink, goes from 20.0 % to 90.0 %:"
        " 2.00 times and 9.00 times that of uniform attention. Of all attention: own block 15.0 % to 40.0 %,"
        " sink 5.0 % to 30.0 %."
    )
    said = mass(block_mass_local=own, sink_mass=sink, pointer_mass={0.0: 0.0, 1.0: 0.2})
    assert "on the query's own block, pointers and sink, goes" in said
    assert said.endswith("own block 15.0 % to 40.0 %, pointers 0.0 % to 20.0 %, sink 5.0 % to 30.0 %.")


def test_one_cell_is_described_alone(make_sweep: Callable[..., SweepResult]) -> None:
    values = {
        "perplexity_token": 70.0,
        "accuracy": 0.3,
        "entropy_bits": 2.5,
        "block_mass": 0.4,
        "block_mass_lift": 3.5,
    }
    assert sentences(make_sweep(lams=(0.6,), taus=(0.5,), **values)) == [
        "At λ = 0.6, τ = 0.5, perplexity per token is 70.00, accuracy 30.0 %, attention entropy 2.50 bits and"
        " block mass 40.0 %, 3.50 times that of uniform attention."
    ]


def test_no_steepest_step_where_entropy_does_not_fall(known: SweepResult) -> None:
    flat = dataclasses.replace(
        known, cells=tuple(dataclasses.replace(cell, entropy_bits=3.0) for cell in known.cells)
    )
    assert not any("steepest" in sentence for sentence in sentences(flat))


def test_baselines_are_left_out_where_absent_or_not_comparable(known: SweepResult) -> None:
    assert not any(
        "For scale" in sentence for sentence in sentences(dataclasses.replace(known, meta=SweepMeta()))
    )
    model = dataclasses.replace(known.config.model, bidirectional=True)
    leaky = dataclasses.replace(known, config=dataclasses.replace(known.config, model=model))
    assert not any("For scale" in sentence for sentence in sentences(leaky))
    with pytest.raises(
        ValueError, match=r"meta\.baselines\.unigram is \{'loss': 1\}; it must have perplexity_token"
    ):
        SweepMeta.from_json({"baselines": {"unigram": {"loss": 1}}})
