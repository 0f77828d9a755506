"""Reading a model takes little more memory than its float32 weights (benchmarks/pretrained_memory.py)."""

import sys
from pathlib import Path

import pytest

from benchmarks.pretrained_memory import rise, write_file, write_folder


@pytest.mark.medium
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["BF16", "Q8_0"])
def test_the_peak_of_memory_rises_by_at_most_1_3_times_the_weights(kind: str, tmp_path: Path) -> None:
    path = write_folder(tmp_path / "a", kind) if kind == "BF16" else write_file(tmp_path / "a.gguf", kind)
    assert 0.9 < rise(path) <= 1.3
