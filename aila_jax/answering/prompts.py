"""A question and its passages as the tokens that a model reads, and whether they fit into it.

Each piece is tokenized by itself, so that a passage's tokens depend on it alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aila_jax.answering.passages import Passage
from aila_jax.config import require
from aila_jax.config.options import ANSWER_MODES
from aila_jax.data.prompts import Template
from aila_jax.inference.chat import chat_ids, chat_stops, chat_text
from aila_jax.inference.inputs import begin_ids
from aila_jax.inference.language_model import LanguageModel

TOGETHER, ISOLATED, BRANCHES = ANSWER_MODES
PASSAGES = "(passages)"  # where a chat template's text is cut in two
QUESTION = "{question}"
CHAT = Template(question="Question: {question}")


@dataclass(frozen=True)
class Prompt:
    """What is asked, as tokens.

    Attributes:
      question: the question's text.
      passages: their names and texts.
      header: tokens that come first.
      bodies: tokens of each passage.
      ask: tokens of the question, up to where the answer begins.
    """

    question: str
    passages: tuple[Passage, ...]
    header: tuple[int, ...]
    bodies: tuple[tuple[int, ...], ...]
    ask: tuple[int, ...]


def chat_template(model: LanguageModel, template: Template = CHAT) -> Template:
    """The template as the model's chat template writes it, as the message of a user whom the model answers.

    Raises:
      ValueError: a model without a chat template, or one that does not give the message as it is.
    """
    message = f"{template.header}{PASSAGES}{template.question}"
    text = chat_text(model, [{"role": "user", "content": message}])
    parts = text.split(PASSAGES)
    limit, fix = "one that writes a message once, as it is", "give a template of your own"
    right = len(parts) == 2 and parts[1].count(QUESTION) == 1
    require(right, "the chat template", text, limit, fix)
    return Template(parts[0], template.passage, parts[1])


def prompt_of(
    model: LanguageModel, question: str, passages: Sequence[Passage], template: Template, chat: bool
) -> Prompt:
    """The tokens of header, passages and question.

    Args:
      model: whose tokenizer and begin token.
      question: what is asked.
      passages: what it is answered from.
      template: how they become text.
      chat: the template was made of the model's chat template: special tokens where it spells them.

    Raises:
      ValueError: a question without a text, or that spells a special token of a chat, or a passage without a
        token.
    """
    tokenizer = model.tokenizer
    fix = 'question="Who lives by the sea?", say'
    require(
        isinstance(question, str) and bool(question.strip()), "question", question, "a text, not empty", fix
    )
    if chat:
        for token in tokenizer.special_ids:
            limit = "without a special token of the model, which would end the message"
            require(token not in question, "question", question, limit, f"leave {token} out")
        header = chat_ids(tokenizer, template.header)
        ask = chat_ids(tokenizer, template.question_text(question))
    else:
        header = [*begin_ids(model), *(tokenizer.encode(template.header) if template.header else [])]
        ask = tokenizer.encode(template.question_text(question))
    bodies = [tuple(tokenizer.encode(template.passage_text(one.text))) for one in passages]
    for one, body in zip(passages, bodies, strict=True):
        require(bool(body), f"passage {one.id!r}", one.text, "at least one token", "leave it out")
    return Prompt(question, tuple(passages), tuple(header), tuple(bodies), tuple(ask))


def stops_of(model: LanguageModel, stop: Sequence[str] | None, chat: bool) -> tuple[str, ...]:
    """The texts that end an answer: those that are given; else a line end, in a chat the model's end
    token.
    """
    own = chat_stops(model) if chat else ()
    return (*(stop if stop is not None else () if chat else ("\n",)), *own)


def check_model(model: LanguageModel, lam: float) -> None:
    """ValueError for a model that cannot answer, or not at this λ."""
    shape = model.config.model
    fix = "train a causal model; a bidirectional one sees its targets"
    require(not shape.bidirectional, "model.bidirectional", True, "False to answer", fix)
    limit, fix = "False to answer: positions would depend on a passage's number", "take another model"
    require(not shape.localist, "model.localist", True, limit, fix)
    right = not shape.hard or lam == 1.0
    require(right, "lam", lam, "1, since the model was trained with hard blocks", "set lam=1")


def check_fits(model: LanguageModel, prompt: Prompt, mode: str, capacity: int, max_tokens: int) -> None:
    """ValueError where header, passages, question and answer have more positions than the model, with what is
    too long and by how much; or where passages have no header before them in a mode that needs one.
    """
    length, header, ask = model.config.model.length, len(prompt.header), len(prompt.ask)
    need = "at least one token, which every passage reads"
    fix = "a template with a header, or a model with a begin token (--config.data.begin)"
    require(mode == TOGETHER or header > 0, "the header", "no token", need, fix)
    around = f"header {header} + question {ask} + answer {max_tokens} tokens"
    if mode == TOGETHER:
        total = header + sum(map(len, prompt.bodies)) + ask + max_tokens
        fix = "give fewer or shorter passages, lower max_tokens, or mode='isolated' or 'branches'"
        what = f"{total} tokens ({around}, the rest passages)"
        require(total <= length, "the prompt", what, _most(length, total - length), fix)
        return
    longest = capacity
    for one, body in zip(prompt.passages, prompt.bodies, strict=True):
        name, size = f"passage {one.id!r}", len(body)
        if mode == ISOLATED:
            fix = "raise capacity, or cut the passage in two"
            limit = f"at most {capacity} tokens, the capacity: {size - capacity} fewer"
            require(size <= capacity, name, f"{size} tokens", limit, fix)
        else:
            total = header + size + ask + max_tokens
            fix = "cut the passage in two, or lower max_tokens"
            what = f"{size} tokens, with {around} {total}"
            require(total <= length, name, what, _most(length, total - length), fix)
    if mode == ISOLATED:
        total = header + longest + ask + max_tokens
        fix = "lower capacity or max_tokens"
        what = f"{total} positions ({around}, capacity {capacity})"
        require(total <= length, "the prompt", what, _most(length, total - length), fix)


def _most(length: int, over: int) -> str:
    return f"at most {length}, which the model reads: {over} fewer"
