"""The page in a browser: one dial turns numbers, text, maps and losses, and all of it is what the model says.

Needs Chromium: sh launch/test.sh -m external tests/reporting/page_browser_test.py
"""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

import aila_jax as aila
from aila_jax.config import RelationConfig
from aila_jax.evaluation.rows import SweepResult
from aila_jax.inference.text_reading import ReadingGrid, read_over_dial
from aila_jax.reporting import attention_html
from aila_jax.reporting.attention_slider import attention_page
from aila_jax.reporting.html import write_page
from aila_jax.reporting.page_data import RunOnPage
from aila_jax.reporting.plots_attention import block_edges
from tests.oracles.kinds import WindowRelation
from tests.reporting.conftest import synthetic_maps, synthetic_sweep
from tests.support.untrained import untrained_model

pytestmark = pytest.mark.external
TEXT = "the old owl saw my brother in the garden ."
LAMS, TAUS = (0.0, 0.4, 1.0), (0.5, 1.0)
BROWSER = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --hide-scrollbars"
)
HELPERS = """
const part = (name) => document.getElementById(name);
const all = (query) => [...document.querySelectorAll(query)];
const set = (name, value) => {
  part(name).value = value;
  for (const type of ["input", "change"]) part(name).dispatchEvent(new Event(type, {bubbles: true}));
};
const point = (node, type, x, y) => node.dispatchEvent(new PointerEvent(type, {clientX: x, clientY: y, bubbles: true}));
const press = (node, key) => node.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
"""


def in_browser(page: str, script: str, folder: Path, width: int = 1400, dark: bool = False) -> Any:
    """What `script`, the body of a function, returns in the page at a window's width."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed: the page was not tried in a browser")
    probe = f"""<script>{HELPERS}
    (() => {{
      const found = (() => {{ {script} }})();
      const note = document.createElement("pre");
      note.id = "probe";
      note.textContent = JSON.stringify({{found, errors: [...early, ...errors]}});
      parent.document.body.append(note);
    }})();</script>"""
    file = folder / "page.html"
    # Errors of the page's own script count too, so they are listened for before it.
    page = page.replace(
        "<body>",
        "<body><script>var early = [];addEventListener('error', (e) => early.push(e.message));</script>",
        1,
    )
    page = page.replace("</body>", f"{probe}</body>")
    if width < 500:  # no window of Chromium's is narrower
        page = f'<body style="margin:0"><iframe srcdoc="{html.escape(page)}" width="{width}" height="900" style="border:0"></iframe></body>'
    file.write_text(page, encoding="utf-8")
    done = subprocess.run(
        [chromium, *BROWSER.split(), f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000",
         f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    notes = re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert notes, "the probe did not run"
    answer = json.loads(html.unescape(notes[0]))
    assert answer["errors"] == []
    return answer["found"]


def sweep() -> SweepResult:
    return synthetic_sweep(lams=LAMS, taus=TAUS, shape=(2, 2))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A synthetic sweep beside the reading of a model, with samples at one τ."""
    model = untrained_model()
    reading = read_over_dial(model, model.tokenizer.encode(TEXT), ReadingGrid(LAMS, TAUS, (0, 1), (0, 1)))
    samples = [{"lam": lam, "tau": 1.0, "prompt": "So ", "text": f"it is {lam}."} for lam in LAMS]
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page([RunOnPage("one", sweep(), samples=samples, reading=reading)], path)
    return path.read_text(encoding="utf-8")


def test_one_dial_turns_everything_and_all_of_it_is_right(page, tmp_path: Path) -> None:
    settings = [(0, 1, 0, 1, 5), (2, 1, 0, 1, 5), (1, 0, 1, 0, 20)]
    script = f"""return {json.dumps(settings)}.map(([lam, tau, layer, head, query]) => {{
      set("dial-lam", lam); set("dial-tau", tau);
      all(".heads button")[2 * layer + head].click();
      all(".words span")[query].click();
      const canvas = all(".heads canvas")[2 * layer + head], big = all(".field canvas")[0];
      const pixels = (one) => [...one.getContext("2d").getImageData(0, 0, one.width, one.height).data];
      return {{values: all(".card .value").map((node) => node.textContent), sample: all("#samples .text")[0].textContent,
        said: all(".said")[0].textContent, pixels: pixels(canvas), big: pixels(big), words: all(".words span").map((node) => node.title),
        bars: all(".loss .token").map((node) => [...node.querySelectorAll("i")].map((bar) => bar.style.height)),
        paid: all(".paid")[0].textContent, hash: location.hash, hidden: part("dial").hidden}};
    }});"""
    found = in_browser(page, script, tmp_path)
    model, cells = untrained_model(), {(cell.lam, cell.tau): cell for cell in sweep().cells}
    ids = np.asarray([model.tokenizer.encode(TEXT)], np.int32)
    viridis = np.round(255 * matplotlib.colormaps["viridis"](np.arange(256))[:, :3])
    heights = []
    for (lam, tau, layer, head, query), shown in zip(settings, found, strict=True):
        cell = cells[LAMS[lam], TAUS[tau]]
        assert not shown["hidden"]
        assert shown["values"][2] == f"{cell.entropy_bits:.2f}"
        assert shown["values"][3].startswith(f"{100 * cell.block_mass:.1f} %")
        if TAUS[tau] == 1.0:
            assert shown["sample"] == f"So it is {LAMS[lam]}."
        else:
            assert shown["sample"].startswith(
                "No sample was generated at λ = 0.4, τ = 0.5. There are samples at λ = 0"
            )
        output = model.apply(ids, lam=LAMS[lam], tau=TAUS[tau], weights=True)
        weights = np.asarray(output.weights)[layer, 0, head]
        bits = np.asarray(output.stats.entropy_bits)[:, 0].mean(-1, dtype=np.float64)
        numbers = [float(number) for number in re.findall(r"entropy ([0-9.]+[0-9])", shown["said"])]
        np.testing.assert_allclose(numbers, [bits[layer, head], bits.mean()], atol=0.006)
        pixels = np.reshape(shown["pixels"], (21, 21, 4))
        assert shown["big"] == shown["pixels"]
        np.testing.assert_array_equal(pixels[..., 3], np.where(np.tri(21), 255, 0))
        # Each colour is that of the byte, or of its neighbour where float32 rounding decides between two.
        near = viridis[
            np.clip(np.round(255 * np.sqrt(weights))[..., None] + np.array([-1, 0, 1]), 0, 255).astype(int)
        ]
        off = np.abs(near - pixels[..., None, :3]).max(-1).min(-1)
        assert off[np.tri(21, dtype=bool)].max() == 0
        assert shown["words"][query + 1 :] == ["later: not attended to"] * (20 - query)
        assert (
            shown["hash"] == f"#lam={LAMS[lam]:g}&tau={TAUS[tau]:g}&layer={layer}&head={head}&query={query}"
        )
        means = [float(number) for number in re.findall(r"([0-9.]+) nats", shown["paid"])[:1]]
        logits = np.asarray(model.apply(ids, lam=0.0, tau=TAUS[tau]).logits, np.float64)[0, :-1]
        chosen = np.take_along_axis(logits, ids[0, 1:, None], 1)[:, 0]
        losses = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1) - chosen
        assert means[0] == pytest.approx(losses.mean(), abs=6e-4)
        bars = np.asarray([[float(bar.removesuffix("%")) for bar in pair] for pair in shown["bars"]])
        np.testing.assert_allclose(bars[1:, 0] / bars[1:, 0].max(), losses / losses.max(), atol=1e-3)
        heights.append(bars)
    assert found[0]["pixels"] != found[1]["pixels"]
    assert np.abs(heights[0][:, 0] - heights[1][:, 0]).max() < 1e-9  # both at τ = 1: the lowest λ stays


def test_hover_click_and_keys_choose_and_explain(page, tmp_path: Path) -> None:
    script = """
      const field = all(".field")[0], box = field.getBoundingClientRect(), cell = box.width / 21, said = {};
      point(field, "pointermove", box.left + 2.5 * cell, box.top + 7.5 * cell);
      said.cell = part("tip").textContent;
      said.tipShown = !part("tip").hidden;
      field.dispatchEvent(new MouseEvent("click", {clientX: box.left + 2.5 * cell, clientY: box.top + 7.5 * cell, bubbles: true}));
      said.query = all('.words [aria-selected="true"]').map((node) => node.getAttribute("aria-label"));
      press(all(".mapbox")[0], "ArrowDown"); press(all(".mapbox")[0], "ArrowRight");
      said.keys = all(".cellsaid")[0].textContent;
      press(all(".words")[0], "ArrowLeft");
      said.focus = document.activeElement.getAttribute("aria-label");
      all(".queries span")[3].click();
      said.label = location.hash;
      const term = all(".term").find((node) => node.textContent === "block mass");
      term.focus();
      said.term = [part("tip").hidden, part("tip").textContent, term.tabIndex, term.getAttribute("aria-describedby")];
      press(document.body, "Escape");
      said.escaped = part("tip").hidden;
      point(all(".loss .token")[4], "pointermove", 100, 100);
      said.loss = part("tip").textContent;
      all(".chart")[0].dispatchEvent(new MouseEvent("click", {clientX: all(".chart")[0].getBoundingClientRect().right, bubbles: true}));
      said.lam = part("dial-lam-value").textContent;
      const overlay = getComputedStyle(field.querySelector(".edges"));
      said.outline = [overlay.strokeWidth, overlay.vectorEffect];
      all(".zoom")[0].value = 40; all(".zoom")[0].dispatchEvent(new Event("input"));
      said.zoomed = [field.getBoundingClientRect().width, getComputedStyle(field.querySelector(".edges")).strokeWidth];
      return said;"""
    said = in_browser(page, script, tmp_path)
    assert re.search(
        r"\(token 7\) → .* \(token 2\): weight 0\.\d{4}, outside its block\nat λ = 1: 0\.\d{4}$", said["cell"]
    )
    assert said["tipShown"]
    assert said["query"][0].startswith("token 7, ")
    assert "(token 8) → " in said["keys"]
    assert "(token 3): weight" in said["keys"]
    assert said["focus"].startswith("token 7, ")
    assert said["label"].endswith("query=3")
    assert said["term"][0] is False
    assert said["term"][1].startswith("Share of attention that stays inside")
    assert said["term"][2:] == [0, "tip"]
    assert said["escaped"]
    assert re.search(
        r"\(token 4\)\nλ = 0: \d+\.\d{3} nats\nλ = 1: \d+\.\d{3} nats \([+−]\d\.\d{3}\)", said["loss"]
    )
    assert said["lam"] == "1"
    assert said["outline"] == ["1px", "non-scaling-stroke"]
    assert said["zoomed"] == [840, "1px"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [375, 800, 1400])
def test_no_width_scrolls_sideways_and_text_stands_out(page, tmp_path: Path, width: int, dark: bool) -> None:
    script = """
      const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
      const linear = (part) => part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4;
      const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
      const behind = (node) => {
        for (let at = node; at; at = at.parentElement) {
          const colour = rgb(getComputedStyle(at).backgroundColor);
          if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
      };
      const contrast = (node) => {
        const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      };
      const TEXTS = "p, h1, h2, h3, a, td, th, dd, dt, summary, figcaption, .queries span, .keys span, .words span";
      const seen = all(TEXTS).filter((node) => node.offsetParent && node.textContent.trim());
      const weak = seen.filter((node) => contrast(node) < 4.5);
      const root = document.scrollingElement;
      return {page: root.scrollWidth, seen: root.clientWidth, texts: seen.length,
              weak: weak.map((node) => `${node.tagName} ${node.textContent.slice(0, 30)} ${contrast(node)}`),
              background: getComputedStyle(document.body).backgroundColor};"""
    found = in_browser(page, script, tmp_path, width, dark)
    assert found["page"] <= found["seen"]
    assert found["seen"] == width
    assert found["weak"] == []
    assert found["texts"] > 100
    assert found["background"] == ("rgb(13, 17, 23)" if dark else "rgb(246, 247, 249)")


def test_nothing_that_is_drawn_lies_outside_its_axes(tmp_path: Path) -> None:
    result = synthetic_sweep(lams=(0.0, 0.5, 1.0), guaranteed_block_mass=0.97, guaranteed_entropy_bits=9.5)
    write_page([RunOnPage("one", result)], tmp_path / "a.html")
    script = """
      const points = (line) => line.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number));
      return all(".chart").map((svg) => [...svg.querySelectorAll("polyline")].flatMap(points));"""
    found = in_browser((tmp_path / "a.html").read_text(encoding="utf-8"), script, tmp_path)
    assert len(found) == 4
    for points in found:
        assert points
        assert all(46 <= x <= 308 and 10 <= y <= 146 for x, y in points)


def test_a_logarithmic_axis_has_two_numbers_at_least(tmp_path: Path) -> None:
    """An untrained pretrained model's perplexity over the dial spans a factor of 3.5."""
    result = synthetic_sweep(lams=(0.0, 0.5, 1.0), taus=(1.0,))
    spans = dict(zip((0.0, 0.5, 1.0), (24.9, 45.9, 87.5), strict=True))
    cells = tuple(replace(cell, perplexity_token=spans[cell.lam]) for cell in result.cells)
    write_page([RunOnPage("one", replace(result, cells=cells))], tmp_path / "a.html")
    script = """return [...all(".chart")[0].querySelectorAll("text")].map((node) => node.textContent);"""
    found = in_browser((tmp_path / "a.html").read_text(encoding="utf-8"), script, tmp_path)
    assert found[:3] == ["30", "50", "70"]


def test_two_runs_share_the_dial_and_say_what_they_were_not_measured_at(tmp_path: Path) -> None:
    runs = [
        RunOnPage("plain", synthetic_sweep(lams=(0.0, 1.0), taus=(1.0,))),
        RunOnPage("dial", synthetic_sweep(lams=(0.0, 0.4, 1.0), taus=(1.0,), entropy_bits=1.25),
                  samples=[{"lam": 0.4, "tau": 1.0, "prompt": "", "text": "<b>x</b>"}]),
    ]  # fmt: skip
    write_page(runs, tmp_path / "a.html")
    script = """set("dial-lam", 1);
      return [all(".card")[2].querySelector(".value").textContent, all("#samples .text").map((node) => node.innerHTML)];"""
    value, samples = in_browser((tmp_path / "a.html").read_text(encoding="utf-8"), script, tmp_path)
    assert value == "not measured1.25"
    assert samples[0].endswith("No samples.</span>")
    assert samples[1].endswith("&lt;b&gt;x&lt;/b&gt;")


def test_a_page_in_a_notebooks_frame_works(tmp_path: Path) -> None:
    frame = attention_html([synthetic_maps((1, 2), lam=lam) for lam in (0.0, 1.0)])
    page = html.unescape(re.findall(r'srcdoc="([^"]*)"', frame)[0])
    said = in_browser(page, """set("dial-lam", 1); return all(".said")[0].textContent;""", tmp_path)
    assert said.startswith("λ = 1, τ = 0.7, layer 0, head 0: entropy")


def test_a_models_own_page_has_a_dial(tmp_path: Path) -> None:
    path = aila.report(untrained_model(), tmp_path / "report.html", sample_tokens=2)
    script = """set("dial-lam", 7); return [all(".said")[0].textContent, all("#samples .text")[0].textContent, part("numbers") === null];"""
    said, sample, none = in_browser(path.read_text(encoding="utf-8"), script, tmp_path)
    assert said.startswith("λ = 0.7, τ = 1, layer 0, head 0: entropy")
    assert sample.startswith("Return a new list containing")
    assert none


def test_what_is_inside_is_shown_layer_by_layer(tmp_path: Path) -> None:
    """Outline, marks on the keys, underlined words and tips of cells, of windows that move and have ends."""
    oracle = WindowRelation(5, sink=True, ends=True, shift=2)
    model = untrained_model().with_relation(RelationConfig(sink=True, pointers="ends", shift=2))
    page = attention_page(model.attention_dial(TEXT, lams=LAMS))
    script = """return [0, 1].map((layer) => {
      all(".heads button")[2 * layer].click();
      all(".words span")[20].click();
      const keys = all(".keys span"), area = part("attention").querySelector(".field").getBoundingClientRect();
      const tips = keys.map((_, key) => {
        point(document.querySelector(".field"), "pointermove", area.left + (key + .5) * area.width / 21, area.top + 20.5 * area.height / 21);
        return part("tip").textContent;
      });
      return {pointers: keys.map((one) => one.classList.contains("pointer")), sinks: keys.map((one) => one.classList.contains("sink")),
        words: all(".words span").map((one) => one.classList.contains("inside")), tips, legend: all(".marks")[0].textContent,
        lines: document.querySelector(".edges").getAttribute("d").split("M").length - 1};
    });"""
    found = in_browser(page, script, tmp_path)
    for layer, shown in enumerate(found):
        masks = oracle.masks(layer, 21)
        inside = sum(masks.values()) > 0
        assert shown["pointers"] == masks["pointer"].any(axis=0).tolist()
        assert shown["sinks"] == masks["sink"].any(axis=0).tolist()
        assert shown["words"] == inside[20].tolist()
        assert shown["lines"] == len(block_edges(inside))
        assert shown["legend"] == "▼ pointer   ■ sink"
        for key, tip in enumerate(shown["tips"]):
            kind = next((name for name, mask in masks.items() if mask[20, key]), "")
            words = {"": "outside", "own": "inside its block", "pointer": "inside, a pointer"}
            assert f", {words.get(kind, 'inside, the sink')}\n" in tip
    assert found[0]["pointers"] != found[1]["pointers"]


def test_the_reach_of_the_token_under_the_pointer_is_marked(tmp_path: Path) -> None:
    """By pointer and by arrow keys at λ = 1, where the gate is shut, and nothing is excluded below."""
    oracle = WindowRelation(5, sink=True, ends=True, shift=2)
    model = untrained_model().with_relation(RelationConfig(sink=True, pointers="ends", shift=2))
    gated = replace(model.config.model, margin=replace(model.config.model.margin, gate=1.0))
    model = replace(model, config=replace(model.config, model=gated))
    tokens = model.tokenizer.encode(TEXT)
    reading = read_over_dial(model, tokens, ReadingGrid(LAMS, TAUS, (0, 1), (0, 1)))
    page = write_page([RunOnPage("one", reading=reading)], tmp_path / "report.html").read_text()
    script = """const spans = all(".reached span"), seen = () => ({said: document.querySelector(".reachsaid").textContent,
      can: spans.map((one) => one.classList.contains("can")), not: spans.map((one) => one.classList.contains("cannot"))});
    const found = {};
    set("dial-lam", 2);
    point(spans[12], "pointerover", 0, 0);
    found.pointed = seen();
    press(document.querySelector(".reached"), "ArrowRight");
    found.moved = seen();
    set("dial-lam", 1);
    found.soft = seen();
    return found;"""
    found = in_browser(page, script, tmp_path)
    length = len(tokens)
    itself = np.eye(length, dtype=bool)
    below, above = (itself | (sum(oracle.masks(layer, length).values()) > 0) for layer in (0, 1))
    reach = above.astype(int) @ below.astype(int) > 0
    for name, at in (("pointed", 12), ("moved", 13)):
        assert found[name]["can"] == reach[at].tolist()
        assert found[name]["not"] == (~reach[at]).tolist()
        assert f"(token {at}): {reach[at].sum()} of {at + 1} tokens, in " in found[name]["said"]
        assert "for every input with these positions, by the gate" in found[name]["said"]
    assert not any(found["soft"]["can"])
    assert found["soft"]["not"] == [key > 13 for key in range(length)]
    assert "At λ = 0.4, τ = 1 attention outside is not exactly 0" in found["soft"]["said"]


def test_a_soft_end_has_no_reach(tmp_path: Path) -> None:
    model = untrained_model()
    reading = read_over_dial(model, model.tokenizer.encode(TEXT), ReadingGrid(LAMS, TAUS, (0,), (0,)))
    assert reading.reach is None
    assert "it must be such that attention outside is exactly 0" in reading.no_reach
    page = write_page([RunOnPage("one", reading=reading)], tmp_path / "report.html").read_text()
    assert 'id="reach"' not in page
