"""Which token types close a segment: punctuation marks, or types after which the next token is hard to
predict.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.data.packing import TokenStream
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.partition.type_entropy import TypeEntropy, corpus_entropy

SENTENCE_MARKS = frozenset(".!?…")
CLAUSE_MARKS = frozenset(",;:—–)]}")
CLOSERS = "\"'”’»)]}"  # may follow a mark in the same token: `."`, `?)`
# Little smoothing: a rare type's few followers give it a low entropy then. Much of it would draw rare types
# towards the entropy of all tokens, which is nearly the highest there is, and make boundaries of types seen
# three times.
PRIOR = 1.0


def punctuation_boundaries(tokenizer: Tokenizer, unit: str) -> Bool[np.ndarray, "V"]:
    """True for the line end and for types that end a `sentence`, or a `clause`, clauses being parts of
    sentences (ours).

    A type is judged by its own text without the space before it: punctuation only, whose last mark, closing
    quotes and brackets aside, is one of . ! ? … for sentences, and also , ; : — – -- ) ] } for clauses. Words
    that hold a mark (`Mr.`, `@-@`, `@,@`) close nothing; a mark that is a token of its own always does, as in
    3 . 14 cut into three tokens.
    """
    marks = SENTENCE_MARKS if unit == "sentence" else SENTENCE_MARKS | CLAUSE_MARKS
    boundary = np.array([_closes(text.strip(), marks) for text in tokenizer.types])
    boundary[tokenizer.eos_id] = True
    return boundary


def _closes(text: str, marks: frozenset[str]) -> bool:
    if len(text) > 1 and not text.strip("-"):
        return "—" in marks  # a dash typed as two or three hyphens
    if not text or set(text) - SENTENCE_MARKS - CLAUSE_MARKS - set(CLOSERS):
        return False
    return (text.rstrip(CLOSERS) or text)[-1] in marks


def next_token_entropy(train: TokenStream, vocab_size: int) -> TypeEntropy:
    """`corpus_entropy` of the stream's bigrams inside documents, with next to no smoothing (PRIOR)."""
    inside = train.doc_ids[1:] == train.doc_ids[:-1]
    return corpus_entropy(train.tokens[:-1][inside], train.tokens[1:][inside], vocab_size, PRIOR)


def boundary_order(
    train: TokenStream, entropy: TypeEntropy
) -> tuple[Int[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """Types by falling next-token entropy, ties by id, and the mean length of segments that end with the
    first 1, 2, … of them.

    Mean length = tokens ÷ boundary tokens, over the stream. Types that nothing follows are left out.
    """
    measured = np.flatnonzero(entropy.counts > 0)
    ranked = measured[np.argsort(-entropy.entropy[measured], kind="stable")]
    occurrences = np.bincount(train.tokens, minlength=len(entropy.counts))
    return ranked, len(train.tokens) / np.cumsum(occurrences[ranked])


def learned_boundaries(train: TokenStream, entropy: TypeEntropy, mean_length: float) -> Bool[np.ndarray, "V"]:
    """True for the types of highest next-token entropy, as many as bring the mean length down to
    `mean_length` tokens (ours).

    Types are taken whole, in `boundary_order`, so it ends at `mean_length` or below.

    Args:
      train: T tokens.
      entropy: of the V types (`next_token_entropy`).
      mean_length: at least 2.
    """
    ranked, means = boundary_order(train, entropy)
    boundary = np.zeros(len(entropy.counts), bool)
    boundary[ranked[: np.count_nonzero(means > mean_length) + 1]] = True
    return boundary
