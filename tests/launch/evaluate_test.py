"""What `aila evaluate` prints."""

import dataclasses

from aila_jax.cli.commands.evaluate import describe_cell
from aila_jax.evaluation.rows import CellRow

HEAD = ["perplexity_token", "accuracy", "entropy_bits", "block_mass", "guaranteed_block_mass"]
PLAIN = {field.name: None for field in dataclasses.fields(CellRow)} | {
    "run": "tiny",
    "seed": 0,
    "commit": "abc",
    "split": "test",
    "targets": 12345,
    "lam": 0.6,
    "tau": 1.0,
    "hard": False,
    "loss": 3.0,
    "perplexity_token": 20.0855,
    "accuracy": 0.25,
    "entropy_bits": 2.5,
    "entropy_fraction": 0.5,
    "block_mass": 0.75,
    "block_mass_uniform": 0.25,
    "block_mass_lift": 3.0,
    "block_mass_local": 0.75,
}


def printed(**changes):
    return [line.split(maxsplit=1) for line in describe_cell(CellRow(**{**PLAIN, **changes})).splitlines()]


def test_what_matters_comes_first():
    lines = printed(guaranteed_block_mass=0.5, guaranteed_entropy_bits=3.25)
    assert [name for name, _ in lines][:6] == [*HEAD, "guaranteed_entropy_bits"]
    assert lines[0] == ["perplexity_token", "20.0855"]


def test_what_is_not_there_has_no_line():
    lines = printed()
    assert [name for name, _ in lines][:5] == [*HEAD[:4], "loss"]
    assert {value for _, value in lines}.isdisjoint({"-", "None"})
    assert ["targets", "12345"] in lines and ["hard", "False"] in lines


def test_every_number_that_is_there_has_one_line():
    full = {name: 0.25 if value is None else value for name, value in PLAIN.items()}
    assert sorted(name for name, _ in printed(**full)) == sorted(PLAIN)
