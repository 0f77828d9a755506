"""Against transformers, where it is installed (extra `parity`): checkpoints made afresh, and a real model's
GGUF file as transformers reads it by itself.
"""

import os
from pathlib import Path

import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config.options import GenerateOptions

pytestmark = pytest.mark.external
TEXT = """The lighthouse stood at the end of a long spit of sand. Its keeper, an old man who had once sailed to
Norway, wrote down the weather every morning. In 1893 the sea took the road, and after that the boat came only
on calm days. He did not mind. He had flour, oil, a stove and two hundred books, and the light needed him. When
the company sent a younger man to help, the keeper showed him the lamp first, then the well, then the graves. """


@pytest.fixture(autouse=True)
def _needs() -> None:
    pytest.importorskip("transformers", reason="needs the extra parity")


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("seed", [101, 102])
def test_checkpoints_made_afresh_agree(seed: int, tmp_path: Path) -> None:
    from tests.pretrained.make_files import CASES, write

    for name in CASES:
        write(tmp_path, name, seed)
        model = aila.from_pretrained(tmp_path / name, length=48)
        with np.load(tmp_path / name / "expected.npz") as found:
            logits = np.asarray(model.apply(found["tokens"]).logits)
            assert np.abs(logits - found["logits"][..., : logits.shape[-1]]).max() < 1e-4, name


@pytest.fixture(scope="module")
def smollm2() -> Path:
    path = os.environ.get("SMOLLM2", "")
    if not path:
        pytest.skip("SMOLLM2 does not name SmolLM2-135M-Instruct's GGUF file")
    return Path(path)


@pytest.mark.filterwarnings("ignore")  # theirs
def test_smollm2_is_what_transformers_makes_of_the_same_file(smollm2: Path) -> None:
    """512 tokens, logits within 1e-3; then 64 tokens, each the most likely one."""
    import torch
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(
        smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    model = aila.from_pretrained(smollm2, length=512)
    ids = [
        model.tokenizer.type_id(model.config.data.begin),
        *model.tokenizer.encode(TEXT.replace("\n", " ") * 8),
    ]
    tokens = np.array([ids[:512]], np.int32)
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens, dtype=torch.long)).logits.numpy()
    logits = np.asarray(model.apply(tokens).logits)
    assert np.abs(logits - expected).max() < 1e-3
    prompt = "The capital of France is"
    given = [ids[0], *model.tokenizer.encode(prompt)]
    with torch.no_grad():
        drawn = theirs.generate(torch.tensor([given]), max_new_tokens=64, min_new_tokens=64, do_sample=False)
    options = GenerateOptions(max_tokens=64, sample_temperature=0.0)
    model = aila.from_pretrained(smollm2, length=96)  # generation computes the whole length for each token
    [found] = model.continuations(prompt, options)[0]
    # min_new_tokens keeps theirs from ending, by leaving the tokens of an end out.
    end = next(
        (at for at, token in enumerate(found.ids) if at >= len(given) and token in (0, 2)), len(found.ids)
    )
    assert end == len(given) + 64, "the text ends before 64 tokens: choose another prompt"
    assert list(found.ids) == drawn[0].tolist()
