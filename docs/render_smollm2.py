"""Draws one head of SmolLM2 over a paragraph at λ = 0, and at λ = 1 as it is and localised on sentences.

python docs/render_smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf runs/smollm2/localised-sentences-seed0
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import aila_jax as aila
from aila_jax.inference.language_model import LanguageModel
from aila_jax.reporting.plots_attention import draw_words
from aila_jax.reporting.style import LIGHT, house_style

TEXT = "The old mill stood by the river. It had ground corn for the village. Nobody has used the mill since the war."
PICTURE = Path(__file__).parent / "results" / "smollm2" / "picture.png"


def main(pretrained: str, run: str) -> None:
    localised = aila.load(run)
    settings = localised.config
    untrained = aila.from_pretrained(
        pretrained, length=settings.model.length, partition=settings.partition, relation=settings.relation,
        margin=settings.model.margin,
    )  # fmt: skip
    layer, head = most_outside(untrained)
    print(f"layer {layer}, head {head}")
    panels = (
        (localised, 0.0, "λ = 0, before and after"),
        (untrained, 1.0, "λ = 1, as it is"),
        (localised, 1.0, "λ = 1, localised"),
    )
    with house_style(LIGHT):
        fig = Figure(figsize=(15.0, 5.3), layout="constrained")
        for axes, (model, lam, title) in zip(fig.subplots(1, 3), panels, strict=True):
            maps = model.attention(TEXT, lam=lam).by_word()
            words = ["(begin)", *(token.strip() for token in maps.tokens[1:])]
            draw_words(axes, maps, words, layer, head)
            inside, perplexity = maps.block_mass[layer, head], model.score(TEXT, lam=lam).perplexity
            said = f"{title}\n{inside:.0%} of attention inside, perplexity of the text {perplexity:.0f}"
            axes.set_title(said, loc="center", fontsize=10)
        fig.savefig(PICTURE, dpi=110)
    print(PICTURE)


def most_outside(model: LanguageModel) -> tuple[int, int]:
    """Layer and head with the most attention outside at λ = 0."""
    mass = model.attention(TEXT, lam=0.0).block_mass
    layer, head = np.unravel_index(np.argmin(mass), mass.shape)
    return int(layer), int(head)


if __name__ == "__main__":
    main(*sys.argv[1:])
