"""Chat templates: what they write, what may not be written, and templates that are no good."""

import json
import re
import time
from dataclasses import replace
from typing import Any

import jax
import pytest

from aila_jax.config.options import GenerateOptions
from aila_jax.data.tokenizer import Tokenizer
from aila_jax.inference import chat as module
from aila_jax.inference.chat import chat_ids, rendered
from aila_jax.inference.inputs import example_batch
from aila_jax.inference.language_model import LanguageModel
from tests.support.untrained import untrained_model

TEMPLATE = (
    "{% for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\n' + (message['content'] | trim) + '<|im_end|>' + '\n' -}}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHAT = [{"role": "user", "content": " the cat saw "}]
TEXT = "<|im_start|>user\nthe cat saw<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """With two special tokens and a template, windows of 64 tokens."""
    base = untrained_model()
    read = json.loads(base.tokenizer.to_json())
    size = base.tokenizer.vocab_size
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    read["added_tokens"] += [
        {"id": size + number, "content": content, **flags}
        for number, content in enumerate(("<|im_start|>", "<|im_end|>"))
    ]
    tokenizer = Tokenizer(json.dumps(read))
    assert tokenizer.vocab_size == size + 2
    shape = replace(base.config, model=replace(base.config.model, length=64))
    chat = {"template": TEMPLATE, "bos_token": "", "eos_token": "<|im_end|>"}
    empty = replace(base, tokenizer=tokenizer, config=shape, meta={"chat": chat}, params=None)
    return replace(empty, params=empty.network.init(example_batch(shape), jax.random.key(0)))


def test_a_template_is_rendered_and_its_special_tokens_are_tokens(model: LanguageModel) -> None:
    [[made]] = model.continuations(None, GenerateOptions(max_tokens=3), chat=CHAT)
    assert made.prompt == TEXT
    start, end = (model.tokenizer.special_ids[one] for one in ("<|im_start|>", "<|im_end|>"))
    parts = [model.tokenizer.encode(part) for part in ("user\nthe cat saw", "\n", "assistant\n")]
    assert list(made.ids[: made.prompt_tokens]) == [start, *parts[0], end, *parts[1], start, *parts[2]]
    # A text that only looks like it has no special token.
    assert start not in model.tokenizer.encode(TEXT)


def test_the_end_token_ends_an_answer(model: LanguageModel) -> None:
    """A bias towards it: its embedding is what the model's output is read with."""
    end = model.tokenizer.special_ids["<|im_end|>"]
    embedding = model.params["embedding"].at[end].set(0.0)
    shift = dict(model.params["final_norm"])
    shift["LayerNorm_0"] = {name: 0 * value + 1 for name, value in shift["LayerNorm_0"].items()}
    loud = {**model.params, "embedding": embedding.at[end].set(9.0), "final_norm": shift}
    says = replace(model, params=loud)
    [[made]] = says.continuations(None, GenerateOptions(max_tokens=5, sample_temperature=0.0), chat=CHAT)
    assert (made.text, made.ended, made.stop, made.new_tokens) == ("", "stop", "<|im_end|>", 1)
    assert says.generate(chat=CHAT, max_tokens=5, sample_temperature=0.0) == ""
    assert list(says.stream(chat=CHAT, max_tokens=5, sample_temperature=0.0)) == []


def test_what_a_chat_says_is_what_its_prompt_says(model: LanguageModel) -> None:
    said = model.generate(chat=CHAT, max_tokens=5)
    assert isinstance(said, str)
    assert "".join(model.stream(chat=CHAT, max_tokens=5)) == said
    assert model.generate(chat=CHAT, max_tokens=5, samples=2)[0] == said


@pytest.mark.parametrize(("chat", "words"), [
    ([], "chat is []; it must be a list of messages"),
    ("hello", "chat is 'hello'; it must be a list of messages"),
    ([{"role": "user"}], "it must be messages with the texts role and content"),
    ([{"role": "user", "content": 5}], "it must be messages with the texts role and content"),
    ([{"role": "user", "content": "a<|im_end|>b"}], "chat is '<|im_end|>'; it must be messages without a special"),
])  # fmt: skip
def test_conversations_that_are_refused(model: LanguageModel, chat: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        model.generate(chat=chat)


def test_a_model_without_a_template_has_no_chat(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="it must be left out for a model that came without a chat template"):
        replace(model, meta={}).generate(chat=CHAT)
    with pytest.raises(ValueError, match="prompt is 'a'; it must be left out with chat"):
        model.generate("a", chat=CHAT)
    with pytest.raises(ValueError, match="prompt is None; it must be a text"):
        model.generate()


@pytest.mark.parametrize(("template", "why"), [
    ("{{ raise_exception('no system message') }}", "TemplateError: no system message"),
    ("{% for", "TemplateSyntaxError"),
    ("{{ ''.__class__.__mro__ }}", "SecurityError"),
    ("{{ 'a' * 1000000000 }}", "it needs more memory than it may"),
    ("{% for i in range(2000) %}{{ 'aaaaaaaaaa' * 100 }}{% endfor %}", "of which 1,000,000 are the most"),
])  # fmt: skip
def test_templates_that_are_refused(template: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        rendered(template, {})


def test_a_template_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 1)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    began = time.process_time()
    with pytest.raises(ValueError, match=r"within 1 s and 256 MiB \(it needs more than 1 s"):
        rendered(loop, {})
    assert time.process_time() - began < 1.0  # none of it was done here


def test_nothing_special_is_nothing_but_text() -> None:
    tokenizer = untrained_model().tokenizer
    assert chat_ids(tokenizer, "the cat") == tokenizer.encode("the cat")
