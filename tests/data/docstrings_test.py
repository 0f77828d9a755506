"""Tests of the harvest on small sources written here."""

import sys
from pathlib import Path

import pytest

from aila_jax.data.pydocs import content_key, harvest, source_files

MODULE = b'''"""Module text.

    Indented.
"""
raise SystemExit("sources must not run")

class A:
    """Class text."""
    def f(self):
        """Method text."""
        def inner():
            "Inner text."
    if True:
        async def g(self):
            """Async text."""

def no_docs():
    x = "not a docstring"
    "nor this"

def same():
    """Class
    text."""

def empty():
    """   """
'''
TOPICS = b"topics = {'if': 'The if statement\\n\\n   if x:\\n', 'a': 'First'}\n"


def test_docstrings_are_found_where_they_stand_and_cleaned():
    found = {document.title: document.pieces for document in harvest({"json/__init__.py": MODULE})}
    assert found == {
        "json": ("Module text.", "", "Indented."),
        "json.A": ("Class text.",),
        "json.A.f": ("Method text.",),
        "json.A.f.inner": ("Inner text.",),
        "json.A.g": ("Async text.",),
    }


def test_texts_that_differ_in_white_space_only_are_one_document():
    first, second = b'"""One  two."""', b'"""One\ntwo."""'
    assert [document.title for document in harvest({"b.py": second, "a.py": first})] == ["a"]
    assert content_key(("One  two.",)) == content_key(("One", "two.")) != content_key(("Onetwo.",))


def test_topics_are_documents_sorted_with_the_rest():
    found = harvest({"pydoc_data/topics.py": TOPICS, "zlib.py": b'"""Z"""'})
    assert [(document.title, document.pieces) for document in found] == [
        ("topic a", ("First",)),
        ("topic if", ("The if statement", "", "   if x:")),
        ("zlib", ("Z",)),
    ]


def test_old_escapes_and_encodings_give_no_warning():
    found = harvest({"a.py": b'# -*- coding: latin-1 -*-\n"""caf\xe9 \\d"""\nx = 1 is 1'})
    assert found[0].pieces == ("café \\d",)


def test_source_files_are_the_standard_library_without_tests_and_packages(tmp_path: Path):
    kept = ["abc.py", "json/__init__.py", "json/decoder.py"]
    skipped = [
        "notstdlib.py",
        "json/tests/test_a.py",
        "site-packages/json/x.py",
        "idlelib/run.py",
        "encodings/cp1250.py",
        "test/abc.py",
        "_sysconfigdata_x.py",
    ]
    for name in kept + skipped:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}")
    found = source_files(tmp_path)
    assert list(found) == kept
    assert found["abc.py"] == b"# abc.py"


def test_a_python_without_sources_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"has 0 source files; .*Fix: use a Python installed with its \.py files"
    ):
        source_files(tmp_path)


def test_the_running_python_has_its_reference():
    names = source_files()
    assert {"argparse.py", "pydoc_data/topics.py", "asyncio/tasks.py"} <= names.keys()
    assert not [name for name in names if "test" in name.split("/") or "site-packages" in name]
    topics = harvest({"pydoc_data/topics.py": names["pydoc_data/topics.py"]})
    assert len(topics) > 50
    assert "antigravity" not in sys.modules  # nothing was imported
