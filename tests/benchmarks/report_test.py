"""Tests of the record, the table and the figure, on a result written by hand."""

import json
from dataclasses import replace

import pytest

from benchmarks.record import describe_machine, read_result, write_result
from benchmarks.report import figure, table


def test_json_comes_back_as_it_was(result, tmp_path):
    write_result(result, tmp_path / "benchmark.json")
    assert read_result(tmp_path / "benchmark.json") == result
    values = json.loads((tmp_path / "benchmark.json").read_text(encoding="utf-8"))
    assert values["machine"]["cores"] == 2
    assert values["shapes"][0]["entries"][0]["proofs"][0]["reference_loss"] == 8.5
    assert values["shapes"][0]["entries"][0]["measures"][0]["seconds"] == [0.5, 0.25]


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 99}', "{}"])
def test_another_file_is_refused(content, tmp_path):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="Fix"):
        read_result(tmp_path / "x.json")


def test_unknown_fields_are_refused(result, tmp_path):
    write_result(result, tmp_path / "x.json")
    values = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    values["machine"]["colour"] = "red"
    (tmp_path / "x.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="colour"):
        read_result(tmp_path / "x.json")


def test_the_table_states_what_the_result_holds(result):
    text = table(result)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    train = "24,576 (20,480–28,672) | 1.25 (1.12–1.38) | 1.50 (1.50–1.50)"
    sweep = "65,536 (65,536–65,536) | 1.00 (1.00–1.00) | 1.00 (1.00–1.00)"
    assert f"| ours | λ fixed | {train} | {sweep} | 4.5 + 1.5 | 3 |" in rows
    assert any(row.startswith("| plain-einsum") and "| – | – | – | 4.5 | 7 |" in row for row in rows)
    assert any(row.startswith("| torch-eager") and "skipped: PyTorch is not installed" in row for row in rows)
    assert len({row.count("|") for row in rows}) == 1
    for part in (
        "Some CPU, 2 cores, 8 GiB",
        "0.25 before and unknown after",
        "4,096 tokens a step",
        "jax 0.10.2",
        result.command,
    ):
        assert part in text


def test_the_figure_has_a_panel_for_each_shape_and_task(result):
    drawn = figure(replace(result, shapes=result.shapes * 2))
    assert len(drawn.axes) == 4
    labels = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in drawn.axes]
    assert labels[0] == ["ours", "plain-einsum"]
    assert labels[1] == ["ours"]


def test_this_machine_is_described():
    machine = describe_machine("a device")
    assert machine.cores >= 1
    assert machine.memory_bytes > 2**28
    assert machine.processor
    assert machine.load_before is None or machine.load_before >= 0
