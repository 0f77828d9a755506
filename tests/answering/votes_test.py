"""The majority of branches, and everything that anybody can do to it by replacing passages."""

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from aila_jax.answering.cache import Cache, Memory
from aila_jax.answering.modes import Limits, ask
from aila_jax.answering.passages import Passage
from aila_jax.answering.slots import Setting
from aila_jax.answering.votes import canonical, majority
from tests.support.passages import model_of, prompt_of_tokens

TYPES = (17, 60, 113, 151)  # the vocabulary of passages
SMALL = [one for size in (1, 2) for one in itertools.product(TYPES, repeat=size)]


@pytest.mark.parametrize(
    ("answers", "abstain", "certified"),
    [
        ("a a a a a", (), 2),
        ("a a a a", (), 1),
        ("a a a b", (), 0),
        ("a a a a b", (), 1),
        ("a a a a u u", ("u",), 1),
        ("a a a a b b", (), 0),
        ("a a a a u u b b", ("u",), 0),
        ("a a a u u u u u", ("u",), 1),  # who names none has no vote
        ("u u u u a", ("u",), 0),
        ("u u u u u", ("u",), 0),  # one passage can name an answer
        ("a", (), 0),
        ("a b", (), 0),
    ],
)
def test_how_many_passages_cannot_change_it(answers: str, abstain: tuple[str, ...], certified: int) -> None:
    found = majority(answers.split(), abstain)
    assert found.certified == certified
    assert sum(vote.count for vote in found.votes) == len(answers.split())


def test_the_form_in_which_answers_are_compared() -> None:
    assert canonical("  The Owl.\n") == canonical("the owl") == "the owl"
    assert canonical("3.5") == "3.5"
    found = majority(["The owl.", "a cat", "the owl ", "", "Unknown."], ["unknown"])
    assert [(vote.answer, vote.passages) for vote in found.votes] == [
        ("the owl", (0, 2)), ("a cat", (1,)), ("", (3, 4)),
    ]  # fmt: skip
    assert found.leader.answer == "the owl"


def test_who_names_none_has_no_vote() -> None:
    found = majority(["unknown", "", "b", "a", "unknown", "a"], ["unknown"])
    assert [(vote.answer, vote.count, vote.abstains) for vote in found.votes] == [
        ("a", 2, False), ("b", 1, False), ("", 3, True),
    ]  # fmt: skip
    assert majority(["unknown", ""], ["unknown"]).leader.abstains


@cache
def says() -> dict[tuple[int, ...], str]:
    """What the branch of every passage of the small vocabulary answers."""
    return dict(zip(SMALL, said(SMALL), strict=True))


def said(bodies: list[tuple[int, ...]]) -> list[str]:
    prompt = prompt_of_tokens(lengths=())
    passages = tuple(Passage(str(number), "text") for number in range(len(bodies)))
    prompt = replace(prompt, bodies=tuple(bodies), passages=passages)
    asked = ask(Setting(model_of("rotary"), 1.0, 1.0, True), prompt, "branches", 8, CACHE)
    return [canonical(one.text) for one in asked.draw(Limits(1, ()))]


CACHE = Cache(Memory())


def groups() -> list[str]:
    """The answers, the most frequent first."""
    return sorted(set(says().values()), key=lambda one: -list(says().values()).count(one))


def test_a_branch_answers_to_its_own_passage_whatever_the_others_are() -> None:
    draw = np.random.default_rng(0)
    for _ in range(4):
        bodies = [SMALL[number] for number in draw.integers(0, len(SMALL), 5)]
        assert said(bodies) == [says()[one] for one in bodies]


# How many of the passages say the most frequent answer, the second and the third; the second may be said to
# be no answer.
@pytest.mark.parametrize(
    ("counts", "abstains", "certified"),
    [
        ((5, 0, 0), False, 2),
        ((4, 1, 0), False, 1),
        ((4, 2, 0), True, 1),
        ((4, 1, 1), False, 1),
        ((3, 1, 0), False, 0),
        ((3, 4, 0), True, 1),
        ((1, 5, 0), True, 0),
        ((0, 5, 0), True, 0),
    ],
)
def test_no_attack_changes_what_is_certified_and_one_more_passage_does(
    counts: tuple[int, ...], abstains: bool, certified: int
) -> None:
    """Every choice of passages, replaced with every passage of the small vocabulary."""
    names = groups()
    assert len(names) >= 3
    abstain = (names[1],) if abstains else ()
    answers = [name for name, count in zip(names, counts, strict=False) for _ in range(count)]
    found = majority(answers, abstain)
    assert found.certified == certified

    def attacks(replaced: int) -> bool:
        """Whether any of them changes the answer."""
        return any(
            majority(changed(answers, where, what), abstain).leader.answer != found.leader.answer
            for where in itertools.combinations(range(len(answers)), replaced)
            for what in itertools.product(sorted(set(says().values())), repeat=replaced)
        )

    assert not attacks(certified)
    assert attacks(certified + 1)


def changed(answers: list[str], where: tuple[int, ...], what: tuple[str, ...]) -> list[str]:
    found = list(answers)
    for place, answer in zip(where, what, strict=True):
        found[place] = answer
    return found


def test_three_that_agree_against_every_passage_in_every_place() -> None:
    """Run by run: one replaced passage changes nothing, two do."""
    same = [one for one in SMALL if says()[one] == groups()[0]][:3]
    found = majority(said(same))
    assert (found.certified, found.leader.count) == (1, 3)
    for where, body in itertools.product(range(3), SMALL):
        bodies = [*same[:where], body, *same[where + 1 :]]
        assert majority(said(bodies)).leader.answer == found.leader.answer
    other = next(one for one in SMALL if says()[one] == groups()[1])
    assert majority(said([other, same[1], other])).leader.answer == groups()[1]
