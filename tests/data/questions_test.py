"""Generated questions, checked by a reader that parses the passages; what is shared between splits; and
prompts as windows: what is scored, where tokens stand, which block they are of.
"""

import itertools
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aila_jax import presets
from aila_jax.config import Config, DataConfig, PartitionConfig, QuestionConfig, RuleConfig
from aila_jax.config.questions import KINDS
from aila_jax.data.dataset import Dataset, load_dataset
from aila_jax.data.documents import SPLITS
from aila_jax.data.pipeline import TrainBatches
from aila_jax.data.questions.examples import Example, Turn
from aila_jax.data.questions.generate import generate
from aila_jax.data.questions.recall import recall_examples
from aila_jax.types import GLOBAL_ID, PADDING_ID
from experiments.questions.runs import EXERCISES

WORDS = r"(?P<{}>[A-Z][a-z]+ [A-Z][a-z]+)"
# What a reader knows: a word that gives each relation away. Neither wordings nor names are the generator's.
SIGNS = {
    "live": "home", "lives": "home", "home": "home", "born": "birth", "birthplace": "birth", "work": "employer",
    "works": "employer", "employer": "employer", "study": "school", "studied": "school", "school": "school",
    "ship": "ship", "teacher": "teacher", "neighbour": "neighbour", "doctor": "doctor",
}  # fmt: skip
ROLES = ("teacher", "neighbour", "doctor")


def read(passage: str) -> tuple[str, str, str]:
    """(whom, relation, what) of a passage: its two pairs of names in order, and its sign."""
    whom, what = re.findall(
        r"[A-Z][a-z]+ [A-Z][a-z]+", re.sub(r"^(The|Every|Long|For|In|As|Today) ", "", passage)
    )
    return whom, next(SIGNS[word] for word in re.findall(r"\w+", passage) if word in SIGNS), what


def read_question(question: str) -> tuple[str, tuple[str, ...]]:
    """(whom, signs of what) of a question."""
    (name,) = re.findall(r"[A-Z][a-z]+ [A-Z][a-z]+", question[1:])
    return name, tuple(SIGNS[word] for word in re.findall(r"\w+", question) if word in SIGNS)


def solve(passages: tuple[str, ...], question: str) -> tuple[set[str], set[int]]:
    """Every value that the passages state of what is asked, and where all that was needed stands."""
    facts = [read(passage) for passage in passages]
    name, signs = read_question(question)
    used, people = set(), {name}
    for role in (sign for sign in signs if sign in ROLES):
        links = [
            number for number, (whom, relation, _) in enumerate(facts) if whom in people and relation == role
        ]
        used |= set(links)
        people = {facts[number][2] for number in links}
    asked = next(sign for sign in signs if sign not in ROLES)
    stated = [n for n, (whom, relation, _) in enumerate(facts) if whom in people and relation == asked]
    return {facts[number][2] for number in stated}, used | set(stated)


@given(
    st.integers(0, 2**16),
    st.sampled_from(SPLITS),
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_a_reader_finds_the_answers_where_they_were_planted(
    seed: int, split: str, most: int, asked: int, agree: int
) -> None:
    config = QuestionConfig(seed=seed, most=most, asked=asked, agree=agree)
    for example in generate(config, split, 8):
        for turn in example.turns:
            values, used = solve(example.passages, turn.question)
            assert turn.answer == (values.pop() if len(values) == 1 else "unknown")
            assert set(turn.rationale) == used
            planted = {
                "one_hop": 1,
                "two_hops": 2,
                "absent": 0,
                "contradicting": 2,
                "redundant": 2 * agree + 1,
            }
            assert len(used) == planted[turn.kind]
        told = [read(passage)[:2] for passage in example.passages]
        asked_of = {told[number] for turn in example.turns for number in turn.rationale}
        others = [one for one in told if one not in asked_of]
        assert len(set(others)) == len(others)  # no two distractors are about one thing


def test_all_kinds_come_and_their_distractors_speak_of_who_is_asked_about() -> None:
    found = generate(QuestionConfig(least=8), "train", 400)
    assert {example.kind for example in found} == set(KINDS)
    assert all(len(example.passages) == 8 for example in found)
    one = [example for example in found if example.kind == "one_hop"]
    same = [sum(read(p)[0] == read(e.passages[e.rationale[0]])[0] for p in e.passages) - 1 for e in one]
    assert np.mean([count > 0 for count in same]) > 0.5
    # Sources stand everywhere: of 8 places each has a share near an eighth (5 standard deviations).
    places = np.bincount([example.rationale[0] for example in one], minlength=8) / len(one)
    assert np.abs(places - 1 / 8).max() < 5 * np.sqrt(1 / 8 * 7 / 8 / len(one))


def test_rivals_state_of_somebody_else_what_is_asked() -> None:
    def share(rivals: float) -> float:
        """Of the distractors that speak of nobody asked about, those with the attribute that is asked for."""
        same = []
        for example in generate(
            QuestionConfig(kinds=("one_hop",), least=6, most=6, rivals=rivals), "train", 300
        ):
            source = read(example.passages[example.rationale[0]])
            facts = [
                read(passage)
                for number, passage in enumerate(example.passages)
                if number not in example.rationale
            ]
            assert len({fact[:2] for fact in facts} | {source[:2]}) == 6  # none speaks of the same thing
            same += [fact[1] == source[1] for fact in facts if fact[0] != source[0]]
        return float(np.mean(same))

    assert share(1.0) == 1.0
    for example in generate(
        QuestionConfig(kinds=("one_hop",), least=4, most=4, asked=4, rivals=1.0), "train", 50
    ):
        assert len({read(passage)[1] for passage in example.passages}) == 1  # every one is asked about
    assert share(0.0) < 0.3
    assert 0.5 < share(0.5) < 0.85


def test_distractors_of_the_same_state_something_else_of_somebody_asked_about() -> None:
    def share(same: float, rivals: float = 0.0) -> float:
        """Of the distractors, those about somebody asked about."""
        config = QuestionConfig(kinds=("one_hop",), least=4, most=4, same=same, rivals=rivals)
        about = []
        for example in generate(config, "train", 300):
            facts = [read(passage) for passage in example.passages]
            source = facts[example.rationale[0]]
            about += [fact[0] == source[0] for at, fact in enumerate(facts) if at not in example.rationale]
            assert len({fact[:2] for fact in facts}) == 4  # none states the same attribute
        return float(np.mean(about))

    assert share(1.0) == 1.0 and share(0.0) == 0.0
    assert 0.27 < share(1 / 3) < 0.4 and 0.43 < share(1.0, rivals=0.5) < 0.57
    usual = QuestionConfig(kinds=("one_hop",))
    assert generate(usual, "train", 20) == generate(replace(usual, same=1 / 3), "train", 20)


def asked_turns(asked: int = 4, **changed: Any) -> list[tuple[Turn, ...]]:
    """The questions of 300 prompts without more passages than they need."""
    kinds = ("one_hop", "absent", "redundant")
    config = QuestionConfig(kinds=kinds, least=asked, most=asked, asked=asked, agree=0, **changed)
    return [example.turns for example in generate(config, "train", 300)]


def test_same_holds_for_the_sources_of_other_questions_too() -> None:
    def others(same: float, rivals: float = 0.0, asked: int = 4) -> float:
        """Of what is asked after the first, the share about somebody else than all before."""
        new = more = 0
        for turns in asked_turns(asked, same=same, rivals=rivals):
            questions = {read_question(turn.question) for turn in turns}
            new, more = new + len({name for name, _ in questions}) - 1, more + len(questions) - 1
        return new / more

    assert others(1.0, asked=5) == 0.0 and others(0.0) == 1.0  # there are five attributes
    assert 0.27 < others(2 / 3) < 0.4
    assert others(1.0, rivals=1.0) == 1.0  # rivals go first


def test_a_topic_is_what_a_question_asks_for_or_what_is_stated_of_somebody() -> None:
    config = QuestionConfig(kinds=("topic", "one_hop"), least=4, most=4, asked=4, rivals=0.4, same=0.5)
    named = asking = 0
    for example in generate(config, "train", 300):
        facts = [read(passage) for passage in example.passages]
        for turn in example.turns:
            if turn.kind != "topic":
                continue
            (number,), (name, signs) = turn.rationale, read_question(turn.question)
            assert bool(signs) == turn.question.endswith(" What?")
            assert facts[number][0] == name and facts[number][1] == turn.answer
            if signs:
                asking += 1
                assert signs[0] == turn.answer
            else:
                named += 1
                assert [fact[0] for fact in facts].count(name) == 1  # one thing is stated of them
    assert 0.6 < named / (named + asking) < 0.73


def test_half_of_the_questions_that_can_be_asked_again_are() -> None:
    again = could = reworded = 0
    for turns in asked_turns():
        before: list[Turn] = []
        for turn in turns:
            what = read_question(turn.question)
            found = [one for one in before if read_question(one.question) == what]
            could += any(one.kind == turn.kind for one in before)
            again += bool(found)
            reworded += any(one.question != turn.question for one in found)
            assert all((one.answer, one.rationale, one.kind) == (turn.answer, turn.rationale, turn.kind)
                       for one in found)  # fmt: skip
            before.append(turn)
    assert 0.43 < again / could < 0.57
    assert reworded > again / 3


def test_a_repeat_asks_for_its_own_words_in_runs_that_change_places() -> None:
    found = generate(QuestionConfig(kinds=("repeat",), repeated=9, most=3, asked=2), "train", 2000)
    turns = [turn for example in found for turn in example.turns]
    assert len(turns) > 400
    counts, stay = Counter(), 0
    for turn in turns:
        asked, said = turn.question.removeprefix("Repeat ").split(), turn.answer.split()
        times = [said[at : at + len(asked)] for at in range(0, len(said), len(asked))]
        assert len(times) == 3 and all(sorted(one) == sorted(asked) for one in times)
        assert len(set(asked)) == len(asked) and turn.rationale == () and turn.kind == "repeat"
        followed = [set(itertools.pairwise(one)) for one in (asked, *times)]
        assert len(set.intersection(*followed)) >= len(asked) // 2 - (len(asked) > 2)
        counts[len(asked)] += 1
        stay += times == [asked] * 3
    # Where runs change places no place and no number of words tells what comes next.
    assert stay < 0.6 * len(turns)
    assert set(counts) == set(range(2, 10)) and counts[2] + counts[3] > counts[8] + counts[9]
    # Words are drawn one by one: what follows one is hardly ever what followed it before.
    pairs = [pair for turn in turns[:600] for pair in itertools.pairwise(turn.question.split()[1:])]
    assert len(set(pairs)) > 0.9 * len(pairs)


def recalled(passage: str) -> tuple[str, frozenset[str], str]:
    given, family, *words, first, second = passage.rstrip(".").split()
    assert all(word.islower() for word in words) and len(set(words)) == len(words)
    return f"{given} {family}", frozenset(words), f"{first} {second}"


def test_a_recall_asks_for_the_value_of_a_name_with_its_words_some_of_them_twice() -> None:
    config = QuestionConfig(kinds=("recall",), least=4, most=4, asked=4, gap=2, rivals=0.5, same=0.5)
    again, counts, words = 0, Counter(), set()
    for example in generate(config, "train", 400):
        facts = [recalled(passage) for passage in example.passages]
        assert len({value for *_, value in facts}) == 4
        for at, (name, said, _) in enumerate(facts):
            words |= said
            counts[len(said)] += 1
            for other, those, _ in facts[:at]:
                assert name != other or not said & those  # or a part of one would ask for both
                counts["same"] += name == other
                counts["rivals"] += name != other and said == those
        for turn in example.turns:
            name, said, value = recalled(f"{turn.question} {turn.answer}.")
            assert (name, said, value) == facts[turn.rationale[0]]
        again += len({turn.answer for turn in example.turns}) < 4
    assert set(counts) == {1, 2, "same", "rivals"} and min(counts.values()) > 300
    assert len(words) > 20 and again > 200


def test_a_recall_without_small_words_has_other_names_alone() -> None:
    config = QuestionConfig(kinds=("recall",), least=4, most=4, gap=0, rivals=1.0, same=1.0)
    for example in generate(config, "train", 100):
        facts = [recalled(passage) for passage in example.passages]
        assert len({name for name, *_ in facts}) == 4 and not any(words for _, words, _ in facts)


def test_a_repeat_changes_nothing_of_other_questions() -> None:
    both = generate(QuestionConfig(kinds=("one_hop", "repeat")), "train", 100)
    assert {example.kind for example in both} == {"one_hop", "repeat"}
    assert all(solve(one.passages, one.question)[0] == {one.answer} for one in both if one.kind == "one_hop")


def test_settings_and_split_determine_the_examples() -> None:
    config = QuestionConfig(seed=3)
    assert generate(config, "train", 20) == generate(config, "train", 20)
    assert generate(config, "train", 20)[:5] == generate(config, "train", 5)
    assert generate(config, "train", 5) != generate(replace(config, seed=4), "train", 5)
    # As on the machine where this was written: the same on all.
    first = generate(QuestionConfig(kinds=("one_hop",), most=2), "test", 2)
    assert [example.turns[0] for example in first] == FIRST, first


FIRST = [
    Turn("Which ship does Tila Vazen own?", "Pigis Gupak", (1,), "one_hop"),
    Turn("What is the ship of Tato Kunen called?", "Ravem Furak", (0,), "one_hop"),
]


def everything(examples: tuple[Example, ...]) -> tuple[set[str], set[str]]:
    """Names and values of all facts."""
    facts = [read(passage) for example in examples for passage in example.passages]
    values = {what for _, relation, what in facts if relation not in ROLES}
    names = {whom for whom, _, _ in facts} | {what for _, relation, what in facts if relation in ROLES}
    return names, values


def test_no_name_and_no_value_is_in_two_splits() -> None:
    found = {split: everything(generate(QuestionConfig(), split, 2000)) for split in SPLITS}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        for mine, theirs in zip(found[one], found[other], strict=True):
            assert mine and theirs and not mine & theirs
    words = [{word for names in found[split] for name in names for word in name.split()} for split in SPLITS]
    assert words[1] <= words[0] and words[2] <= words[0]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("questions"))


def config(cache: str, corpus: str = "questions", **questions: object) -> DataConfig:
    given = QuestionConfig(**{"sequences": 400, **questions})  # type: ignore[arg-type]
    return DataConfig(corpus=corpus, vocab_size=1280, questions=given, cache_dir=cache)


@pytest.fixture(scope="module")
def dataset(cache: str) -> Dataset:
    return load_dataset(config(cache, asked=2, sequences=2000))


def test_every_held_out_token_is_one_that_training_has(dataset: Dataset) -> None:
    known = set(dataset.splits["train"].tokens.tolist())
    for split in ("validation", "test"):
        assert set(dataset.splits[split].tokens.tolist()) <= known


def test_a_window_is_a_prompt_and_its_answers_alone_are_scored(dataset: Dataset) -> None:
    windows = dataset.windows("validation", 192, False)
    batch, read_ids = windows.batch, dataset.tokenizer.decode
    examples = generate(QuestionConfig(sequences=2000, asked=2), "validation", 100)
    assert len(windows) == 100
    for row, example in enumerate(examples):
        real = batch.doc_ids[row] != PADDING_ID
        text = read_ids(batch.tokens[row][real].tolist())
        head = "Answer the question from the passages.\n"
        asked = "".join(f"Question: {turn.question}\nAnswer: {turn.answer}\n" for turn in example.turns)
        assert text + "\n" == head + "".join(f"{passage}\n" for passage in example.passages) + asked
        scored = batch.weights[row] > 0
        answers = "".join(f" {turn.answer}\n" for turn in example.turns)
        assert read_ids(batch.targets[row][scored].tolist()) == answers
        np.testing.assert_array_equal(batch.targets[row][real][:-1], batch.tokens[row][real][1:])
        assert not batch.weights[row][~real].any()
        blocks = batch.given_ids[row]
        for number, passage in enumerate(example.passages):
            assert read_ids(batch.tokens[row][blocks == number].tolist()) == f"{passage}\n"
        assert set(blocks[real]) == {GLOBAL_ID, *range(len(example.passages))}
        assert set(blocks[~real]) <= {PADDING_ID}
    assert windows.n_targets == int(np.sum(batch.weights))


def test_questions_are_scored_too_where_that_is_asked_for(dataset: Dataset, cache: str) -> None:
    both = load_dataset(config(cache, asked=2, sequences=2000, scored="questions"))
    assert both.fingerprint != dataset.fingerprint
    one, other = (found.windows("test", 192, False).batch for found in (dataset, both))
    np.testing.assert_array_equal(one.tokens, other.tokens)
    for row in range(20):
        text = other.targets[row][other.weights[row] > 0].tolist()
        assert dataset.tokenizer.decode(text).startswith("Question: ")
        after = one.tokens[row][np.flatnonzero(one.given_ids[row] >= 0)[-1] + 1 :]
        assert text[: len(text) - 1] == after[: len(text) - 1].tolist()  # all that follows the passages
    assert (other.weights >= one.weights).all()
    answers = int(np.sum((one.targets == dataset.tokenizer.eos_id) & (one.weights > 0)))
    assert len(one.tokens) < answers < 2 * len(one.tokens)  # of two questions one where there is one passage
    for found, batch in ((dataset, one), (both, other)):
        texts = [
            found.tokenizer.decode(ids[on > 0].tolist())
            for ids, on in zip(batch.targets, batch.weights, strict=True)
        ]
        assert found.splits["test"].bytes == sum(len(text.encode()) for text in texts)
        assert found.splits["test"].words == sum(len(text.split()) for text in texts) + answers


def test_passages_have_equal_positions_in_the_share_that_is_asked_for(cache: str) -> None:
    for equal, low, high in ((0.0, 0.0, 0.0), (0.5, 0.4, 0.6), (1.0, 1.0, 1.0)):
        found = load_dataset(config(cache, equal=equal, least=2))
        batch = found.windows("train", 192, False).batch
        start = np.argmax(batch.given_ids == 1, axis=1)  # the second passage's first token
        first = np.argmax(batch.given_ids == 0, axis=1)
        rows = np.arange(len(start))
        shared = batch.positions[rows, start] == batch.positions[rows, first]
        assert low <= shared.mean() <= high
        for row in np.flatnonzero(~shared)[:5]:
            np.testing.assert_array_equal(batch.positions[row], np.arange(192))
        for row in np.flatnonzero(shared)[:5]:
            blocks, positions = batch.given_ids[row], batch.positions[row]
            header = int(first[row])
            for number in range(int(blocks.max()) + 1):
                own = positions[blocks == number]
                np.testing.assert_array_equal(own, header + np.arange(len(own)))
        asked = {
            int(positions[np.flatnonzero(blocks >= 0)[-1] + 1])
            for positions, blocks in zip(batch.positions[shared], batch.given_ids[shared], strict=True)
        }
        assert len(asked) <= 1  # the question's place is the same whatever passages there are


def test_a_begin_token_leads_the_header(cache: str) -> None:
    found = load_dataset(config(cache, least=2))
    plain, begun = found.windows("train", 160, False).batch, found.windows("train", 161, False, "B").batch
    begin = found.tokenizer.type_id("B")
    assert (begun.tokens[:, 0] == begin).all() and (begun.positions[:, 0] == 0).all()
    assert (begun.given_ids[:, 0] == GLOBAL_ID).all() and not begun.weights[:, 0].any()
    for name in ("tokens", "targets", "weights", "given_ids", "doc_ids"):
        np.testing.assert_array_equal(getattr(begun, name)[:, 1:], getattr(plain, name))
    np.testing.assert_array_equal(begun.positions[:, 1:], plain.positions + 1)


def test_a_prompt_that_does_not_fit_is_named(dataset: Dataset, cache: str) -> None:
    longest = int((dataset.windows("train", 512, False).batch.doc_ids != PADDING_ID).sum(1).max())
    assert len(dataset.windows("train", longest, False)) == 2000
    with pytest.raises(
        ValueError, match=rf"takes {longest} tokens .* model\.length \({longest - 1}\), 1 more"
    ):
        dataset.windows("train", longest - 1, False)
    with pytest.raises(ValueError, match=r"data\.questions\.capacity is 3; it must be at least \d+"):
        load_dataset(config(cache, capacity=3))


def test_batches_go_on_where_they_stopped(dataset: Dataset) -> None:
    windows = dataset.windows("train", 192, False)
    one, other = TrainBatches(windows, 8, seed=0), TrainBatches(windows, 8, seed=0)
    for _ in range(3):
        next(one)
    other.set_state(one.get_state())
    np.testing.assert_array_equal(next(one).positions, next(other).positions)


def test_equal_positions_are_other_data(cache: str) -> None:
    first, second = (load_dataset(config(cache, equal=share)) for share in (0.0, 1.0))
    assert first.fingerprint != second.fingerprint


def test_recall_asks_for_pairs_where_they_stand(cache: str) -> None:
    rule = RuleConfig(n_keys=12, n_values=9, pairs=6, queries=4)
    asked = config(cache, "recall_passages", least=2, most=4)
    asked = replace(asked, rule=rule, tokenizer="word")
    for example in recall_examples(asked, "train", 50):
        said = [dict(zip(text.split()[::2], text.split()[1::2], strict=True)) for text in example.passages]
        assert 2 <= len(said) <= 4 and sum(map(len, said)) == 6
        assert max(map(len, said)) - min(map(len, said)) <= 1
        assert len({turn.question for turn in example.turns}) == 4
        for turn in example.turns:
            (source,) = turn.rationale
            assert said[source][turn.question] == turn.answer
            assert sum(turn.question in pairs for pairs in said) == 1
    batch = load_dataset(asked).windows("test", 40, False).batch
    assert (batch.weights.sum(1) == 8).all()  # a value and a line end for each of four


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"least": 9}, r"data\.questions\.least is 9; it must be from 1 to 8"),
        ({"most": 65}, r"data\.questions\.most is 65; it must be from 1 to 64"),
        ({"kinds": ()}, r"data\.questions\.kinds is \(\); it must be one or more of one_hop"),
        ({"kinds": ("guess",)}, r"kinds is \('guess',\)"),
        ({"equal": 1.5}, r"data\.questions\.equal is 1\.5; it must be in \[0, 1\]"),
        ({"asked": 0}, r"data\.questions\.asked is 0"),
        ({"sequences": 0}, r"data\.questions\.sequences is 0"),
    ],
)
def test_settings_outside_their_limits_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuestionConfig(**changed)  # type: ignore[arg-type]


def test_settings_that_nothing_reads_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"data\.questions\.most is 4; it must be left alone when data\.corpus is 'pydocs'"
    ):
        DataConfig(questions=QuestionConfig(most=4))
    with pytest.raises(ValueError, match=r"data\.questions\.words is 50; it must be left alone"):
        DataConfig(corpus="questions", questions=QuestionConfig(words=50))
    with pytest.raises(ValueError, match=r"partition\.kind is .*windows.*; it must be 'given'"):
        Config(data=DataConfig(corpus="questions"))
    Config(data=DataConfig(corpus="questions"), partition=PartitionConfig(kind="given"))


@pytest.mark.medium
def test_every_prompt_of_sentences_fits_its_preset() -> None:
    first = presets.preset(EXERCISES[0]).data
    tokenizer = load_dataset(replace(first, questions=replace(first.questions, sequences=4096))).tokenizer
    for name in ("rivals", "questions"):  # whose sentences are the longest
        config = presets.preset(name)
        dataset = load_dataset(config.data, tokenizer)
        for split in SPLITS:
            windows = dataset.windows(split, config.model.length, False, config.data.begin)
            assert len(windows) > 0, (name, split)
