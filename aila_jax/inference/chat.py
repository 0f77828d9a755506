"""A conversation as the text that a chat model was trained on, by the template that came with it."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aila_jax.config import require
from aila_jax.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from aila_jax.inference.language_model import LanguageModel

CHAT = "chat"  # in `meta`: the template of a model that came with one, and its begin and end tokens
SECONDS = 2  # that a template may compute
BYTES = 256 * 2**20  # that it may hold
WAIT = 30  # seconds until a process is given up that does not compute, on a machine that is busy
CHILD = Path(__file__).with_name("chat_child.py")


def chat_text(model: "LanguageModel", chat: Any) -> str:
    """The conversation as the model's template writes it, up to where its answer begins.

    The template stands in `model.meta["chat"]`: `template`, and the spellings `bos_token` and `eos_token`. It
    is rendered in a process of its own, within `SECONDS` and `BYTES`.

    Args:
      model: whose template.
      chat: the messages, each {"role": …, "content": …}; the model answers the last.

    Raises:
      ValueError: no conversation, a model without a template, a message that spells a special token (it would
        end the message), or a template that cannot be rendered within its limits.
    """
    messages, own = _messages(chat, model.tokenizer), model.meta.get(CHAT)
    has = isinstance(own, dict) and isinstance(own.get("template"), str) and own["template"] != ""
    limit, fix = "left out for a model that came without a chat template", "give the text as the prompt"
    require(has, "chat", chat, limit, fix)
    assert isinstance(own, dict)  # for mypy, which does not know `require`
    tokens = {name: str(own.get(name) or "") for name in ("bos_token", "eos_token")}
    variables = {"messages": messages, "add_generation_prompt": True, "tools": None, **tokens}
    return rendered(own["template"], variables)


def rendered(template: str, variables: Mapping[str, object]) -> str:
    """A template's text, made in a process of its own within `SECONDS` and `BYTES`; ValueError where that
    fails.
    """
    asked = json.dumps({"template": template, "variables": variables})
    command = [sys.executable, "-P", str(CHILD), str(SECONDS), str(BYTES)]
    why = ""
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, text=True, encoding="utf-8", timeout=WAIT
        )
        if done.returncode < 0:
            why = f"it needs more than {SECONDS} s (signal {-done.returncode})"
        elif done.returncode > 0:
            why = f"its process ended with {done.stderr.strip()[-200:] or done.returncode}"
        else:
            found = json.loads(done.stdout)
            why = found.get("error", "")
    except subprocess.TimeoutExpired:
        why = f"it did not end within {WAIT} s"
    limit = f"one that can be rendered within {SECONDS} s and {BYTES // 2**20} MiB ({why})"
    shown = template if len(template) <= 60 else f"{template[:57]}…"
    require(not why, "the chat template", shown, limit, "write the conversation as a prompt of your own")
    return str(found["text"])


def chat_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text that a template wrote: special tokens where it spells them."""
    special = tokenizer.special_ids
    if not special:
        return tokenizer.encode(text)
    spelled = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    ids: list[int] = []
    for part in re.split(f"({spelled})", text):
        ids.extend([special[part]] if part in special else tokenizer.encode(part) if part else [])
    return ids


def chat_stops(model: "LanguageModel") -> tuple[str, ...]:
    """What ends an answer: the spelling of the model's end token, where it says one."""
    end = model.meta.get(CHAT, {}).get("eos_token")
    return (str(end),) if end else ()


def _messages(chat: Any, tokenizer: Tokenizer) -> list[dict[str, str]]:
    """The messages; ValueError for what is none."""
    fix = 'chat=[{"role": "user", "content": "Say hello"}], say'
    several = isinstance(chat, Sequence) and not isinstance(chat, str | bytes) and len(chat) > 0
    require(several, "chat", chat, "a list of messages", fix)
    for message in chat:
        right = isinstance(message, Mapping) and set(message) == {"role", "content"}
        right = right and all(isinstance(text, str) for text in message.values()) and message["role"] != ""
        require(right, "chat", message, "messages with the texts role and content", fix)
        for token in tokenizer.special_ids:
            fine = token not in message["content"] and token not in message["role"]
            limit = "messages without a special token of the model, which would end or begin one"
            require(fine, "chat", token, limit, "leave it out of the message")
    return [dict(message) for message in chat]
