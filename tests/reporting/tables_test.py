"""Tables made from the fields of row dataclasses."""

import builtins
import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest

from aila_jax import formats
from aila_jax.columns import Column, chosen, columns_of, row_values, to_pandas
from aila_jax.diagnosis.diagnose import Diagnosis
from aila_jax.diagnosis.signatures import Finding
from aila_jax.evaluation.anchor_listing import AnchorListing, AnchorType
from aila_jax.evaluation.blocks import BlockReport
from aila_jax.evaluation.origin import PartitionOrigin
from aila_jax.evaluation.rows import CellRow, HeadRow, SweepResult
from aila_jax.guarantees.certificates import CertificateRow
from aila_jax.partition.classes.recruitment import Recruitment, RecruitmentStep
from aila_jax.partition.listing import BlockListing, BoundaryEntry, ClassEntry
from aila_jax.partition.statistics import BlockStatistics
from aila_jax.reporting.influence_files import read_influence, write_influence
from aila_jax.reporting.records import read_sweep, write_sweep
from aila_jax.reporting.recruitment_files import RecruitmentReport
from aila_jax.reporting.tables import Table, csv_text, json_rows, names_of, read_csv, row_from, table
from aila_jax.thresholds.rows import read_threshold, write_threshold
from experiments.leak.runs import LeakRow, read_rows
from tests.support import frames

ORIGIN = PartitionOrigin(config={}, commit="c", versions={}, data="0")
RESULTS = Path(__file__).parents[2] / "docs" / "results"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """Columns that two kinds of rows have."""

    run: str
    mass: Annotated[float | None, Column("mass (%)", formats.percent, unit="share", help="inside")]
    note: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived(Base):
    """Columns of its own, in the middle and at the end."""

    layer: Annotated[int, Column(after="run", name="class")]
    head: int
    tried: tuple[float | None, ...] = dataclasses.field(default=(), metadata={})
    good: Annotated[bool, Column(format=formats.yes_no)] = True


ROWS = (
    Derived(run='a, "b"', mass=0.5, layer=1, head=2, tried=(0.1, None), note="x"),
    Derived(run="c", mass=None, layer=10, head=0, good=False),
)
CSV = 'run,class,head,tried,good,mass,note\n"a, ""b""",1,2,0.1 None,True,0.5,x\nc,10,0,,False,,\n'


def test_columns_stand_where_their_fields_say() -> None:
    assert names_of(Derived) == ["run", "class", "head", "tried", "good", "mass", "note"]
    assert names_of(Base) == ["run", "mass", "note"]
    assert row_values(ROWS[1])["class"] == 10
    with pytest.raises(ValueError, match="not in list"):
        columns_of(dataclasses.make_dataclass("Lost", [("one", Annotated[int, Column(after="two")])]))


def test_files_have_todays_columns() -> None:
    """What scripts read: the order is that of the files that are committed."""
    for cls, name in ((CellRow, "staggered"), (HeadRow, "staggered")):
        suffix = "_heads" if cls is HeadRow else ""
        file = next(
            path
            for path in sorted((RESULTS / name).glob("*.csv"))
            if path.stem.endswith("_heads") == bool(suffix)
        )
        assert file.read_text(encoding="utf-8").splitlines()[0].split(",") == names_of(cls)


def test_csv_by_hand_and_back() -> None:
    assert csv_text(Derived, ROWS) == CSV
    assert read_csv(Derived, CSV) == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV.replace(",10,", ",ten,"), r"row 2\.class is 'ten'; it must be a int\. Fix: "),
        (CSV.replace("False", "no"), r"row 2\.good is 'no'; it must be a bool\. Fix: "),
        (CSV.replace("0.5", "nan"), r"row 1\.mass is nan; it must be finite\. Fix: "),
        (CSV.replace("head", "heads"), r"row 1 differs in \['head', 'heads'\]; a Derived must have exactly"),
    ],
)
def test_other_csv_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_csv(Derived, text)


def test_rows_of_json_come_back() -> None:
    assert tuple(row_from(Derived, values, "rows") for values in json_rows(ROWS)) == ROWS
    older = {"run": "c", "class": 1, "head": 2, "mass": 1}
    row = row_from(Derived, older, "rows[0]")
    assert (row.mass, type(row.mass), row.note, row.tried) == (1.0, float, None, ())
    with pytest.raises(ValueError, match=r"rows\[0\]\.tried\[1\] is 'x'; it must be a float or None"):
        row_from(Derived, {**older, "tried": [1.0, "x"]}, "rows[0]")
    with pytest.raises(ValueError, match=r"rows\[0\] differs in 3; a Derived must have exactly the fields"):
        row_from(Derived, 3, "rows[0]")


def test_text_is_aligned_and_marked_down() -> None:
    made = table(Derived, ("run", "mass", "good"), ROWS)
    assert made == Table(("run", "mass (%)", "good"), (('a, "b"', "50.0 %", "yes"), ("c", "–", "no")))
    assert made.aligned() == [
        "   run  mass (%)  good",
        'a, "b"    50.0 %   yes',
        "     c         –    no",
    ]
    assert made.aligned(rule=True)[1] == "------  --------  ----"
    assert [line.rstrip() for line in made.aligned(last_left=True)][2] == "     c         –  no"
    assert made.markdown("---:").splitlines()[1] == "| ---: | ---: | ---: |"


def test_columns_without_a_value_can_be_left_out() -> None:
    assert [c.field for c in chosen(Derived, ("note", "mass"), ROWS[1:])] == []
    assert [c.field for c in chosen(Derived, ("note", "mass"), ROWS)] == ["note", "mass"]


@pytest.mark.parametrize("name", ["18M-conditional-seed0", "5M-conditional-seed0"])
def test_a_sweep_read_and_written_is_the_same_bytes(name: str, tmp_path: Path) -> None:
    folder = RESULTS / "one_checkpoint"
    for path in write_sweep(read_sweep(folder / f"{name}.json"), tmp_path, name)[:2]:
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_other_results_read_and_written_are_the_same_bytes(tmp_path: Path) -> None:
    for path in write_influence(read_influence(RESULTS / "influence"), tmp_path)[:2]:
        assert path.read_bytes() == (RESULTS / "influence" / path.name).read_bytes()
    for file in sorted((RESULTS / "threshold").glob("*.json"))[:1]:
        written = write_threshold(read_threshold(file), tmp_path / file.stem)
        assert written[0].read_bytes() == file.with_suffix(".csv").read_bytes()
    for file in sorted((RESULTS / "leak").glob("*.json"))[:2]:
        assert csv_text(LeakRow, read_rows(file)) == file.with_suffix(".csv").read_text(encoding="utf-8")


def test_the_committed_certificate_comes_back(tmp_path: Path) -> None:
    text = (RESULTS / "certificate" / "tau1" / "certificate.csv").read_text(encoding="utf-8")
    assert csv_text(CertificateRow, read_csv(CertificateRow, text)) == text


def test_rows_become_a_data_frame(sweep: SweepResult, monkeypatch: pytest.MonkeyPatch) -> None:
    frames.install(monkeypatch)
    frame = sweep.to_pandas()
    assert list(frame) == names_of(CellRow)
    assert frame["loss"] == [cell.loss for cell in sweep.cells]
    assert (frame.attrs["units"]["loss"], frame.attrs["help"]["tau"]) == ("nats", "temperature")
    assert sweep.to_pandas(heads=True)["layer"] == [row.layer for row in sweep.heads]
    assert to_pandas(Derived, ROWS)["class"] == [1, 10]
    influence = read_influence(RESULTS / "influence")
    assert influence.to_pandas()["kl_outside"] == [row.kl_outside for row in influence.rows]
    assert len(influence.to_pandas(heads=True)["head"]) == len(influence.heads)
    threshold = read_threshold(sorted((RESULTS / "threshold").glob("*.json"))[0])
    assert sweep.cells[0].to_pandas()["loss"] == [sweep.cells[0].loss]
    finding = Finding("dead heads", "3 of 4", ("a",), ("b",))
    assert Diagnosis("r", (finding,), (), ()).to_pandas()["seen"] == ["3 of 4"]
    types = (AnchorType(1, 7, " the", 0.25, 40, 9, 3),)
    assert AnchorListing("corpus", True, 2, types, (), ()).to_pandas()["entropy"] == [0.25]
    steps = (RecruitmentStep(0, "start", 2, 0, 150.0, 30.0, 180.0, 0.5),)
    entry = ClassEntry(1, "noun", 0.5, 3, ((" cat", 0.5),))
    recruited = Recruitment(np.zeros(3, np.int32), steps, 60, 3, 4, True)
    report = RecruitmentReport("corpus", recruited, (entry,), None, ORIGIN)
    assert report.to_pandas()["total_bits"] == [180.0]
    assert report.to_pandas(classes=True)["types"] == [3]
    statistics = BlockStatistics(60, 3, 2.5, 2.5, 0.75, 4.0, 5.0, 5.0, 5)
    boundary = BoundaryEntry(4, ".", 9, 0.5, 0.75)
    for listing, name in (
        (BlockListing((entry,), (), ()), "types"),
        (BlockListing((), (boundary,), ()), "entropy"),
    ):
        blocks = BlockReport({}, "r", "train", statistics, None, listing, ORIGIN)
        assert blocks.to_pandas()["n_in"] == [2.5]
        assert blocks.to_pandas(listing=True)[name] == [3 if name == "types" else 0.75]
    assert threshold.to_pandas()["gradient"] == [row.gradient for row in threshold.rows]


def test_a_real_data_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is an extra: pip install 'aila_jax[pandas]'")
    frame = to_pandas(Derived, ROWS)
    assert frame["mass"].isna().tolist() == [False, True]
    assert frame["class"].tolist() == [1, 10]


def test_without_pandas_the_error_says_what_to_install(
    sweep: SweepResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *given: Any, **more: Any) -> Any:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")
        return real(name, *given, **more)

    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match=r"needs it\. Fix: pip install 'aila_jax\[pandas\]'"):
        sweep.to_pandas()


def test_evaluate_prints_what_matters_first_and_the_rest_in_the_order_of_files(
    sweep: SweepResult, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aila_jax import runs
    from aila_jax.cli.commands import evaluate

    monkeypatch.setattr(runs, "open_run", lambda *_: None)
    monkeypatch.setattr(runs, "evaluate_cell", lambda *_, **__: sweep.cells[0], raising=False)
    monkeypatch.setattr(runs, "evaluate", lambda *_, **__: sweep.cells[0])
    evaluate._run(
        SimpleNamespace(
            path="", window=None, data_dir="", fallback=False, step="", relation=None, options=None, out=""
        )
    )
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    rest = [name for name in names_of(CellRow) if getattr(sweep.cells[0], name) is not None]
    first = [name for name in evaluate.FIRST if name in rest]
    assert printed == [*first, *(name for name in rest if name not in first)]
