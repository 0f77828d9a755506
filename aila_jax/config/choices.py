"""Settings that are one word of a few.

A user, a file and a flag write the word. A configuration holds the member, which equals its word, is written
as it, and is what code compares with.
"""

import enum


class Choice(enum.StrEnum):
    """One word of a few. Shown as the word, also in messages that quote it."""

    def __repr__(self) -> str:
        return repr(self.value)


class PartitionKind(Choice):
    """What makes the blocks (`partition.kind`)."""

    WINDOWS = "windows"
    GIVEN = "given"
    SEGMENTS = "segments"
    LEARNED_SEGMENTS = "learned_segments"
    POS = "pos"
    CLASS_FILE = "class_file"
    INDUCED_CLASSES = "induced_classes"
    RECRUITED = "recruited"


class PointerKind(Choice):
    """Which tokens of a block are pointers (`relation.pointers`)."""

    NONE = "none"
    ENDS = "ends"
    ANCHORS = "anchors"
    RANDOM = "random"


class LayerBlocks(Choice):
    """What the blocks of one layer are (`relation.layers`)."""

    OWN = "own"
    WINDOWS = "windows"
    CLAUSES = "clauses"
    SENTENCES = "sentences"
    ALL = "all"


class NormKind(Choice):
    """What normalises the residual stream (`model.norm`)."""

    CENTRED = "centred"
    LAYER = "layer_norm"
    RMS = "rms_norm"


class OptimizerKind(Choice):
    """What makes a step of a gradient (`train.optimizer`)."""

    ADAMW = "adamw"
    MUON = "muon"


class InitKind(Choice):
    """What weights begin with (`model.init`)."""

    NORMAL = "normal"
    MIMETIC = "mimetic"


class FeedForwardKind(Choice):
    """The feed-forward part of a layer (`model.feed_forward`)."""

    GELU = "gelu"
    GELU_EXACT = "gelu_exact"
    SWIGLU = "swiglu"


class RotaryLayout(Choice):
    """Which coordinates of a head turn together (`model.rotary.layout`)."""

    HALVES = "halves"
    INTERLEAVED = "interleaved"


class RotaryScaling(Choice):
    """How rotary rates are stretched beyond the length of pretraining (`model.rotary.scaling`)."""

    NONE = "none"
    LINEAR = "linear"
    LLAMA3 = "llama3"


class AttentionRoute(Choice):
    """How attention is computed (`model.attention`); all give the same numbers but for rounding."""

    AUTO = "auto"
    CHUNKED = "chunked"
    FUSED = "fused"
    REFERENCE = "reference"


class MarginForm(Choice):
    """Whether the margin is one number or grows with the scores (`model.margin.form`)."""

    FIXED = "fixed"
    SELF_SCALING = "self_scaling"


class DialMode(Choice):
    """How training sets λ (`locality.mode`)."""

    FIXED = "fixed"
    CURRICULUM = "curriculum"
    CONDITIONAL = "conditional"


class TrainedPart(Choice):
    """Which parameters training changes (`train.trained`)."""

    ALL = "all"
    DIAL = "dial"


class Solver(Choice):
    """How the group-sparsity penalty is minimised, if at all (`penalty.solver`)."""

    NONE = "none"
    SUBGRADIENT = "subgradient"
    PROXIMAL = "proximal"


class GroupWeights(Choice):
    """How much each group of the penalty counts (`penalty.weights`)."""

    SIZE = "size"
    ANCHORS = "anchors"
    INVERSE_ANCHORS = "inverse_anchors"


class Estimator(Choice):
    """What the local entropy of a token type is measured on (`anchors.estimator`)."""

    NONE = "none"
    CORPUS = "corpus"
    ATTENTION = "attention"


class Remat(Choice):
    """What of a layer is kept for the gradient, and not computed again (`train.remat`)."""

    AUTO = "auto"
    NONE = "none"
    DOTS = "dots"
    FULL = "full"
