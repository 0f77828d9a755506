"""The λ slider over attention maps: its data decode to the weights, the page is one file, and in a browser it
shows what it should.
"""

import base64
import dataclasses
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.reporting import attention_html, attention_page, pages
from aila_jax.reporting.attention_slider import MAX_WEIGHT_BYTES, most_tokens, slider_data
from tests.reporting.conftest import synthetic_maps
from tests.support.parsed import ADDRESSES, Page
from tests.support.untrained import untrained_model

STEP = 1 / 255  # of the square root of a weight
TEXT = "the old owl saw my brother in the garden ."
LAMS = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def maps() -> tuple[AttentionMaps, ...]:
    """Those of a model, of which the page knows nothing but the weights."""
    return untrained_model().attention_dial(TEXT, lams=LAMS, tau=0.8)


@pytest.fixture(scope="module")
def page(maps) -> str:
    return attention_page(maps)


def decoded(data: dict[str, Any]) -> np.ndarray:
    """Weights [λ, layer, head, query, key] from the page's data, as its script reads them."""
    length = len(data["tokens"])
    q = np.frombuffer(base64.b64decode(data["weights"]), np.uint8).reshape(
        len(data["lams"]), data["layers"], data["heads"], -1
    )
    weights = np.zeros((*q.shape[:3], length, length))
    place = 0
    for query in range(length):
        width = query + 1 if data["causal"] else length
        weights[..., query, :width] = (q[..., place : place + width] / 255.0) ** 2
        place += width
    assert place == q.shape[-1]
    return weights


def test_the_data_are_the_weights_within_the_quantisation_step(maps) -> None:
    data = slider_data(maps[::-1])
    assert json.loads(json.dumps(data)) is not None
    assert data["lams"] == list(LAMS)
    weights = decoded(data)
    for index, one in enumerate(maps):
        assert (
            np.abs(np.sqrt(weights[index]) - np.sqrt(one.weights.astype(np.float64))).max()
            <= 0.5 * STEP + 1e-7
        )
        assert data["entropy_bits"][index] == one.entropy_bits.tolist()
        assert data["block_mass"][index] == one.block_mass.tolist()
    assert np.abs(weights - np.stack([one.weights for one in maps])).max() <= STEP
    inside = np.unpackbits(np.frombuffer(base64.b64decode(data["inside"]), np.uint8))[
        : weights.shape[-1] ** 2
    ]
    np.testing.assert_array_equal(inside.reshape(weights.shape[-2:]), maps[0].inside)


def test_a_bidirectional_model_keeps_its_whole_square() -> None:
    one = synthetic_maps((1, 2), causal=False)
    weights = decoded(slider_data([one]))[0]
    assert np.abs(np.sqrt(weights) - np.sqrt(one.weights)).max() <= 0.5 * STEP + 1e-6
    assert "(not causal: sees its targets) has no causal mask" in attention_page([one])


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
    assert decoded(json.loads(parsed.scripts[0])).shape == (3, 2, 2, 21, 21)


def test_without_its_script_the_page_shows_a_picture_and_hides_the_slider(page) -> None:
    tags = {attributes["id"]: attributes for _, attributes in Page(page).tags if "id" in attributes}
    assert "hidden" in tags["attention-panel"]
    assert "hidden" not in tags["attention-static"]
    assert tags["attention-lam"]["type"] == tags["attention-query"]["type"] == "range"
    figures = re.findall(r'data:image/svg\+xml;base64,([^"]*)"', page)
    assert len(figures) == 2
    assert all(base64.b64decode(figure).rstrip().endswith(b"</svg>") for figure in figures)


def test_a_notebook_gets_the_same_page_in_a_frame(maps, page) -> None:
    found = re.fullmatch(r'<div><iframe srcdoc="([^"]*)" [^<>]*></iframe></div>', attention_html(maps))
    assert found is not None
    assert html.unescape(found[1]) == page


def test_tokens_cannot_leave_their_place() -> None:
    one = synthetic_maps((1, 1))
    attack = "</script><script>alert(1)</script>"
    page = attention_page([dataclasses.replace(one, tokens=(attack, *one.tokens[1:]), source=attack)])
    assert "<script>alert" not in page
    assert sum(tag == "script" for tag, _ in Page(page).tags) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tau": 2.0}, "maps is 'those of several texts, models or τ'; it must be one text's at one τ"),
        ({"tokens": tuple("abcdefg")}, "maps is 'those of several texts, models or τ'"),
        ({"source": "other"}, "maps is 'those of several texts, models or τ'"),
    ],
)
def test_maps_that_are_not_of_one_text_are_refused(change, words) -> None:
    one = synthetic_maps()
    with pytest.raises(ValueError, match=re.escape(words)):
        slider_data([one, dataclasses.replace(one, **change)])
    with pytest.raises(ValueError, match=r"maps is \[\]; it must be at least one setting of the dial"):
        slider_data([])


@pytest.mark.parametrize("causal", [True, False])
def test_what_does_not_fit_on_a_page_is_refused_and_the_limit_is_true(
    causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aila_jax.reporting.attention_slider.MAX_WEIGHT_BYTES", 400)
    most = most_tokens(2, 1, 3, causal)
    assert most == (9 if causal else 7)
    fits = [synthetic_maps((1, 3), length=most, lam=lam, causal=causal) for lam in (0.0, 1.0)]
    assert len(slider_data(fits)["weights"]) <= 400
    beyond = [synthetic_maps((1, 3), length=most + 1, lam=lam, causal=causal) for lam in (0.0, 1.0)]
    with pytest.raises(ValueError, match=rf"text is '{most + 1} tokens'; it must be at most {most} here"):
        slider_data(beyond)
    assert MAX_WEIGHT_BYTES < pages.MAX_BYTES / 2


def test_large_models_show_some_heads_in_the_picture_and_say_so() -> None:
    page = attention_page([synthetic_maps((6, 8), length=4)])
    assert "One setting of the dial, 2 of 6 layers and 4 of 8 heads; the slider" in page
    assert len(page) < pages.MAX_BYTES


# Moves the controls as a user does and notes, for each setting, the readout and the colours drawn in a head's
# map.
PROBE = """<script>
(() => {
  const part = (name) => document.getElementById(`attention-${name}`);
  const set = (name, value) => { part(name).value = value; part(name).dispatchEvent(new Event("input", {bubbles: true})); };
  const found = [];
  for (const [lam, layer, head, query] of SETTINGS) {
    set("lam", lam); set("layer", layer); set("head", head); set("query", query);
    const canvas = part("heads").children[layer * HEADS + head].querySelector("canvas"), map = part("map");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const cell = map.width / canvas.width, last = map.getContext("2d").getImageData(cell / 2, map.height - cell / 2, 1, 1).data;
    found.push({said: part("said").textContent, pixels: [...pixels], corner: [...last], hidden: part("static").hidden,
                words: [...part("text").children].map((word) => word.title), hash: location.hash});
  }
  const note = document.createElement("pre");
  note.id = "probe";
  note.textContent = JSON.stringify(found);
  document.body.append(note);
})();
</script>"""
BROWSER = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update"
)


@pytest.mark.medium  # starts a browser
def test_in_a_browser_the_slider_changes_picture_and_readout_and_both_are_right(
    maps, page, tmp_path: Path
) -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed: the slider was not tried in a browser")
    settings = [(0, 0, 1, 5), (2, 0, 1, 5), (1, 1, 0, 20)]
    probe = PROBE.replace("SETTINGS", json.dumps(settings)).replace("HEADS", "2")
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    command = [
        chromium,
        *BROWSER.split(),
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        file.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = json.loads(html.unescape(re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)[0]))
    viridis = np.round(255 * matplotlib.colormaps["viridis"](np.arange(256))[:, :3])
    model = untrained_model()
    ids = np.asarray([model.tokenizer.encode(TEXT)], np.int32)
    for (lam, layer, head, query), shown in zip(settings, found, strict=True):
        output = model.apply(ids, lam=LAMS[lam], tau=0.8, weights=True)
        weights = np.asarray(output.weights)[layer, 0, head]
        bits, mass = (
            np.asarray(x)[:, 0].mean(-1, dtype=np.float64)
            for x in (output.stats.entropy_bits, output.stats.block_mass)
        )
        numbers = [float(number) for number in re.findall(r"(?:entropy|mass) ([0-9.]+[0-9])", shown["said"])]
        assert shown["said"].startswith(f"λ = {LAMS[lam]:g}, τ = 0.8, layer {layer}, head {head}: entropy")
        np.testing.assert_allclose(numbers[0::2], [bits[layer, head], bits.mean()], atol=0.006)
        np.testing.assert_allclose(numbers[1::2], [100 * mass[layer, head], 100 * mass.mean()], atol=0.06)
        pixels = np.reshape(shown["pixels"], (21, 21, 4))
        np.testing.assert_array_equal(pixels[..., 3], np.where(np.tri(21), 255, 0))
        # Each colour is that of the byte, or of its neighbour where float32 rounding decides between two.
        near = viridis[
            np.clip(np.round(255 * np.sqrt(weights))[..., None] + np.array([-1, 0, 1]), 0, 255).astype(int)
        ]
        off = np.abs(near - pixels[..., None, :3]).max(-1).min(-1)
        assert off[np.tri(21, dtype=bool)].max() == 0
        titles = [f"weight {round(255 * np.sqrt(w)) ** 2 / 255**2:.4f}" for w in weights[query, : query + 1]]
        agree = [a == b for a, b in zip(titles, shown["words"], strict=False)]
        assert np.mean(agree) > 0.9
        assert shown["words"][query + 1 :] == ["later: not attended to"] * (20 - query)
        assert shown["hidden"]
        assert shown["hash"] == f"#alam={LAMS[lam]:g}&layer={layer}&head={head}&query={query}"
    assert found[0]["said"] != found[1]["said"]
    assert found[0]["pixels"] != found[1]["pixels"]
