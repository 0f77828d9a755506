"""The page of an answer: what it says before a token is chosen, after, and of texts that are no friends."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from aila_jax.answering.result import Answer, PairRow, PassageRow, TokenRow
from aila_jax.answering.votes import Vote
from aila_jax.reporting import answer_html
from aila_jax.reporting.answer_files import write_answer
from aila_jax.reporting.answer_page import answer_page
from tests.reporting.page_browser_test import in_browser

EVIL = (
    "</script><script>alert(1)</script><img src=x onerror='alert(2)'> \"https://a.example\" &amp; {{ 7 * 7 }}"
)
PASSAGES = (
    PassageRow(0, "a", "the cat saw", 4, 0.25, 2.0, True, ()),
    PassageRow(1, EVIL, EVIL, 9, 0.5, -1.0, True, (0,), answer="owl"),
)
TOKENS = (
    TokenRow(0, 5, " cat", -0.5, (0.125, 0.5), 0.125, 0.25, (0.5, -3.0)),
    TokenRow(1, 6, EVIL, -1.5, (0.375, 0.5), 0.125, 0.0, (1.5, 2.0)),
)
FOUND = Answer(
    "cat", EVIL, "branches", 1.0, 0.5, None, "length", -2.0, 0.125, 0.125, PASSAGES, TOKENS,
    votes=(Vote("cat", 1, (0,), False), Vote("owl", 1, (1,), False)), certified=0, flow="exact",
    pairs=(PairRow(0, 1, 4.0, 3.0),), source="run, step 3",
)  # fmt: skip


def test_it_shows_the_whole_answer_and_what_holds() -> None:
    page = answer_page(FOUND)
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for said in (
        "2 passages, branches, λ = 1, τ = 0.5; log-probability −2.000 nats.",
        "unchanged whatever up to 0 of the passages say",
        "It was cut at the most tokens",
        "+2.000", "−1.000", "0.250", "0.500",
        "Flow allows it influence on the answer; its tokens may carry passages 0.",
        "run, step 3",
    ):  # fmt: skip
        assert said in text, said
    styles = re.findall(r'class="(less)?" style="left:([\d.]+)%;width:([\d.]+)%"', page)
    assert styles == [("", "50.000", "50.000"), ("less", "25.000", "25.000")]
    for absent in ("Votes", "Pairs", "up to"):
        assert absent not in answer_page(replace(FOUND, votes=(), pairs=(), certified=None)).split("<main")[1]


def test_every_text_is_escaped_and_nothing_is_fetched() -> None:
    page = answer_page(FOUND)
    assert page.count("<script") == 2 and "<img" not in page and "://" not in page
    data = json.loads(re.search(r'id="answer-data">(.*?)</script>', page, re.S).group(1))
    assert data["tokens"][1]["said"].startswith(f"Of token 2 of 2, “{EVIL}”")
    assert data["tokens"][0]["attribution"] == [0.5, -3.0] and data["whole"]["mass"] == [0.25, 0.5]
    assert "default-src 'none'" in page


def test_it_is_written_beside_the_files(tmp_path: Path) -> None:
    write_answer(FOUND, tmp_path)
    assert (tmp_path / "answer.html").read_text() == answer_page(FOUND)


def test_a_notebook_gets_the_same_page_in_a_frame() -> None:
    found = re.fullmatch(r'<div><iframe srcdoc="([^"]*)" [^<>]*></iframe></div>', answer_html(FOUND))
    assert html.unescape(found.group(1)) == answer_page(FOUND)


@pytest.mark.external
def test_a_token_is_chosen_by_pointer_and_keys(tmp_path: Path) -> None:
    """Needs Chromium: sh launch/test.sh -m external tests/reporting/answer_page_test.py"""
    found = in_browser(
        answer_page(FOUND),
        """
        const buttons = all("#answer button");
        const state = () => ({
          values: all(".measure b").map((node) => node.textContent),
          widths: all(".measure i").map((node) => node.style.width),
          pressed: buttons.map((node) => node.getAttribute("aria-pressed")),
          said: part("said").textContent,
        });
        const before = state();
        buttons[1].click();
        const clicked = state();
        buttons[1].focus();
        press(buttons[1], "ArrowRight");
        const right = state();
        press(document.activeElement, "ArrowRight");
        return {before, clicked, right, round: state(), wide: document.documentElement.scrollWidth, errors};
        """,
        tmp_path,
        width=375,
    )
    assert found["errors"] == [] and found["wide"] <= 375
    assert found["before"]["values"] == ["+2.000", "0.250", "−1.000", "0.500"]
    assert found["clicked"]["values"] == ["+0.500", "0.125", "−3.000", "0.500"]
    assert found["clicked"]["pressed"] == ["false", "true", "false"]
    assert "log-probability −0.500" in found["clicked"]["said"]
    assert found["right"]["values"] == ["+1.500", "0.375", "+2.000", "0.500"]
    assert found["round"]["values"] == found["before"]["values"]
