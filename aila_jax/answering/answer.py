"""`aila_jax.answer`: an answer from passages, with what each passage is to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aila_jax.answering.cache import SHARED, Cache, Disk
from aila_jax.answering.credit import Credit, credit
from aila_jax.answering.flow import flow_of
from aila_jax.answering.modes import Asked, Drawn, Limits, ask
from aila_jax.answering.passages import read_passages
from aila_jax.answering.prompts import (
    BRANCHES,
    CHAT,
    ISOLATED,
    Prompt,
    chat_template,
    check_fits,
    check_model,
    prompt_of,
    stops_of,
)
from aila_jax.answering.result import Answer, PairRow, PassageRow, TokenRow
from aila_jax.answering.slots import Setting
from aila_jax.answering.votes import Majority, majority
from aila_jax.config import user_path
from aila_jax.config.checks import check_flag, check_instance, check_text
from aila_jax.config.options import AnswerOptions
from aila_jax.data.prompts import Template
from aila_jax.inference.language_model import LanguageModel
from aila_jax.loading.models import as_model

ABSTAIN = ("unknown",)


def answer(
    model: LanguageModel | str | Path,
    question: str,
    passages: Any,
    *,
    lam: float = 1.0,
    tau: float = 1.0,
    mode: str | None = None,
    capacity: int = 128,
    max_tokens: int = 32,
    stop: str | Sequence[str] | None = None,
    chat: bool = False,
    template: Template | None = None,
    pairs: bool = False,
    shapley: int = 0,
    seed: int = 0,
    abstain: str | Sequence[str] | None = None,
    cache_dir: str | Path = "",
    cache_mib: int = 2048,
    fallback: bool = False,
) -> Answer:
    """The greedy answer to a question from passages; and for each passage its attention mass (measured), what
    the answer's log-probability loses without it (exact), and whether flow allows it any influence
    (docs/howto/answer.md).

    Header, passages and question are tokenized apart, and passages are blocks: the model's own partition and
    relation are not used. In all modes question and answer see everything.

    Args:
      model: a loaded checkpoint or pretrained model, or the path of a run.
      question: what is asked.
      passages: texts, pairs (name, text), or mappings with "text" and perhaps "id"; or the path of a folder
        of .txt files or of JSON lines.
      lam: λ; 1 in the mode isolated.
      tau: τ.
      mode: `together`: one text, at any λ. `isolated`: passages see themselves and the header alone, at equal
        positions. `branches`: each passage alone with the question; the branches vote. By default isolated at
        λ = 1, together below.
      capacity: positions of every passage in the mode isolated.
      max_tokens: tokens of the answer, at most.
      stop: a text, or several, that ends the answer; by default a line end, in a chat the end token alone.
      chat: put the model's chat template around all.
      template: how header, passages and question become text; with `chat` inside the message.
      pairs: also leave passages out two by two.
      shapley: permutations from which Shapley values are estimated; 0 for none.
      seed: of the permutations.
      abstain: in branches, answers that count as none and have no vote, beside an empty one; by default
        `unknown`.
      cache_dir: a folder that keys and values of passages are kept in; empty: memory alone.
      cache_mib: MiB that it may take.
      fallback: of a path, where the newest checkpoint is damaged, take the newest whole one, and say so.

    Raises:
      ValueError: no passages, an empty one, what does not fit into the model (nothing is cut), a model that
        cannot be asked for this, or a value outside its limits.

    Example:
      >>> found = aila.answer("runs/tiny", "Who saw the owl?", ["the cat saw the owl .", "a dog ran ."])
      >>> found.text, found.to_pandas()[["passage", "attribution"]]
    """
    options = AnswerOptions(
        lam=lam,
        tau=tau,
        mode=mode,
        capacity=capacity,
        max_tokens=max_tokens,
        stop=stop,
        chat=check_flag("chat", chat),
        pairs=check_flag("pairs", pairs),
        shapley=shapley,
        seed=seed,
        abstain=abstain,
        cache_dir=cache_dir if cache_dir == "" else str(user_path(cache_dir, "cache_dir")),
        cache_mib=cache_mib,
    )
    return answer_question(as_model(model, fallback=fallback), question, passages, options, template)


def answer_question(
    model: LanguageModel,
    question: str,
    passages: Any,
    options: AnswerOptions,
    template: Template | None = None,
    cache: Cache | None = None,
) -> Answer:
    """`answer`, by options.

    Args:
      model: what answers.
      question: what is asked.
      passages: as there.
      options: how.
      template: how they become text.
      cache: in place of memory and `options.cache_dir`.
    """
    check_text("question", question, fix='question="Who lives by the sea?", say')
    fix = "aila_jax.data.prompts.Template(), or leave it out"
    check_instance("template", template, Template | None, "a Template or None", fix)
    mode = str(options.mode)
    check_model(model, options.lam)
    if options.chat:
        form = chat_template(model, template or CHAT)
    else:
        form = template or Template()
    prompt = prompt_of(model, question, read_passages(passages), form, options.chat)
    check_fits(model, prompt, mode, options.capacity, options.max_tokens)
    # A branch has no other passage that attention could be kept from.
    hard = model.config.model.hard or mode == ISOLATED or (mode == BRANCHES and options.lam == 1.0)
    setting = Setting(model, options.lam, options.tau, hard)
    asked = ask(setting, prompt, mode, options.capacity, cache or _cache(options))
    limits = Limits(options.max_tokens, stops_of(model, options.stop, options.chat))
    return _made(setting, prompt, options, asked, asked.draw(limits))


def _cache(options: AnswerOptions) -> Cache:
    if not options.cache_dir:
        return Cache(SHARED)
    return Cache(SHARED, Disk(user_path(options.cache_dir), options.cache_mib * 2**20))


def _made(
    setting: Setting, prompt: Prompt, options: AnswerOptions, asked: Asked, drawn: tuple[Drawn, ...]
) -> Answer:
    """What is found of an answer that was drawn."""
    model, count = setting.model, len(prompt.bodies)
    branches = options.mode == BRANCHES
    votes: Majority | None = None
    if branches:
        abstain = ABSTAIN if options.abstain is None else options.abstain
        votes = majority([one.text for one in drawn], abstain)
    chosen = drawn[votes.leader.passages[0] if votes else 0]
    found = credit(
        lambda kept: asked.logprobs(chosen.tokens, kept), count, options.pairs, options.shapley, options.seed
    )
    mass = asked.mass(chosen.tokens)
    flow = flow_of(setting, str(options.mode), count)
    mean = mass.mean(axis=0)
    rows = tuple(
        PassageRow(
            number=number,
            id=one.id,
            text=one.text,
            tokens=len(prompt.bodies[number]),
            mass=float(mean[number]),
            attribution=float(found.without[number].sum()),
            shapley=None if found.shapley is None else float(found.shapley[number]),
            allowed=bool(flow.allowed[number]),
            carries=tuple(flow.carries[number].nonzero()[0].tolist()),
            answer=drawn[number].text if branches else None,
        )
        for number, one in enumerate(prompt.passages)
    )
    return Answer(
        text=chosen.text,
        question=prompt.question,
        mode=str(options.mode),
        lam=options.lam,
        tau=options.tau,
        capacity=options.capacity if options.mode == ISOLATED else None,
        ended=chosen.ended,
        logprob=float(found.logprobs.sum()),
        mass_header=float(mean[count]),
        mass_rest=float(mean[count + 1]),
        passages=rows,
        tokens=_token_rows(model, chosen.tokens, found, mass),
        votes=votes.votes if votes else (),
        certified=votes.certified if votes else None,
        flow=flow.claim,
        pairs=_pair_rows(found),
        permutations=options.shapley,
        seed=options.seed,
        source=f"{model.run}, step {model.step}",
    )


def _token_rows(
    model: LanguageModel, tokens: Sequence[int], found: Credit, mass: Any
) -> tuple[TokenRow, ...]:
    """Of each token of the answer; `mass`: of passages, header and the rest."""
    return tuple(
        TokenRow(
            place=place,
            token=token,
            text=model.tokenizer.token_text(token),
            logprob=float(found.logprobs[place]),
            mass=tuple(mass[place, :-2].tolist()),
            mass_header=float(mass[place, -2]),
            mass_rest=float(mass[place, -1]),
            attribution=tuple(found.without[:, place].tolist()),
        )
        for place, token in enumerate(tokens)
    )


def _pair_rows(found: Credit) -> tuple[PairRow, ...]:
    if found.pairs is None:
        return ()
    own, count = found.without.sum(axis=1), len(found.without)
    return tuple(
        PairRow(i, j, float(found.pairs[i, j]), float(found.pairs[i, j] - own[i] - own[j]))
        for i in range(count)
        for j in range(i + 1, count)
    )
