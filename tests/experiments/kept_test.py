"""Parts of a long measurement that was stopped are not made again."""

import json

import pytest

from aila_jax.config import Config
from experiments.kept import Kept


def test_a_part_is_made_once_and_kept(tmp_path):
    kept, made = Kept.of(tmp_path / "run" / "measured.json", Config(), 3), []
    for _ in range(2):
        assert kept.part("first", lambda: made.append(1) or {"value": 0.1}) == {"value": 0.1}
    assert kept.part("second", lambda: [1, 2]) == [1, 2]
    assert made == [1]
    document = json.loads((tmp_path / "run" / "measured.json").read_text())
    assert document["parts"] == {"first": {"value": 0.1}, "second": [1, 2]}
    assert Kept.of(tmp_path / "run" / "measured.json", Config(), 3).part("second", lambda: 1 / 0) == [1, 2]


def test_what_was_made_before_it_stopped_stays(tmp_path):
    kept = Kept.of(tmp_path / "measured.json", Config(), 3)
    kept.part("first", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        kept.part("second", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert kept.part("first", lambda: 2) == 1
    assert kept.part("second", lambda: 3) == 3


def test_parts_of_another_subject_are_made_again(tmp_path):
    for config, step, value in ((Config(), 3, 1), (Config(), 4, 2), (Config(seed=1), 4, 3)):
        kept = Kept.of(tmp_path / "measured.json", config, step)
        assert kept.part("first", lambda value=value: value) == value


def test_parts_stay_where_a_setting_has_come_since(tmp_path):
    path = tmp_path / "measured.json"
    Kept.of(path, Config(), 3).part("first", lambda: 1)
    document = json.loads(path.read_text())
    del document["subject"]["config"]["model"]["init"]
    path.write_text(json.dumps(document))
    assert Kept.of(path, Config(), 3).part("first", lambda: 2) == 1


def test_parts_of_a_version_with_other_settings_are_made_again(tmp_path):
    path = tmp_path / "measured.json"
    Kept.of(path, Config(), 3).part("first", lambda: 1)
    document = json.loads(path.read_text())
    document["subject"]["config"]["model"]["unheard_of"] = 1
    path.write_text(json.dumps(document))
    assert Kept.of(path, Config(), 3).part("first", lambda: 2) == 2
