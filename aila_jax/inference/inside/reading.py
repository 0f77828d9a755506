"""What `capture` and its relatives read: texts as one batch, with the dial, and what that takes of memory."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from aila_jax.config import ModelConfig, require
from aila_jax.config.checks import check_flag, plain, real
from aila_jax.inference.dial import check_hard, dial_values
from aila_jax.inference.inputs import read_texts, several
from aila_jax.model.arguments import any_array, is_traced
from aila_jax.model.interface import Dial
from aila_jax.types import PADDING_ID, Batch

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel

LIMIT_MIB = 2048.0
MIB = 2**20


@dataclass(frozen=True)
class Setting:
    """How texts are read.

    Attributes:
      lam: λ, one or one for each text.
      tau: τ, likewise.
      hard: block attention only; None for the configuration's.
      block_ids: for the partition `given`; None for those of training.
      doc_ids: document of each token; None for one document a text.
      limit_mib: memory that a call may take, MiB.
      quiet: say nothing on standard error.
    """

    lam: Any = 0.0
    tau: Any = 1.0
    hard: bool | None = None
    block_ids: Any = None
    doc_ids: Any = None
    limit_mib: float = LIMIT_MIB
    quiet: bool = False


@dataclass(frozen=True, eq=False)
class Read:
    """Texts as the model reads them, shorter ones filled up with padding.

    Attributes:
      batch: B texts of L tokens.
      dial: λ and τ of each.
      hard: block attention only.
      pieces: the text of each token of each text alone.
    """

    batch: Batch
    dial: Dial
    hard: bool
    pieces: tuple[tuple[str, ...], ...]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each text."""
        return tuple(len(one) for one in self.pieces)

    def rows(self, texts: Sequence[int]) -> "Read":
        """Some of the texts, or one of them several times, in this order."""
        at = np.asarray(texts)
        batch, dial = jax.tree.map(lambda x: np.asarray(x)[at], (self.batch, self.dial))
        return Read(batch, dial, self.hard, tuple(self.pieces[one] for one in texts))


def read(model: "LanguageModel", texts: Any, setting: Setting) -> Read:
    """A text, its token ids, or several of either, as one batch.

    Raises:
      ValueError: no text, or a setting outside its limits.
    """
    hard = model.config.model.hard if setting.hard is None else check_flag("hard", setting.hard)
    texts, block_ids, doc_ids = (_rows(one) for one in (texts, setting.block_ids, setting.doc_ids))
    many = several(texts)
    some = isinstance(texts, str) or not isinstance(texts, list | tuple) or len(texts) > 0
    require(some, "texts", texts, "a text, or a list of at least one", "pass a text, say")
    _, ids, blocks = read_texts(model, texts, block_ids)
    longest = max(map(len, ids))

    def filled(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
        return np.asarray([[*row, *[fill] * (longest - len(row))] for row in rows], np.int64)

    documents = filled([[number] * len(row) for number, row in enumerate(ids)], PADDING_ID)
    if doc_ids is not None:
        documents = filled(_document_rows(doc_ids, ids, many), PADDING_ID)
    given = None if blocks is None else filled(blocks, PADDING_ID)
    if given is not None:
        documents = np.where(given == PADDING_ID, PADDING_ID, documents)
    batch = model.batch(filled(ids, 0), given, documents)
    dial = Dial(dial_values(setting.lam, "lam", len(ids)), dial_values(setting.tau, "tau", len(ids)))
    require(not is_traced(dial.lam, dial.tau), "lam, tau", "traced", "known", "call this outside jit")
    check_hard(hard, dial.lam)
    pieces = tuple(tuple(model.tokenizer.token_text(token) for token in row) for row in ids)
    return Read(batch, dial, hard, pieces)


def _rows(values: Any) -> Any:
    """A known array of several rows as a list of them; all else as it is."""
    array = hasattr(values, "ndim") and not is_traced(values)
    return np.asarray(values).tolist() if array and values.ndim == 2 else values


def _document_rows(doc_ids: Any, ids: Sequence[Sequence[int]], many: bool) -> tuple[tuple[int, ...], ...]:
    """The documents of each text's tokens."""
    fix = "one id per token, in a list for each text of a list"
    fits = not many or (isinstance(doc_ids, list | tuple) and len(doc_ids) == len(ids))
    require(fits, "doc_ids", doc_ids, f"{len(ids)} rows, one for each text", fix)
    found = []
    for row, tokens in zip(doc_ids if many else [doc_ids], ids, strict=True):
        array = None if is_traced(row) else any_array(row)
        right = array is not None and np.issubdtype(array.dtype, np.integer) and array.shape == (len(tokens),)
        require(right, "doc_ids", row, f"{len(tokens)} whole numbers", fix)
        found.append(tuple(np.asarray(array).tolist()))
    return tuple(found)


@dataclass(frozen=True)
class Memory:
    """What a call takes, beside the weights.

    Attributes:
      held: bytes of its results, exactly.
      working: bytes of what is made on the way, about.
      limit_mib: what it may take, MiB.
    """

    held: int
    working: int
    limit_mib: float

    @property
    def text(self) -> str:
        """In words."""
        held, working = (
            f"{size / MIB:,.0f}" if size >= 10 * MIB else f"{size / MIB:.2g}"
            for size in (self.held, self.working)
        )
        return f"{held} MiB of results, about {working} MiB on the way"

    def allowed(self, what: str, quiet: bool) -> "Memory":
        """Itself, said on standard error.

        Raises:
          ValueError: more than the limit.
        """
        limit = plain(self.limit_mib)
        right = real(limit) and 0.0 < limit < float("inf")
        require(right, "limit_mib", self.limit_mib, "MiB, above 0", f"limit_mib={LIMIT_MIB:g}, say")
        need = (self.held + self.working) / MIB
        if need > limit:
            raise ValueError(
                f"{what} needs {self.text}; it may take {limit:,g} MiB. Fix: fewer names, fewer or shorter"
                f" texts, or limit_mib={int(need) + 1}"
            )
        if not check_flag("quiet", quiet):
            print(f"aila: {what}: {self.text} (at most {limit:,g})", file=sys.stderr)
        return self


def working_bytes(config: ModelConfig, params: Any, rows: int, length: int) -> int:
    """Bytes of what is there at once beside results and weights, about: of one layer its scores four times,
    the hidden units three times and the residual stream eight times; and the weights of all layers in the
    compute type, where that is another than theirs.
    """
    item = jnp.dtype(config.dtype).itemsize
    scores = 4 * 4 * config.n_heads * length * length
    hidden = 3 * item * length * config.d_ff
    layers = [params[f"layer_{layer}"] for layer in range(config.n_layers)] if item < 4 else []
    copies = item * sum(leaf.size for leaf in jax.tree.leaves(layers))
    return rows * (scores + hidden + 8 * item * length * config.d_model) + copies
