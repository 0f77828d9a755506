"""Settings of the text, and of the synthetic corpora."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from aila_jax.config.checks import Rule, check_fields, check_rules, one_of
from aila_jax.config.questions import QUESTION_SETTINGS, QuestionConfig

# What TensorFlow Datasets calls a data set: its name, one of its configurations, a version.
TFDS_NAME = re.compile(r"(?P<name>[A-Za-z_]\w*)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?")


@dataclass(frozen=True)
class RuleConfig:
    """The synthetic corpora `recall` and `brackets`, in which a rule determines some targets (docs/data.md).
    What says "recall only" is read by `recall_passages` too.

    Attributes:
      seed: of the generator, at least 0; the run's own seed leaves the corpus as it is.
      sequences: training sequences; validation and test have data.valid_fraction and data.test_fraction of so
        many.
      n_keys: recall only: how many different keys there are, at least 2.
      n_values: the same of values.
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

    def __post_init__(self) -> None:
        check_fields(self, "data.rule.")
        least = {"seed": 0, "sequences": 1, "n_keys": 2, "n_values": 2, "kinds": 2, "depth": 1, "brackets": 1}
        most = (("pairs", "n_keys", self.n_keys), ("queries", "pairs", self.pairs))
        rules: tuple[Rule, ...] = (
            *(
                (name, getattr(self, name) >= limit, f"at least {limit}", f"raise --config.data.rule.{name}")
                for name, limit in least.items()
            ),
            *(
                (name, 1 <= getattr(self, name) <= limit, f"from 1 to data.rule.{other} ({limit})",
                 f"set --config.data.rule.{name}={limit}")
                for name, other, limit in most
            ),
        )  # fmt: skip
        check_rules("data.rule.", self, rules)


TOKENIZERS = ("bpe", "word", "characters")  # those that are made from the training split
RULE_SETTINGS = {
    "recall": ("seed", "sequences", "n_keys", "n_values", "pairs", "queries"),
    "brackets": ("seed", "sequences", "kinds", "depth", "brackets"),
    "recall_passages": ("n_keys", "n_values", "pairs", "queries"),
}


@dataclass(frozen=True)
class DataConfig:
    """Which text, and how it becomes tokens.

    Attributes:
      corpus: `pydocs` (embedded: the docstrings and language reference of this Python), `wikitext2`, `text`
        (your files), `conllu` (your annotated files), `tfds` (a TensorFlow data set by name), all in
        docs/data.md, or `recall` or `brackets` (synthetic, see data.rule), or questions over passages:
        `questions`, `question_files`, `recall_passages`, `wikitext2_passages` (docs/howto/questions.md).
      data_dir: wikitext2 and wikitext2_passages only: a folder that holds wiki.{train,valid,test}.tokens.
        Empty: download from `url`.
      url: wikitext2 only: address of the zip archive that is downloaded when `data_dir` is empty.
      files: text, conllu and question_files only: paths or globs of UTF-8 files (`.jsonl` files: one
        document a line, see docs/data.md).
      valid_files: as files: paths or globs of the validation split. Empty: the end of `files` is
        held out.
      test_files: as files: the same for the test split.
      conllu_blocks: conllu only: which annotation gives the partition `given` its blocks: `sentences`,
        `classes` (of words, by universal part-of-speech tag) or `constituents` (clauses).
      tfds_name: tfds only: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION, as TensorFlow Datasets
        writes them.
      tfds_data_dir: tfds only: the folder that holds prepared data sets. Empty: that of TensorFlow Datasets,
        ~/tensorflow_datasets.
      tfds_text: tfds only: the feature that holds the text; outer/inner for a nested one. Empty: the only
        text feature there is.
      tfds_train: tfds only: the data set's training split, or a part of it such as train[:90%]. Empty: the
        split of that name.
      tfds_validation: the same; where there is no such split, the last examples of the training split are
        held out.
      tfds_test: as tfds_validation.
      file_kinds: text and conllu only: what says how a file is read: `content`, its first bytes (JSON lines
        whatever the suffix, gzip, bz2 and xz unpacked, what is no text refused), or `suffix`, as saved
        configurations without this setting mean (`.jsonl` is JSON lines, all else plain text).
      join_lines: pydocs and text only: put lines together that were broken to fit a page, so that a line is a
        paragraph; records' `blocks` stay as they are.
      valid_fraction: share of the text held out for validation where there is no validation text, in (0,
        0.5).
      test_fraction: the same for test.
      hold_out: text, conllu and tfds only: what those are shares of: `text`, its characters, or `lines`, as
        saved configurations without this setting mean (lines of files; where there are records, documents).
      repeated: text, conllu and tfds only: what becomes of validation and test documents that are in an
        earlier split too: `leave_out`, or `keep`, as saved configurations without this setting mean.
      tokenizer: `bpe` (byte level, any text, never an unknown token), `word` (whitespace words),
        `characters`, or the path of a tokenizer.json, whose name ends with .json (docs/howto/tokenizer.md).
        The checkpoint keeps it.
      vocab_size: largest number of token types; words and characters may come out fewer. A tokenizer.json has
        its own number, and this one is not read.
      begin: the type that stands before a text wherever a model reads one by itself, as a pretrained model
        wants its begin token; empty is none.
      cache_dir: where prepared data sets and token caches are kept. Empty: ~/.cache/aila_jax.
      rule: recall and brackets only: their sizes.
      questions: of the corpora of questions: how their prompts are made.
    """

    corpus: str = "pydocs"
    data_dir: str = ""
    url: str = "https://wikitext.smerity.com/wikitext-2-v1.zip"
    files: tuple[str, ...] = ()
    valid_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    conllu_blocks: str = "sentences"
    tfds_name: str = ""
    tfds_data_dir: str = ""
    tfds_text: str = ""
    tfds_train: str = ""
    tfds_validation: str = ""
    tfds_test: str = ""
    file_kinds: str = "content"
    join_lines: bool = False
    valid_fraction: float = 0.05
    test_fraction: float = 0.05
    hold_out: str = "text"
    repeated: str = "leave_out"
    tokenizer: str = "bpe"
    vocab_size: int = 4096
    begin: str = ""
    cache_dir: str = ""
    rule: RuleConfig = field(default_factory=RuleConfig)
    questions: QuestionConfig = field(default_factory=QuestionConfig)

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        read = ("pydocs", "wikitext2", "text", "conllu", "tfds", "recall", "brackets")
        one_of("data.corpus", self.corpus, (*read, *QUESTION_SETTINGS))
        if not self.own_tokenizer:
            one_of("data.tokenizer", self.tokenizer, (*TOKENIZERS, "the path of a tokenizer.json"))
        one_of("data.file_kinds", self.file_kinds, ("content", "suffix"))
        one_of("data.hold_out", self.hold_out, ("text", "lines"))
        one_of("data.repeated", self.repeated, ("leave_out", "keep"))
        one_of("data.conllu_blocks", self.conllu_blocks, ("sentences", "classes", "constituents"))
        least = 258 if self.tokenizer == "bpe" else 3
        kept = "set --config.data.{}=0.05"
        limits: tuple[Rule, ...] = (
            ("vocab_size", self.own_tokenizer or self.vocab_size >= least,
             f"at least {least} for {self.tokenizer}", "raise --config.data.vocab_size"),
            ("valid_fraction", 0.0 < self.valid_fraction < 0.5, "in (0, 0.5)", kept.format("valid_fraction")),
            ("test_fraction", 0.0 < self.test_fraction < 0.5, "in (0, 0.5)", kept.format("test_fraction")),
        )  # fmt: skip
        check_rules("data.", self, limits)
        self._check_corpus()
        self._check_unread("rule", RuleConfig(), RULE_SETTINGS.get(self.corpus, ()))
        self._check_unread("questions", QuestionConfig(), QUESTION_SETTINGS.get(self.corpus, ()))
        self._check_rule()

    @property
    def asks(self) -> bool:
        """Whether the corpus is one of prompts with questions."""
        return self.corpus in QUESTION_SETTINGS

    @property
    def own_tokenizer(self) -> bool:
        """Whether the tokenizer is a file of the user's."""
        return self.tokenizer.endswith(".json")

    def _check_corpus(self) -> None:
        """What a corpus needs it has, and what it does not read is left alone."""
        corpus = self.corpus
        files, tfds = corpus in ("text", "conllu", "question_files"), corpus == "tfds"
        pattern = {"text": "my/*.txt", "conllu": "my/*.conllu"}.get(corpus, "my/*.jsonl")
        alone, empty = (f"{limit} when data.corpus is {str(corpus)!r}" for limit in ("left alone", "empty"))
        shape = "a name such as ag_news_subset, glue/sst2 or glue/sst2:2.0.0"
        text_settings = ("files", "valid_files", "test_files")
        tfds_settings = tuple(f"tfds_{name}" for name in "name data_dir text train validation test".split())
        rules: tuple[Rule, ...] = (
            ("conllu_blocks", corpus == "conllu" or self.conllu_blocks == "sentences", alone,
             "leave it out, or set --config.data.corpus=conllu"),
            ("files", not files or len(self.files) > 0, "at least one path or glob",
             f"pass --config.data.files=\"('{pattern}',)\""),
            *((name, files or not getattr(self, name), empty,
               "set --config.data.corpus=text, conllu or question_files")
              for name in text_settings),
            ("tfds_name", not tfds or bool(TFDS_NAME.fullmatch(self.tfds_name)), shape,
             "set --config.data.tfds_name"),
            *((name, tfds or not getattr(self, name), empty, "set --config.data.corpus=tfds")
              for name in tfds_settings),
            ("join_lines", corpus in ("pydocs", "text") or not self.join_lines, alone,
             "leave it out, or set --config.data.corpus=text"),
            ("data_dir", corpus in ("wikitext2", "wikitext2_passages") or not self.data_dir, empty,
             "leave it out, or set --config.data.corpus=wikitext2"),
        )  # fmt: skip
        check_rules("data.", self, rules)

    def _check_rule(self) -> None:
        """The rule corpora are word level."""
        rule = self.rule
        if self.corpus not in ("recall", "brackets"):
            return
        symbols = rule.n_keys + rule.n_values + 1 if self.corpus == "recall" else 2 * rule.kinds + 1
        least, words = symbols + 2, f"'word' when data.corpus is {self.corpus!r}"
        rules: tuple[Rule, ...] = (
            ("tokenizer", self.tokenizer == "word", words, "set --config.data.tokenizer=word"),
            ("vocab_size", self.vocab_size >= least, f"at least {least} for these symbols",
             f"set --config.data.vocab_size={least}"),
        )  # fmt: skip
        check_rules("data.", self, rules)

    def _check_unread(self, group: str, defaults: Any, read: tuple[str, ...]) -> None:
        """A setting of a group that the corpus would not read is refused."""
        alone = f"left alone when data.corpus is {self.corpus!r}"
        fix = "leave it out, or choose the corpus that reads it"
        unread: list[Rule] = [
            (f"{group}.{name}", name in read or getattr(getattr(self, group), name) == default, alone, fix)
            for name, default in dataclasses.asdict(defaults).items()
        ]
        check_rules("data.", self, unread)

    def in_tokens_of(self, other: "DataConfig") -> "DataConfig":
        """The same text, with the tokenizer and the begin token of another's."""
        return dataclasses.replace(
            self, tokenizer=other.tokenizer, vocab_size=other.vocab_size, begin=other.begin
        )
