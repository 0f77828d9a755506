"""Where a command starts again to have its memory in large pages, and that it does so once."""

import os
import subprocess
import sys

import pytest

from aila_jax.cli.huge_pages import OFFERED, VARIABLE, setting

ASKED = "always [madvise] never\n"


@pytest.mark.parametrize(
    ("environment", "offered", "library", "expected"),
    [
        ({}, ASKED, "glibc 2.36", "glibc.malloc.hugetlb=1"),
        ({VARIABLE: "glibc.malloc.check=1"}, ASKED, "glibc 2.35", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ({VARIABLE: "glibc.malloc.hugetlb=0"}, ASKED, "glibc 2.36", None),
        ({}, "[always] madvise never\n", "glibc 2.36", None),
        ({}, "always madvise [never]\n", "glibc 2.36", None),
        ({}, ASKED, "glibc 2.34", None),
        ({}, ASKED, "glibc 3.0", "glibc.malloc.hugetlb=1"),
        ({}, ASKED, "musl 1.2", None),
        ({}, ASKED, "", None),
    ],
    ids=str,
)  # fmt: skip
def test_the_setting_is_added_where_it_changes_something(environment, offered, library, expected):
    assert setting(environment, offered, library) == expected


def started(*arguments: str, **environment: str) -> list[str]:
    """What a process prints whose main part comes after the restart: how often it began, its arguments."""
    code = (
        "import os, sys\n"
        "print('begun', flush=True)\n"
        "from aila_jax.cli.huge_pages import restart_in_huge_pages\n"
        "restart_in_huge_pages()\n"
        "print(os.environ.get('GLIBC_TUNABLES'), sys.argv[1:], os.getpid())\n"
    )
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**kept, **environment},
    )
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and said.splitlines()[-1].endswith(f" {process.pid}")
    return said.splitlines()


@pytest.mark.skipif(
    setting({}, OFFERED.read_text() if OFFERED.is_file() else "", os.confstr("CS_GNU_LIBC_VERSION") or "")
    is None
    if sys.platform == "linux"
    else True,
    reason="this system gives large pages by itself, or not at all",
)
def test_a_process_starts_again_once_as_it_was_started():
    said = started("train", "--workdir=a b", "'λ'")
    assert said[:-1] == ["begun", "begun"]
    assert said[-1].startswith("glibc.malloc.hugetlb=1 ['train', '--workdir=a b', \"'λ'\"] ")


def test_who_has_decided_is_left_alone():
    said = started("train", GLIBC_TUNABLES="glibc.malloc.hugetlb=0")
    assert said[:-1] == ["begun"]
    assert said[-1].startswith("glibc.malloc.hugetlb=0 ['train'] ")
