"""A trained model with its tokenizer and partition, ready to be dialled: what `aila_jax.load` returns."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from aila_jax.cards import Card, Shown, count
from aila_jax.checkpoint import Ancestor
from aila_jax.checkpoint.lineage import lineage_of
from aila_jax.config import (
    Config,
    Estimator,
    PartitionConfig,
    RelationConfig,
    Solver,
    require,
)
from aila_jax.config.checks import (
    check_flag,
    check_instance,
    check_text,
    check_whole,
    plain,
    whole,
)
from aila_jax.config.options import GenerateOptions, ScoreOptions
from aila_jax.config.relation import relation_line
from aila_jax.data.dataset import Dataset
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.inference.attention_maps import AttentionMaps
from aila_jax.inference.attention_of import Chosen, attention_maps, weights_of
from aila_jax.inference.chat import chat_stops
from aila_jax.inference.dial import check_hard, dial_value, dial_values
from aila_jax.inference.generation import (
    Continuation,
    continue_prompts,
    read_chat,
    read_prompts,
    stream_prompt,
)
from aila_jax.inference.inputs import check_sink, read_batch, several
from aila_jax.inference.inside.ablation import Ablating, HeadAblation, ablate_heads
from aila_jax.inference.inside.capture import Capture, Places, capture, patched
from aila_jax.inference.inside.lens import LogitLens, logit_lens
from aila_jax.inference.inside.patching import Patching, Sweep, patching
from aila_jax.inference.inside.reading import LIMIT_MIB, Setting
from aila_jax.inference.reach import Reach
from aila_jax.inference.reach_of import hard_end, reach_of_continuation, reach_of_text
from aila_jax.inference.rows import Prompt
from aila_jax.inference.scores import Scores
from aila_jax.inference.scoring import score_texts
from aila_jax.model.arguments import is_traced
from aila_jax.model.interface import Dial, ModelOutput, Request
from aila_jax.model.margin import check_layer_scale
from aila_jax.model.network import Network
from aila_jax.model.stats import StatsRequest
from aila_jax.model.tap import sites_of
from aila_jax.model.transformer import Transformer, build_transformer
from aila_jax.partition.anchors import Anchors
from aila_jax.partition.build import Partition, build_partition, check_vocabulary, table_of
from aila_jax.partition.kinds import KINDS
from aila_jax.partition.rule_tables import (
    RuleTables,
    build_rules,
    check_rule_vocabulary,
    tables_for,
)
from aila_jax.types import Array, Batch


@partial(jax.jit, static_argnames="request")
def _apply(network: Network, params: Any, batch: Batch, dial: Dial, request: Request) -> ModelOutput:
    return network(params, batch, dial, request)


@dataclass(frozen=True, repr=False)
class LanguageModel(Shown):
    """One checkpoint that serves every λ and τ.

    Attributes:
      params: float32 parameters.
      config: the run's configuration.
      tokenizer: its tokenizer.
      run: name of the run.
      step: optimizer steps it was trained for.
      meta: versions, commit, device and data fingerprint of the training run.
      anchors: the table that ranks token types, k and the groups' importance; None where the run makes none,
        or before the end of its warm-up.
      fitted: the partition, where it has a table that was fitted to a corpus; None for windows and given ids.
      rule_tables: what the relation knows of token types; None for one that reads none.
    """

    params: Any
    config: Config
    tokenizer: Tokenizer
    run: str
    step: int
    meta: dict[str, Any]
    anchors: Anchors | None = None
    fitted: Partition | None = None
    rule_tables: RuleTables | None = None

    def __post_init__(self) -> None:
        fix = "take the model that aila_jax.load returns"
        check_instance("config", self.config, Config, "a Config", fix)
        check_instance("tokenizer", self.tokenizer, Tokenizer, "a Tokenizer", fix)
        check_text("run", self.run, "the run's name", fix)
        check_whole("step", self.step, 0, fix)
        check_instance("meta", self.meta, dict, "a dictionary", fix)
        check_instance("anchors", self.anchors, Anchors | None, "Anchors or None", fix)
        check_instance("fitted", self.fitted, KINDS | None, "a partition or None", fix)
        check_instance("rule_tables", self.rule_tables, RuleTables | None, "RuleTables or None", fix)

    @cached_property
    def network(self) -> Network:
        """What runs: the transformer on the blocks of the partition."""
        table = None if self.fitted is None else table_of(self.fitted)
        module = build_transformer(self.config, self.tokenizer.vocab_size)
        rules = build_rules(self.config, self.rule_tables)
        return Network(module, build_partition(self.config.partition, table), rules)

    @property
    def module(self) -> Transformer:
        return self.network.module

    @property
    def partition(self) -> Partition:
        return self.network.partition

    @property
    def given(self) -> str:
        """What the blocks of the partition `given` are in the corpus of training (`Dataset.given`); `unknown`
        where an older checkpoint does not say.
        """
        return self.meta.get("data", {}).get("given") or _given_of(self.config)

    @property
    def lineage(self) -> tuple[Ancestor, ...]:
        """The checkpoints that its weights came from, newest first; none for a run that began by itself."""
        return lineage_of(self.meta)

    def with_partition(self, partition: PartitionConfig, fitted: Partition | None = None) -> "LanguageModel":
        """The same weights, read with another partition than the one in training: attention knows blocks only
        by what is inside. The relation stays.

        `config.partition` says what it is read with, `meta["partition"]` what it was trained with.

        Args:
          partition: which partition.
          fitted: what `fit_partition(partition, model.tokenizer, train)` made, for the kinds that are fitted
            to a corpus.

        Raises:
          ValueError: windows longer than the model's length, localist positions, which belong to the blocks
            of training, or a
            `fitted` that is missing, of another kind, or of another vocabulary; a partition that the model's
            relation does not fit.
        """
        fix = "aila_jax.Config().partition, say"
        check_instance("partition", partition, PartitionConfig, "a PartitionConfig", fix)
        fix = "aila_jax.fit_partition(partition, model.tokenizer, train), or leave it out"
        check_instance("fitted", fitted, KINDS | None, "a partition or None", fix)
        made = build_partition(partition, None if fitted is None else table_of(fitted))
        check_vocabulary(made, self.tokenizer)
        config = self.config
        fix = "read it with the partition it was trained with"
        require(
            not config.model.localist,
            "model.localist",
            True,
            "false to read a model with another partition",
            fix,
        )
        penalty = config.penalty
        if penalty.solver != Solver.NONE:  # groups are those of the weights, whatever the blocks are now
            penalty = replace(penalty, groups=config.feature_groups)
        meta = {"partition": config.partition.settings, **self.meta}
        return replace(
            self,
            config=replace(config, partition=partition, penalty=penalty),
            meta=meta,
            fitted=made if partition.fitted else None,
        )

    def with_window(self, size: int) -> "LanguageModel":
        """`with_partition` for windows of another size.

        Raises:
          ValueError: a size below 1, or too small for the model's anchors and one more, or for its relation,
            or above its length; a model whose blocks are no windows.
        """
        size = plain(size)
        kind, anchors = self.config.partition.kind, self.config.anchors
        fix = "leave the window out, or pass a PartitionConfig to with_partition"
        require(kind == "windows", "window", size, f"None where the model's partition is {kind!r}", fix)
        length = self.config.model.length
        least = 1 if anchors.estimator == Estimator.NONE else anchors.k + 1
        why = f", as a block has {anchors.k} anchors and more" if least > 1 else ""
        limit = f"a whole number from {least} to the model's length ({length}){why}"
        require(
            whole(size) and least <= size <= length,
            "window",
            size,
            limit,
            f"choose a size such as {least + 2} or {2 * least + 4}",
        )
        return self.with_partition(replace(self.config.partition, size=size))

    def with_relation(self, relation: RelationConfig, tables: RuleTables | None = None) -> "LanguageModel":
        """The same weights, read with another relation than the one in training: attention knows it only by
        what is inside.

        `config.relation` says what it is read with, `meta["relation"]` what it was trained with. The
        partition stays; `with_partition` and `with_window` keep the relation.

        Args:
          relation: what is inside beyond a query's block; `RelationConfig()` for nothing.
          tables: what `aila_jax.fit_relation(relation, model.tokenizer, train)` made; needed for pointers
            `anchors` alone, and not for those that the model was trained with.

        Raises:
          ValueError: a relation that does not fit the partition or the number of layers, a sink of a
            pretrained model without a begin token, or tables that are missing, for another relation, or of
            another vocabulary.
        """
        fix = "aila_jax.Config().relation, say"
        check_instance("relation", relation, RelationConfig, "a RelationConfig", fix)
        fix = "aila_jax.fit_relation(relation, model.tokenizer, train), or leave it out"
        check_instance("tables", tables, RuleTables | None, "RuleTables or None", fix)
        config = replace(self.config, relation=relation)
        if "pretrained" in self.meta:
            check_sink(config, self.tokenizer)
        if tables is None:
            tables = tables_for(relation, self.tokenizer, self.rule_tables)
        build_rules(config, tables)  # refuses those of another relation
        check_rule_vocabulary(tables, self.tokenizer)
        meta = {"relation": self.config.relation.settings, **self.meta}
        return replace(self, config=config, meta=meta, rule_tables=tables)

    def apply(
        self,
        tokens: Int[Array, "B L"],
        *,
        lam: Any = 0.0,
        tau: Any = 1.0,
        block_ids: Int[Array, "B L"] | None = None,
        doc_ids: Int[Array, "B L"] | None = None,
        layer_scale: Any = None,
        hard: bool | None = None,
        delta: bool = False,
        weights: bool = False,
    ) -> ModelOutput:
        """Logits [B, L, V] and attention statistics [N, B, H, L] of any token ids at any setting of the dial.

        Args:
          tokens: ids below the tokenizer's vocab_size; L at most the model's length.
          lam: one number or one per example; a new value never recompiles.
          tau: as lam.
          block_ids: block of each token, for a model trained with the partition `given`; −1 is padding as in
            `doc_ids`, −2 a token of every block.
          doc_ids: document of each token, in one piece; −1 at padding, which ends a row. One document a row
            by default.
          layer_scale: factor of λ in each layer, N numbers in [0, 1]; the configuration's by default. Hard
            attention has none.
          hard: block attention only, in every layer; needs λ = 1. The configuration's by default.
          delta: also measure the gap between in-block and out-of-block scores.
          weights: also return the attention weights [N, B, H, L, L].

        It may be called inside `jax.jit`, `grad` and `vmap`, with traced ids, lam, tau, layer_scale and, by
        `dataclasses.replace(model, params=params)`, parameters. (Parameters that a jitted function closes
        over become constants of the program, which takes long to compile for a large model.) What is traced
        has no values yet: its type and shape are checked, but not that λ and τ are within their limits, ids
        within the vocabulary, padding at the end, or λ = 1 with `hard`.

        Raises:
          ValueError: another type or shape, or a value outside its limits.
        """
        cfg = self.config
        hard = cfg.model.hard if hard is None else check_flag("hard", hard)
        delta, weights = check_flag("delta", delta), check_flag("weights", weights)
        batch = self.batch(tokens, block_ids, doc_ids)
        dial = Dial(
            *(dial_values(value, name, batch.tokens.shape[0]) for name, value in (("lam", lam), ("tau", tau)))
        )
        if layer_scale is not None:
            dial = replace(dial, layer_scale=check_layer_scale(layer_scale, cfg.model.n_layers))
        check_hard(hard, dial.lam)
        request = Request(stats=StatsRequest(delta=delta), weights=weights, hard=hard)
        return _apply(self.network, self.params, batch, dial, request)

    def need_anchors(self) -> Anchors:
        """The anchors; ValueError, with the reason, where this checkpoint has none."""
        if self.anchors is not None:
            return self.anchors
        if self.config.anchors.estimator == Estimator.NONE:
            raise ValueError(
                "anchors.estimator is 'none', so this run has no anchors. Fix: train with"
                " --config.anchors.estimator=corpus (or attention)"
            )
        raise ValueError(
            f"this checkpoint is of step {self.step}; anchors are made at the end of warm-up, after step "
            f"{self.config.train.warmup_end}. Fix: load a later checkpoint"
        )

    def anchor_mask(
        self,
        tokens: Int[Array, "B L"],
        block_ids: Int[Array, "B L"] | None = None,
        doc_ids: Int[Array, "B L"] | None = None,
    ) -> Bool[Array, "B L"]:
        """Which tokens are anchors of their blocks; arguments as in `apply`.

        Raises:
          ValueError: this checkpoint has no anchors, or an argument is outside its limits.
        """
        anchors = self.need_anchors()
        batch = self.batch(tokens, block_ids, doc_ids)
        found = anchors.of(batch, self.partition(batch), self.config.model.document_mask)
        return found if is_traced(found) else np.asarray(found)

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        chat: Sequence[Mapping[str, str]] | None = None,
        lam: float | Sequence[float] = 0.0,
        tau: float | Sequence[float] = 1.0,
        max_tokens: int = 64,
        sample_temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 1.0,
        seed: int = 0,
        samples: int = 1,
        stop: str | Sequence[str] | None = None,
        block_ids: Any = None,
    ) -> str | list[str] | list[list[str]]:
        """The prompt's continuation (without the prompt) at λ and τ; `sample_temperature` 0 is greedy. See
        `continue_prompts`; `continuations` also says why each ended.

        Args:
          prompt: a text, or a list of texts, which are continued side by side.
          chat: in place of a prompt a conversation, messages with the texts `role` and `content`; the model
            answers the last. Needs the chat template of a model that came with one (`chat_text`), whose end
            token then is a stop string too.
          lam: λ; of a list of prompts also a list, one for each.
          tau: τ, the attention's temperature; likewise.
          max_tokens: tokens to add.
          sample_temperature: spread of the sampling.
          top_k: sample among so many likeliest tokens; 0 is all.
          top_p: of these among the fewest that together hold so much of the probability; 1 is all.
          seed: of the draws; sample i has the seed `seed` + i, alone or beside others.
          samples: continuations of each prompt.
          stop: a text, or several, that ends the continuation and is left out of it.
          block_ids: for the partition `given`, one id per token of the prompt; of a list of prompts a list of
            them. By default those that the prompt would have had in training (see `read_text`).

        Returns:
          The text; with more than one sample a list of texts; of a list of prompts a list of these.

        Warns:
          UserWarning: a prompt is longer than what the model reads; only its end was read.
        """
        options = GenerateOptions(
            lam=lam,
            tau=tau,
            max_tokens=max_tokens,
            sample_temperature=sample_temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            samples=samples,
            stop=stop,
        )
        found = self.continuations(prompt, options, block_ids, chat)
        for cut in (one[0].cut for one in found if one[0].cut):
            warnings.warn(cut, stacklevel=2)
        texts = [[one.text for one in of_prompt] for of_prompt in found]
        if options.samples == 1:
            return [of_prompt[0] for of_prompt in texts] if several(prompt) else texts[0][0]
        return texts if several(prompt) else texts[0]

    def stream(
        self,
        prompt: str | None = None,
        *,
        chat: Sequence[Mapping[str, str]] | None = None,
        lam: float = 0.0,
        tau: float = 1.0,
        max_tokens: int = 64,
        sample_temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 1.0,
        seed: int = 0,
        stop: str | Sequence[str] | None = None,
        block_ids: Any = None,
    ) -> Iterator[str]:
        """`generate` of one prompt, in pieces as they are drawn: whole characters, and nothing that a stop
        string may still take back. Together they are its text. Arguments and errors: see `generate`.
        """
        options = GenerateOptions(
            lam=lam,
            tau=tau,
            max_tokens=max_tokens,
            sample_temperature=sample_temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop=stop,
        )
        return self.streamed(prompt, options, block_ids, chat)

    def streamed(
        self,
        prompt: str | None,
        options: GenerateOptions,
        block_ids: Any = None,
        chat: Sequence[Mapping[str, str]] | None = None,
    ) -> Iterator[str]:
        """`stream`, by options."""
        require(
            not isinstance(prompt, list | tuple), "prompt", prompt, "a text", "stream one prompt at a time"
        )
        prompts, options = self._prompts(prompt, options, block_ids, chat)
        return stream_prompt(self, prompts[0], options)

    def continuations(
        self,
        prompts: str | Sequence[str] | None,
        options: GenerateOptions,
        block_ids: Any = None,
        chat: Sequence[Mapping[str, str]] | None = None,
    ) -> tuple[tuple[Continuation, ...], ...]:
        """`generate`, by options: of each prompt each sample, with how much of the prompt was read, why it
        ended and, where they are asked for, log-probabilities.
        """
        made, options = self._prompts(prompts, options, block_ids, chat)
        return continue_prompts(self, made, options)

    def _prompts(
        self, prompts: Any, options: GenerateOptions, block_ids: Any, chat: Any
    ) -> tuple[tuple[Prompt, ...], GenerateOptions]:
        """What is continued, and how; the end token of a chat model ends its answer."""
        if chat is None:
            return read_prompts(self, prompts, block_ids), options
        for name, value in (("prompt", prompts), ("block_ids", block_ids)):
            require(value is None, name, value, "left out with chat", "ask for one of the two")
        stops = (*(options.stop or ()), *chat_stops(self))
        return (read_chat(self, chat),), replace(options, stop=stops or None)

    def score(
        self,
        texts: str | Sequence[Any],
        *,
        lam: float | Sequence[float] = 0.0,
        tau: float | Sequence[float] = 1.0,
        stride: int | None = None,
        line_start: bool = False,
        unit: str = "nats",
        hard: bool | None = None,
        batch_size: int = 8,
        top: int = 0,
        block_ids: Any = None,
    ) -> Scores:
        """Surprisal of every token, and perplexity, of texts at every λ and τ. Arguments and errors: see
        `aila_jax.score`.
        """
        options = ScoreOptions(
            lam=lam,
            tau=tau,
            stride=stride,
            line_start=line_start,
            unit=unit,
            hard=hard,
            batch_size=batch_size,
            top=top,
        )
        return score_texts(self, texts, options, block_ids, quiet=True)

    @overload
    def attention(
        self, text: str | Sequence[int], *, lam: float = ..., tau: float = ..., block_ids: Any = ...
    ) -> AttentionMaps: ...

    @overload
    def attention(
        self, text: Sequence[Any], *, lam: float = ..., tau: float = ..., block_ids: Any = ...
    ) -> list[AttentionMaps]: ...

    def attention(
        self,
        text: str | Sequence[Any],
        *,
        lam: float = 0.0,
        tau: float = 1.0,
        block_ids: Any = None,
    ) -> AttentionMaps | list[AttentionMaps]:
        """The attention weights of every layer and head in one text at λ and τ; of a list of texts a list of
        them. Arguments and errors: see `attention_maps`.
        """
        found = attention_maps(self, text, lams=(dial_value(lam, "lam"),), tau=tau, block_ids=block_ids)
        return [one[0] for one in found] if several(text) else found[0][0]

    @overload
    def attention_dial(
        self,
        text: str | Sequence[int],
        *,
        lams: Sequence[float] = ...,
        tau: float = ...,
        block_ids: Any = ...,
        hard: bool | None = ...,
    ) -> tuple[AttentionMaps, ...]: ...

    @overload
    def attention_dial(
        self,
        text: Sequence[Any],
        *,
        lams: Sequence[float] = ...,
        tau: float = ...,
        block_ids: Any = ...,
        hard: bool | None = ...,
    ) -> list[tuple[AttentionMaps, ...]]: ...

    def attention_dial(
        self,
        text: str | Sequence[Any],
        *,
        lams: Sequence[float] = (0.0, 0.5, 1.0),
        tau: float = 1.0,
        block_ids: Any = None,
        hard: bool | None = None,
    ) -> tuple[AttentionMaps, ...] | list[tuple[AttentionMaps, ...]]:
        """The same at every λ of `lams`, from one forward pass."""
        found = attention_maps(self, text, lams=lams, tau=tau, block_ids=block_ids, hard=hard)
        return list(found) if several(text) else found[0]

    def attention_weights(
        self,
        text: str | Sequence[int],
        *,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        queries: Sequence[int] | None = None,
        lam: float = 0.0,
        tau: float = 1.0,
        block_ids: Any = None,
        hard: bool | None = None,
    ) -> Float[np.ndarray, "N H T L"]:
        """The attention weights of some layers, heads and queries of one text, and no others: what a long
        text has room for.

        Args:
          text: a text, or its token ids; at most the model's length in tokens.
          layers: counted from 0; all by default.
          heads: of each of them, counted from 0; all by default.
          queries: positions in the text; all by default.
          lam: λ.
          tau: τ.
          block_ids: one id per token, for the partition `given` (see `read_text`).
          hard: block attention only; needs λ = 1. The configuration's by default.

        Returns:
          α [layer, head, query, key], float32, in the order asked for: each row sums to 1 and is 0 where the
          query may not attend.

        Raises:
          ValueError: a layer, head or position that is not there, or what `attention` refuses.
        """
        chosen = Chosen(layers, heads, queries)
        lam, tau = dial_value(lam, "lam"), dial_value(tau, "tau")
        return weights_of(self, text, chosen, lam=lam, tau=tau, block_ids=block_ids, hard=hard)

    def reach(
        self,
        text: str | Sequence[int] | Continuation,
        *,
        lam: float = 1.0,
        tau: float = 1.0,
        hard: bool | None = None,
        block_ids: Any = None,
        doc_ids: Any = None,
        generated: Sequence[int] = (),
    ) -> Reach:
        """For every prediction of a text the tokens and blocks that can have influenced it, through all
        layers: no other token can, whatever it is (docs/howto/reach.md).

        Only where attention outside is exactly 0 in every layer and head: at λ = 1 with a gate or with hard
        attention, or by a margin that is large enough. Under which condition it holds, the result says.

        Args:
          text: a text or its token ids, at most the model's length; or what `continuations` returned, at the
            λ and τ that it was generated at: then of every token that was drawn, in the windows that it was
            drawn in.
          lam: λ.
          tau: τ.
          hard: block attention only; the configuration's by default.
          block_ids: of a text, for the partition `given`: one id per token; by default those that it would
            have had in training (see `read_text`).
          doc_ids: of a text: document of each token; one document by default.
          generated: of a text: positions of tokens that this model had drawn, each from the logits before it;
            what had influenced them counts too.

        Raises:
          ValueError: a setting that is not exactly hard in every layer and head, a global layer that is not
            the last, or an argument outside its limits.
        """
        end = hard_end(self, lam, tau, hard)
        if not isinstance(text, Continuation):
            return reach_of_text(self, text, end, block_ids=block_ids, doc_ids=doc_ids, generated=generated)
        drawn = None if len(generated) == 0 else generated
        given = (("hard", hard), ("block_ids", block_ids), ("doc_ids", doc_ids), ("generated", drawn))
        for name, value in given:
            fix = "leave it out: a continuation has its own"
            require(value is None, name, value, "left out with a continuation", fix)
        return reach_of_continuation(self, text, end)

    @property
    def result_names(self) -> tuple[str, ...]:
        """What `capture` can return, in the order in which it is computed."""
        return tuple(sites_of(self.config.model))

    def capture(
        self,
        texts: Any,
        names: str | Sequence[str] = "layer_*.residual",
        *,
        lam: Any = 0.0,
        tau: Any = 1.0,
        hard: bool | None = None,
        block_ids: Any = None,
        doc_ids: Any = None,
        limit_mib: float = LIMIT_MIB,
        quiet: bool = False,
    ) -> Capture:
        """Intermediate results of a forward pass, by name (docs/howto/inside.md lists the names). What none
        of them depends on is not computed.

        Args:
          texts: a text or its token ids, or a list of either; shorter ones are filled up with padding.
          names: whole names, or patterns in which `*` stands for anything.
          lam: λ, one or one for each text.
          tau: τ, likewise.
          hard: block attention only, in every layer; needs λ = 1. The configuration's by default.
          block_ids: one id per token, of a list of texts a list of them, for the partition `given`; by
            default those that the texts would have had in training.
          doc_ids: document of each token, likewise; one document a text by default.
          limit_mib: MiB that it may take.
          quiet: do not say on standard error what it will take.

        Raises:
          ValueError: a name that there is not (the nearest are told), more memory than `limit_mib`, or an
            argument outside its limits.
        """
        setting = Setting(lam, tau, hard, block_ids, doc_ids, limit_mib, quiet)
        return capture(self, texts, names, setting)

    def patched(
        self,
        clean: Any,
        corrupted: Any,
        names: str | Sequence[str],
        *,
        positions: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        keep: str | Sequence[str] = "logits",
        lam: Any = 0.0,
        tau: Any = 1.0,
        hard: bool | None = None,
        block_ids: Any = None,
        doc_ids: Any = None,
        limit_mib: float = LIMIT_MIB,
        quiet: bool = False,
    ) -> Capture:
        """Activation patching: a pass over `corrupted` in which results have the values that they have in
        `clean`.

        Args:
          clean: texts, read at the same setting; or a `Capture` that holds the results, of any texts and any
            λ, or with values of one's own.
          corrupted: texts; as many, with as many tokens. Blocks are theirs.
          names: the results that are replaced, as in `capture`.
          positions: where; everywhere by default. Of scores and weights these are queries.
          heads: of which heads of queries; of all by default.
          keep: the results that are returned.
          lam: as in `capture`, and so are the others.
          tau: τ.
          hard: block attention only.
          block_ids: of `corrupted`, and of `clean` where it is a text.
          doc_ids: likewise.
          limit_mib: MiB that each of the two passes may take.
          quiet: do not say what they will take.

        Raises:
          ValueError: as in `capture`; or a clean result of another shape.
        """
        setting = Setting(lam, tau, hard, block_ids, doc_ids, limit_mib, quiet)
        return patched(self, clean, corrupted, names, Places(positions, heads), keep, setting)

    def patching(
        self,
        clean: Any,
        corrupted: Any,
        names: str | Sequence[str] = "layer_*.residual",
        *,
        each: str = "position",
        positions: Sequence[int] | None = None,
        at: int | None = None,
        answer: str | int | None = None,
        other: str | int | None = None,
        batch_size: int = 8,
        lam: Any = 0.0,
        tau: Any = 1.0,
        hard: bool | None = None,
        block_ids: Any = None,
        doc_ids: Any = None,
        limit_mib: float = LIMIT_MIB,
        quiet: bool = False,
    ) -> Patching:
        """A sweep of activation patching: one pass for every result and position, or head, and how much of
        the clean answer it brings back, (patched − corrupted) / (clean − corrupted).

        What is measured is logit(answer) − logit(other), or log p(answer) without `other`. By default these
        are the likeliest tokens of the clean and of the corrupted pass.

        Args:
          clean: a text or its token ids.
          corrupted: a text with as many tokens; or the same one, with two λ.
          names: results of layers, as in `capture`.
          each: `position`, or `head`: results of heads, at all positions.
          positions: of the sweep; all by default.
          at: position whose next token is asked for; the last by default.
          answer: a token, by its id or as a text of one token.
          other: the token beside it.
          batch_size: passes at once.
          lam: λ of both, or (λ of clean, λ of corrupted).
          tau: τ, likewise.
          hard: block attention only.
          block_ids: of both texts, or a list of two.
          doc_ids: likewise.
          limit_mib: MiB that it may take.
          quiet: show nothing on standard error.

        Raises:
          ValueError: as in `capture`; texts of different lengths, or between which the measure does not
            differ.
        """
        setting = Setting(lam, tau, hard, block_ids, doc_ids, limit_mib, quiet)
        sweep = Sweep(each, positions, at, answer, other, batch_size)
        return patching(self, clean, corrupted, names, sweep, setting)

    def ablate_heads(
        self,
        texts: Any,
        *,
        to: str = "zero",
        answer: str | int | None = None,
        other: str | int | None = None,
        batch_size: int = 8,
        lam: Any = 0.0,
        tau: Any = 1.0,
        hard: bool | None = None,
        block_ids: Any = None,
        doc_ids: Any = None,
        limit_mib: float = LIMIT_MIB,
        quiet: bool = False,
    ) -> HeadAblation:
        """What each head is worth: the loss of the texts without it, one pass for each head and text.

        Args:
          texts: as in `capture`.
          to: what stands in place of the head's output: `zero`, or its `mean` over the tokens of the texts.
          answer: a token; then also its log-probability after the last token of each text.
          other: a token; then, in place of that, logit(answer) − logit(other).
          batch_size: passes at once.
          lam: as in `capture`, and so are the others.
          tau: τ.
          hard: block attention only.
          block_ids: of the texts.
          doc_ids: likewise.
          limit_mib: MiB that it may take.
          quiet: show nothing on standard error.

        Raises:
          ValueError: as in `capture`; or a model that sees its targets.
        """
        setting = Setting(lam, tau, hard, block_ids, doc_ids, limit_mib, quiet)
        return ablate_heads(self, texts, Ablating(to, answer, other, batch_size), setting)

    def logit_lens(
        self,
        texts: Any,
        *,
        positions: Sequence[int] | None = None,
        top: int = 5,
        answer: str | int | None = None,
        lam: Any = 0.0,
        tau: Any = 1.0,
        hard: bool | None = None,
        block_ids: Any = None,
        doc_ids: Any = None,
        limit_mib: float = LIMIT_MIB,
        quiet: bool = False,
    ) -> LogitLens:
        """Logit lens: the next token by the residual stream before the first layer and after each, through
        the last norm and the output layer.

        Args:
          texts: as in `capture`.
          positions: after which; after all by default.
          top: how many of the likeliest tokens are kept.
          answer: a token whose probability and rank is asked for everywhere; by default the text's own next
            token.
          lam: as in `capture`, and so are the others.
          tau: τ.
          hard: block attention only.
          block_ids: of the texts.
          doc_ids: likewise.
          limit_mib: MiB that it may take.
          quiet: do not say what it will take.

        Raises:
          ValueError: as in `capture`.
        """
        setting = Setting(lam, tau, hard, block_ids, doc_ids, limit_mib, quiet)
        return logit_lens(self, texts, positions, top, answer, setting)

    def batch(self, tokens: Any, block_ids: Any = None, doc_ids: Any = None) -> Batch:
        """Token ids as the model reads them; raises ValueError for what it cannot read. Arguments as in
        `apply`.
        """
        return read_batch(self.config, self.tokenizer.vocab_size, tokens, block_ids, doc_ids)

    def card(self) -> Card:
        shape, config = self.config.model, self.config
        dial = f"λ = {config.locality.lam:g}" if config.locality.mode == "fixed" else "every λ"
        blocks = ", ".join(f"{name} {value}" for name, value in config.partition.settings.items() if value)
        sizes = (np.size(leaf) for leaf in jax.tree.leaves(self.params))
        facts = {
            "shape": f"{count(shape.n_layers, 'layer')} of {count(shape.n_heads, 'head')}, width {shape.d_model},"
            f" {count(shape.length, 'token')} a window",
            "parameters": f"{sum(sizes):,}",
            "vocabulary": f"{self.tokenizer.vocab_size:,} types",
            "blocks": blocks.removeprefix("kind "),
            **({} if config.relation.plain else {"relation": relation_line(config.relation)}),
            "margin": "hard blocks" if shape.hard else shape.margin.line,
            "trained": f"{config.locality.mode}: {dial}",
            "anchors": "none"
            if self.anchors is None
            else f"{self.anchors.k} a block, {self.anchors.estimator}",
        }
        if self.lineage:
            facts["began from"] = ", ".join(map(str, self.lineage))
        leaky = ", NOT CAUSAL" if shape.bidirectional else ""
        return Card(f"LanguageModel {self.run}, step {self.step}{leaky}", facts)


def _given_of(config: Config) -> str:
    """What blocks are, by the settings alone: plain files have lines; records and data sets may have
    fields.
    """
    data = config.data
    if data.corpus == "conllu":
        return "lines" if data.conllu_blocks == "sentences" else data.conllu_blocks
    names = [Path(name).name for name in (*data.files, *data.valid_files, *data.test_files)]
    plain = not any(name.endswith(".jsonl") or "*" in name.rpartition(".")[2] for name in names)
    return "lines" if plain and data.corpus != "tfds" else "unknown"


def check_tokenizer(model: LanguageModel, dataset: Dataset) -> None:
    """Raises ValueError where the data set was encoded with another tokenizer than the model's."""
    fix = "load_dataset(config.data, tokenizer=model.tokenizer)"
    check_instance("dataset", dataset, Dataset, "a data set of load_dataset", fix)
    same = dataset.tokenizer.fingerprint == model.tokenizer.fingerprint
    require(
        same,
        "dataset.tokenizer",
        dataset.tokenizer.fingerprint,
        f"the model's ({model.tokenizer.fingerprint})",
        fix,
    )
