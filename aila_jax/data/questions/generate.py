"""Questions over several passages whose sources are planted, so that it is known which passage an answer
needs.

| kind | passages planted | answer |
| --- | --- | --- |
| one_hop | one that states it | the value |
| two_hops | one that names somebody, one that states it of them | the value |
| absent | none | `ABSTAIN` |
| contradicting | two that state different values | `ABSTAIN` |
| redundant | 2c + 1 that agree | the value |
| repeat | none | the words of the question, drawn one by one |
| recall | one that is a name, some small words and a value: name and words are asked for | the value |
| topic | one that states something | what is asked for, or stated of a name, in one word |

All others state something else: another attribute of somebody asked about, or anything of somebody else.
Source: ours (docs/method.md, section 15).
"""

import random
from dataclasses import dataclass, field, replace

from aila_jax.config import QuestionConfig
from aila_jax.config.questions import RECALL, REPEAT, TOPIC
from aila_jax.data.questions.examples import ABSTAIN, Example, Turn
from aila_jax.data.questions.world import ATTRIBUTES, BRIDGES, EVERY_WORD, FILLERS, NAMES, VALUES

RUN = (2, 6)  # words of a `repeat` that stay together
SAID = 3  # times that they are said again
ASKS = 1 / 3  # of the topics that are a question's
AGAIN = 0.5  # of the questions that could be asked again; or what is left over would be a hint


@dataclass
class _World:
    """The passages of one example while it is made.

    Attributes:
      draw: what all is drawn by.
      names: nobody in the passages yet, in the order in which they come.
      values: likewise.
      stated: passages.
      asked: (name, attribute) that no distractor may state.
      subjects: whom planted passages are about.
      wanted: the attributes that are asked for.
      recalled: names and small words of what can be recalled.
      told: attribute, subject and turn of what was asked for; of a recall the turn alone.
    """

    draw: random.Random
    names: list[str]
    values: list[str]
    stated: list[str] = field(default_factory=list)
    asked: set[tuple[str, str]] = field(default_factory=set)
    subjects: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    recalled: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    told: list[tuple[str, str, Turn]] = field(default_factory=list)

    def fact(self, name: str, attribute: str, value: str) -> int:
        """The number of a new passage that states it."""
        self.stated.append(ATTRIBUTES[attribute].state(self.draw, name, value))
        return len(self.stated) - 1

    def link(self, role: str, name: str, other: str) -> int:
        """The number of a new passage that says who somebody's teacher, say, is."""
        self.stated.append(BRIDGES[role].state(self.draw, name, other))
        return len(self.stated) - 1

    def pair(self, words: int, rivals: float, same: float) -> Turn:
        """The value of a name and up to `words` small words. `rivals` of the passages have another name with
        words that are there; of the others `same` have other words with a name that is there.
        """
        name, said = self.names[-1], self.small(words)
        if words and self.recalled:
            if self.draw.random() < rivals:
                said = self.draw.choice(self.recalled)[1]
            elif self.draw.random() < same:
                name = self.draw.choice(self.recalled)[0]
        if any(name == other and not {*said}.isdisjoint(those) for other, those in self.recalled):
            name, said = self.names[-1], self.small(words)  # one would answer for the other
        if name == self.names[-1]:
            self.names.pop()
        self.recalled.append((name, said))
        key, value = " ".join((name, *said)), self.values.pop()
        self.stated.append(f"{key} {value}.")
        return Turn(key, value, (len(self.stated) - 1,), RECALL)

    def small(self, words: int) -> tuple[str, ...]:
        """One to so many small words; none of none."""
        return tuple(self.draw.sample(FILLERS, self.draw.randint(1, words))) if words else ()

    def repeated(self, most: int) -> Turn:
        """Words to be said again and again in runs that change places, or a model learns to count instead of
        looking for the word before. Few words are as likely as many: from few it learns first.
        """
        words = self.draw.sample(EVERY_WORD, round(2 * (most / 2) ** self.draw.random()))
        runs = []
        while words:
            size = self.draw.randint(*RUN)
            runs.append(words[:size])
            words = words[size:]
        said = [runs, *(self.draw.sample(runs, len(runs)) for _ in range(SAID))]
        stated, *again = (" ".join(word for run in one for word in run) for one in said)
        return Turn(f"Repeat {stated}", " ".join(again), (), REPEAT)

    def topic(self, rivals: float, same: float) -> Turn:
        """Of what is said of somebody of whom one thing is stated, or of a question as all others are."""
        asks = self.draw.random() < ASKS
        name, attribute = self.wonder(rivals, same if asks else 0.0)
        number = self.fact(name, attribute, self.values.pop())
        self.asked.add((name, attribute))
        if asks:
            self.subjects.append(name)
            self.wanted.append(attribute)
            question = f"{ATTRIBUTES[attribute].ask(self.draw, name)} What?"
        else:
            question = f"What of {name}?"  # words that are known: parts of others would look like names
        return Turn(question, attribute, (number,), TOPIC)

    def wonder(self, rivals: float, same: float) -> tuple[str, str]:
        """A name and an attribute, to be asked for or stated. `rivals` of them are what was asked, of
        somebody else; of the others `same` are something else, of somebody asked about.
        """
        if rivals and self.wanted and self.draw.random() < rivals:
            return self.names.pop(), self.draw.choice(self.wanted)
        if self.subjects and self.draw.random() < same:
            name = self.draw.choice(self.subjects)
            if free := self.unsaid(name):
                return name, self.draw.choice(free)
        return self.names.pop(), self.draw.choice(list(ATTRIBUTES))

    def asked_before(self, kind: str) -> Turn | None:
        """A question of this kind once more, in the words that are drawn now; None: a new one is due."""
        told = [one for one in self.told if one[-1].kind == kind]
        if not told or self.draw.random() >= AGAIN:
            return None
        attribute, subject, turn = self.draw.choice(told)
        return replace(turn, question=ATTRIBUTES[attribute].ask(self.draw, subject)) if attribute else turn

    def unsaid(self, name: str) -> list[str]:
        """The attributes of somebody that nothing states or asks yet."""
        return [attribute for attribute in ATTRIBUTES if (name, attribute) not in self.asked]

    def distract(self, rivals: float, same: float) -> None:
        """A passage that answers nothing, of whom and what a question might be."""
        name, attribute = self.wonder(rivals, same)
        self.asked.add((name, attribute))  # or another distractor would contradict this one
        self.fact(name, attribute, self.values.pop())


def _plant(world: _World, kind: str, config: QuestionConfig) -> Turn:
    """A question of this kind, its sources among the passages."""
    if kind == REPEAT:
        return world.repeated(config.repeated)
    if kind == TOPIC:
        return world.topic(config.rivals, config.same)
    if again := world.asked_before(kind):
        return again
    if kind == RECALL:
        turn = world.pair(config.gap, config.rivals, config.same)
        world.told.append(("", "", turn))
        return turn
    draw = world.draw
    name, attribute = world.wonder(config.rivals, config.same)
    subject, answer, sources = name, world.values.pop(), []
    if kind == "two_hops":
        role, holder = draw.choice(list(BRIDGES)), world.names.pop()
        sources.append(world.link(role, holder, name))
        subject = BRIDGES[role].ask(draw, holder)
        world.subjects.append(holder)
    copies = {"absent": 0, "redundant": 2 * config.agree + 1}.get(kind, 1)
    sources += [world.fact(name, attribute, answer) for _ in range(copies)]
    if kind == "contradicting":
        sources.append(world.fact(name, attribute, world.values.pop()))
    world.subjects.append(name)
    world.wanted.append(attribute)
    world.asked.add((name, attribute))
    abstains = kind in ("absent", "contradicting")
    question = ATTRIBUTES[attribute].ask(draw, subject)
    turn = Turn(question, ABSTAIN if abstains else answer, tuple(sources), kind)
    world.told.append((attribute, subject, turn))
    return turn


def generate_example(config: QuestionConfig, split: str, draw: random.Random) -> Example:
    """One example of a split; the sources stand anywhere among the passages, all orders being equally
    likely.

    The number of passages is drawn from `least` to `most`, and is more where more are planted.
    """
    count = draw.randint(config.least, config.most)
    kinds = [draw.choice(config.kinds) for _ in range(min(config.asked, count))]
    # Of one example no name and no value comes twice, so that only what is planted agrees or contradicts.
    most = max(config.most, len(kinds) * max(2 * config.agree + 1, 2)) + 2 * len(kinds)
    world = _World(draw, draw.sample(NAMES[split], most), draw.sample(VALUES[split], most))
    turns = [_plant(world, kind, config) for kind in kinds]
    exercise = set(config.kinds) <= {REPEAT, RECALL}
    while len(world.stated) < max(count, 1):
        if exercise:
            world.pair(config.gap, config.rivals, config.same)
        else:
            world.distract(config.rivals, config.same)
    order = list(range(len(world.stated)))
    draw.shuffle(order)
    place = {number: at for at, number in enumerate(order)}
    return Example(
        tuple(world.stated[number] for number in order),
        tuple(
            Turn(turn.question, turn.answer, tuple(sorted(place[one] for one in turn.rationale)), turn.kind)
            for turn in turns
        ),
    )


def generate(config: QuestionConfig, split: str, count: int) -> tuple[Example, ...]:
    """`count` examples of a split; the same settings give the same ones on every machine.

    Args:
      config: the generator's settings.
      split: `train`, `validation` or `test`; no name and no value is in two of them.
      count: of examples.
    """
    draw = random.Random(f"{config.seed} {split}")  # text is hashed the same way everywhere
    return tuple(generate_example(config, split, draw) for _ in range(count))
