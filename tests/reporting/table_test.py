"""Tables and formats against hand-written text."""

import dataclasses
from collections.abc import Callable

import pytest

from aila_jax import formats
from aila_jax.evaluation.rows import SweepResult
from aila_jax.reporting.table import dial_table, markdown_table

VALUES = {
    "perplexity_token": 72.125,
    "perplexity_word": None,
    "perplexity_byte": None,
    "accuracy": 0.3525,
    "entropy_bits": 4.1,
}


@pytest.fixture
def small(make_sweep: Callable[..., SweepResult]) -> SweepResult:
    """Two cells with the values written out below."""
    result = make_sweep(lams=(0.0, 1.0), taus=(1.0,), block_mass=0.24, block_mass_lift=2.1739, **VALUES)
    last = dataclasses.replace(
        result.cells[1],
        perplexity_token=1234.4,
        accuracy=0.05,
        entropy_bits=1.1701,
        block_mass=0.98,
        block_mass_lift=12.0,
    )
    return dataclasses.replace(result, cells=(result.cells[0], last))


def test_the_table_is_aligned_and_has_only_recorded_perplexities(small: SweepResult) -> None:
    assert dial_table(small) == "\n".join(
        [
            "synthetic, seed 7: validation, 215,488 targets, τ = 1",
            "λ  perplexity/token  accuracy  entropy (bits)  block mass    lift",
            "-  ----------------  --------  --------------  ----------  ------",
            "0             72.12    35.2 %           4.100       0.240   ×2.17",
            "1             1,234     5.0 %           1.170       0.980  ×12.00",
        ]
    )


def test_markdown(small: SweepResult) -> None:
    assert markdown_table(small).splitlines() == [
        "synthetic, seed 7: validation, 215,488 targets, τ = 1",
        "",
        "| λ | perplexity/token | accuracy | entropy (bits) | block mass | lift |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        "| 0 | 72.12 | 35.2 % | 4.100 | 0.240 | ×2.17 |",
        "| 1 | 1,234 | 5.0 % | 1.170 | 0.980 | ×12.00 |",
    ]


def test_word_and_byte_perplexity_have_columns_where_recorded(make_sweep: Callable[..., SweepResult]) -> None:
    table = dial_table(make_sweep(perplexity_word=268.25, perplexity_byte=2.784), tau=2.0).splitlines()
    assert table[0].endswith("τ = 2")
    assert table[1].split()[1:4] == ["perplexity/token", "perplexity/word", "perplexity/byte"]
    assert table[3].split()[2:4] == ["268.2", "2.784"]


def test_a_model_that_sees_its_targets_says_so(make_sweep: Callable[..., SweepResult]) -> None:
    leaky, causal = make_sweep(bidirectional=True), make_sweep()
    for table in (dial_table, markdown_table):
        assert "NOT CAUSAL" in table(leaky)
        assert "NOT CAUSAL" not in table(causal)


def test_pointer_fidelity_has_columns_where_it_was_measured(make_sweep: Callable[..., SweepResult]) -> None:
    measured = {
        "pointers": "anchors",
        "pointer_fidelity": 0.321,
        "pointer_uniform": 0.1,
        "pointer_lift": 3.21,
    }
    table = dial_table(make_sweep(**measured, pointer_block_ratio=0.654, pointer_key_share=0.5))
    assert "fidelity  fidelity lift  ÷ block mass  key share" in table
    assert "determined" not in table
    assert all(text in table.splitlines()[-1] for text in ("0.321", "×3.21", "0.654", "0.500"))
    assert "fidelity" not in dial_table(make_sweep())


def test_a_guarantee_has_a_column_where_there_is_one(small: SweepResult) -> None:
    cells = (
        small.cells[0],
        dataclasses.replace(small.cells[1], guaranteed_block_mass=0.9129, guaranteed_entropy_bits=1.2341),
    )
    header, _, *rows = dial_table(dataclasses.replace(small, cells=cells)).splitlines()[1:]
    assert header.endswith("guaranteed mass  guaranteed bits")
    assert [row.split()[-2:] for row in rows] == [["–", "–"], ["0.912", "1.235"]]
    assert "guaranteed" not in dial_table(small)


def test_an_unknown_tau_is_refused(sweep: SweepResult) -> None:
    for table in (dial_table, markdown_table):
        with pytest.raises(ValueError, match=r"tau is 0\.7; it must be one of"):
            table(sweep, tau=0.7)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.000"),
        (4.768, "4.768"),
        (9.99999, "10.00"),
        (72.131, "72.13"),
        (115.23, "115.2"),
        (1234.4, "1,234"),
        (123456.0, "123,500"),
        (2.5e7, "2.500e+07"),
        (0.5, "0.5000"),
        (None, "–"),
    ],
)
def test_perplexity_has_four_significant_digits(value: float | None, text: str) -> None:
    assert formats.perplexity(value) == text


def test_bounds_are_rounded_to_the_safe_side() -> None:
    assert (formats.at_least(0.9999), formats.at_least(0.5), formats.at_least(None)) == (
        "0.999",
        "0.500",
        "–",
    )
    assert (formats.at_most(1.2301), formats.at_most(2.0, 1), formats.at_most(None)) == ("1.231", "2.0", "–")


def test_other_formats() -> None:
    assert formats.change(72.1, 115.0) == "+59.5 %"
    assert formats.change(100.0, 96.5) == "−3.5 %"
    assert (formats.percent(0.3525), formats.percent(None)) == ("35.2 %", "–")
    assert (formats.fixed(1.23456, 2), formats.fixed(None)) == ("1.23", "–")
    assert (formats.lift(2.178), formats.times(2.178)) == ("×2.18", "2.18 times")
