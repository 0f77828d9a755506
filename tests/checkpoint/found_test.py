"""Tests of checkpoints: the way there and back bit for bit, every place to load from, and every kind of
damage.
"""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aila_jax as aila
from aila_jax.checkpoint import CheckpointStore, Record, find_checkpoint
from aila_jax.config import to_dict
from aila_jax.model.transformer import Transformer
from aila_jax.runs import initial_state
from aila_jax.training.optimizer import build_optimizer

# TensorStore's: reads still under way when another one of the same checkpoint fails call into an event loop
# that is closed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. None:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """A copy of the run directory under another name, to damage."""
    return Path(shutil.copytree(trained.run.workdir, tmp_path / "moved" / "copy"))


def assert_same(one, other):
    """The same tree with bit for bit the same leaves."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def fresh_state(config, vocab_size):
    return initial_state(config, Transformer(config.model, vocab_size), build_optimizer(config.train))


@pytest.fixture(scope="session")
def saved(trained, tmp_path_factory):
    """A state of odd values (−0, a denormal, the largest and the smallest there is, every count other than 0)
    and where it was saved.
    """
    state = fresh_state(trained.config, trained.model.tokenizer.vocab_size)
    odd = state.params["position"].at[0, :4].set(jnp.array([-0.0, 1e-45, 3.4028235e38, -3.4028235e38]))
    opt_state = jax.tree.map(lambda x: x + jnp.ones_like(x) * 3, state.opt_state)
    state = state.replace(
        step=jnp.int32(7),
        params={**state.params, "position": odd},
        opt_state=opt_state,
        skipped=jnp.int32(2),
        first_bad_step=jnp.int32(5),
        bad_parts=state.bad_parts.at[1].set(True),
    )
    directory = tmp_path_factory.mktemp("saved") / "run-name"
    record = Record.of(
        trained.config,
        trained.model.tokenizer,
        {"name": "n", "fingerprint": "f", "position": {"a": [1, 2]}},
        {"commit": "c"},
    )
    with CheckpointStore(directory, keep=2) as store:
        assert store.latest() == "none"
        store.save(7, state, record)
        assert store.latest() == f"step 7 in {directory / 'checkpoints'}"
    return state, record, directory


def test_a_state_and_its_record_come_back_bit_for_bit(saved, trained):
    state, record, directory = saved
    found = find_checkpoint(directory)
    assert (found.step, found.run) == (7, "run-name")
    assert json.dumps(asdict(found.record), sort_keys=True) == json.dumps(
        asdict(record), sort_keys=True
    )  # tuples are lists there
    assert found.config == trained.config
    assert found.tokenizer.to_json() == trained.model.tokenizer.to_json()
    assert_same(found.state(fresh_state(trained.config, trained.model.tokenizer.vocab_size)), state)
    assert_same(found.params(state.params), state.params)
    assert found.state(state).params["position"][0, 0] == 0
    assert np.signbit(found.state(state).params["position"][0, 0])


def test_the_newest_are_kept_and_the_one_asked_for_is_found(trained):
    directory = trained.run.workdir / "checkpoints"
    assert sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit()) == [16, 24]
    assert find_checkpoint(trained.run.workdir).step == 24
    assert find_checkpoint(trained.run.workdir, 16).step == 16
    assert aila.load(trained.run.workdir, 16).step == 16


def test_a_step_that_is_there_is_not_saved_again(saved, trained, tmp_path):
    state, record, directory = saved
    copy = shutil.copytree(directory, tmp_path / "copy")
    with CheckpointStore(copy, keep=2) as store:
        store.save(7, state.replace(skipped=jnp.int32(9)), record)
    assert int(find_checkpoint(copy).state(state).skipped) == 2


def test_a_model_loads_from_every_place_that_names_it(trained, copied):
    tokens = np.arange(16, dtype=np.int32)[None]
    expected = trained.model.apply(tokens, lam=0.5).logits
    places = [
        trained.run.workdir,
        trained.run.workdir / "checkpoints",
        str(trained.run.workdir / "checkpoints" / "24"),
        copied,
    ]
    for place in places:
        model = aila.load(place)
        assert (model.step, model.run, model.config) == (24, "run", trained.config)
        assert_same(model.params, trained.model.params)
    np.testing.assert_array_equal(model.apply(tokens, lam=0.5).logits, expected)
    for moved in (copied / "checkpoints", copied / "checkpoints" / "16"):
        assert aila.load(moved).step == (16 if moved.name == "16" else 24)
    alone = shutil.copytree(trained.run.workdir / "checkpoints" / "24", copied / "alone" / "24")
    assert_same(aila.load(alone).params, trained.model.params)


def test_a_step_folder_under_another_name_is_found_or_refused_with_the_way_out(trained, tmp_path):
    renamed = shutil.copytree(trained.run.workdir / "checkpoints" / "24", tmp_path / "best")
    with pytest.raises(ValueError, match=r"checkpoint path is .*best'; it must be .*Fix: "):
        aila.load(renamed)


@pytest.mark.parametrize("make", [lambda path: path / "none", lambda path: path, lambda path: path / "file"])
def test_a_path_without_a_checkpoint_is_refused(tmp_path, make):
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        ValueError,
        match=re.escape(f"checkpoint path is {str(make(tmp_path).resolve())!r}; it must be a run directory"),
    ):
        aila.load(make(tmp_path))


def test_an_unknown_step_is_refused_and_the_known_ones_named(trained):
    with pytest.raises(ValueError, match=r"step is 23; .* holds steps \[16, 24\]. Fix: choose one of them"):
        aila.load(trained.run.workdir, step=23)


def array_files(step: Path, item: str) -> list[Path]:
    """The files of an item that hold array bytes."""
    return sorted(
        path
        for path in (step / item).rglob("*")
        if path.is_file() and path.parent.name == "d" and path.stat().st_size > 1000
    )


def test_one_flipped_bit_in_the_parameters_is_found_or_touches_nothing(copied, trained):
    """Orbax keeps some bytes twice and reads one of them: a flip must be refused, or every parameter is what
    it was.
    """
    step = copied / "checkpoints" / "24"
    refusals = []
    for file in array_files(step, "params"):
        whole = file.read_bytes()
        for share in (0.15, 0.4, 0.6, 0.85):
            data = bytearray(whole)
            data[int(share * len(data))] ^= 1
            file.write_bytes(bytes(data))
            try:
                assert_same(
                    find_checkpoint(copied).params(trained.model.params),
                    jax.tree.map(np.asarray, trained.model.params),
                )
            except ValueError as error:
                refusals.append(str(error))
        file.write_bytes(whole)
    # How many flips hit bytes that are read depends on the order in which Orbax wrote its files.
    assert refusals
    assert all(
        re.search(r"damaged.*Fix: restore a copy or an older step", words) and str(step) in words
        for words in refusals
    )
    assert_same(aila.load(copied).params, trained.model.params)


def test_a_model_with_a_damaged_file_does_not_load_and_the_older_one_does(copied):
    for file in array_files(copied / "checkpoints" / "24", "params"):
        data = bytearray(file.read_bytes())
        for at in range(0, len(data), 97):
            data[at] ^= 1
        file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"damaged.*Fix: restore a copy or an older step"):
        aila.load(copied)
    assert aila.load(copied, step=16).step == 16


def test_one_flipped_bit_in_the_optimizer_state_is_found_on_continuing(copied, trained):
    for file in array_files(copied / "checkpoints" / "24", "state"):
        data = bytearray(file.read_bytes())
        for at in range(len(data) // 4, len(data) - 1, max(1, len(data) // 8)):
            data[at] ^= 16
        file.write_bytes(bytes(data))
    assert aila.load(copied).step == 24  # the parameters are whole
    template = fresh_state(trained.config, trained.model.tokenizer.vocab_size)
    with pytest.raises(ValueError, match=r"damaged.*Fix: "):
        find_checkpoint(copied).state(template)


@pytest.mark.parametrize("damage", ["truncate", "remove", "no-arrays"])
def test_missing_array_bytes_are_found(copied, damage):
    step = copied / "checkpoints" / "24"
    for file in array_files(step, "params"):
        if damage == "truncate":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        elif damage == "remove":
            file.unlink()
    if damage == "no-arrays":
        shutil.rmtree(step / "params")
    with pytest.raises(ValueError, match=r"damaged.*Fix: "):
        aila.load(copied)


def record_file(step: Path) -> Path:
    return step / "record" / "metadata"


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_record_is_refused_with_the_fix(copied, damage):
    file = record_file(copied / "checkpoints" / "24")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 500 if damage == "cut" else 0])
    with pytest.raises(ValueError, match=r"checkpoint .*24.*damaged.*Fix: ") as caught:
        aila.load(copied)
    assert "16" in str(caught.value)  # the older step that is there


def test_an_empty_newest_step_folder_does_not_hide_what_is_there(copied):
    """As a crash leaves it: nothing in it, so the newest whole step is the one before."""
    (copied / "checkpoints" / "32").mkdir()
    assert aila.load(copied).step == 24
    with pytest.raises(ValueError, match=r"step is 32; .* holds steps \[16, 24\]"):
        aila.load(copied, step=32)
    with pytest.raises(ValueError, match=r"checkpoint path is .*32'; it must be .*Fix: "):
        aila.load(copied / "checkpoints" / "32")


def test_a_checkpoint_that_is_not_written_is_no_success(trained, copied):
    """Below a later step's folder, whole or not, Orbax writes nothing."""
    (copied / "checkpoints" / "32").mkdir()
    state = jax.device_get(fresh_state(trained.config, trained.model.tokenizer.vocab_size))
    record = Record.of(trained.config, trained.model.tokenizer, {}, {})
    with CheckpointStore(copied, keep=2) as store:
        with pytest.raises(
            ValueError,
            match=(
                r"the checkpoint of step 28 was not saved: .* holds a later step\. Fix: move that folder away"
            ),
        ):
            store.save(28, state, record)
        assert store.latest().startswith("step 24 ")
        store.save(36, state, record)
        assert store.latest().startswith("step 36 ")


def edit_record(step: Path, change) -> None:
    file = record_file(step)
    stored = json.loads(file.read_text())
    change(stored)
    file.write_text(json.dumps(stored))


@pytest.mark.parametrize(("setting", "value", "name"), [
    ("d_model", 32, "embedding"),
    ("n_layers", 1, "layer_1"),
    ("n_layers", 3, "layer_2"),
    ("length", 20, "position"),
    ("film", False, "film_scale"),
])  # fmt: skip
def test_a_record_of_another_shape_is_refused(trained, tmp_path, setting, value, name):
    state = fresh_state(trained.config, trained.model.tokenizer.vocab_size)
    record = Record.of(trained.config, trained.model.tokenizer, {}, {})
    record.config["model"][setting] = value
    with CheckpointStore(tmp_path, keep=1) as store:
        store.save(0, state, record)
    with pytest.raises(
        ValueError, match=rf"params/.*{name}.* is .*, the model needs .*Fix: use the configuration"
    ) as caught:
        aila.load(tmp_path)
    assert "(shape, type)" in str(caught.value)


@pytest.fixture
def format_1(tmp_path) -> Path:
    """A copy of a run that an older version saved: its record has no checksum."""
    return shutil.copytree(Path(__file__).parents[1] / "runs" / "golden" / "run", tmp_path / "old")


def test_a_changed_checksum_is_refused(format_1):
    edit_record(
        format_1 / "checkpoints" / "24",
        lambda stored: stored["arrays"]["params/embedding"].update(sha256="0" * 64),
    )
    with pytest.raises(
        ValueError,
        match=(
            r"params/embedding does not match its checksum: the file is damaged. Fix: restore a copy or an"
            r" older step"
        ),
    ):
        aila.load(format_1)


@pytest.mark.parametrize("version", [0, 3, None])
def test_another_format_is_refused(format_1, version):
    edit_record(format_1 / "checkpoints" / "24", lambda stored: stored.update(format=version))
    with pytest.raises(
        ValueError,
        match=rf"24 has format {version}; this version reads 1 and 2. Fix: use the version that wrote it",
    ):
        aila.load(format_1)


def test_a_template_of_another_type_is_refused(saved):
    state, _, directory = saved
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), state.params)
    with pytest.raises(ValueError, match=r"float32.*the model needs .*bfloat16"):
        find_checkpoint(directory).params(params)


def test_the_record_holds_what_a_model_needs_and_is_plain_json(trained):
    stored = json.loads(record_file(trained.run.workdir / "checkpoints" / "24").read_text())
    assert stored["config"] == json.loads(json.dumps(to_dict(trained.config)))
    assert stored["partition"] == {"kind": "windows", "size": 5, "global_first": False}
    assert stored["data"]["fingerprint"] == trained.dataset.fingerprint
    assert set(stored["meta"]) >= {"versions", "commit", "device"}
    assert {len(entry["sha256"]) for entry in stored["arrays"].values()} == {64}
    assert "state/key" in stored["arrays"]
