"""Draws the picture of the README from a run of the demo: one head over a sentence, at λ = 0 and at λ = 1.

python docs/render_picture.py runs/demo
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

import aila_jax as aila
from aila_jax.reporting.plots_attention import draw_words
from aila_jax.reporting.style import LIGHT, house_style

TEXT = "Return a new list, or the old one if it has no items, and raise an error otherwise."
LAYER, HEAD = 1, 0
PICTURE = Path(__file__).parent / "pictures" / "dial.png"


def main(run: str) -> None:
    model = aila.load(run)
    with house_style(LIGHT):
        fig = Figure(figsize=(10.4, 4.9), layout="constrained")
        for axes, lam in zip(fig.subplots(1, 2), (0.0, 1.0), strict=True):
            maps = model.attention(TEXT, lam=lam).by_word()
            words = [token.strip() for token in maps.tokens]
            draw_words(axes, maps, words, LAYER, HEAD)
            end = "ordinary attention" if lam == 0.0 else "attention stays in the clause"
            mass = maps.block_mass[LAYER, HEAD]
            axes.set_title(f"λ = {lam:g}: {end}\n{mass:.0%} of it inside", loc="center", fontsize=10)
        fig.savefig(PICTURE, dpi=110)
    print(PICTURE)


if __name__ == "__main__":
    main(*sys.argv[1:])
