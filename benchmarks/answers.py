"""What sources of an answer cost: leaving every passage out, and the first token, with passages that are kept
encoded and by whole runs.

    python -m benchmarks.answers --shape=smollm2 --passages=4,16,64 --out=answers.json
    python -m benchmarks.answers --shape=tiny --passages=4 --rounds=1

A model of Llama's parts with drawn weights reads drawn passages of `--tokens` tokens, isolated. First both
ways must say the same, within 1e-4 of log-probability. Then they take turns, after a round that compiles:

    leave-one-out   `kept`: passages are encoded already; `encoded`: they are encoded first; `whole`: an
                    ordinary pass over the prompt for each passage that is left out, and one with all
    first token     `kept`, `encoded` and `whole` likewise, of one pass

All whole runs of one number of passages have one shape, so `--whole` of them are timed a round, and what they
take is multiplied; 0 runs all. A first token is timed right after an untimed one of the same way: Linux would
clear memory for it that another way has just given back. Medians and quartiles are over rounds, ratios are of
the same round.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aila_jax.cli.huge_pages import restart_in_huge_pages
from benchmarks.generation import SHAPES, drawn_model, use_cpu

HEADER, QUESTION, ANSWER = 16, 16, 8  # tokens
CLOSE = 1e-4  # nats
LEAVE, FIRST = "leave-one-out", "first token"


@dataclass(frozen=True)
class Times:
    """One way to do one thing, at one number of passages.

    Attributes:
      what: `leave-one-out` or `first token`.
      who: `kept`, `encoded` or `whole`.
      passages: P.
      seconds: one number a round.
    """

    what: str
    who: str
    passages: int
    seconds: tuple[float, ...]


class Contest:
    """One prompt, and the ways to read it."""

    def __init__(self, model: Any, passages: int, tokens: int):
        """`tokens`: of each passage."""
        from aila_jax.answering.cache import Cache, Memory
        from aila_jax.answering.passages import Passage
        from aila_jax.answering.prompts import Prompt
        from aila_jax.answering.slots import Setting

        draw = np.random.default_rng(passages)
        sizes = (HEADER, QUESTION, ANSWER, *[tokens] * passages)
        vocabulary = model.tokenizer.vocab_size
        header, ask, answer, *bodies = (tuple(draw.integers(1, vocabulary, n).tolist()) for n in sizes)
        named = tuple(Passage(str(number), "drawn") for number in range(passages))
        self.prompt, self.answer = Prompt("drawn", named, header, tuple(bodies), ask), answer
        self.setting, self.passages, self.tokens = Setting(model, 1.0, 1.0, True), passages, tokens
        self.cache = Cache(Memory(2**40))
        self.rows = np.concatenate([np.ones((1, passages), bool), ~np.eye(passages, dtype=bool)])

    def asked(self, kept: bool) -> Any:
        """The question, its passages encoded already or not."""
        from aila_jax.answering.cache import Cache, Memory
        from aila_jax.answering.modes import ask
        from aila_jax.answering.prompts import ISOLATED

        cache = self.cache if kept else Cache(Memory(2**40))
        return ask(self.setting, self.prompt, ISOLATED, self.tokens, cache)

    def leave(self, kept: bool) -> np.ndarray:
        """log p(answer) with all passages and without each."""
        found: np.ndarray = self.asked(kept).logprobs(self.answer, self.rows).sum(axis=1)
        return found

    def leave_whole(self, runs: int) -> np.ndarray:
        """The same of the first so many, by whole runs."""
        return np.array([self.whole(row, self.answer).sum() for row in self.rows[1 : runs + 1]])

    def first(self, kept: bool) -> int:
        """The likeliest first token."""
        from aila_jax.answering.slots import Drawing

        [token] = Drawing(self.asked(kept).questions, ANSWER).next()
        return token

    def first_whole(self) -> int:
        """The same by a whole run."""
        return int(self._read(self.rows[0], self.answer[:1]).argmax())

    def whole(self, row: np.ndarray, answer: Sequence[int]) -> np.ndarray:
        """Log-probability of each of the answer's tokens by one pass over a prompt that has these passages
        alone.
        """
        import jax

        logprobs = np.asarray(jax.nn.log_softmax(self._read(row, answer), axis=-1), np.float64)
        return logprobs[np.arange(len(answer)), list(answer)]

    def _read(self, row: np.ndarray, answer: Sequence[int]) -> Any:
        from aila_jax.data.prompts import lay_out
        from aila_jax.types import Batch

        prompt, model = self.prompt, self.setting.model
        bodies = [body for body, there in zip(prompt.bodies, row, strict=True) if there]
        laid = lay_out(prompt.header, bodies, [*prompt.ask, *answer[:-1]], self.tokens)
        batch = Batch.from_tokens(laid.tokens[None], laid.block_ids[None], np.zeros_like(laid.tokens)[None])
        batch = replace(batch, positions=laid.positions[None])
        return _last(len(answer), model.network, model.params, batch, self.setting.dial)


def _last(count: int, network: Any, params: Any, batch: Any, dial: Any) -> Any:
    """Logits after the last `count` tokens, of hard attention; no others are computed."""
    import jax

    global _compiled
    if _compiled is None:
        from aila_jax.model.interface import Request
        from aila_jax.model.output import output_weights

        def last(network: Any, params: Any, batch: Any, dial: Any, count: int) -> Any:
            given = network.on_blocks(batch.given_ids)
            features = given(params, batch, dial, Request(hard=True, logits=False)).features
            return features[0, -count:] @ output_weights(params).T

        _compiled = jax.jit(last, static_argnums=4)
    return _compiled(network, params, batch, dial, count)


_compiled: Callable[..., Any] | None = None


def proved(contest: Contest, runs: int) -> float:
    """The largest difference in log-probability between kept and whole; ValueError where it is not small."""
    whole = np.concatenate(
        [[contest.whole(contest.rows[0], contest.answer).sum()], contest.leave_whole(runs)]
    )
    apart = max(float(np.abs(contest.leave(kept)[: runs + 1] - whole).max()) for kept in (False, True, True))
    if not apart <= CLOSE or len({contest.first(True), contest.first(False), contest.first_whole()}) > 1:
        raise ValueError(
            f"kept and whole runs differ by {apart:.1e} nats or in the first token; at most {CLOSE:g}. Fix: the"
            " program is wrong, and nothing is timed"
        )
    return apart


def measured(contest: Contest, rounds: int, runs: int) -> list[Times]:
    """Each in turn, round by round, after a round that is not counted."""
    each = (contest.passages + 1) / runs
    ways: dict[tuple[str, str], tuple[Callable[[], object], float]] = {
        (LEAVE, "kept"): (lambda: contest.leave(True), 1.0),
        (LEAVE, "encoded"): (lambda: contest.leave(False), 1.0),
        (LEAVE, "whole"): (lambda: contest.leave_whole(runs), each),
        (FIRST, "kept"): (lambda: contest.first(True), 1.0),
        (FIRST, "encoded"): (lambda: contest.first(False), 1.0),
        (FIRST, "whole"): (contest.first_whole, 1.0),
    }
    seconds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, (call, factor) in ways.items():
            if way[0] == FIRST:
                call()
            began = time.perf_counter()
            call()
            taken = (time.perf_counter() - began) * factor
            if turn:
                seconds[way].append(taken)
    return [Times(*way, contest.passages, tuple(taken)) for way, taken in seconds.items()]


def main(arguments: Sequence[str]) -> None:
    """Proves, measures, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="tiny")
    parser.add_argument("--passages", default="4,16,64", help="numbers of passages, with commas between")
    parser.add_argument("--tokens", type=int, default=64, help="of each passage")
    parser.add_argument("--whole", type=int, default=2, help="whole runs timed a round; 0: all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="", help="file of JSON to write")
    asked = parser.parse_args(arguments)
    use_cpu(asked.threads)
    from aila_jax.provenance import versions
    from benchmarks.record import commit, describe_machine

    machine = describe_machine("cpu")
    numbers = [int(number) for number in asked.passages.split(",")]
    longest = HEADER + max(numbers) * asked.tokens + QUESTION + ANSWER
    model = drawn_model(SHAPES[asked.shape], longest)
    found: list[Times] = []
    proofs: dict[str, float] = {}
    for number in numbers:
        contest, runs = Contest(model, number, asked.tokens), min(asked.whole or number + 1, number)
        proofs[str(number)] = proved(contest, runs)
        found += measured(contest, asked.rounds, runs)
        _say(found, number, proofs[str(number)])
    if asked.out:
        record = {
            "settings": vars(asked),
            "commit": commit(),
            "versions": versions(),
            "machine": asdict(machine),
            "largest difference of log-probability": proofs,
            "times": [asdict(one) for one in found],
            "ratios": [
                {"what": what, "who": who, "passages": number, **asdict(ratio_of(found, what, who, number))}
                for number in numbers
                for what in (LEAVE, FIRST)
                for who in ("encoded", "whole")
            ],
        }
        Path(asked.out).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def seconds_of(found: Sequence[Times], what: str, who: str, passages: int) -> tuple[float, ...]:
    """The times of one way."""
    return next(one.seconds for one in found if (one.what, one.who, one.passages) == (what, who, passages))


def ratio_of(found: Sequence[Times], what: str, who: str, passages: int) -> Any:
    """What a way takes over what `kept` takes, round by round: quartiles."""
    from benchmarks.rounds import ratios

    return ratios(*(seconds_of(found, what, one, passages) for one in (who, "kept")))


def _say(found: Sequence[Times], passages: int, apart: float) -> None:
    """The table of one number of passages."""
    from benchmarks.rounds import quartiles

    print(f"{passages} passages: kept and whole runs differ by at most {apart:.1e} nats")
    print(f"{'':<14}  {'who':<8}  {'seconds':>8}  {'quartiles':<20}  it / kept  quartiles")
    for what in (LEAVE, FIRST):
        for who in ("kept", "encoded", "whole"):
            own, ratio = (
                quartiles(seconds_of(found, what, who, passages)),
                ratio_of(found, what, who, passages),
            )
            spread = f"{own.low:.4f} to {own.high:.4f}"
            print(
                f"{what:<14}  {who:<8}  {own.median:>8.4f}  {spread:<20}  {ratio.median:>9.2f}"
                f"  {ratio.low:.2f} to {ratio.high:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    restart_in_huge_pages()  # as aila does
    main(sys.argv[1:])
