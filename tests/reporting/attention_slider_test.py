"""Attention maps under a slider, as a page of its own and in a notebook's frame."""

import dataclasses
import html
import json
import re

import pytest

from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.reporting import attention_html, attention_page
from tests.reporting.conftest import synthetic_maps
from tests.support.parsed import ADDRESSES, Page


@pytest.fixture(scope="module")
def maps() -> list[AttentionMaps]:
    return [synthetic_maps((2, 2), lam=lam) for lam in (1.0, 0.0)]


@pytest.fixture(scope="module")
def page(maps) -> str:
    return attention_page(maps)


def test_the_page_is_one_file_that_fetches_nothing(page) -> None:
    parsed = Page(page)
    assert not re.search(
        r"(?:https?|ftp|wss?|file):|@import|url\(|\bfetch\(|XMLHttpRequest|\bimport\(|sendBeacon", page
    )
    for _, attributes in parsed.tags:
        for name in ADDRESSES & set(attributes):
            assert re.match(r"(?:data:|#)", attributes[name] or ""), (name, attributes[name])
    policies = [attributes["content"] for tag, attributes in parsed.tags if "http-equiv" in attributes]
    assert policies[0].startswith("default-src 'none'; img-src data:;")
    data = json.loads(parsed.scripts[0])
    assert (data["lams"], data["taus"], data["runs"][0]["cells"]) == ([0.0, 1.0], [0.7], [])
    assert "numbers" not in [attributes.get("id") for _, attributes in parsed.tags]
    assert len(page) < 100_000


def test_without_its_script_the_page_says_what_it_needs(page) -> None:
    tags = {attributes["id"]: attributes for _, attributes in Page(page).tags if "id" in attributes}
    assert "hidden" in tags["dial"]
    assert "hidden" in tags["dial-panel"]
    assert tags["dial-lam"]["type"] == "range"
    assert "The dial needs JavaScript" in page


def test_a_notebook_gets_the_same_page_in_a_frame(maps, page) -> None:
    found = re.fullmatch(r'<div><iframe srcdoc="([^"]*)" [^<>]*></iframe></div>', attention_html(maps))
    assert found is not None
    assert html.unescape(found[1]) == page


@pytest.mark.parametrize(
    "attack", ["</script><script>alert(1)</script>", "</script><img src=x onerror=alert(1)>"]
)
def test_tokens_cannot_leave_their_place(attack) -> None:
    one = synthetic_maps((1, 1))
    page = attention_page([dataclasses.replace(one, tokens=(attack, *one.tokens[1:]), source=attack)])
    parsed = Page(page)
    assert [tag for tag, _ in parsed.tags if tag in ("script", "img")] == ["script", "script"]
    assert json.loads(parsed.scripts[0])["runs"][0]["reading"]["tokens"][0] == attack


def test_a_model_without_a_causal_mask_is_named_so() -> None:
    page = attention_page([synthetic_maps(causal=False)])
    assert "(not causal: sees its targets) has no causal mask" in page
