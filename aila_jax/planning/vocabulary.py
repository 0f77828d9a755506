"""How many token types a run's text will have, before it is read."""

from aila_jax.config import DataConfig


def vocabulary_of(data: DataConfig) -> int:
    """V: that of the tokenizer.json that is named, or `data.vocab_size`, which words, characters and small
    texts may stay below.
    """
    if not data.tokenizer.endswith(".json"):
        return data.vocab_size
    from aila_jax.data.tokenizer import Tokenizer  # loads a library that others need not wait for
    from aila_jax.data.tokenizer_file import read_tokenizer_file

    return Tokenizer.from_json(read_tokenizer_file(data.tokenizer)).vocab_size
