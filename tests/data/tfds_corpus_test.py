"""TensorFlow data sets by name: a third-party builder, files whose class is gone, splits, text features, and
all refusals.
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from aila_jax.config import DataConfig
from aila_jax.data.dataset import load_dataset
from aila_jax.data.documents import Document
from aila_jax.data.tfds_builders import prepared_folder, without_tensorflow
from aila_jax.data.tfds_corpus import read_tfds
from tests.conftest import ROOT


class Tales(tfds.core.GeneratorBasedBuilder):
    """A third-party builder with everything its author could want; three splits, two configurations."""

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=name, version=tfds.core.Version("1.2.0")) for name in ("short", "long")
    ]

    def _info(self):
        features = {
            "text": tfds.features.Text(),
            "meta": {"title": tfds.features.Text(), "year": tfds.features.Scalar(np.int64)},
            "lines": tfds.features.Sequence(tfds.features.Text()),
            "label": tfds.features.ClassLabel(names=["sad", "glad"]),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples("a", 20),
            "validation": self._generate_examples("b", 4),
            "test": self._generate_examples("c", 3),
        }

    def _generate_examples(self, letter, count):
        for i in range(count):
            text = f"{self.builder_config.name} {letter}{i}\r\nonce upon a λ\n" if i else "  \n"
            yield (
                i,
                {
                    "text": text,
                    "meta": {"title": f"t{i}", "year": i},
                    "lines": [f"x{i}", f"y\n{letter}"],
                    "label": i % 2,
                },
            )


class Notes(tfds.core.GeneratorBasedBuilder):
    """One text feature, one split."""

    VERSION = tfds.core.Version("2.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {"body": tfds.features.Text(), "stars": tfds.features.Scalar(np.int64)}
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(None)}

    def _generate_examples(self, _):
        for i in range(200):
            yield i, {"body": f"note number {i} says that {i * 7 % 10} is less than ten", "stars": i % 5}


class Pictures(Notes):
    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({"n": tfds.features.Scalar(np.int64)})
        )

    def _generate_examples(self, _):
        pytest.fail("work began before the features were looked at")


class NeedsTensors(Notes):
    def _generate_examples(self, _):
        import tensorflow

        yield 0, {"body": tensorflow.__name__, "stars": 0}


class NeedsWeb(Notes):
    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(dl_manager.download_and_extract("https://example.org/notes.zip"))
        }


class Broken(Notes):
    def _split_generators(self, dl_manager):
        raise RuntimeError("the author's mistake\nwith a second line")


def settings(name: str, cache: Path, **values) -> DataConfig:
    return DataConfig(
        corpus="tfds",
        tfds_name=name,
        tfds_data_dir=str(cache / "mine"),
        cache_dir=str(cache),
        vocab_size=300,
        **values,
    )


def read(config: DataConfig):
    return read_tfds(config, Path(config.cache_dir) / "prepared" / "tfds")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A cache in which every data set of these tests is prepared at most once."""
    return tmp_path_factory.mktemp("tfds")


def test_a_third_party_builder_is_prepared_and_read(cache) -> None:
    corpus = read(settings("tales/long", cache, tfds_text="text"))
    assert {split: len(documents) for split, documents in corpus.splits.items()} == {
        "train": 19,
        "validation": 3,
        "test": 2,
    }
    assert corpus.splits["train"][0] == Document(
        "train 1", ("long a1", "once upon a λ")
    )  # example 0 has no word
    assert not (cache / "mine").exists()  # the user's folder is only read
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    assert read(settings("tales/long:1.2.0", cache, tfds_text="text")).splits == corpus.splits
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == before


def test_other_text_features(cache) -> None:
    titles = settings("tales/long", cache, tfds_text="meta/title", repeated="keep")
    assert read(titles).splits["test"][0].pieces == ("t0",)
    with pytest.raises(ValueError, match=r"split 'validation' has 4 documents and all of them are in train"):
        read(replace(titles, repeated="leave_out"))
    assert read(settings("tales/long", cache, tfds_text="lines")).splits["test"][1].pieces == ("x1", "y\nc")


@pytest.mark.parametrize(("key", "words"), [
    ("", "data.tfds_text is ''; the text features of 'tales/long' are lines, meta/title, text, it must be one."),
    ("label", "data.tfds_text is 'label'; the text features of 'tales/long' are lines, meta/title, text."),
    ("meta", "data.tfds_text is 'meta'; the text features of 'tales/long' are lines, meta/title, text."),
])  # fmt: skip
def test_a_text_feature_that_is_missing_or_one_of_several_is_refused(cache, key, words) -> None:
    with pytest.raises(ValueError, match=rf"{re.escape(words)} Fix: set --config\.data\.tfds_text"):
        read(settings("tales/long", cache, tfds_text=key))


def test_the_only_text_feature_is_found_and_missing_splits_are_held_out(cache) -> None:
    corpus = read(settings("notes", cache, valid_fraction=0.1, test_fraction=0.05))
    numbers = {
        split: [int(document.pieces[0].split()[2]) for document in documents]
        for split, documents in corpus.splits.items()
    }
    assert numbers == {"train": [*range(170)], "validation": [*range(170, 190)], "test": [*range(190, 200)]}


def test_parts_of_splits(cache) -> None:
    parts = {"tfds_train": "train[:80%]", "tfds_validation": "train[80%:90%]", "tfds_test": "train[190:]"}
    corpus = read(settings("notes", cache, **parts))
    assert [len(documents) for documents in corpus.splits.values()] == [160, 20, 10]
    with pytest.raises(
        ValueError,
        match=(
            r"data\.tfds_train 'train\[:85%\]' and data\.tfds_validation 'train\[80%:90%\]' of 'notes' share"
        ),
    ) as e:
        read(settings("notes", cache, **{**parts, "tfds_train": "train[:85%]"}))
    assert "Fix: " in str(e.value)


@pytest.mark.parametrize("expression", ["valid", "train[", "train[:5%]+nothing"])
def test_an_unknown_split_is_refused(cache, expression) -> None:
    words = (
        rf"data\.tfds_validation is {re.escape(repr(expression))}; the splits of 'notes' are train, or parts"
        r" of them.*Fix: "
    )
    with pytest.raises(ValueError, match=words):
        read(settings("notes", cache, tfds_validation=expression))


def test_too_little_to_hold_out_is_refused(cache) -> None:
    with pytest.raises(
        ValueError,
        match=(
            r"the split 'train\[:2\]' of 'notes' has 2 documents; .*data\.tfds_test and"
            r" --config\.data\.tfds_val"
        ),
    ):
        read(settings("notes", cache, tfds_train="train[:2]"))


@pytest.fixture(scope="module")
def prepared(cache) -> Path:
    """The data set `notes` on disk, renamed, so that no class of its name is registered."""
    read(settings("notes", cache))
    target = cache / "elsewhere" / "orphans" / "2.0.0"
    shutil.copytree(cache / "prepared" / "tfds" / "notes" / "2.0.0", target)
    for path in target.iterdir():
        path.rename(path.with_name(path.name.replace("notes", "orphans")))
    file = target / "dataset_info.json"
    file.write_text(file.read_text().replace("notes", "orphans"))
    return cache / "elsewhere"


def test_files_are_read_without_their_class_and_go_all_the_way(prepared, cache) -> None:
    config = replace(settings("orphans", cache), tfds_data_dir=str(prepared))
    data = load_dataset(config)
    assert data.name == "tfds orphans"
    assert "note number 3 says" in data.tokenizer.decode(data.splits["train"].tokens[:200].tolist())
    assert [len(data.splits[split].tokens) > 50 for split in ("train", "validation", "test")] == [True] * 3
    assert load_dataset(config, data.tokenizer).fingerprint == data.fingerprint
    other = load_dataset(replace(config, tfds_name="notes"))
    assert other.fingerprint == data.fingerprint  # the same text under another name is the same text


def test_the_newest_version_is_taken_and_several_configurations_are_refused(prepared, tmp_path) -> None:
    for place in ("orphans/2.0.0", "orphans/10.0.0", "two/a/1.0.0", "two/b/1.0.0", "one/a/1.0.0"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(prepared / "orphans" / "2.0.0" / "dataset_info.json", tmp_path / place)
    (tmp_path / "orphans" / "11.0.0").mkdir()  # not finished
    assert prepared_folder(tmp_path, "orphans") == tmp_path / "orphans" / "10.0.0"
    assert prepared_folder(tmp_path, "orphans:2.0.0") == tmp_path / "orphans" / "2.0.0"
    assert prepared_folder(tmp_path, "orphans:3.0.0") is prepared_folder(tmp_path, "nothing") is None
    assert (
        prepared_folder(tmp_path, "one")
        == prepared_folder(tmp_path, "one/a:1.0.0")
        == tmp_path / "one" / "a" / "1.0.0"
    )
    with pytest.raises(ValueError, match=r"data\.tfds_name is 'two'; .* holds two/a, two/b\. Fix: set"):
        prepared_folder(tmp_path, "two")


def test_files_in_another_format_are_refused(prepared, cache, tmp_path) -> None:
    folder = shutil.copytree(prepared, tmp_path / "data") / "orphans" / "2.0.0"
    config = replace(settings("orphans", cache), tfds_data_dir=str(tmp_path / "data"))
    info = json.loads((folder / "dataset_info.json").read_text())
    for content in (
        {**info, "fileFormat": "tfrecord"},
        {key: value for key, value in info.items() if key != "fileFormat"},
    ):
        (folder / "dataset_info.json").write_text(json.dumps(content))
        with pytest.raises(
            ValueError,
            match=(
                r"is prepared as tfrecord, it must be array_record.*Fix: .*tfds build orphans"
                r" --file_format=array"
            ),
        ):
            read(config)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"is no prepared data set .*Fix: "):
        read(config)


def test_damaged_files_are_refused(prepared, cache, tmp_path) -> None:
    folder = shutil.copytree(prepared, tmp_path / "data") / "orphans" / "2.0.0"
    record = next(folder.glob("*array_record*"))
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cannot be read .*Fix: prepare"):
        read(replace(settings("orphans", cache), tfds_data_dir=str(tmp_path / "data")))


@pytest.mark.parametrize(("name", "words"), [
    ("notess", "without TensorFlow no data set of this name is registered. Fix: did you mean 'notes'? Or set --config.data.tfds_data_dir"),
    ("notes:9.9.9", "cannot be prepared here ("),
    ("tales/middle", "cannot be prepared here ("),
    ("pictures", "data.tfds_text is ''; 'pictures' has no text feature, it must be one."),
    ("needs_tensors", "its builder needs tensorflow, which is not imported here or not installed"),
    ("needs_web", "its builder needs a network: it calls download_and_extract()"),
    ("broken", "cannot be prepared here (RuntimeError: the author's mistake). Fix: "),
])  # fmt: skip
def test_what_cannot_be_prepared_is_refused_with_its_reason(cache, capsys, name, words) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read(settings(name, cache))
    assert "Fix: " in str(caught.value) and "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""
    assert prepared_folder(cache / "prepared" / "tfds", name) is None


@pytest.mark.parametrize(
    "name", ["", "a b", "glue/", "huggingface:x", "notes/split=train", "notes:1", "../notes"]
)
def test_what_is_no_name_is_refused_by_the_settings(name) -> None:
    with pytest.raises(ValueError, match=r"data\.tfds_name is .*; it must be a name such as .*Fix: "):
        DataConfig(corpus="tfds", tfds_name=name)


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A stand-in for an installed TensorFlow, which leaves a mark when it is imported."""
    if importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is installed, and would be found before the stand-in")
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_installed_tensorflow_is_never_imported(installed, cache) -> None:
    with without_tensorflow():
        assert importlib.util.find_spec("tensorflow") is not None
        with pytest.raises(ModuleNotFoundError, match="never imported here"):
            import tensorflow  # noqa: F401
    assert "tensorflow" not in sys.modules
    code = f"""
import sys
from pathlib import Path
from aila_jax.config import DataConfig
from aila_jax.data.tfds_corpus import read_tfds
from tests.data.tfds_corpus_test import read, settings
cache = Path({str(cache)!r})
read(settings("notes", cache))
try:
    read(settings("needs_tensors", cache))
except ValueError as error:
    assert "its builder needs tensorflow" in str(error), error
else:
    raise AssertionError("nothing was refused")
assert "tensorflow" not in sys.modules
"""
    environment = {"PYTHONPATH": f"{installed}:{ROOT}", "PATH": "/usr/bin:/bin", "HOME": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (installed / "mark").exists()
