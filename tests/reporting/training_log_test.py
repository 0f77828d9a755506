"""Reading metrics.jsonl: what a crash leaves is tolerated, anything else malformed is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from aila_jax.reporting.training_log import read_training_log


def write(path: Path, records: list[dict[str, Any]], end: str = "") -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + end, encoding="utf-8")
    return path


def test_records_come_back_in_order(log: list[dict[str, Any]], tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.jsonl", log)
    assert read_training_log(path) == log
    assert read_training_log(tmp_path) == log


def test_extra_keys_and_null_are_kept(log: list[dict[str, Any]], tmp_path: Path) -> None:
    records = [{**log[0], "loss": None, "loss_at_lam_0.5": 4.1}]
    assert read_training_log(write(tmp_path / "log", records)) == records


@pytest.mark.parametrize("end", ['{"step": 1220, "ki', '{"step": 1220, "kind": "\xc3'.encode("latin-1")])
def test_a_last_line_cut_short_is_left_out_with_a_warning(
    log: list[dict[str, Any]], tmp_path: Path, end: str | bytes
) -> None:
    path = write(tmp_path / "metrics.jsonl", log)
    with open(path, "ab") as file:
        file.write(end if isinstance(end, bytes) else end.encode("utf-8"))
    with pytest.warns(UserWarning, match="last line is cut short"):
        assert read_training_log(path) == log


def test_a_broken_line_inside_is_refused_with_its_number(log: list[dict[str, Any]], tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.jsonl", log[:2], '{"step": 1\n' + json.dumps(log[2]) + "\n")
    with pytest.raises(ValueError, match=r"line 3 is not JSON .* Fix: remove or repair"):
        read_training_log(path)
    path = write(tmp_path / "metrics.jsonl", log[:2], '{"step": 1\n')
    with pytest.raises(ValueError, match=r"line 3 is not JSON"):
        read_training_log(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 1.5}, "must have an integer step"),
        ({"step": True}, "must have an integer step"),
        ({"kind": "test"}, "the kind train or eval"),
        ({"loss": "4"}, "line 1: loss is '4'; it must be a number or null"),
        ({"grad_norm": False}, "line 1: grad_norm is False"),
        ({"kind": "eval"}, "line 1: perplexity is 'missing'"),
    ],
)
def test_malformed_records_are_refused(
    log: list[dict[str, Any]], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_training_log(write(tmp_path / "log", [{**log[0], **change}]))


def test_a_list_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("[1]\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must have an integer step"):
        read_training_log(tmp_path / "log")
    with pytest.raises(ValueError, match=r"no training log at '.*metrics\.jsonl'"):
        read_training_log(tmp_path)
