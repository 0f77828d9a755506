"""Settings of the text, and of the synthetic corpora."""

import dataclasses
import re
from dataclasses import dataclass, field

from aila_jax.config.checks import one_of, require

# What TensorFlow Datasets calls a data set: its name, one of its configurations, a version.
TFDS_NAME = re.compile(r"(?P<name>[A-Za-z_]\w*)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?")


@dataclass(frozen=True)
class RuleConfig:
    """The synthetic corpora `recall` and `brackets`, in which a rule determines some targets (docs/data.md).

    Attributes:
      seed: of the generator, at least 0; the run's own seed leaves the corpus as it is.
      sequences: training sequences; validation and test have data.valid_fraction and data.test_fraction of so
        many.
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
        for name, least in (
            ("seed", 0),
            ("sequences", 1),
            ("n_keys", 2),
            ("n_values", 2),
            ("kinds", 2),
            ("depth", 1),
            ("brackets", 1),
        ):
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


RULE_SETTINGS = {
    "recall": ("n_keys", "n_values", "pairs", "queries"),
    "brackets": ("kinds", "depth", "brackets"),
}


@dataclass(frozen=True)
class DataConfig:
    """Which text, and how it becomes tokens.

    Attributes:
      corpus: `pydocs` (embedded: the docstrings and language reference of this Python), `wikitext2`, `text`
        (your files), `conllu` (your annotated files), `tfds` (a TensorFlow data set by name), all in
        docs/data.md, or `recall` or `brackets` (synthetic, see data.rule).
      data_dir: wikitext2 only: a folder that holds wiki.{train,valid,test}.tokens. Empty: download from
        `url`.
      url: wikitext2 only: address of the zip archive that is downloaded when `data_dir` is empty.
      files: text and conllu only: paths or globs of UTF-8 files (`.jsonl` files: one document a line, see
        docs/data.md).
      valid_files: text and conllu only: paths or globs of the validation split. Empty: the last lines of
        `files` are held out.
      test_files: text and conllu only: the same for the test split.
      conllu_blocks: conllu only: which annotation gives the partition `given` its blocks: `sentences`,
        `classes` (of words, by universal part-of-speech tag) or `constituents` (clauses).
      tfds_name: tfds only: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION, as TensorFlow Datasets
        writes them.
      tfds_data_dir: tfds only: the folder that holds prepared data sets. Empty: that of TensorFlow Datasets,
        ~/tensorflow_datasets.
      tfds_text: tfds only: the feature that holds the text; outer/inner for a nested one. Empty: the only
        text feature there is.
      tfds_train, tfds_validation, tfds_test: tfds only: the data set's splits, or parts of them such as
        train[:90%]. Empty: the split of that name; where there is no such validation or test split, the last
        examples of the training split are held out.
      valid_fraction: share of the text held out for validation where there is no validation text, in (0,
        0.5).
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
    conllu_blocks: str = "sentences"
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
        one_of("data.corpus", self.corpus, ("pydocs", "wikitext2", "text", "conllu", "tfds", *RULE_SETTINGS))
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
        one_of("data.conllu_blocks", self.conllu_blocks, ("sentences", "classes", "constituents"))
        if self.corpus != "conllu":
            fix = "leave it out, or set --config.data.corpus=conllu"
            limit = f"left alone when data.corpus is {self.corpus!r}"
            require(self.conllu_blocks == "sentences", "data.conllu_blocks", self.conllu_blocks, limit, fix)
        if self.corpus in ("text", "conllu"):
            pattern = "my/*.txt" if self.corpus == "text" else "my/*.conllu"
            fix = f"pass --config.data.files=\"('{pattern}',)\""
            require(len(self.files) > 0, "data.files", self.files, "at least one path or glob", fix)
        else:
            for name in ("files", "valid_files", "test_files"):
                value = getattr(self, name)
                fix = "set --config.data.corpus=text or conllu"
                require(not value, f"data.{name}", value, f"empty when data.corpus is {self.corpus!r}", fix)
        if self.corpus == "tfds":
            shape = "a name such as ag_news_subset, glue/sst2 or glue/sst2:2.0.0"
            require(
                bool(TFDS_NAME.fullmatch(self.tfds_name)),
                "data.tfds_name",
                self.tfds_name,
                shape,
                "set --config.data.tfds_name",
            )
        else:
            for name in (
                "tfds_name",
                "tfds_data_dir",
                "tfds_text",
                "tfds_train",
                "tfds_validation",
                "tfds_test",
            ):
                value = getattr(self, name)
                require(
                    not value,
                    f"data.{name}",
                    value,
                    f"empty when data.corpus is {self.corpus!r}",
                    "set --config.data.corpus=tfds",
                )
        if self.corpus != "wikitext2":
            fix = "leave it out, or set --config.data.corpus=wikitext2"
            require(
                not self.data_dir,
                "data.data_dir",
                self.data_dir,
                f"empty when data.corpus is {self.corpus!r}",
                fix,
            )
        self._check_rule()

    def _check_rule(self) -> None:
        """The rule corpora are word level, and a setting that the corpus would not read is refused."""
        read = ("seed", "sequences", *RULE_SETTINGS[self.corpus]) if self.corpus in RULE_SETTINGS else ()
        for name, default in dataclasses.asdict(RuleConfig()).items():
            value = getattr(self.rule, name)
            fix = "leave it out, or choose the corpus that reads it"
            require(
                name in read or value == default,
                f"data.rule.{name}",
                value,
                f"left alone when data.corpus is {self.corpus!r}",
                fix,
            )
        if not read:
            return
        fix = "set --config.data.tokenizer=word"
        require(
            self.tokenizer == "word",
            "data.tokenizer",
            self.tokenizer,
            f"'word' when data.corpus is {self.corpus!r}",
            fix,
        )
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
