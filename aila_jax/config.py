"""One frozen, self-validating dataclass per stage, and `Config`, which holds them all.

Every setting is stated once, here, with its unit and its limits. A value outside its limits raises ValueError when the
dataclass is made, so nothing later needs to check again.
"""

import dataclasses
import difflib
import math
import re
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
# Scores are float32, and a margin m leaves those outside the block m · 2⁻²³ apart: a thousandth of a nat at this limit. The same
# limit on a multiple of their range leaves a thousandth of the range. (A gap of 104 nats makes a weight exactly 0 already.)
MOST_MARGIN = 1e4
# What TensorFlow Datasets calls a data set: its name, one of its configurations, a version.
TFDS_NAME = re.compile(r"(?P<name>[A-Za-z_]\w*)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?")


def require(condition: bool, name: str, value: Any, limit: str, fix: str) -> None:
    """Raises ValueError naming the setting, its value, its limit and the fix, unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} is {value!r}; it must be {limit}. Fix: {fix}.")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `allowed`; suggests the nearest."""
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        fix = f"did you mean {near[0]!r}?" if near else f"use {allowed[0]!r}"
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}. Fix: {fix}")


def check_lam(lam: float, name: str = "lam") -> float:
    """Returns λ as a float; raises ValueError unless it is in [0, 1]."""
    require(
        isinstance(lam, (int, float)) and 0.0 <= lam <= 1.0,
        name,
        lam,
        "a number in [0, 1]",
        "choose λ between 0 (distributed) and 1 (localist)",
    )
    return float(lam)


def check_tau(tau: float, name: str = "tau") -> float:
    """Returns τ as a float; raises ValueError unless it is finite and above 0."""
    require(
        isinstance(tau, (int, float)) and 0.0 < tau < math.inf,
        name,
        tau,
        "a finite number above 0",
        "choose τ = 1 for the trained temperature",
    )
    return float(tau)


@dataclass(frozen=True)
class RuleConfig:
    """The synthetic corpora `recall` and `brackets`, in which a rule determines some targets (docs/data.md).

    Attributes:
      seed: of the generator, at least 0; the run's own seed leaves the corpus as it is.
      sequences: training sequences; validation and test have data.valid_fraction and data.test_fraction of so many.
      n_keys, n_values: recall only: how many different keys and values there are, at least 2.
      pairs: recall only: pairs of key and value a sequence, from 1 to `n_keys`.
      queries: recall only: keys that are asked for, each once, from 1 to `pairs`.
      kinds: brackets only: kinds of brackets, at least 2.
      depth: brackets only: brackets open at once at most, at least 1.
      brackets: brackets only: pairs of brackets a sequence, at least 1.
    """

    seed: int = 0
    sequences: int = 8192
    n_keys: int = 16
    n_values: int = 16
    pairs: int = 4
    queries: int = 4
    kinds: int = 4
    depth: int = 3
    brackets: int = 6

    def __post_init__(self):
        for name, least in (("seed", 0), ("sequences", 1), ("n_keys", 2), ("n_values", 2), ("kinds", 2), ("depth", 1), ("brackets", 1)):
            require(
                getattr(self, name) >= least,
                f"data.rule.{name}",
                getattr(self, name),
                f"at least {least}",
                f"raise --config.data.rule.{name}",
            )
        for name, most in (("pairs", "n_keys"), ("queries", "pairs")):
            value, limit = getattr(self, name), getattr(self, most)
            require(
                1 <= value <= limit,
                f"data.rule.{name}",
                value,
                f"from 1 to data.rule.{most} ({limit})",
                f"set --config.data.rule.{name}={limit}",
            )


RULE_SETTINGS = {"recall": ("n_keys", "n_values", "pairs", "queries"), "brackets": ("kinds", "depth", "brackets")}


@dataclass(frozen=True)
class DataConfig:
    """Which text, and how it becomes tokens.

    Attributes:
      corpus: `pydocs` (embedded: the docstrings and language reference of this Python), `wikitext2`, `text` (your files),
        `tfds` (a TensorFlow data set by name, see docs/data.md), or `recall` or `brackets` (synthetic, see data.rule).
      data_dir: wikitext2 only: a folder that holds wiki.{train,valid,test}.tokens. Empty: download from `url`.
      url: wikitext2 only: address of the zip archive that is downloaded when `data_dir` is empty.
      files: text only: paths or globs of UTF-8 files (`.jsonl` files: one document a line, see docs/data.md).
      valid_files: text only: paths or globs of the validation split. Empty: the last lines of `files` are held out.
      test_files: text only: the same for the test split.
      tfds_name: tfds only: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION, as TensorFlow Datasets writes them.
      tfds_data_dir: tfds only: the folder that holds prepared data sets. Empty: that of TensorFlow Datasets, ~/tensorflow_datasets.
      tfds_text: tfds only: the feature that holds the text; outer/inner for a nested one. Empty: the only text feature there is.
      tfds_train, tfds_validation, tfds_test: tfds only: the data set's splits, or parts of them such as train[:90%]. Empty: the split
        of that name; where there is no such validation or test split, the last examples of the training split are held out.
      valid_fraction: share of the text held out for validation where there is no validation text, in (0, 0.5).
      test_fraction: the same for test.
      tokenizer: `bpe` (byte level, any text, never an unknown token) or `word` (whitespace words).
      vocab_size: largest number of token types; word vocabularies may come out smaller.
      cache_dir: where prepared data sets and token caches are kept. Empty: ~/.cache/aila_jax.
      rule: recall and brackets only: their sizes.
    """

    corpus: str = "pydocs"
    data_dir: str = ""
    url: str = "https://wikitext.smerity.com/wikitext-2-v1.zip"
    files: tuple[str, ...] = ()
    valid_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    tfds_name: str = ""
    tfds_data_dir: str = ""
    tfds_text: str = ""
    tfds_train: str = ""
    tfds_validation: str = ""
    tfds_test: str = ""
    valid_fraction: float = 0.05
    test_fraction: float = 0.05
    tokenizer: str = "bpe"
    vocab_size: int = 4096
    cache_dir: str = ""
    rule: RuleConfig = field(default_factory=RuleConfig)

    def __post_init__(self):
        one_of("data.corpus", self.corpus, ("pydocs", "wikitext2", "text", "tfds", *RULE_SETTINGS))
        one_of("data.tokenizer", self.tokenizer, ("bpe", "word"))
        least = 258 if self.tokenizer == "bpe" else 3
        require(
            self.vocab_size >= least,
            "data.vocab_size",
            self.vocab_size,
            f"at least {least} for {self.tokenizer}",
            "raise --config.data.vocab_size",
        )
        for name in ("valid_fraction", "test_fraction"):
            value = getattr(self, name)
            require(0.0 < value < 0.5, f"data.{name}", value, "in (0, 0.5)", f"set --config.data.{name}=0.05")
        if self.corpus == "text":
            require(
                len(self.files) > 0, "data.files", self.files, "at least one path or glob", "pass --config.data.files=\"('my/*.txt',)\""
            )
        else:
            for name in ("files", "valid_files", "test_files"):
                value = getattr(self, name)
                require(not value, f"data.{name}", value, f"empty when data.corpus is {self.corpus!r}", "set --config.data.corpus=text")
        if self.corpus == "tfds":
            shape = "a name such as ag_news_subset, glue/sst2 or glue/sst2:2.0.0"
            require(bool(TFDS_NAME.fullmatch(self.tfds_name)), "data.tfds_name", self.tfds_name, shape, "set --config.data.tfds_name")
        else:
            for name in ("tfds_name", "tfds_data_dir", "tfds_text", "tfds_train", "tfds_validation", "tfds_test"):
                value = getattr(self, name)
                require(not value, f"data.{name}", value, f"empty when data.corpus is {self.corpus!r}", "set --config.data.corpus=tfds")
        if self.corpus != "wikitext2":
            fix = "leave it out, or set --config.data.corpus=wikitext2"
            require(not self.data_dir, "data.data_dir", self.data_dir, f"empty when data.corpus is {self.corpus!r}", fix)
        self._check_rule()

    def _check_rule(self) -> None:
        """The rule corpora are word level, and a setting that the corpus would not read is refused."""
        read = ("seed", "sequences", *RULE_SETTINGS[self.corpus]) if self.corpus in RULE_SETTINGS else ()
        for name, default in dataclasses.asdict(RuleConfig()).items():
            value = getattr(self.rule, name)
            fix = "leave it out, or choose the corpus that reads it"
            require(name in read or value == default, f"data.rule.{name}", value, f"left alone when data.corpus is {self.corpus!r}", fix)
        if not read:
            return
        fix = "set --config.data.tokenizer=word"
        require(self.tokenizer == "word", "data.tokenizer", self.tokenizer, f"'word' when data.corpus is {self.corpus!r}", fix)
        rule = self.rule
        symbols = rule.n_keys + rule.n_values + 1 if self.corpus == "recall" else 2 * rule.kinds + 1
        least = symbols + 2
        require(
            self.vocab_size >= least,
            "data.vocab_size",
            self.vocab_size,
            f"at least {least} for these symbols",
            f"set --config.data.vocab_size={least}",
        )


@dataclass(frozen=True)
class PartitionConfig:
    """Which tokens count as one block (docs/method.md, section 1).

    Attributes:
      kind: `windows` (position // size) or `given` (ids that come with the data: lines, fields, your own `block_ids`).
      size: windows only: tokens a block, from 1 to the window length.
      global_first: put the first token of each document into every block (an attention sink).
    """

    kind: str = "windows"
    size: int = 5
    global_first: bool = False

    def __post_init__(self):
        one_of("partition.kind", self.kind, ("windows", "given"))
        require(self.size >= 1, "partition.size", self.size, "at least 1", "set --config.partition.size=5")


@dataclass(frozen=True)
class MarginConfig:
    """How far λ = 1 pushes out-of-block scores down, in nats (docs/method.md, section 2).

    Attributes:
      form: `fixed` (the same m for every query) or `self_scaling` (m_t = c · r_t + m0 with r_t the range of the query's scores).
      nats: fixed form: m, from 0 to 10,000: a larger one would round float32 scores by more than 0.001 nats.
      c: self-scaling form: multiple of the score range, from 0 to 10,000; from 1 on the margin guarantees at λ = 1.
      m0: self-scaling form: nats added to it, from 0 to 10,000.
      power: p of the dial's curve, finite and above 0: λ imposes λ^p times the margin. 1 is linear; 2 has finer steps near λ = 0.
      range: self-scaling form: r_t as the `exact` range of the scores or as its bound by the `norms` of query and keys.
    """

    form: str = "fixed"
    nats: float = 8.0
    c: float = 1.0
    m0: float = 8.0
    range: str = "exact"
    power: float = 1.0

    def __post_init__(self):
        require(0.0 < self.power < math.inf, "model.margin.power", self.power, "finite and above 0", "1 is linear in λ")
        one_of("model.margin.form", self.form, ("fixed", "self_scaling"))
        one_of("model.margin.range", self.range, ("exact", "norms"))
        for name in ("nats", "c", "m0"):
            value = getattr(self, name)
            limit = f"from 0 to {MOST_MARGIN:g}, or float32 loses the scores beside it"
            require(0.0 <= value <= MOST_MARGIN, f"model.margin.{name}", value, limit, f"set --config.model.margin.{name}=8")


@dataclass(frozen=True)
class AnchorConfig:
    """Anchor tokens: those of a block with the lowest local entropy (docs/method.md, section 4).

    Made at the end of warm-up, after `train.warmup_steps`, and kept in the checkpoint.

    Attributes:
      estimator: of a type's local entropy: `none` (no anchors), `corpus` (next token given the type) or `attention`
        (the type's own attention inside its block, over the batches of the warm-up steps).
      k: anchors of a block, 1 to 5; with windows, at most one less than their size.
      prior: corpus only: strength of the smoothing towards the unigram distribution, in counts, above 0.
      max_batches: at most so many of the warm-up steps' batches are read again for the attention and for the groups' importance;
        0 is all of them.
    """

    estimator: str = "none"
    k: int = 3
    prior: float = 100.0
    max_batches: int = 50

    def __post_init__(self):
        one_of("anchors.estimator", self.estimator, ("none", "corpus", "attention"))
        require(1 <= self.k <= 5, "anchors.k", self.k, "from 1 to 5", "set --config.anchors.k=3")
        require(0.0 < self.prior < math.inf, "anchors.prior", self.prior, "finite and above 0", "set --config.anchors.prior=100")
        require(self.max_batches >= 0, "anchors.max_batches", self.max_batches, "at least 0", "0 is all")


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the decoder and of its attention.

    Attributes:
      length: L, tokens a window; the model has that many positions.
      d_model, n_heads, d_ff, n_layers: D, H, F, N; D must be divisible by H.
      dropout: on embeddings and residual branches, in [0, 1); never on attention weights.
      dtype: compute type of the matrix products, `float32` or `bfloat16`; parameters, softmax and loss stay float32.
      margin: see MarginConfig.
      layer_beta: β of λ_ℓ = λ · ((ℓ + 1) / N)^β, finite and at least 0; 0 gives every layer the same λ.
      hard: block attention with nothing outside the block, in every layer whatever `layer_beta`; needs λ = 1.
      qk_norm: unit-norm queries and keys with a learned scale per head in (0, g_max).
      g_max: largest logit that QK-normalisation allows, above 0.
      qkv_bias: biases on queries, keys and values.
      film: show λ to the network: scale 1 + λa and shift λc on every LayerNorm.
      document_mask: tokens attend to their own document only, and positions restart with it.
      localist: positional embeddings of block b live on feature group b mod G (`penalty.groups`) and the shared coordinates only;
        for the partition `windows`.
      localist_shared: share of each group's coordinates that all blocks use, in [0, 1]; rounded to whole coordinates.
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
    qkv_bias: bool = False
    film: bool = False
    document_mask: bool = False
    localist: bool = False
    localist_shared: float = 0.25
    bidirectional: bool = False

    def __post_init__(self):
        for name in ("length", "d_model", "n_heads", "d_ff", "n_layers"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "at least 1", f"raise --config.model.{name}")
        require(
            self.d_model % self.n_heads == 0,
            "model.d_model",
            self.d_model,
            f"divisible by model.n_heads ({self.n_heads})",
            f"set --config.model.d_model={-(-self.d_model // self.n_heads) * self.n_heads}",
        )
        require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "in [0, 1)", "set --config.model.dropout=0.1")
        one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        require(
            0.0 <= self.layer_beta < math.inf,
            "model.layer_beta",
            self.layer_beta,
            "finite and at least 0",
            "0 is uniform; 1, 3, 5 are progressive",
        )
        require(0.0 < self.g_max < math.inf, "model.g_max", self.g_max, "finite and above 0", "set --config.model.g_max=6")
        require(
            0.0 <= self.localist_shared <= 1.0,
            "model.localist_shared",
            self.localist_shared,
            "in [0, 1]",
            "set --config.model.localist_shared=0.25",
        )


@dataclass(frozen=True)
class PenaltyConfig:
    """The group-sparsity penalty: loss + λ·η·R(W_Q, W_K) + ν·Σ‖W_V‖² (docs/method.md, section 3). Off by default.

    It makes attention flatter, not more local, and a head that it empties never comes back.

    Attributes:
      solver: `none` (off, at no cost), `subgradient` (R in the loss; weights come near 0), or `proximal` (groups become exactly 0).
      eta: η, the strength of R, finite and at least 0; 0 with the solver `none`.
      nu: ν, the strength of Σ‖W_V‖², finite and at least 0; 0 with the solver `none`.
      groups: G, groups that the model's d_model input coordinates are split into, at most d_model; 0 takes the number of blocks in
        a window of model.length tokens (partition `windows`).
      weights: a_i of each group, with mean 1: `size` (the root of its number of coordinates), `anchors` (the importance of its
        blocks' anchors: more important, more penalised) or `inverse_anchors` (less). Anchors are known after warm-up; until then `size`.
      scale_free: each group's norm as a share of its head's; model.qk_norm needs it, and the solver `proximal` refuses it.
      ramp: λη rises from 0 over train.warmup_steps.
    """

    solver: str = "none"
    eta: float = 0.0
    nu: float = 0.0
    groups: int = 0
    weights: str = "size"
    scale_free: bool = False
    ramp: bool = True

    def __post_init__(self):
        one_of("penalty.solver", self.solver, ("none", "subgradient", "proximal"))
        one_of("penalty.weights", self.weights, ("size", "anchors", "inverse_anchors"))
        for name in ("eta", "nu"):
            value = getattr(self, name)
            require(0.0 <= value < math.inf, f"penalty.{name}", value, "finite and at least 0", f"set --config.penalty.{name}=0")
            require(
                value == 0.0 or self.solver != "none",
                f"penalty.{name}",
                value,
                "0 when penalty.solver is 'none'",
                "set --config.penalty.solver=proximal or subgradient",
            )
        require(self.groups >= 0, "penalty.groups", self.groups, "at least 0", "0 takes the number of blocks in a window")
        require(
            not (self.solver == "proximal" and self.scale_free),
            "penalty.scale_free",
            True,
            "false when penalty.solver is 'proximal': that form has no proximal operator in closed form",
            "set --config.penalty.solver=subgradient",
        )


@dataclass(frozen=True)
class LocalityConfig:
    """How λ and τ are set during training (docs/method.md, section 6).

    Attributes:
      mode: `fixed` (one λ), `curriculum` (λ rises from 0 to `lam`), or `conditional` (λ drawn for each sequence).
      lam: the λ of `fixed`, the last λ of `curriculum`, in [0, 1].
      start, end: curriculum: shares of the training steps at which the rise begins and ends, 0 ≤ start < end ≤ 1.
      shape: curriculum: `linear` or `cosine`.
      power: conditional: λ = u^power with u uniform on [0, 1]; 1 is uniform, 3 draws mostly small λ; above 0.
      at_zero, at_one: conditional: share of the draws put exactly at 0 and at 1.
      tau: the τ of training, or, with `draw_tau`, ignored.
      draw_tau: draw τ for each sequence, log-uniform on [tau_low, tau_high].
    """

    mode: str = "conditional"
    lam: float = 0.0
    start: float = 0.0
    end: float = 0.5
    shape: str = "linear"
    power: float = 1.0
    at_zero: float = 0.0
    at_one: float = 0.0
    tau: float = 1.0
    draw_tau: bool = False
    tau_low: float = 0.5
    tau_high: float = 2.0

    def __post_init__(self):
        one_of("locality.mode", self.mode, ("fixed", "curriculum", "conditional"))
        one_of("locality.shape", self.shape, ("linear", "cosine"))
        check_lam(self.lam, "locality.lam")
        for name in ("tau", "tau_low", "tau_high"):
            check_tau(getattr(self, name), f"locality.{name}")
        require(
            self.tau_low <= self.tau_high, "locality.tau_low", self.tau_low, f"at most locality.tau_high ({self.tau_high})", "swap them"
        )
        require(
            0.0 <= self.start < self.end <= 1.0,
            "locality.start, end",
            (self.start, self.end),
            "0 <= start < end <= 1",
            "set start=0, end=0.5",
        )
        require(0.0 < self.power < math.inf, "locality.power", self.power, "finite and above 0", "1 is uniform")
        shares = (self.at_zero, self.at_one)
        require(
            min(shares) >= 0.0 and sum(shares) <= 1.0,
            "locality.at_zero, at_one",
            shares,
            "at least 0 and together at most 1",
            "set both to 0",
        )


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation and the training loop.

    Attributes:
      steps: optimizer steps. batch_size: sequences a step, over all devices.
      accumulate: microbatches that a device's share of the batch is cut into, one after another, to save memory; it must divide that share.
      parallel: how the step is mapped over devices: `jit` over a mesh, or `pmap`, its predecessor; both give the same update.
      learning_rate: AdamW's highest rate, reached after `warmup_steps`, then a cosine down to `final_rate` times it.
      weight_decay: decoupled, on matrices only. clip_norm: largest global gradient norm.
      beta2: AdamW's second-moment decay.
      log_every, eval_every, checkpoint_every: steps between records; eval and checkpoints also at the end.
      eval_batches: validation batches of each evaluation during training (all of them at the end and in a sweep); 0 is all.
      keep: newest checkpoints kept.
      loss_chunk: tokens whose logits exist at once in a step; 0 makes them all in one, which is fastest on accelerators where they fit;
        512 suits CPUs, whose caches hold a chunk.
      max_skipped: non-finite updates that are discarded before the run stops, at least 0.
    """

    steps: int = 1200
    batch_size: int = 32
    accumulate: int = 1
    parallel: str = "jit"
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    final_rate: float = 0.1
    weight_decay: float = 0.1
    beta2: float = 0.98
    clip_norm: float = 1.0
    log_every: int = 20
    eval_every: int = 400
    eval_batches: int = 8
    checkpoint_every: int = 400
    keep: int = 2
    loss_chunk: int = 0
    max_skipped: int = 0

    def __post_init__(self):
        one_of("train.parallel", self.parallel, ("jit", "pmap"))
        for name in ("steps", "batch_size", "accumulate", "log_every", "eval_every", "checkpoint_every", "keep"):
            require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "at least 1", f"raise --config.train.{name}")
        require(
            self.batch_size % self.accumulate == 0,
            "train.accumulate",
            self.accumulate,
            f"a divisor of train.batch_size ({self.batch_size})",
            "set --config.train.accumulate=1",
        )
        for name in ("warmup_steps", "eval_batches", "max_skipped", "loss_chunk"):
            require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "at least 0", f"set --config.train.{name}=0")
        for name in ("learning_rate", "clip_norm"):
            require(
                0.0 < getattr(self, name) < math.inf,
                f"train.{name}",
                getattr(self, name),
                "finite and above 0",
                f"set --config.train.{name}",
            )
        require(
            0.0 <= self.weight_decay < math.inf,
            "train.weight_decay",
            self.weight_decay,
            "finite and at least 0",
            "set --config.train.weight_decay=0.1",
        )
        require(0.0 <= self.final_rate <= 1.0, "train.final_rate", self.final_rate, "in [0, 1]", "set --config.train.final_rate=0.1")
        require(0.0 < self.beta2 < 1.0, "train.beta2", self.beta2, "in (0, 1)", "set --config.train.beta2=0.98")

    @property
    def warmup_end(self) -> int:
        """The step after which warm-up is over, at most the last one."""
        return min(self.warmup_steps, self.steps)


@dataclass(frozen=True)
class SweepConfig:
    """The dial's grid: every λ of `lams` with every τ of `taus`, on one split.

    Attributes:
      lams: values in [0, 1]. taus: values above 0.
      split: `train`, `validation` or `test`.
      batch_size: sequences a batch.
      max_batches: 0 scores the whole split.
    """

    lams: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    taus: tuple[float, ...] = (0.5, 1.0, 2.0)
    split: str = "validation"
    batch_size: int = 32
    max_batches: int = 0

    def __post_init__(self):
        require(
            len(self.lams) > 0 and len(self.taus) > 0,
            "sweep.lams, taus",
            (self.lams, self.taus),
            "non-empty",
            "give at least one λ and one τ",
        )
        for lam in self.lams:
            check_lam(lam, "sweep.lams")
        for tau in self.taus:
            check_tau(tau, "sweep.taus")
        one_of("sweep.split", self.split, ("train", "validation", "test"))
        require(self.batch_size >= 1, "sweep.batch_size", self.batch_size, "at least 1", "raise --config.sweep.batch_size")
        require(self.max_batches >= 0, "sweep.max_batches", self.max_batches, "at least 0", "0 scores the whole split")


@dataclass(frozen=True)
class Config:
    """Everything that determines a run. `seed` drives initialisation, shuffling, dropout and the draws of λ."""

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    locality: LocalityConfig = field(default_factory=LocalityConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self):
        require(0 <= self.seed < 2**32, "seed", self.seed, "in [0, 2**32)", "set --config.seed=0")
        if self.partition.kind == "windows":
            require(
                self.partition.size <= self.model.length,
                "partition.size",
                self.partition.size,
                f"at most model.length ({self.model.length})",
                f"set --config.partition.size={min(5, self.model.length)}",
            )
        self._check_anchors()
        if self.model.hard:
            require(
                self.locality.mode == "fixed" and self.locality.lam == 1.0,
                "locality.mode, lam",
                (self.locality.mode, self.locality.lam),
                "('fixed', 1.0) when model.hard is set",
                "set --config.locality.mode=fixed --config.locality.lam=1, or --config.model.hard=false",
            )
        self._check_groups()

    def _check_groups(self):
        """The settings of feature groups that concern several stages."""
        if self.model.localist:
            require(
                self.partition.kind == "windows",
                "model.localist",
                True,
                "false unless partition.kind is 'windows', since positions must decide the block",
                "set --config.model.localist=false or --config.partition.kind=windows",
            )
        if self.penalty.solver != "none":
            require(
                self.penalty.scale_free or not self.model.qk_norm,
                "penalty.scale_free",
                False,
                "true when model.qk_norm is set: logits do not depend on the norms then, so the plain form shrinks weights to nothing",
                "set --config.penalty.scale_free=true --config.penalty.solver=subgradient",
            )
        if self.penalty.solver != "none" or self.model.localist:
            require(
                self.penalty.groups > 0 or self.partition.kind == "windows",
                "penalty.groups",
                self.penalty.groups,
                f"above 0 when partition.kind is {self.partition.kind!r}, where a window has no fixed number of blocks",
                "set --config.penalty.groups=16",
            )
            require(
                self.feature_groups <= self.model.d_model,
                "penalty.groups",
                self.feature_groups,
                f"at most model.d_model ({self.model.d_model}); 0 takes the number of blocks in a window",
                f"set --config.penalty.groups={min(16, self.model.d_model)}",
            )

    @property
    def feature_groups(self) -> int:
        """G: `penalty.groups`, or the number of blocks in a window; 0 where neither says."""
        if self.penalty.groups or self.partition.kind != "windows":
            return self.penalty.groups
        return -(-self.model.length // self.partition.size)

    def _check_anchors(self) -> None:
        """Weights need anchors, blocks need a token beside them, and attention is measured on steps that there must be."""
        if self.anchors.estimator == "none":
            fix = "set --config.anchors.estimator=corpus or attention"
            allowed = self.penalty.solver == "none" or self.penalty.weights == "size"
            require(allowed, "penalty.weights", self.penalty.weights, "'size' when anchors.estimator is 'none'", fix)
            return
        if self.partition.kind == "windows":
            most = self.partition.size - 1
            fix = f"set --config.anchors.k={most}" if most else "set --config.partition.size=5"
            require(self.anchors.k <= most, "anchors.k", self.anchors.k, f"at most partition.size - 1 ({most})", fix)
        if self.anchors.estimator == "attention":
            fix = "set --config.train.warmup_steps=100, or --config.anchors.estimator=corpus"
            require(self.train.warmup_steps >= 1, "train.warmup_steps", 0, "at least 1 for anchors.estimator 'attention'", fix)


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain nested dicts, ready for JSON or a ConfigDict."""
    return dataclasses.asdict(config)


def from_dict(cls: type[T], values: dict[str, Any], path: str = "") -> T:
    """Builds the (nested) config dataclass `cls` from plain values; missing keys keep their defaults.

    Raises:
      ValueError: an unknown key (the nearest known one is named) or a value outside its limits or of another type.
    """
    if not hasattr(values, "items"):
        name = path.removesuffix(".") or cls.__name__
        raise ValueError(
            f"{name} is {values!r}, a {type(values).__name__}; it must be a group of settings. Fix: give a dictionary of them."
        )
    hints = typing.get_type_hints(cls)
    made = {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(unknown_key(f"{path}{key}", [f"{path}{name}" for name in hints]))
        made[key] = _coerce(hints[key], value, f"{path}{key}")
    return cls(**made)


def unknown_key(key: str, known: list[str]) -> str:
    """The message for a key that is in no config, with the nearest known one, or for one that is a group of settings."""
    inner = [name.removeprefix(f"{key}.") for name in known if name.startswith(f"{key}.")]
    if inner:
        return f"config key {key!r} is a group of settings ({', '.join(inner)}); set one of them: --config.{key}.{inner[0]}=VALUE"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"unknown config key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}")


def _coerce(kind: Any, value: Any, name: str) -> Any:
    """`value` as `kind`, where nothing is lost by it (an int for a float, a list for a tuple)."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return from_dict(kind, value, f"{name}.")
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            value = (value,)
        return tuple(_coerce(item, one, name) for one in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name} is {value!r}, a {type(value).__name__}; it must be a {kind.__name__}. Fix: give a {kind.__name__}.")
    return value
