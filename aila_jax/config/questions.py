"""Settings of the corpora of questions over passages."""

from dataclasses import dataclass

from aila_jax.config.checks import Rule, check_fields, check_rules, in_unit, one_of

KINDS = ("one_hop", "two_hops", "absent", "contradicting", "redundant")
REPEAT, RECALL, TOPIC = "repeat", "recall", "topic"
EXERCISES = (REPEAT, RECALL, TOPIC)  # copying, looking up a name, and saying what is spoken of
MOST_PASSAGES, MOST_ASKED, MOST_AGREE = 64, 8, 8  # held-out names suffice for so many
MOST_REPEATED = 192  # words that there are
MOST_GAP = 16


@dataclass(frozen=True)
class QuestionConfig:
    """The corpora `questions`, `question_files`, `recall_passages` and `wikitext2_passages`: a window is a
    prompt of passages, and answers alone are scored (docs/howto/questions.md).

    Attributes:
      seed: of what is drawn, at least 0; the run's own seed leaves the corpus as it is.
      sequences: training prompts that are made, at least 1; validation and test have data.valid_fraction and
        data.test_fraction of so many.
      kinds: questions only: what is asked, each equally often: `one_hop`, `two_hops`, `absent`,
        `contradicting`, `redundant`; or an exercise: `repeat`, words to be said again three times, `recall`,
        names and small words with their values, or `topic`, what a question or a passage is about, in one
        word. One that is named twice comes twice as often.
      least: passages at least, from 1 to `most`.
      most: passages at most, up to 64; a question may need more.
      asked: questions only: questions a prompt, one after another, from 1 to 8; no more than its passages.
        About half of those that could be asked again are, in other words.
      agree: questions only: c of the 2c + 1 passages that agree where sources are redundant, from 0 to 8.
      rivals: questions only: share of the passages beside a source, distractors and sources of other
        questions, that state of somebody else what it asks, in [0, 1].
      same: questions only: share of the others that state another attribute of somebody asked about, in
        [0, 1]; the rest state anything of somebody else.
      repeated: questions only: words of a `repeat` at most, from 2 to 192; there are 2 at least.
      gap: questions only: small words at most between a name and its value of a `recall`, which are asked for
        with the name, from 0 to 16.
      words: wikitext2_passages only: words of a paragraph at most, at least 8; longer ones are left out.
      scored: `answers`, or `questions` for a question's tokens too: more of a prompt to learn from.
      equal: share of the prompts whose passages have equal positions, in [0, 1]; those of the others follow
        each other.
      capacity: positions that equal passages take, at least 0; 0 is the longest passage of all splits.
    """

    seed: int = 0
    sequences: int = 8192
    kinds: tuple[str, ...] = KINDS
    least: int = 1
    most: int = 8
    asked: int = 1
    agree: int = 1
    rivals: float = 0.0
    same: float = 1 / 3
    repeated: int = 24
    gap: int = 3
    words: int = 96
    scored: str = "answers"
    equal: float = 0.5
    capacity: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "data.questions.")
        one_of("data.questions.scored", self.scored, ("answers", "questions"))
        limits = {
            "seed": (0, 2**32 - 1),
            "sequences": (1, 10**8),
            "most": (1, MOST_PASSAGES),
            "least": (1, self.most),
            "asked": (1, MOST_ASKED),
            "agree": (0, MOST_AGREE),
            "repeated": (2, MOST_REPEATED),
            "gap": (0, MOST_GAP),
            "words": (8, 10**6),
            "capacity": (0, 10**6),
        }
        known = bool(self.kinds) and set(self.kinds) <= {*KINDS, *EXERCISES}
        rules: tuple[Rule, ...] = (
            *(
                (name, low <= getattr(self, name) <= high, f"from {low} to {high}",
                 f"set --config.data.questions.{name}={max(low, min(getattr(self, name), high))}")
                for name, (low, high) in limits.items()
            ),
            ("kinds", known, f"one or more of {', '.join((*KINDS, *EXERCISES))}",
             "set --config.data.questions.kinds=\"('one_hop',)\""),
            ("rivals", in_unit(self.rivals), "in [0, 1]", "0.5 makes half of the distractors rivals"),
            ("same", in_unit(self.same), "in [0, 1]", "0.5 makes half of them of somebody asked about"),
            ("equal", in_unit(self.equal), "in [0, 1]", "0.5 trains both ways of numbering alike"),
        )  # fmt: skip
        check_rules("data.questions.", self, rules)


# What each corpus reads of these settings.
QUESTION_SETTINGS = {
    "questions": (
        "seed",
        "sequences",
        "kinds",
        "least",
        "most",
        "asked",
        "agree",
        "rivals",
        "same",
        "repeated",
        "gap",
        "scored",
        "equal",
        "capacity",
    ),
    "question_files": ("seed", "scored", "equal", "capacity"),
    "recall_passages": ("seed", "sequences", "least", "most", "scored", "equal", "capacity"),
    "wikitext2_passages": ("seed", "sequences", "least", "most", "words", "scored", "equal", "capacity"),
}
