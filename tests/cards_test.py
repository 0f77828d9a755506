"""What objects show of themselves: a few lines that do not change, and a small table with text escaped."""

import re
from dataclasses import replace

import jax
import numpy as np
import pytest

import aila_jax as aila
from aila_jax.cards import MAX_LINES, MAX_WIDTH
from aila_jax.config import PartitionConfig
from aila_jax.data.dataset import Dataset, encode_documents
from aila_jax.data.documents import Document
from aila_jax.data.packing import pack
from aila_jax.diagnosis.diagnose import Diagnosis
from aila_jax.diagnosis.signatures import Finding
from aila_jax.evaluation.influence_rows import InfluenceResult, InfluenceRow
from aila_jax.evaluation.origin import InfluenceMeta, PartitionOrigin, SweepMeta
from aila_jax.evaluation.rows import SweepResult
from aila_jax.partition.anchors import Anchors
from aila_jax.partition.build import FittedTable
from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep
from aila_jax.partition.fit import fit_partition
from aila_jax.partition.listing import ClassEntry
from aila_jax.reporting.recruitment_files import RecruitmentReport
from aila_jax.thresholds.rows import ThresholdMeta, ThresholdResult, ThresholdRow
from tests.reporting.conftest import make_cell
from tests.support.parsed import Page
from tests.support.tiny import sentences
from tests.support.untrained import untrained_model

THRESHOLD = ThresholdMeta(
    settings={}, undefined="", rho=None, inputs_read=0, targets=0, targets_at_zero=0, path=None
)
RECRUITED_BY = PartitionOrigin(config={}, commit="0", versions={}, data="0")
HOSTILE = "<script>alert('λ')</script>&\n\n" * 40


def influence_row(lam):
    moved = {"kl_outside": 0.1 - lam / 20, "kl_outside_error": 0.01, "kl_outside_spread": 0.0}
    inside = {"positions_inside": 200, "tokens_inside": 3.0, "kl_inside": 0.2, "kl_inside_error": 0.01}
    rest = {"kl_inside_spread": 0.0, "kl_outside_paired": 0.1, "block_mass": 0.7, "tokens_outside": 9.0}
    label = {
        "run": "tiny",
        "seed": 0,
        "commit": "0",
        "split": "validation",
        "lam": lam,
        "tau": 1.0,
        "hard": False,
    }
    return InfluenceRow(**label, draws=4, positions=256, **moved, **inside, **rest)


def threshold_row(group):
    return ThresholdRow("tiny", 0, "0", 5, 0, 0, "query", group, 4, 1.0, 5.0, 1.0, 8.0, 2e-3, 0.1, 0.01, 1e-3, None, None)  # fmt: skip


def make(name):
    model = replace(untrained_model(), run="<b>tiny</b>")
    tokenizer = model.tokenizer
    stream = encode_documents(tokenizer, [Document("grammar", (sentences(20, 0),))])
    steps = tuple(RecruitmentStep(n, "recruit", n + 2, 9, 10.0 - n, 1.0, 900.0 - n, 0.2) for n in range(90))
    recruited = Recruitment(np.arange(300) % 91, steps, 100, 250, 95, True)
    tokens = np.zeros((1, 4), np.int32)
    return {
        "model": lambda: model,
        "model with anchors": lambda: replace(model, anchors=make("anchors")),
        "maps": lambda: model.attention("the cat saw a small dog .", lam=0.5),
        "maps of a strange text": lambda: replace(
            model.attention("the cat"), tokens=(HOSTILE, "\n"), source=HOSTILE
        ),
        "output": lambda: model.apply(tokens, lam=0.5),
        "statistics": lambda: model.apply(tokens, lam=0.5).stats,
        "sweep": lambda: SweepResult(
            tuple(make_cell(lam / 20, tau) for lam in range(21) for tau in (0.5, 1.0)),
            (),
            model.config,
            SweepMeta(),
        ),
        "empty sweep": lambda: SweepResult((), (), model.config, SweepMeta()),
        "influence": lambda: InfluenceResult(
            tuple(influence_row(lam / 20) for lam in range(21)),
            (),
            model.config,
            InfluenceMeta(checkpoint_step=24),
        ),
        "certificate": lambda: aila.certify(model),
        "hard certificate": lambda: aila.certify(model, hard=True),
        "gap": lambda: aila.certify(model).gap,
        "key counts": lambda: aila.certify(model).counts,
        "run": lambda: aila.Run("runs/tiny", model.config, 24),
        "data set": lambda: Dataset(HOSTILE, tokenizer, {"train": stream, "validation": stream}, "0" * 64),
        "stream": lambda: stream,
        "windows of text": lambda: pack(stream, 8, False),
        "tokenizer": lambda: tokenizer,
        "anchors": lambda: Anchors(np.linspace(0, 1, 300), np.ones(300, np.int32), np.ones(5)),
        "windows": lambda: model.partition,
        "segments": lambda: fit_partition(PartitionConfig(kind="segments"), tokenizer, stream),
        "classes": lambda: fit_partition(PartitionConfig(kind="pos"), tokenizer, stream),
        "table": lambda: FittedTable(np.arange(300), "0" * 64, (HOSTILE,) * 300),
        "threshold": lambda: ThresholdResult(tuple(map(threshold_row, range(64))), model.config, THRESHOLD),
        "diagnosis": lambda: Diagnosis("tiny", (Finding("collapses", HOSTILE, (), ()),) * 9, ("a",) * 9, ()),
        "recruitment": lambda: recruited,
        "recruitment report": lambda: RecruitmentReport(
            HOSTILE, recruited, (ClassEntry(0, "", 0.5, 3, (("the", 0.9),)),) * 99, None, RECRUITED_BY
        ),
    }[name]()


NAMES = [
    "model", "model with anchors", "maps", "maps of a strange text", "output", "statistics", "sweep", "empty sweep",
    "influence", "certificate", "hard certificate", "gap", "key counts", "run", "data set", "stream", "windows of text",
    "tokenizer", "anchors", "windows", "segments", "classes", "table", "threshold", "diagnosis", "recruitment",
    "recruitment report",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_is_shown_in_a_few_lines_that_do_not_change(name):
    text = repr(make(name))
    lines = text.splitlines()
    assert 1 <= len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= MAX_WIDTH
    assert " at 0x" not in text
    assert text == repr(make(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "windows"])
def test_notebooks_show_a_small_escaped_table(name):
    source = make(name)._repr_html_()
    page = Page(source)
    assert {tag for tag, _ in page.tags} <= {"table", "caption", "tr", "td"}
    assert all(not attributes for _, attributes in page.tags)
    assert len(source) < 8000
    assert "://" not in source


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model", ["<b>tiny</b>, step 0", "2 layers of 2 heads", "9,504", "300 types", "windows, size 5"]),
        ("maps", ["λ = 0.5", "'the cat saw a small dog .'", "layer 1"]),
        ("sweep", ["42: 21 λ × 2 τ; below, τ = 1", "215,488 targets", "perplexity"]),
        ("influence", ["step 24", "256 queries", "KL outside"]),
        ("certificate", ["λ = 1, τ = 1", "least block mass", "largest entropy"]),
        ("run", ["runs/tiny, step 24 of"]),
        ("tokenizer", ["byte-level BPE, 300 types"]),
        ("threshold", ["predicted λη, median", "0.002"]),
        ("recruitment", ["91 classes from 2", "in 89 steps"]),
    ],
)
def test_it_says_what_people_look_for(name, words):
    text = repr(make(name))
    for word in words:
        assert word in text


def test_a_sweep_shows_both_ends_of_the_dial():
    rows = [line.split()[0] for line in repr(make("sweep")).splitlines()[4:]]
    assert (rows[0], rows[-1], len(rows)) == ("0", "1", 5)


def test_a_partition_is_shown_inside_jit():
    seen = []
    segments = make("segments")

    def look(partition):
        seen.append(repr(partition))
        return partition.boundary

    jax.jit(look)(segments)
    assert re.search(r"Segments of bool\[300\]", seen[0])
    assert "not known" in seen[0]
