"""Small tokenizers of the library's own kinds, as users bring them: each with the file that the library
writes."""

from functools import cache

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

LINES = ["the cat sat on the mat .", "the dog, and the cat!", "playing plays played the played plays"] * 5


def _trained(model, cut, joined, trainer, normalizer=None) -> str:
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer, made.decoder = cut, joined
    if normalizer is not None:
        made.normalizer = normalizer
    made.train_from_iterator(LINES, trainer)
    return made.to_str()


@cache
def byte_level() -> str:
    """Like GPT-2's."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _trained(models.BPE(), cut, decoders.ByteLevel(), trainer)


@cache
def metaspace() -> str:
    """BPE of pieces with ▁."""
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "</s>"], show_progress=False)
    return _trained(models.BPE(unk_token="<unk>"), pre_tokenizers.Metaspace(), decoders.Metaspace(), trainer)


@cache
def unigram() -> str:
    """Like T5's, but for its normalizer."""
    trainer = trainers.UnigramTrainer(
        vocab_size=40, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    return _trained(models.Unigram(), pre_tokenizers.Metaspace(), decoders.Metaspace(), trainer)


@cache
def wordpiece() -> str:
    """Like BERT's."""
    trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    return _trained(
        models.WordPiece(unk_token="[UNK]"),
        pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(),
        trainer,
        normalizers.BertNormalizer(),
    )


@cache
def byte_fallback() -> str:
    """Like Llama 2's: pieces with ▁, and bytes for what is in none of them."""
    types = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types += ["▁", "t", "h", "e", "c", "a", ".", "th", "the", "▁the"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    vocabulary = {name: number for number, name in enumerate(types)}
    made = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    return made.to_str()


ALL = {
    "byte_level": byte_level,
    "metaspace": metaspace,
    "unigram": unigram,
    "wordpiece": wordpiece,
    "byte_fallback": byte_fallback,
}
