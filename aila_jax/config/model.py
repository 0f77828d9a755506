"""Settings of the decoder, its attention and its margin."""

import math
from dataclasses import dataclass, field
from typing import Any

from aila_jax.config.adapters import AdapterConfig
from aila_jax.config.checks import (
    Rule,
    check_fields,
    check_rules,
    in_unit,
    not_negative,
    one_of,
    positive,
    require,
)
from aila_jax.config.choices import AttentionRoute, FeedForwardKind, InitKind, MarginForm, NormKind
from aila_jax.config.rotary import RotaryConfig

# Scores are float32, and a margin m leaves those outside the block m · 2⁻²³ apart: a thousandth of a nat at
# this limit. The same limit on a multiple of their range leaves a thousandth of the range. (A gap of 104 nats
# makes a weight exactly 0 already.)
MAX_MARGIN = 1e4


@dataclass(frozen=True)
class MarginConfig:
    """How far λ = 1 pushes out-of-block scores down, in nats (docs/method.md, section 2).

    Attributes:
      form: `fixed` (the same m for every query) or `self_scaling` (m_t = c · r_t + m0 with r_t the range of
        the query's scores).
      nats: fixed form: m, from 0 to 10,000: a larger one would round float32 scores by more than 0.001 nats.
      c: self-scaling form: multiple of the score range, from 0 to 10,000; from 1 on the margin guarantees at
        λ = 1.
      m0: self-scaling form: nats added to it, from 0 to 10,000.
      power: p of the dial's curve, finite and above 0: λ imposes a·λ + (1 − a)·λ^p times the margin. 1 is
        linear; 2 has finer steps near λ = 0.
      linear: a of the dial's curve, from 0 to 1: the share of the margin that grows as λ does, whatever p.
      stagger: σ from 0 to 0.9: heads turn one after another. λ turns a head of rank r (from 0, the first, to
        1, the last) from λ = σr on and all the way by λ = σr + 1 − σ; 0 turns all alike.
      range_bend: self-scaling form: b ≥ 1; λ imposes the curve to the power of b times the range's part c ·
        r_t. With b above 1 the fixed part m0 leads while λ is small, and the part that cannot be outgrown
        takes over towards λ = 1.
      gate: κ, from 0 to 10,000: λ also multiplies attention outside by (1 − λ)^κ, λ being what the curve
        and the layer's factor make of it, so that λ = 1 leaves exactly none; 0 is none.
      range: self-scaling form: r_t as the `exact` range of the scores or as its bound by the `norms` of query
        and keys, and 1 % for rounding.
    """

    form: MarginForm = MarginForm.FIXED
    nats: float = 8.0
    c: float = 1.0
    m0: float = 8.0
    range: str = "exact"
    power: float = 1.0
    linear: float = 0.0
    range_bend: float = 1.0
    stagger: float = 0.0
    gate: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "model.margin.")
        one_of("model.margin.range", self.range, ("exact", "norms"))
        bends = 1.0 <= self.range_bend < math.inf
        limit = f"from 0 to {MAX_MARGIN:g}, or float32 loses the scores beside it"
        rules: tuple[Rule, ...] = (
            ("power", positive(self.power), "finite and above 0", "1 is linear in λ"),
            ("linear", in_unit(self.linear), "from 0 to 1", "0 leaves λ^p alone"),
            ("range_bend", bends, "finite and at least 1", "1 bends both parts alike"),
            ("stagger", 0.0 <= self.stagger <= 0.9, "from 0 to 0.9",
             "0 turns all heads alike, 0.75 one by one"),
            ("gate", 0.0 <= self.gate <= MAX_MARGIN, f"from 0 to {MAX_MARGIN:g}",
             "1 leaves nothing outside at λ = 1, 0 is no gate"),
            ("nats", 0.0 <= self.nats <= MAX_MARGIN, limit, "set --config.model.margin.nats=8"),
            ("c", 0.0 <= self.c <= MAX_MARGIN, limit, "set --config.model.margin.c=8"),
            ("m0", 0.0 <= self.m0 <= MAX_MARGIN, limit, "set --config.model.margin.m0=8"),
        )  # fmt: skip
        check_rules("model.margin.", self, rules)

    @property
    def line(self) -> str:
        """How far λ = 1 pushes, in words."""
        if self.form == MarginForm.FIXED:
            return f"{self.nats:g} nats"
        return f"{self.c:g} · range + {self.m0:g} nats"

    def share(self, lam: Any) -> Any:
        """a·λ + (1 − a)·λ^p, the share of the margin that λ imposes (ours; a = `linear`, p = `power`): none
        at λ = 0, all of it at λ = 1.

        λ is a number or an array of numbers in [0, 1], traced or not; the share has its shape.
        """
        if self.power == 1.0:
            return lam
        return self.linear * lam + (1.0 - self.linear) * lam**self.power


def usual_margin(length: int) -> MarginConfig:
    """The margin of a model whose scores have no bound: self-scaling, with a gate that leaves exactly nothing
    outside at λ = 1, and m0 = ln(9 (L − 2) / 2) nats, rounded up to a tenth: at τ = 1 at least .9 of the mass
    is inside at λ = 1 by the margin alone, with the sink and the query's own token inside.

    It is bent: scores of a pretrained model range over 20 nats, and a fourth of the straight margin would
    already be all of it.

    Source: ours (docs/method.md, section 14).
    """
    nats = math.log(max(4.5 * (length - 2), 1.0))
    return MarginConfig(
        MarginForm.SELF_SCALING,
        c=1.0,
        m0=math.ceil(10 * nats) / 10,
        gate=1.0,
        power=6.0,
        linear=0.75,
        range_bend=6.0,
    )


# What model.dial_weights names: the projections that turn with λ.
DIAL_WEIGHTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "qk": ("query", "key"),
    "qkv": ("query", "key", "value"),
}


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the decoder and of its attention.

    Attributes:
      length: L, tokens a window; the model has that many positions.
      d_model: D, the width of the residual stream; must be divisible by H.
      n_heads: H, heads a layer.
      d_ff: F, the width inside the feed-forward part.
      n_layers: N, the number of layers.
      dropout: on embeddings and residual branches, in [0, 1); never on attention weights.
      dtype: compute type of the matrix products, `float32` or `bfloat16`; parameters, softmax and loss stay
        float32.
      margin: see MarginConfig.
      layer_beta: β of λ_ℓ = λ · ((ℓ + 1) / N)^β, finite and at least 0; 0 gives every layer the same λ.
      hard: block attention with nothing outside the block, in every layer whatever `layer_beta`; needs λ = 1.
      qk_norm: unit-norm queries and keys with a learned scale per head in (0, g_max).
      g_max: largest logit that QK-normalisation allows, above 0.
      score_cap: c of capped scores c · tanh(s / c), which are never larger than c, from 0 to 10,000; 0 leaves
        scores as they are.
      rotary_base: base of rotary positions, above 1: queries and keys turn with their position, beside the
        learned embeddings of positions; D / H must be even. 0 is none.
      rotary: which coordinates turn, and how their rates are scaled; see RotaryConfig.
      norm: `centred` (LayerNorm without scale and bias before attention, into whose weights they fold, and
        with both elsewhere), `layer_norm` (with both everywhere) or `rms_norm` (root mean square, a scale, no
        centring).
      init: `normal`, or `mimetic`: queries begin as keys do, outputs as values, and one head begins by
        reading the token before, which needs `rotary_base` and `qkv_bias`; a small model learns to look words
        up from it several times sooner.
      init_std: standard deviation of weights as they are drawn, above 0 and at most 1; of those that write to
        the residual stream divided by √(2N).
      norm_epsilon: added to the variance, or the mean square, above 0.
      feed_forward: `gelu` (by its tanh approximation), `gelu_exact` or `swiglu` (SiLU gate).
      parallel: attention and feed-forward read the same residual stream and are added together.
      n_kv_heads: heads of keys and values, a divisor of H, each for as many heads of queries in a row; 0 is
        H.
      head_width: K; 0 is D / H, which must be whole then.
      learned_positions: embeddings of positions are added to those of tokens.
      tied: the output layer's weights are the embeddings of tokens.
      qkv_bias: biases on queries, keys and values.
      out_bias: a bias on attention's output.
      mlp_bias: biases in the feed-forward part.
      film: show λ to the network: scale 1 + λa and shift λc on every LayerNorm.
      dial_weights: projections whose weights turn with the dial, W + λW′ with W′ learned from 0: `none`, `qk`
        (queries and keys) or `qkv` (values too).
      adapters: low-rank adapters that turn with the dial; see AdapterConfig.
      document_mask: tokens attend to their own document only, and positions restart with it.
      localist: positional embeddings of block b live on feature group b mod G (`penalty.groups`) and the
        shared coordinates only; for the partition `windows`.
      localist_shared: share of each group's coordinates that all blocks use, in [0, 1]; rounded to whole
        coordinates.
      attention: how it is computed: `chunked` in tiles of queries and keys, whose memory grows with L,
        `fused` by cuDNN's attention, which takes plain blocks whose number is known, `reference` with all
        scores at once, whose memory grows with L², or `auto`, which chooses by shapes, relation and device.
        Numbers differ by rounding alone.
      bidirectional: no causal mask. FOR REPLICATION ONLY: such a model sees the targets it is scored on.
    """

    length: int = 128
    d_model: int = 128
    n_heads: int = 4
    d_ff: int = 512
    n_layers: int = 2
    dropout: float = 0.0
    dtype: str = "float32"
    margin: MarginConfig = field(default_factory=MarginConfig)
    layer_beta: float = 0.0
    hard: bool = False
    qk_norm: bool = False
    g_max: float = 6.0
    score_cap: float = 0.0
    rotary_base: float = 0.0
    rotary: RotaryConfig = field(default_factory=RotaryConfig)
    norm: NormKind = NormKind.CENTRED
    init: InitKind = InitKind.NORMAL
    init_std: float = 0.02
    norm_epsilon: float = 1e-6
    feed_forward: FeedForwardKind = FeedForwardKind.GELU
    parallel: bool = False
    n_kv_heads: int = 0
    head_width: int = 0
    learned_positions: bool = True
    tied: bool = True
    qkv_bias: bool = False
    out_bias: bool = True
    mlp_bias: bool = True
    film: bool = False
    dial_weights: str = "none"
    adapters: AdapterConfig = field(default_factory=AdapterConfig)
    document_mask: bool = False
    localist: bool = False
    localist_shared: float = 0.25
    attention: AttentionRoute = AttentionRoute.AUTO
    bidirectional: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        one_of("model.dial_weights", self.dial_weights, tuple(DIAL_WEIGHTS))
        one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        base = self.rotary_base
        sizes = ("length", "d_model", "n_heads", "d_ff", "n_layers")
        limits: tuple[Rule, ...] = (
            *((name, getattr(self, name) >= 1, "at least 1", f"raise --config.model.{name}")
              for name in sizes),
            ("dropout", 0.0 <= self.dropout < 1.0, "in [0, 1)", "set --config.model.dropout=0.1"),
            ("layer_beta", not_negative(self.layer_beta), "finite and at least 0",
             "0 is uniform; 1, 3, 5 are progressive"),
            ("score_cap", 0.0 <= self.score_cap <= MAX_MARGIN, "from 0 to 10,000",
             "0 is none; 8 keeps scores small"),
            ("rotary_base", base == 0.0 or 1.0 < base < math.inf, "0 for none, or finite and above 1",
             "10000 is usual"),
            ("init_std", 0.0 < self.init_std <= 1.0, "above 0 and at most 1",
             "0.02 is usual, 1 / √d_model finds more at small widths"),
            ("norm_epsilon", positive(self.norm_epsilon), "finite and above 0", "1e-6 is the default"),
            ("n_kv_heads", self.n_kv_heads >= 0, "at least 0", "0 is as many as model.n_heads"),
            ("head_width", self.head_width >= 0, "at least 0", "0 is model.d_model / model.n_heads"),
            ("g_max", positive(self.g_max), "finite and above 0", "set --config.model.g_max=6"),
            ("localist_shared", in_unit(self.localist_shared), "in [0, 1]",
             "set --config.model.localist_shared=0.25"),
        )  # fmt: skip
        check_rules("model.", self, limits)
        head, rest = divmod(self.d_model, self.n_heads)
        if self.head_width:
            head, rest = self.head_width, 0
        require(
            rest == 0,
            "model.d_model",
            self.d_model,
            f"divisible by model.n_heads ({self.n_heads})",
            f"set --config.model.d_model={-(-self.d_model // self.n_heads) * self.n_heads}",
        )
        turned = int(head * self.rotary.share)
        require(
            not base or (turned % 2 == 0 and turned > 0),
            "model.d_model / model.n_heads" if self.rotary.share == 1.0 else "turned coordinates of a head",
            turned,
            "even with model.rotary_base, which turns pairs of coordinates",
            "choose a head width that is even, or --config.model.rotary_base=0",
        )
        require(
            self.init == InitKind.NORMAL or (bool(base) and self.qkv_bias),
            "model.init",
            self.init,
            "normal without model.rotary_base and model.qkv_bias, by which a head reads the token before",
            "set --config.model.rotary_base=1000 --config.model.qkv_bias=true, or --config.model.init=normal",
        )
        require(
            self.n_heads % self.kv_heads == 0,
            "model.n_kv_heads",
            self.n_kv_heads,
            f"a divisor of model.n_heads ({self.n_heads}), or 0 for as many",
            "set --config.model.n_kv_heads=0",
        )

    @property
    def head_size(self) -> int:
        """K, the width of a head."""
        return self.head_width or self.d_model // self.n_heads

    @property
    def residual_std(self) -> float:
        """Standard deviation of weights that write to the residual stream, as they are drawn."""
        return self.init_std / (2 * self.n_layers) ** 0.5

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.n_kv_heads or self.n_heads
