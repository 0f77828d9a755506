"""Which passages can have influenced an answer at all, and which of the others a passage's tokens carry.

Every piece of a prompt is read whole: its tokens reach its last one, whatever its blocks are. So reach
between pieces is that of a text with one token for each.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from aila_jax.answering.prompts import BRANCHES
from aila_jax.answering.slots import Setting
from aila_jax.model.margin import default_layer_scale, imposed_share
from aila_jax.partition.relations import Relation, reach_through
from aila_jax.types import GLOBAL_ID


@dataclass(frozen=True, eq=False)
class Flow:
    """What flow allows.

    Attributes:
      allowed: whether a passage can have influenced the answer.
      carries: whether the tokens of passage i can carry something of passage j ≠ i.
      claim: what is claimed, and of what.
    """

    allowed: Bool[np.ndarray, "P"]
    carries: Bool[np.ndarray, "P P"]
    claim: str


def flow_of(setting: Setting, mode: str, passages: int) -> Flow:
    """What flow allows in a mode.

    Args:
      setting: model, λ and τ.
      mode: of `ANSWER_MODES`.
      passages: P.
    """
    if mode == BRANCHES:  # each branch is a text of its own
        claim = "exact: a branch reads one passage; a passage changes its own branch's vote and no other"
        return Flow(np.ones(passages, bool), np.zeros((passages, passages), bool), claim)
    hard = shut(setting)
    reach = piece_reach(passages, setting.model.config.model.n_layers, hard)
    inner = reach[1 : passages + 1, 1 : passages + 1]
    claim = (
        "exact, for every input with these positions and blocks: passages cannot read each other, and what"
        " flow does not allow has no influence"
        if hard
        else "none: attention on other passages is lowered by λ and not cut off, so a passage may carry all"
        " that came before it"
    )
    return Flow(reach[-1, 1 : passages + 1], inner & ~np.eye(passages, dtype=bool), claim)


def shut(setting: Setting) -> bool:
    """Whether attention of a passage outside it is exactly 0 in every layer: by hard attention, or by a gate
    that every layer shuts at λ = 1.
    """
    if setting.hard:
        return True
    model, one = setting.model.config.model, np.float32(1.0)
    if setting.lam != 1.0 or model.margin.gate == 0.0:
        return False
    scale = default_layer_scale(model)
    shares = [np.asarray(imposed_share(model, at, one, scale[at])) for at in range(model.n_layers)]
    return all(bool((share == 1.0).all()) for share in shares)


def piece_reach(passages: int, layers: int, hard: bool) -> Bool[np.ndarray, "pieces pieces"]:
    """R of header, passages, and question with answer, each as one token."""
    ids = jnp.asarray([[GLOBAL_ID, *range(passages), GLOBAL_ID]], jnp.int32)
    mask = np.asarray(Relation(ids).masks(hard).attendable)[0, 0]
    return np.asarray(reach_through([mask] * layers))
