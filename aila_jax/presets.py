"""Configurations to start from. `--config=NAME` takes one of them; overrides change single settings."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aila_jax.config import (
    AdapterConfig,
    Config,
    DataConfig,
    DialMode,
    FeedForwardKind,
    InitKind,
    LocalityConfig,
    MarginConfig,
    MarginForm,
    MeshConfig,
    ModelConfig,
    NormKind,
    OptimizerKind,
    PartitionConfig,
    PartitionKind,
    PenaltyConfig,
    QuestionConfig,
    RelationConfig,
    RuleConfig,
    SweepConfig,
    TrainConfig,
    TrainedPart,
    one_of,
    to_dict,
)
from aila_jax.config.checks import check_flag, check_instance, check_whole, require
from aila_jax.config.model import usual_margin

# The draws that serve best where a step reads each sequence once: begin near λ = 0, and let the hard end in
# later.
ONE_VIEW = LocalityConfig(
    mode=DialMode.CONDITIONAL,
    power=8.0,
    at_zero=0.6,
    drift=True,
    end_power=1.5,
    end_at_zero=0.72,
    end_at_one=0.04,
)

# Those where a step reads each sequence twice, nearly always once at λ = 0, and what that predicts is half of
# what the other reading is to learn, at a λ from anywhere on the dial.
TWO_VIEWS = LocalityConfig(
    mode=DialMode.CONDITIONAL,
    views=2,
    distill=0.5,
    pressure=0.07,
    power=2.5,
    at_zero=0.5,
    at_one=0.02,
    drift=True,
    end_power=1.0,
    end_at_zero=0.45,
    end_at_one=0.08,
)


def tiny() -> Config:
    """The demo: Python's own documentation, whose blocks are clauses of whole words, with the dial of
    `certified_dial` but one λ a sequence; a few minutes on two CPU cores.

    Command: aila train --config=tiny --workdir=runs/tiny
    """
    base = Config(
        data=DataConfig(corpus="pydocs", tokenizer="bpe", vocab_size=2048, join_lines=True),
        partition=PartitionConfig(kind=PartitionKind.SEGMENTS),
        model=ModelConfig(length=96, d_model=96, n_heads=4, d_ff=384, n_layers=2),
        train=TrainConfig(
            steps=900,
            batch_size=32,
            learning_rate=4e-3,
            warmup_steps=60,
            eval_every=300,
            checkpoint_every=300,
            loss_chunk=512,
        ),
        sweep=SweepConfig(taus=(0.5, 1.0, 2.0)),
    )
    dialled = certified_dial(base)
    # So short a training yields to a few nats; bent, the dial's steps are even. And it gains more from twice
    # the text than from a second reading.
    return replace(
        dialled,
        model=replace(dialled.model, margin=replace(dialled.model.margin, power=1.5)),
        locality=ONE_VIEW,
    )


def small() -> Config:
    """Two layers of width 128 on WikiText-2 with 4,096 BPE tokens; 1,200 steps are 4.9M tokens. The plainest
    dial: what ablations start from.

    Command: aila train --config=small --data_dir=$WIKITEXT2 --workdir=runs/small
    """
    return Config(
        data=DataConfig(corpus="wikitext2", tokenizer="bpe", vocab_size=4096),
        model=ModelConfig(length=128, d_model=128, n_heads=4, d_ff=512, n_layers=2, film=True),
        locality=LocalityConfig(mode=DialMode.CONDITIONAL),
        train=TrainConfig(steps=1200, batch_size=32, learning_rate=3e-3, warmup_steps=100, loss_chunk=512),
    )


def certified() -> Config:
    """`certified_windows5` in windows of 40 tokens, shifted by 20 in the second layer, with a gate; what to
    start from. At λ = 1 nothing outside has any weight, a prediction depends on at most 60 tokens, and it
    costs 4 % in perplexity, 7 % with 18.4M tokens (docs/results/frontier.md). Its margin is made for 128
    tokens: with another model.length take `certified_dial` of a configuration with that length, or raise
    model.margin.nats.

    Command: aila train --config=certified --data_dir=$WIKITEXT2 --workdir=runs/certified
    """
    base = certified_windows5()
    return replace(
        base,
        partition=PartitionConfig(size=40),
        relation=RelationConfig(shift=20),
        model=replace(base.model, margin=replace(base.model.margin, gate=1.0)),
    )


def certified_windows5() -> Config:
    """`small` with the dial of `certified_dial`, which guarantees at λ = 1, in windows of 5 tokens: the most
    local, and the dearest (docs/results/one_checkpoint.md).

    Command: aila train --config=certified_windows5 --data_dir=$WIKITEXT2 --workdir=runs/windows5
    """
    base = small()
    return certified_dial(replace(base, train=replace(base.train, learning_rate=6e-3)))


def certified_dial(base: Config) -> Config:
    """`base` with bounded scores, rotary positions and weights that turn with the dial: at λ = 1 block mass
    is at least .9 wherever a block has a second key, for every text of `base.model.length` tokens and any
    weights, at τ = 1 (a larger τ, or a larger length set later, guarantees less).

    No score exceeds 4 nats, so the margin keeps every key outside the block the rest of it below every key
    inside: 6.5 nats for 128 tokens. A step reads every sequence twice, nearly always once at λ = 0, and what
    that predicts is half of what the other reading is to learn, at a λ from anywhere on the dial
    (docs/method.md, section 6).
    """
    _check_config(base)
    cap, outside = (
        4.0,
        max(base.model.length - 2, 1),
    )  # of the last query, when its block holds one key beside itself
    nats = (
        math.ceil(2 * (2 * cap + math.log(9 * outside / 2) + 1e-3)) / 2
    )  # mass inside 9 times that outside, to the next half
    model = replace(
        base.model,
        margin=MarginConfig(nats=nats),
        layer_beta=0.0,  # every layer has the whole margin
        score_cap=cap,
        rotary_base=1000.0,
        film=True,
        dial_weights="qkv",
    )
    return replace(base, model=model, locality=TWO_VIEWS, train=replace(base.train, dial_rate=0.5))


def uncapped_dial(base: Config) -> Config:
    """`base` with the dial of `certified_dial` where scores have no cap, which fused kernels cannot have: a
    margin that scales itself by the norms of queries and keys, and a gate that leaves nothing outside at
    λ = 1.

    At λ = 1 nothing outside has any weight, whatever the weights of the model, where a query has a key
    inside; below it nothing is guaranteed. Of the two bounds that need no cap it cost less than QK-norm in
    trials with `certified_windows5` (docs/method.md, section 6).
    """
    _check_config(base)
    model = replace(
        base.model,
        margin=MarginConfig(
            MarginForm.SELF_SCALING,
            c=1.0,
            m0=usual_margin(base.model.length).m0,
            range="norms",
            range_bend=4.0,
            gate=1.0,
        ),
        layer_beta=0.0,  # every layer has the whole margin
        score_cap=0.0,
        film=True,
        dial_weights="qkv",
    )
    return replace(base, model=model, locality=TWO_VIEWS, train=replace(base.train, dial_rate=0.5))


def localised(
    base: Config, *, length: int = 256, rank: int = 8, tokens: int = 300_000, full: bool = False
) -> Config:
    """`base`, a pretrained model's configuration, to be taught a dial: its weights stay as they are, and
    low-rank adapters that turn with λ learn to do without what λ takes away.

    Half of what they learn is the text, half what the model itself says at λ = 0 (docs/method.md, section
    14). λ is drawn from the whole dial, and a third of the time it is 1.

    Args:
      base: `aila_jax.from_pretrained(…).config`, or that of a run.
      length: L, tokens that it reads at once.
      rank: of the adapters on queries, keys, values and attention's output.
      tokens: of training, in steps of 8 sequences.
      full: train all weights instead, without adapters; then λ = 0 is not the base any more.

    Command: aila localise --start=PATH --workdir=runs/mine --config.data.corpus=text
    --config.data.files=my.txt
    """
    _check_config(base)
    length, rank = check_whole("length", length, 1), check_whole("rank", rank, 1)
    tokens, full = check_whole("tokens", tokens, 1), check_flag("full", full)
    batch = 8
    steps = max(round(tokens / (batch * length)), 1)
    require(
        full or not base.model.film,
        "model.film",
        True,
        "False in a model that adapters are added to: FiLM turns with the dial already",
        "train on from it with `aila train --start`, or localise all of it with --full",
    )
    own = base.model.margin
    if own == usual_margin(base.model.length):  # nobody chose it
        own = usual_margin(length)
    return replace(
        base,
        mesh=MeshConfig(),  # where the base was trained
        penalty=PenaltyConfig(),  # how; its weights are frozen now, or trained on as they are
        model=replace(
            base.model,
            length=length,
            margin=own,
            adapters=base.model.adapters if full else AdapterConfig(rank=rank),
        ),
        locality=LocalityConfig(mode=DialMode.CONDITIONAL, at_one=1 / 3, taught=0.5),
        train=TrainConfig(
            steps=steps,
            batch_size=batch,
            learning_rate=1e-4 if full else 2e-3,
            warmup_steps=max(steps // 20, 1),
            weight_decay=0.0,
            log_every=max(steps // 50, 1),
            eval_every=max(steps // 5, 1),
            checkpoint_every=max(steps // 5, 1),
            eval_batches=4,
            last_eval_batches=32,
            loss_chunk=256,
            trained=TrainedPart.ALL if full else TrainedPart.DIAL,
        ),
        sweep=SweepConfig(lams=(0.0, 0.25, 0.5, 0.75, 1.0), taus=(1.0,), batch_size=8, max_batches=32),
    )


def paper() -> Config:
    """The paper's size: two layers of width 512, 33,278 words of WikiText-2; for an accelerator. Its dial is
    that of `small`; launch/configs/certified_paper.py has the other, which was not tried at this size.

    Command: aila train --config=paper --data_dir=$WIKITEXT2 --workdir=runs/paper
    """
    return Config(
        data=DataConfig(corpus="wikitext2", tokenizer="word", vocab_size=33_278),
        model=ModelConfig(
            length=256,
            d_model=512,
            n_heads=8,
            d_ff=2048,
            n_layers=2,
            dropout=0.2,
            dtype="bfloat16",
            film=True,
        ),
        locality=LocalityConfig(mode=DialMode.CONDITIONAL),
        train=TrainConfig(
            steps=2500,
            batch_size=64,
            learning_rate=1e-3,
            warmup_steps=200,
            eval_every=500,
            checkpoint_every=500,
        ),
    )


def base() -> Config:
    """125M parameters of the Llama form, 512 tokens, with a dial that needs no cap on scores, in windows of
    40 tokens, shifted by 20 in every second layer; for an accelerator and a text of your own. 2.5 billion
    tokens are 20 for each parameter. It was planned and compiled, and not trained (docs/howto/plan.md).

    Command: aila train --config=base --config.data.corpus=text --config.data.files="('my.txt',)"
    --workdir=runs/base
    """
    model = ModelConfig(length=512, d_model=768, n_heads=12, d_ff=2048, n_layers=12)
    return _llama(model, vocabulary=24_576, batch=64, steps=76_000, learning_rate=6e-4)


def large() -> Config:
    """`base` with 349M parameters, 1,024 tokens, and 7 billion tokens to train on.

    Command: aila train --config=large --config.data.corpus=text --config.data.files="('my.txt',)"
    --workdir=runs/large
    """
    model = ModelConfig(length=1024, d_model=1024, n_heads=16, d_ff=2752, n_layers=20)
    return _llama(model, vocabulary=32_768, batch=64, steps=107_000, learning_rate=4e-4)


def xl() -> Config:
    """`base` with 1.3 billion parameters, 2,048 tokens, and 26 billion tokens to train on.

    Command: aila train --config=xl --config.data.corpus=text --config.data.files="('my.txt',)"
    --workdir=runs/xl
    """
    model = ModelConfig(length=2048, d_model=2048, n_heads=16, d_ff=5248, n_layers=20)
    return _llama(model, vocabulary=32_768, batch=64, steps=199_000, learning_rate=2e-4)


def _llama(sizes: ModelConfig, *, vocabulary: int, batch: int, steps: int, learning_rate: float) -> Config:
    """A model of these sizes, of Llama's parts, with `uncapped_dial`."""
    model = replace(
        sizes,
        dtype="bfloat16",
        norm=NormKind.RMS,
        feed_forward=FeedForwardKind.SWIGLU,
        rotary_base=10_000.0,
        learned_positions=False,
        out_bias=False,
        mlp_bias=False,
    )
    return uncapped_dial(
        Config(
            data=DataConfig(corpus="wikitext2", tokenizer="bpe", vocab_size=vocabulary),
            partition=PartitionConfig(size=40),
            relation=RelationConfig(shift=20),
            model=model,
            train=TrainConfig(
                steps=steps,
                batch_size=batch,
                learning_rate=learning_rate,
                warmup_steps=2000,
                eval_every=2000,
                checkpoint_every=2000,
                loss_chunk=8192,
            ),
            sweep=SweepConfig(batch_size=8, max_batches=32),
        )
    )


def recall() -> Config:
    """Associative recall, synthetic: pairs of key and value, then keys whose value is asked for.

    Command: aila train --config=recall --workdir=runs/recall
    """
    return _rule(
        "recall", RuleConfig(pairs=2, queries=2), length=10, width=64, steps=3000, learning_rate=6e-3
    )


def brackets() -> Config:
    """Bracket matching, synthetic: three kinds, up to three deep; the kind that closes is determined.

    Command: aila train --config=brackets --workdir=runs/brackets
    """
    return _rule(
        "brackets",
        RuleConfig(kinds=3, depth=3, brackets=6),
        length=19,
        width=32,
        steps=800,
        learning_rate=1e-2,
    )


def repeats() -> Config:
    """The first of five exercises, each of which starts from the one before: `repeats`, `pairs`, `keys`,
    `sharper_keys`, `rivals`. Then come `questions`. A model learns to look for the word before, and to say
    what followed it. Asked about passages from the start, one of this size answers with any value that
    stands there (docs/howto/questions.md).

    Command: aila train --config=repeats --workdir=runs/repeats
    """
    asked = QuestionConfig(
        sequences=32_768,
        kinds=("repeat", "repeat", "repeat", "one_hop"),
        most=1,
        repeated=16,
        capacity=24,
    )
    return _small_reader(asked, steps=1200, learning_rate=4e-3, length=128)


def pairs() -> Config:
    """The second exercise: a model learns to find the value of a name among up to eight, each right after its
    name.

    Command: aila train --config=pairs --start=runs/repeats --workdir=runs/pairs
    """
    asked = _looked_up(("recall", "recall", "recall", "one_hop"), most=8, asked=6, sequences=32_768)
    return _small_reader(replace(asked, gap=0, equal=0.0), steps=400, learning_rate=1.5e-3)


def keys() -> Config:
    """The third exercise: a model learns to find the value of a name and a small word, among those of the
    same name with another word and of another name with the same word.

    Command: aila train --config=keys --start=runs/pairs --workdir=runs/keys
    """
    asked = _looked_up(("recall",), most=3, asked=3, sequences=65_536)
    asked = replace(asked, equal=0.0, rivals=0.4, same=2 / 3)
    return _small_reader(asked, steps=900, learning_rate=1.5e-3, length=80)


def sharper_keys() -> Config:
    """The fourth exercise: `keys` at a higher rate, for runs in which the lower one alone leaves keys vague.
    From the start the higher one finds them later.

    Command: aila train --config=sharper_keys --start=runs/keys --workdir=runs/sharper_keys
    """
    config = keys()
    return replace(config, train=replace(config.train, steps=700, learning_rate=4e-3))


def rivals() -> Config:
    """The fifth exercise: two to four sentences, most of which state what is asked, of somebody else, or
    something else of the same person: both must be read. Half of the questions ask only what a sentence or a
    question is about: from the others alone what is said was not learned.

    Command: aila train --config=rivals --start=runs/sharper_keys --workdir=runs/rivals
    """
    asked = _looked_up(("topic", "one_hop"), most=4, asked=4, sequences=65_536)
    return _small_reader(replace(asked, rivals=0.4, same=2 / 3), steps=1000, learning_rate=4e-3, length=144)


def questions() -> Config:
    """Generated questions over one to eight passages, read together (λ = 0) and isolated (λ = 1) from one
    checkpoint, which starts from `rivals` (docs/howto/questions.md). Up to four questions follow each
    other in a prompt; some have no answer there, and some three sources.

    Command: aila train --config=questions --start=runs/rivals --workdir=runs/questions
    """
    kinds = ("recall", "one_hop", "one_hop", "one_hop", "absent", "redundant")
    asked = _looked_up(kinds, most=8, asked=4, sequences=81_920)
    asked = replace(asked, least=1, rivals=0.4, same=0.5)
    return _small_reader(asked, steps=3000, learning_rate=3e-3, length=208)


def _looked_up(kinds: tuple[str, ...], *, most: int, asked: int, sequences: int) -> QuestionConfig:
    return QuestionConfig(
        sequences=sequences, kinds=kinds, least=2, most=most, asked=asked, gap=1, capacity=24
    )


def _small_reader(asked: QuestionConfig, *, steps: int, learning_rate: float, length: int = 192) -> Config:
    """A small model whose blocks are passages, read at both ends of the dial."""
    return Config(
        data=DataConfig(corpus="questions", vocab_size=1280, questions=asked),
        partition=PartitionConfig(kind=PartitionKind.GIVEN),
        model=ModelConfig(
            length=length,
            d_model=128,
            n_heads=8,
            d_ff=512,
            n_layers=3,
            init=InitKind.MIMETIC,
            init_std=0.1,
            margin=MarginConfig(nats=8.0, gate=1.0),
            rotary_base=1000.0,
            learned_positions=False,
            qkv_bias=True,
        ),
        locality=LocalityConfig(mode=DialMode.CONDITIONAL, at_zero=0.45, at_one=0.45),
        train=TrainConfig(
            steps=steps,
            batch_size=6144 // length,
            optimizer=OptimizerKind.MUON,
            learning_rate=learning_rate,
            final_rate=0.3,
            warmup_steps=100,
            weight_decay=0.01,
            eval_every=500,
            checkpoint_every=500,
            loss_chunk=512,
        ),
        sweep=SweepConfig(lams=(0.0, 0.5, 1.0), taus=(1.0,), split="test"),
    )


def _rule(
    corpus: str, rule: RuleConfig, *, length: int, width: int, steps: int, learning_rate: float
) -> Config:
    """A small model at λ = 0 on a rule corpus, each window one sequence with its line end."""
    return Config(
        data=DataConfig(corpus=corpus, tokenizer="word", vocab_size=64, rule=rule),
        model=ModelConfig(
            length=length,
            d_model=width,
            n_heads=2,
            d_ff=2 * width,
            n_layers=2,
            document_mask=True,
            rotary_base=1000.0,
        ),
        locality=LocalityConfig(mode=DialMode.FIXED, lam=0.0),
        train=TrainConfig(
            steps=steps, batch_size=64, learning_rate=learning_rate, warmup_steps=50, weight_decay=0.0
        ),
        sweep=SweepConfig(taus=(1.0,)),
    )


PRESETS = {
    "tiny": tiny,
    "small": small,
    "certified": certified,
    "certified_windows5": certified_windows5,
    "paper": paper,
    "base": base,
    "large": large,
    "xl": xl,
    "recall": recall,
    "brackets": brackets,
    "repeats": repeats,
    "pairs": pairs,
    "keys": keys,
    "sharper_keys": sharper_keys,
    "rivals": rivals,
    "questions": questions,
}


@dataclass(frozen=True)
class FromPreset:
    """How a command's configuration came to be: from a preset by its name.

    Attributes:
      name: of the preset.
      asked: dotted names of the settings that were asked for beside it.
    """

    name: str
    asked: tuple[str, ...] = ()


def preset(name: str) -> Config:
    """The preset of that name; ValueError names the nearest one where there is none."""
    one_of("preset", name, tuple(PRESETS))
    return PRESETS[name]()


def with_data_dir(config: Config, data_dir: str | Path) -> Config:
    """The same configuration, reading its corpus from `data_dir`; an empty one changes nothing. See
    `moved_to`.
    """
    _check_config(config)
    check_instance("data_dir", data_dir, str | Path, "a path, or empty", "data_dir='corpus', say")
    from aila_jax.data.places import moved_to  # imports NumPy, which the command line's help does without

    return replace(config, data=moved_to(config.data, str(data_dir) if data_dir else ""))


def as_measured(config: Config) -> Config:
    """The same configuration by the rules that the figures in docs/results were measured by, which are older
    than `train.schedule`: the commands that made them start from it.
    """
    _check_config(config)
    return replace(config, train=replace(config.train, schedule="offset"))


def _check_config(config: Any) -> None:
    check_instance("config", config, Config, "a Config", "aila_jax.presets.small(), say")


def as_dict(name: str) -> dict[str, Any]:
    """The preset as nested dicts, for a ConfigDict."""
    return to_dict(preset(name))
