"""WikiText-2 as a pretrained tokenizer expects text: without the spaces and marks that its preparation put
in.
"""

import re
from pathlib import Path

from aila_jax.config import require
from aila_jax.files import write_atomically

# What a rule finds, and what stands there then, in this order.
RULES = tuple(
    (re.compile(found), put)
    for found, put in (
        (r" @([-,.])@ ", r"\1"),  # 1 @,@ 500, half @-@ open
        (r" (n't|'(?:s|re|ve|ll|d|m)|')(?= |$)", r"\1"),  # does n't, it 's, the boys '
        (r"\b([A-Za-z]+)' (\w)", r"\1' \2"),
        (r"([(\[]) ", r"\1"),
        (r" ([)\]])", r"\1"),
        (r" ([,.;:!?%])(?= |$)", r"\1"),
        (r"\$ (?=\d)", "$"),
        (r"([£€]) (?=\d)", r"\1"),
        (r' " ([^"]+?) "(?=[ ,.;:!?)]|$)', r' "\1"'),
        (r'^" ([^"]+?) "(?=[ ,.;:!?)]|$)', r'"\1"'),
        (r"(\d) – (?=\d)", r"\1–"),
        (r"(\d) / (?=\d)", r"\1/"),
        (r" +", " "),
    )
)  # fmt: skip
HEADING = re.compile(r"^(?:= )+.+(?: =)+$")
FILES = {"train": "wiki.train.tokens", "valid": "wiki.valid.tokens", "test": "wiki.test.tokens"}


def detokenised(line: str) -> str:
    """One paragraph as it was before WikiText's tokenizer, as far as that is known; unknown words stay
    `<unk>`, of which only the raw corpus knows more.
    """
    text = line.strip()
    for found, put in RULES:
        text = found.sub(put, text)
    return text


def paragraphs(tokens: str) -> list[str]:
    """The paragraphs of a file of WikiText-2, without headings. (Nearly every paragraph has an unknown word:
    they stay.)
    """
    lines = (line.strip() for line in tokens.splitlines())
    return [detokenised(line) for line in lines if line and not HEADING.match(line)]


def write_texts(data_dir: Path, folder: Path) -> dict[str, Path]:
    """The three splits as text files, a paragraph a block of lines; those that are there are left."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for split, name in FILES.items():
        found[split] = folder / f"{split}.txt"
        if not found[split].is_file():
            source = data_dir / name
            fix = "--data_dir=FOLDER with wiki.{train,valid,test}.tokens"
            require(source.is_file(), "--data_dir", str(data_dir), f"a folder with {name}", fix)
            text = "\n\n".join(paragraphs(source.read_text(encoding="utf-8"))) + "\n"
            write_atomically(found[split], text.encode())
    return found
