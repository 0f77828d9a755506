"""Tests of corpora whose files have moved."""

from pathlib import Path

import pytest

from aila_jax.config import DataConfig
from aila_jax.data.corpora import load_corpus
from aila_jax.data.places import moved_to


def lines(name: str) -> str:
    return "".join(f"{name} line {number}\n" for number in range(40))


@pytest.fixture
def moved(tmp_path: Path, monkeypatch) -> Path:
    """The new folder of the files deep/a.txt, deep/b.txt and v.txt; the working directory is another."""
    for name in ("deep/a.txt", "deep/b.txt", "v.txt"):
        path = tmp_path / "now" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines(name))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "now"


@pytest.mark.parametrize(
    "pattern",
    [
        "deep/*.txt",
        "./deep/*.txt",
        "../deep/*.txt",
        "/where/it/was/deep/*.txt",
        "~/deep/*.txt",
        "was/deep/**/*.txt",
    ],
)
def test_paths_and_globs_are_found_by_their_longest_tail(moved, pattern):
    config = DataConfig(corpus="text", files=(pattern,), valid_files=("/was/v.txt",))
    with pytest.raises(
        ValueError, match=r"data\.files has .* or say where the files are now with --data_dir"
    ):
        load_corpus(config)
    splits = load_corpus(moved_to(config, str(moved))).splits
    assert [Path(document.title).name for document in splits["train"]] == ["a.txt", "b.txt"]
    assert splits["validation"][0].text == lines("v.txt")


def test_a_folder_without_the_files_is_refused(moved):
    config = DataConfig(corpus="text", files=("deep/gone.txt",))
    with pytest.raises(
        ValueError, match=r"data\.files has 'deep/gone\.txt', and --data_dir is .*must hold 'deep/gone\.txt'"
    ):
        moved_to(config, str(moved))


def test_other_corpora_have_folders_of_their_own(moved):
    assert moved_to(DataConfig(corpus="wikitext2"), "w").data_dir == "w"
    assert moved_to(DataConfig(corpus="tfds", tfds_name="a"), "t").tfds_data_dir == "t"
    assert moved_to(DataConfig(), "") == DataConfig()
    with pytest.raises(ValueError, match=r"--data_dir is 'x', but data\.corpus is 'pydocs', which does not"):
        moved_to(DataConfig(), "x")
