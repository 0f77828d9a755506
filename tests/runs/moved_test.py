"""A run whose corpus has moved is read where the corpus is now."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from aila_jax import runs


def test_the_corpus_is_read_where_it_is_now(trained, tmp_path, monkeypatch):
    """Case `moved_data.sh`: no flag said where the files are."""
    data = trained.config.data
    names = {name: getattr(data, name) for name in ("files", "valid_files", "test_files")}
    for (path,) in names.values():
        shutil.copy(path, tmp_path)
    gone = {name: (Path(path).name,) for name, (path,) in names.items()}
    config = replace(trained.config, data=replace(data, **gone))
    model = replace(trained.model, config=config)
    monkeypatch.chdir("/")
    with pytest.raises(ValueError, match=r"which matches 0 files.*--data_dir=FOLDER"):
        runs.dataset_of(model)
    assert runs.dataset_of(model, str(tmp_path)).fingerprint == trained.dataset.fingerprint
    (tmp_path / gone["files"][0]).write_text("another text\n" * 40, encoding="utf-8")
    with pytest.raises(ValueError, match=r"its text has changed.*--data_dir=FOLDER says where it is now"):
        runs.dataset_of(model, str(tmp_path))
