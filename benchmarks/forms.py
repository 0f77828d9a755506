"""Who is measured: our model feature by feature, the plain JAX forms, and PyTorch. Nothing here imports JAX
or PyTorch.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from aila_jax.config import one_of
from benchmarks.shapes import Shape

if TYPE_CHECKING:
    from benchmarks.runner import Runner

TRAIN, SWEEP = "train", "sweep"
TASKS = (TRAIN, SWEEP)


@dataclass(frozen=True)
class OursForm:
    """Our model and step; every feature that is not named is off.

    Attributes:
      conditional: λ drawn for each sequence.
      film: the network is shown λ.
      self_scaling: that margin instead of the fixed one.
      stats: the sweep cell measures attention statistics (without them it could not say more than the plain
        evaluation).
      chunk: tokens whose logits exist at once; −1 takes the shape's.
      partition: `windows` of 5, `given`, `segments` or `classes`.
      rotary, capped, dial_weights: rotary positions, scores capped at 4 nats, query, key and value weights
        that turn with the dial.
      staggered: heads turn one after another.
      views: times that a training step reads each sequence, where λ is drawn.
      distill, pressure: as in `locality`.
      shift: of every second layer, in windows of twice as many tokens, with a gate; 0 for the shape's blocks.
    """

    conditional: bool = False
    film: bool = False
    self_scaling: bool = False
    stats: bool = True
    chunk: int = -1
    partition: str = "windows"
    rotary: bool = False
    capped: bool = False
    dial_weights: bool = False
    staggered: bool = False
    views: int = 1
    distill: float = 0.0
    pressure: float = 0.0
    shift: int = 0

    family = "ours"

    def start(
        self, shape: Shape, tokens: np.ndarray, exact: bool, tasks: tuple[str, ...] = TASKS
    ) -> "Runner":
        """Builds it and compiles its `tasks`; `exact` computes in full float32 for the proof."""
        from benchmarks.ours import OursRunner

        return OursRunner(self, shape, tokens, exact, tasks)

    def missing(self, cpu: bool) -> str:
        """Why it cannot run here; empty where it can."""
        return ""


@dataclass(frozen=True)
class PlainForm:
    """The plain model in JAX; all forms compute the same.

    Attributes:
      attention: `einsum` (scores, softmax, weighted sum) or `fused` (jax.nn.dot_product_attention).
      one_hot: the target's logit as a masked sum instead of a gather, whose gradient is a scatter.
      chunk: 0 makes all logits at once; −1 takes the shape's number of tokens, with our chunked loss.
    """

    attention: str = "einsum"
    one_hot: bool = False
    chunk: int = 0

    family = "plain JAX"

    def start(
        self, shape: Shape, tokens: np.ndarray, exact: bool, tasks: tuple[str, ...] = TASKS
    ) -> "Runner":
        """Builds it and compiles its `tasks`; `exact` computes in full float32 for the proof."""
        from benchmarks.plain_jax import PlainRunner

        return PlainRunner(self, shape, tokens, exact, tasks)

    def missing(self, cpu: bool) -> str:
        """Why it cannot run here; empty where it can."""
        return ""


@dataclass(frozen=True)
class TorchForm:
    """The plain model in PyTorch with its fused attention and optimizer.

    Attributes:
      compiled: through torch.compile.
    """

    compiled: bool = False

    family = "PyTorch"

    def start(
        self, shape: Shape, tokens: np.ndarray, exact: bool, tasks: tuple[str, ...] = TASKS
    ) -> "Runner":
        """Builds it and compiles its `tasks`; `exact` computes in full float32 for the proof."""
        from benchmarks.torch_runner import TorchRunner

        return TorchRunner(self, shape, tokens, exact, tasks)

    def missing(self, cpu: bool) -> str:
        """Why it cannot run here; empty where it can."""
        if find_spec("torch") is None:
            return "PyTorch is not installed (pip install '.[bench]')"
        if self.compiled and cpu and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
            return "torch.compile needs a C++ compiler on a CPU, and there is none on the path"
        if not cpu:
            import torch

            if not torch.cuda.is_available():
                return "this PyTorch sees no GPU, and JAX runs on one"
        return ""


Form = OursForm | PlainForm | TorchForm


@dataclass(frozen=True)
class Contestant:
    """One thing to measure.

    Attributes:
      name: on the command line and in the result.
      about: in words.
      form: what runs.
      tasks: what of it is measured.
    """

    name: str
    about: str
    form: Form
    tasks: tuple[str, ...] = TASKS


REFERENCE = "ours"  # whose losses the others must reach
BASELINE = "plain-einsum"  # ratios need at least one plain form

CONTESTANTS = (
    Contestant(REFERENCE, "λ fixed at 0.6, fixed margin; the sweep cell with statistics", OursForm()),
    Contestant("ours-conditional", "λ drawn for each sequence", OursForm(conditional=True), (TRAIN,)),
    Contestant(
        "ours-film",
        "λ drawn for each sequence and shown through FiLM: the preset",
        OursForm(conditional=True, film=True),
    ),
    Contestant("ours-self-scaling", "self-scaling margin", OursForm(self_scaling=True)),
    Contestant("ours-no-stats", "the sweep cell without statistics", OursForm(stats=False), (SWEEP,)),
    Contestant("ours-chunk-0", "all logits at once", OursForm(chunk=0)),
    Contestant("ours-chunk-256", "logits of 256 tokens at once", OursForm(chunk=256), (TRAIN,)),
    Contestant("ours-chunk-1024", "logits of 1,024 tokens at once", OursForm(chunk=1024), (TRAIN,)),
    Contestant(BASELINE, "attention by einsum and softmax, Optax's loss", PlainForm()),
    Contestant("plain-fused", "jax.nn.dot_product_attention, Optax's loss", PlainForm("fused")),
    Contestant(
        "plain-one-hot", "einsum, the target's logit by a masked sum", PlainForm(one_hot=True), (TRAIN,)
    ),
    Contestant("plain-chunk", "einsum, the loss in chunks as ours", PlainForm(chunk=-1)),
    Contestant("torch-eager", "scaled_dot_product_attention, fused AdamW", TorchForm()),
    Contestant("torch-compile", "the same through torch.compile", TorchForm(compiled=True)),
)
NAMES = tuple(contestant.name for contestant in CONTESTANTS)


def choose(names: Sequence[str]) -> list[Contestant]:
    """The named contestants, all where none is named; the reference and one plain form always take part.

    Raises:
      ValueError: an unknown name; the nearest one is suggested.
    """
    for name in names:
        one_of("contestants", name, NAMES)
    return [one for one in CONTESTANTS if not names or one.name in (*names, REFERENCE, BASELINE)]
